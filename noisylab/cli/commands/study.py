"""The command study: trains every row of a recipe with several seeds and prints one table of the results."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.commands.fit import fit
from noisylab.cli.commands.folds import let_go, one_process
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.studyplan import PLAN, Study, StudyRun, plan_of
from noisylab.cli.errors import UserError, is_bug, message
from noisylab.cli.folder.claim import hold, new_default_folder
from noisylab.cli.folder.job import noted_job
from noisylab.cli.running.figures import draw
from noisylab.cli.running.resumed import check_same_run
from noisylab.cli.running.session import logger_names, quiet, say
from noisylab.files import atomic_path, clear_partials
from noisylab.reports import (
    RunFolder,
    StudyRow,
    has_unlabeled,
    read_run,
    study_csv,
    study_record,
    study_row,
    study_table,
    unlabeled_figure,
)

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["run_study"]


def run_study(options: Options) -> int:
    """Train every row of a recipe with every seed, one run after the other, each in its own folder.

    Finished runs are skipped and stopped ones resumed. If a run ends with an error after the first has begun, a message says so
    and the others are trained; ``--resume`` tries it again.

    Args:
        options: ``--config`` with rows, or ``--run_dir`` and ``--resume``; further values apply to all runs.

    Returns:
        The exit status: that of a run that was stopped, 1 if a run ended with an error, 0 otherwise.

    Raises:
        UserError: if something cannot be run, before any data is read.
    """
    quiet()
    study = plan_of(options)
    logger_names(options)
    configs: dict[StudyRun, dict[str, Any]] = {}
    for run in study.runs:
        asked = study.options(run, options)
        found = compose(asked.configs, asked.flags, asked.row)
        if run == study.runs[0]:
            for note in found.notes:
                say(note, sys.stderr)
        configs[run] = found.config
    alone = one_process(configs[study.runs[0]], "study")
    study = replace(study, flags=(*study.flags, *alone))
    for config in configs.values():
        config["trainer"].update({key.removeprefix("trainer."): 1 for key, _ in alone})
    if "dry_run" in options.own:
        return _show(study, options, configs)
    folder = _begin(study, options)
    return _Series(study, options, folder, configs).train()


def _show(study: Study, options: Options, configs: dict[StudyRun, dict[str, Any]]) -> int:
    """Print the plan of the first run, and the list of all."""
    own = {"dry_run": "true"}
    if "run_dir" in options.own:
        own["run_dir"] = str(Path(options.own["run_dir"]) / study.runs[0].folder)
    status = fit(replace(study.options(study.runs[0], options), own=own))
    lines = []
    for row in study.rows:
        config = configs[StudyRun(row, study.seeds[0])]
        names = [config[part]["class_path"].rpartition(".")[2] for part in ("model", "data")]
        lines.append(f"{row} ({' on '.join(names)}, {config['trainer'].get('max_epochs')} epochs)")
    say(f"{'study':<11}" + ("\n" + " " * 11).join(lines), sys.stdout)
    seeds = ", ".join(map(str, study.seeds))
    say(f"{'runs':<11}{len(study.runs)}, one after the other: each of these rows under the seeds {seeds}", sys.stdout)
    return status


def _begin(study: Study, options: Options) -> Path:
    """The folder of the study, with its plan."""
    if "run_dir" not in options.own:
        folder = new_default_folder(study.name)
    else:
        folder = Path(options.own["run_dir"])
        for name in (PLAN, "study.txt", "study.csv", "study.json", "unlabeled.png"):
            clear_partials(folder, name)  # of a process that was killed while it wrote
        if "resume" in options.own:
            return folder
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--run_dir {folder} is not a folder; name one, or a new name")
        if folder.is_dir() and any(folder.iterdir()):
            ways = (
                "add --resume, without --config, to continue it, or name another" if (folder / PLAN).is_file() else "name another"
            )
            raise UserError(f"--run_dir {folder} is not empty\n  {ways}")
        folder.mkdir(parents=True, exist_ok=True)
    study.write(folder, noted_job())
    return folder


class _Series:
    """The runs of a study, one after the other."""

    def __init__(self, study: Study, options: Options, folder: Path, configs: dict[StudyRun, dict[str, Any]]) -> None:
        self.study, self.options, self.folder, self.configs = study, options, folder, configs
        self.go_on = f"continue the study with: noisylab study --run_dir {folder} --resume"
        self.begun = False
        self._done: dict[StudyRun, RunFolder] = {}

    def train(self) -> int:
        """Train what is not finished, and print the table."""
        failed = []
        for number, run in enumerate(self.study.runs, 1):
            place, name = self.folder / run.folder, f"run {number} of {len(self.study.runs)} ({run})"
            if self._finished(run) is not None:
                self.begun = True
                with hold(place):
                    draw(place)
                say(f"{name} is finished: {place}", sys.stdout)
                continue
            say(name, sys.stdout)
            try:
                status = self._fit(run, place)
            except KeyboardInterrupt:
                say(f"{name} was interrupted; {self.go_on}", sys.stderr)
                raise
            except Exception as error:
                if is_bug(error) or not self.begun:
                    self._leave_nothing()
                    raise
                failed.append(run)
                say(f"{name} ended with an error; the others continue: {message(error)}", sys.stderr)
                continue
            finally:
                let_go(self.options)
            if status:
                say(self.go_on, sys.stderr)
                return status
            self._done[run] = read_run(place)
            self._conclude()
        table = self._conclude()
        say(f"\n{table}\nstudy: {self.folder / 'study.json'}", sys.stdout)
        first = [self._done.get(StudyRun(row, self.study.seeds[0])) for row in self.study.rows]
        shown = [run for run in first if run is not None and has_unlabeled(run)]
        if shown:
            say(f"figure: {unlabeled_figure(shown, self.folder / 'unlabeled.png')}", sys.stdout)
        if failed:
            say(f"{len(failed)} of {len(self.study.runs)} runs ended with an error; {self.go_on}", sys.stderr)
        return 1 if failed else 0

    def _fit(self, run: StudyRun, place: Path) -> int:
        own = {"run_dir": str(place)}
        if any((place / "checkpoints").glob("*.ckpt*")):
            own["resume"] = "true"
        elif place.exists() and any(place.iterdir()):
            own["overwrite"] = "true"  # stopped before the first checkpoint: there is nothing to continue from

        def begun() -> None:
            self.begun = True

        return fit(replace(self.study.options(run, self.options), own=own), begun=begun)

    def _finished(self, run: StudyRun) -> RunFolder | None:
        """The run, if it is finished.

        Raises:
            UserError: if it has another configuration.
        """
        place = self.folder / run.folder
        if run not in self._done and (place / "summary.json").is_file():
            found, config = read_run(place), self.configs[run]
            if found.complete:
                check_same_run(place, config)
                then, now = ((which.get("trainer") or {}).get("max_epochs") for which in (found.config, config))
                if then != now:
                    raise UserError(
                        f"{place} was trained for {then} epochs, and the recipe now says {now}; all runs of a row must agree\n"
                        "  delete the folder of that run, so that it is trained again, or start another study"
                    )
                self._done[run] = found
        return self._done.get(run)

    def _conclude(self) -> str:
        """Write the results of the finished runs; returns the table."""
        rows = [self._row(row) for row in self.study.rows]
        table = study_table(rows)
        record = {"recipe": self.study.name, "seeds": list(self.study.seeds), "rows": study_record(rows)}
        content = {"txt": table, "csv": study_csv(rows), "json": json.dumps(record, indent=2) + "\n"}
        for ending, text in content.items():
            with atomic_path(self.folder / f"study.{ending}") as partial:
                partial.write_text(text, encoding="utf-8")
        return table

    def _row(self, row: str) -> StudyRow:
        return study_row(row, {seed: self._finished(StudyRun(row, seed)) for seed in self.study.seeds})

    def _leave_nothing(self) -> None:
        """Remove the folder of a study in which nothing has begun."""
        if not self.begun and "resume" not in self.options.own:
            (self.folder / PLAN).unlink(missing_ok=True)
            for made in (*(self.folder / row for row in self.study.rows), self.folder):
                if made.is_dir() and not any(made.iterdir()):
                    made.rmdir()
