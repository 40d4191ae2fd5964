"""The runs of a study: the rows of a recipe times the seeds. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.configuration.recipefile import RecipeFile, choose
from noisylab.cli.configuration.recipes import find_config, load_yaml, text_of
from noisylab.cli.errors import UserError, unknown
from noisylab.files import atomic_path

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["PLAN", "Study", "StudyRun", "plan_of"]

PLAN = "study.yaml"
"""The file in a study's folder that holds its plan."""

_SEEDS = "0,1,2"
_SEED = "SEED"  # as the value of a flag: the seed of the run


@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Args:
        row: of the recipe.
        seed: of the run.
    """

    row: str
    seed: int

    @property
    def folder(self) -> str:
        """Its folder, relative to that of the study."""
        return f"{self.row}/seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """The plan of a study.

    Args:
        configs: values of ``--config``; absolute paths, or names of packaged recipes.
        rows: rows of the one file that has rows, in the order in which the table shows them.
        seeds: in rising order.
        flags: (dotted key, text) of values that all runs share.
        name: name of the file with rows, without suffix.
    """

    configs: tuple[str, ...]
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    flags: tuple[tuple[str, str | None], ...]
    name: str

    @property
    def runs(self) -> list[StudyRun]:
        """All runs, in the order in which they are trained: every row with the first seed, then with the next."""
        return [StudyRun(row, seed) for seed in self.seeds for row in self.rows]

    def options(self, run: StudyRun, given: Options) -> Options:
        """The options of ``fit`` that train a run.

        Args:
            run: the run.
            given: the command line of the study; its loggers are used.
        """
        flags = [(key, str(run.seed) if text == _SEED else text) for key, text in self.flags]
        flags.append(("seed_everything", str(run.seed)))
        return replace(given, command="fit", own={}, configs=list(self.configs), flags=flags, places=[], row=run.row)

    def write(self, folder: Path, job: Mapping[str, Any] | None = None) -> None:
        """Keep the plan in the folder of the study.

        Args:
            folder: which exists.
            job: by which the job's next start finds it.
        """
        import yaml  # type: ignore[import-untyped, unused-ignore]  # late: a study that is only asked about needs none

        found = {
            "configs": list(self.configs),
            "rows": list(self.rows),
            "seeds": list(self.seeds),
            "flags": [list(flag) for flag in self.flags],
            **({"job": dict(job)} if job else {}),
        }
        with atomic_path(folder / PLAN) as partial:
            partial.write_text(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), encoding="utf-8")


def plan_of(options: Options) -> Study:
    """The study that a command line asks for, or the one in the folder that is resumed.

    Raises:
        UserError: if something is wrong with the flags, the recipe or the folder.
    """
    if "resume" in options.own:
        return _stored(options)
    if not options.configs:
        raise UserError("noisylab study needs a recipe with rows: noisylab study --config threshold_study.yaml")
    given = next((key for key, _ in options.flags if key == "seed_everything"), None)
    if given is not None:
        raise UserError("--seed_everything: a study trains with several seeds; write --seeds 0,1,2")
    configs = tuple(_lasting(name) for name in options.configs)
    file = _with_rows(configs)
    rows = _chosen(options.own.get("rows"), tuple(file.rows), file.path.name)
    return Study(configs, rows, _numbers(options.own.get("seeds", _SEEDS)), tuple(options.flags), file.path.stem)


def _stored(options: Options) -> Study:
    if "run_dir" not in options.own:
        raise UserError("--resume needs --run_dir, the folder of the study to continue")
    changed = [*(f"--{key}" for key in ("rows", "seeds") if key in options.own), *(f"--{key}" for key, _ in options.flags)]
    if options.configs or changed:
        what = ", ".join(["--config"] * bool(options.configs) + changed)
        raise UserError(
            f"--resume continues the study as it began, and takes no {what}\n"
            "  leave that out, or start another study in another --run_dir"
        )
    file = Path(options.own["run_dir"]) / PLAN
    if not file.is_file():
        raise UserError(f"--run_dir {file.parent} holds no study to continue: it has no {PLAN}; leave --resume out to start one")
    found = load_yaml(text_of(file), str(file))
    try:
        flags = tuple((str(key), None if text is None else str(text)) for key, text in found["flags"])
        study = Study(tuple(found["configs"]), tuple(found["rows"]), tuple(map(int, found["seeds"])), flags, "")
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{file} is not as noisylab wrote it; start the study again with its recipe in another --run_dir, and move the "
            "folders of its rows there"
        ) from error
    recipe = _with_rows(study.configs)
    _chosen(",".join(study.rows), tuple(recipe.rows), recipe.path.name)
    return replace(study, name=recipe.path.stem)


def _with_rows(configs: Sequence[str]) -> RecipeFile:
    """The one of some files that has rows."""
    files = [chosen.file for chosen in choose(configs, None)]
    having = [file for file in files if file.rows]
    if len(having) != 1:
        names = ", ".join(file.path.name for file in having or files)
        what = f"{names} each have rows; give one of them" if having else f"there are no rows in {names}"
        raise UserError(f"--config: {what}; a study trains the rows of one recipe, which noisylab recipes lists")
    return having[0]


def _chosen(text: str | None, rows: tuple[str, ...], recipe: str) -> tuple[str, ...]:
    if text is None:
        return rows
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in rows:
            raise unknown(f"--rows: row of {recipe}", name, rows)
    if not names:
        raise UserError(f"--rows: expected names of rows with commas between them, got {text!r}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--seeds: expected whole numbers with commas between them, such as 0,1,2, got {text!r}")
    return tuple(sorted({int(word) for word in words}))


def _lasting(name: str) -> str:
    """A name of a configuration file that stays valid in another working directory."""
    path = find_config(name)
    return str(path.absolute()) if Path(name).is_file() else name
