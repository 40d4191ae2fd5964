"""What noisylab.upstream.submitit relies on in submitit."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.contracts import contract

pytest.importorskip("submitit")


def test_the_script_is_made_without_a_cluster_and_nothing_is_written(tmp_path: Path) -> None:
    from noisylab.upstream.submitit import batch_script

    with (
        contract("submitit.SlurmExecutor._make_submission_file_text", batch_script),
        contract("submitit.SlurmExecutor._submitit_command_str", batch_script),
    ):
        text = batch_script(tmp_path / "%j", {"time": 7, "partition": "p"}, 3)
    assert "#SBATCH --array=0-2%3" in text and "#SBATCH --time=7" in text and "#SBATCH --partition=p" in text
    assert f"-m submitit.core._submit {tmp_path}/%j" in text
    assert not list(tmp_path.iterdir())
    assert "--array" not in batch_script(tmp_path / "%j", {}, 1)
