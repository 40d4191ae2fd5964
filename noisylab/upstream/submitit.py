"""Private names of submitit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from submitit import SlurmExecutor

__all__ = ["batch_script"]


class _Anywhere(SlurmExecutor):
    """An executor that can be made, though not used, on a machine without SLURM."""

    @classmethod
    def affinity(cls) -> int:
        """Say that there is a cluster."""
        return 1


def batch_script(folder: Path, parameters: dict[str, Any], jobs: int) -> str:
    """The script that submitit would hand to ``sbatch``, on any machine, without handing it over.

    Private: ``SlurmExecutor._make_submission_file_text`` and ``_submitit_command_str``.
    Why: submitit writes the script only in order to submit it, and then calls ``sbatch`` at once.
    Since: noisylab 0.3, submitit 1.5.4.
    Without it: ``noisylab study --cluster slurm --dry_run`` could not show the script.

    Args:
        folder: of submitit's files; nothing is written there.
        parameters: of ``SlurmExecutor.update_parameters``.
        jobs: how many are submitted; more than one are an array.
    """
    executor = _Anywhere(folder)
    executor.update_parameters(**parameters)
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    return executor._make_submission_file_text(executor._submitit_command_str, "")
