"""The command issues export: writes the ranked labels for labeling tools and viewers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.commands.issues_apply import ANEW, class_name
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.origin import shown as as_given
from noisylab.cli.errors import UserError, unknown
from noisylab.cli.running.resumed import check_stored
from noisylab.data.exports import Export, export_of, read_pictures
from noisylab.data.frames.columns import Columns
from noisylab.data.frames.exports import export_rows
from noisylab.data.frames.reading import read_tables, splits_of
from noisylab.issues import IssueTable, read_issues
from noisylab.issues.apply import top_count
from noisylab.issues.exports import Shown, review_tasks, write_parquet, write_review, write_table
from noisylab.issues.fixes import refuse_existing
from noisylab.issues.table import LABEL_ISSUES
from noisylab.terminal import visible

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["FORMATS", "export"]

FORMATS = {"label-studio": ".json", "fiftyone": ".csv", "spotlight": ".parquet", "csv": ".csv"}
_OPENED = {
    "label-studio": "import it into a project of Label Studio: docs/labeling_tools.md has the labeling interface",
    "fiftyone": 'fiftyone.Dataset.from_dir(dataset_type=fiftyone.types.CSVDataset, labels_path="{out}")',
    "spotlight": 'renumics.spotlight.show(pandas.read_parquet("{out}"){dtype})',
    "csv": "",
}


def export(options: Options) -> int:
    """Write the ranked labels of a run in the format of a tool; returns the exit status.

    Raises:
        UserError: for what cannot be done, before anything is written.
    """
    own = options.own
    for name, what in (("run", "DIR of a finished run"), ("to", " or ".join(FORMATS)), ("out", "FILE, a new one")):
        if name not in own:
            raise UserError(f"noisylab issues export needs --{name} {what}")
    tool, folder, out = own["to"], Path(own["run"]), Path(own["out"])
    if tool not in FORMATS:
        raise unknown("noisylab issues export: --to", tool, list(FORMATS))
    if out.suffix.lower() != FORMATS[tool]:
        raise UserError(f"--out {out}: what --to {tool} writes ends in {FORMATS[tool]}")
    if not (folder / "config.yaml").is_file():
        raise UserError(f"--run {folder}: there is no run (no config.yaml); give the folder that noisylab printed")
    refuse_existing(out)
    config = compose([str(check_stored(folder, ANEW))], []).config
    table = read_issues(folder / LABEL_ISSUES)
    if "top" in own:
        table = table.head(top_count(own["top"], len(table)))
    if tool == "label-studio":
        table = _flagged(table)
    arguments: dict[str, Any] = config["data"]["init_args"]
    shown = _shown(class_name(config), arguments, table)
    if tool == "label-studio":
        source, places = _tasks(arguments, table)
        model = f"noisylab {config['model']['class_path'].rpartition('.')[2]}"
        write_review(out, review_tasks(table, shown, source, places, model))
    elif tool == "spotlight":
        write_parquet(out, table, shown)
    elif tool == "fiftyone":
        if shown is None or shown.kind == "text":
            raise UserError("FiftyOne shows files, and the rows of this run have none; --to spotlight or --to csv take any rows")
        write_table(out, table, shown, media="filepath")
    else:
        write_table(out, table, shown)
    print(visible(_said(tool, out, table, shown)))
    return 0


def _flagged(table: IssueTable) -> IssueTable:
    """The rows that are flagged as issues, in their order."""
    kept = table.take(table.is_issue.nonzero()[0])
    if not len(kept):
        raise UserError("none of these labels is flagged as an issue, so there is nothing to review")
    return kept


def _shown(name: str, arguments: dict[str, Any], table: IssueTable) -> Shown | None:
    """What the rows of a run are about; `None` for arrays and columns of numbers.

    Args:
        name: class of the run's data.
        arguments: of that.
        table: the rows.
    """
    if "images" in arguments and table.names is not None:
        root = Path(os.path.abspath(as_given(arguments["images"])))  # noqa: PTH100  # links stay
        return Shown("image", [os.path.normpath(root / key) for key in table.keys], root)
    kind = next((kind for kind in ("text", "image", "audio") if isinstance(arguments.get(kind), str)), None)
    if "table" not in arguments or kind is None:
        if table.names is not None and "table" not in arguments:
            raise UserError(f"the rows of {name} are those of a published data set; give a run on your own data")
        return None
    rows = _table(arguments)
    values = rows.named(arguments[kind], kind).texts()
    ids = rows.ids if arguments.get("id_column") is None else rows.named(arguments["id_column"], "id_column").texts()
    by_key = dict(zip(map(str, range(len(rows))) if ids is None else ids, values, strict=True))
    absent = [key for key in table.keys if key not in by_key]
    if absent:
        raise UserError(f"{rows.where} no longer has the row {absent[0]}, which {LABEL_ISSUES} has; find the issues of it anew")
    if kind == "text":
        return Shown("text", [by_key[key] for key in table.keys])
    if any(not by_key[key] for key in table.keys):
        raise UserError(f"{rows.where} holds the files of its rows itself, and other programs cannot open them there")
    folder = Path(os.path.abspath(rows.folder or "."))  # noqa: PTH100
    return Shown("image" if kind == "image" else "audio", [os.path.normpath(folder / by_key[key]) for key in table.keys], folder)


def _table(arguments: dict[str, Any]) -> Columns:
    names = ("test_table", "split", "test_split")
    return splits_of(read_tables(arguments["table"]), *(arguments.get(name) for name in names))[0]


def _tasks(arguments: dict[str, Any], table: IssueTable) -> tuple[Export | None, list[int]]:
    """The export of Label Studio that the labels of a run come from, if they do, and the number of each row in it."""
    labels = arguments.get("labels_csv")
    if labels is not None and export_of(labels) is not None:
        columns = (arguments.get("file_column"), arguments.get("label_column"))
        made, keys, _ = read_pictures(labels, Path(arguments["images"]), *columns)
    elif arguments.get("table") is not None and export_of(arguments["table"]) is not None:
        made = export_rows(arguments["table"], arguments["label"])
        keys = [row.row_id for row in made.rows]
    else:
        return None, []
    if made.tool == "COCO":
        return None, []
    numbers = {key: number for number, key in enumerate(keys)}
    absent = [key for key in table.keys if key not in numbers]
    if absent:
        raise UserError(f"{made.source.path} no longer has the row {absent[0]}, which {LABEL_ISSUES} has; find its issues anew")
    return made, [numbers[key] for key in table.keys]


def _said(tool: str, out: Path, table: IssueTable, shown: Shown | None) -> str:
    what = {"image": ', dtype={"image": renumics.spotlight.Image}', "audio": ', dtype={"audio": renumics.spotlight.Audio}'}
    opened = _OPENED[tool].format(out=out, dtype="" if shown is None else what.get(shown.kind, ""))
    return f"{len(table):,} rows: {out}" + (f"\n  {opened}" if opened else "")
