"""The command issues apply: writes the corrections that a user accepted into a new label file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import shown
from noisylab.cli.errors import UserError
from noisylab.cli.running.resumed import check_stored
from noisylab.data import Arrays, ImageFeatures, ImageFolder
from noisylab.data.exports import export_of, is_export
from noisylab.data.imageparts import split_folders
from noisylab.issues import read_issues
from noisylab.issues.apply import apply_to_arrays, apply_to_folders, apply_to_table, read_accepted, top_fixes
from noisylab.issues.apply_exports import apply_to_export, apply_to_tasks
from noisylab.issues.apply_frames import SAVED_MARKS, apply_to_frame, whole_copy
from noisylab.issues.fixes import Applied, Fixes
from noisylab.issues.table import LABEL_ISSUES
from noisylab.terminal import visible

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["ANEW", "OWN_DATA", "apply", "class_name", "fixed_name", "quoted"]

ANEW = "find the issues anew, in another --run_dir"  # where the configuration of a run is damaged
OWN_DATA = (ImageFolder.__name__, ImageFeatures.__name__, Arrays.__name__)  # whose labels can be rewritten


def class_name(config: dict[str, Any]) -> str:
    """The short name of the class of a configuration's data."""
    return str(config["data"]["class_path"]).rpartition(".")[2]


def quoted(path: Path) -> str:
    """A path quoted as it is typed in a shell."""
    return shlex.quote(str(path))


def fixed_name(table: str) -> str:
    """A name for the corrected copy of a table."""
    path = Path(table)
    name, ending = path.name.removesuffix(".gz"), ".gz" if path.suffix == ".gz" else ""
    if path.is_dir():
        return f"{name}_fixed" if any((path / mark).is_file() for mark in SAVED_MARKS) else "labels_fixed.csv"
    return f"{Path(name).stem}_fixed{Path(name).suffix}{ending}" if path.is_file() else "labels_fixed.csv"


def apply(options: Options) -> int:
    """Write the labels with corrections into a new file; returns the exit status.

    Raises:
        UserError: for what cannot be done, before anything is written.
    """
    own = options.own
    for name, what in (("run", "DIR of the run that found them"), ("out", "FILE, the new labels")):
        if name not in own:
            raise UserError(f"noisylab issues apply needs --{name} {what}")
    if ("accepted" in own) == ("top" in own):
        raise UserError(
            "noisylab issues apply needs either --accepted FILE, the list downloaded from the page, or --top 5%, the most "
            "certain suggestions"
        )
    folder, out = Path(own["run"]), Path(own["out"])
    if not (folder / "config.yaml").is_file():
        raise UserError(f"--run {folder}: there is no run (no config.yaml); give the folder that noisylab printed")
    config = compose([str(check_stored(folder, ANEW))], []).config
    arguments: dict[str, Any] = config["data"]["init_args"]
    table = read_issues(folder / LABEL_ISSUES)
    fixes = read_accepted(own["accepted"]) if "accepted" in own else top_fixes(table, own["top"])
    name, missing = class_name(config), arguments.get("missing", "auto")
    if name in (ImageFolder.__name__, ImageFeatures.__name__) and arguments.get("labels_csv"):
        applied, key = _table(arguments, fixes, out), "labels_csv"
    elif name in (ImageFolder.__name__, ImageFeatures.__name__):
        applied, key = apply_to_folders(arguments["images"], table, fixes, out, missing=missing), "labels_csv"
    elif name == Arrays.__name__:
        applied, key = apply_to_arrays(arguments["path"], table, fixes, out, missing=missing), "path"
    elif arguments.get("table") is not None and export_of(arguments["table"]) is not None:
        applied, key = apply_to_tasks(arguments["table"], fixes, out, label=arguments["label"]), "table"
    elif arguments.get("table") is not None:
        names = ("label", "id_column", "split")
        columns = {key: arguments[key] for key in names if key in arguments}
        applied, key = apply_to_frame(arguments["table"], fixes, out, missing=missing, **columns), "table"
    else:
        raise UserError(
            f"the labels of {name} are those of a published data set, and are not rewritten; corrections apply to runs on your "
            f"own data: {', '.join(OWN_DATA)}, and tables"
        )
    root = Path(shown(arguments["images"])) if "images" in arguments and not arguments.get("labels_csv") else None
    split = None if root is None else split_folders(root, missing)
    tested = None if root is None or split is None or split[1] is None else root / split[1]
    print(visible(_applied(applied, out, folder, key, tested, str(arguments.get("table") or ""))))
    return 0


def _table(arguments: dict[str, Any], fixes: Fixes, out: Path) -> Applied:
    """Corrections of a file of labels, in its own format."""
    path, names = arguments["labels_csv"], ("label_column", "file_column")
    if is_export(path):
        return apply_to_export(path, arguments["images"], fixes, out, **{name: arguments.get(name) for name in names})
    return apply_to_table(path, fixes, out, **{name: arguments.get(name) or name.removesuffix("_column") for name in names})


def _applied(applied: Applied, out: Path, folder: Path, key: str, tested: Path | None, source: str) -> str:
    lines = [f"{applied.changed:,} labels changed, {applied.same:,} were so already: {out}"]
    if applied.emptied:
        lines.append(f"note: no row is left of {', '.join(applied.emptied)}; a model of these labels has fewer classes")
    if key == "labels_csv" or out.suffix == ".npz" or (key == "table" and whole_copy(source, out)):
        config = quoted(folder / "config.yaml")
        more = "" if tested is None else f" --data.test_images {quoted(tested)}"  # a table takes the place of all the folders
        lines.append(f"train on them: noisylab fit --config {config} --data.{key} {quoted(out)}{more} --run_dir runs/fixed")
    return "\n".join(lines)
