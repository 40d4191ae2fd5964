"""The command predict: the classes of new pictures or rows of a table, or of the test rows."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylab.cli.commands.dataset import table_to_predict
from noisylab.cli.commands.evaluate import finished
from noisylab.cli.errors import UserError
from noisylab.cli.folder.claim import paths_in
from noisylab.cli.folder.outputs import check_not_read, check_output, is_predictions, prediction_header
from noisylab.cli.running.session import quiet, say, tell_account, tell_changes
from noisylab.data.base import NoisyDataModule
from noisylab.data.folders import listed
from noisylab.data.frames.module import FrameData
from noisylab.files import atomic_path
from noisylab.terminal import visible

if TYPE_CHECKING:
    from noisylab.cli.options import Options


__all__ = ["predict"]


def predict(options: Options) -> int:
    """Write ``predictions.csv``: file, id or index, given label if any, predicted class, probability."""
    quiet()
    if "skip_unreadable" in options.own and "images" not in options.own:
        raise UserError("--skip_unreadable belongs to --images; for the pictures of the run: --data.skip_unreadable true")
    if "images" in options.own and "dataset" in options.own:
        raise UserError("--images and --dataset exclude each other; give one")
    if "split" in options.own and "dataset" not in options.own:
        raise UserError("--split names a part of --dataset; give that, too: --dataset FILE")
    new = [options.own[name] for name in ("images", "dataset") if name in options.own]
    asked = Path(options.own["out"]) if "out" in options.own else None
    if asked is not None:
        typed = [*options.configs, *new, *(text or "" for _, text in options.flags)]
        check_not_read(asked, "--out", typed)
        check_output(asked, "--out", overwrite="overwrite" in options.own, ours=is_predictions, what="predictions")
    app, folder, checkpoint = finished(options)
    path = asked or folder / "predictions.csv"  # which only predict writes in a run folder, and may write again
    again = "overwrite" in options.own or (asked is None and "run_dir" in options.own)
    check_output(path, "--out" if asked else "predictions:", overwrite=again, ours=is_predictions, what="predictions")
    check_not_read(
        path,
        "--out" if asked else "predictions:",
        [*options.configs, checkpoint, *new, *paths_in(app.config[options.command].as_dict())],
    )
    data: NoisyDataModule = app.datamodule
    if new and data.adopted is not None:
        data.setup_blank()  # the training data may have changed, or be gone
    else:
        data.prepare_data()
        data.setup("predict")
        tell_account(data.source.account)
        tell_changes(data, "predict")
    names, skipped = data.source.test_names, list[str]()
    if "images" in options.own:
        from noisylab.data.unlabeled import unlabeled_rows

        skip = "skip_unreadable" in options.own or bool(getattr(data, "skip_unreadable", False))
        found = unlabeled_rows(options.own["images"], data, skip)
        names, skipped = found.names, found.skipped
        tell_account(found.account)
        data.predict_on(found.rows)
    elif "dataset" in options.own:
        if not isinstance(data, FrameData):
            raise UserError(
                f"--dataset: the model was trained on {type(data).__name__}, not on a table; give pictures with --images"
            )
        table = table_to_predict(options.own)
        names = data.ids_of(table)
        data.predict_on(data.prepared(table))
        tell_account(table.account)
    elif not data.test_dataloader():
        raise UserError("the data has no test rows to predict; name new pictures with --images, or a table with --dataset")
    batches = app.trainer.predict(app.model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    classes = data.info.class_names
    lines: list[tuple[Any, ...]] = [(name, "", "", "") for name in skipped]
    for batch in batches or []:
        assert isinstance(batch, dict)
        top, label = batch["probs"].max(1)
        for index, given, pred, prob in zip(
            *(batch[k].tolist() for k in ("index", "target")), label.tolist(), top.tolist(), strict=True
        ):
            shown = classes[given] if 0 <= given < len(classes) else ""
            lines.append((names[index] if names else index, shown, classes[pred], f"{prob:.6f}"))
    if skipped:
        place = {name: number for number, name in enumerate(sorted([*skipped, *(names or ())], key=Path))}
        lines.sort(key=lambda line: place[line[0]])
        many = "1 picture has no prediction, its" if len(skipped) == 1 else f"{len(skipped):,} pictures have no prediction, their"
        say(f"{many} cells are empty: {listed(skipped)}", sys.stderr)
    with atomic_path(path, new=not again) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(prediction_header(data.row_names if names else "index"))
        writer.writerows(lines)
    print(visible(f"predictions: {path}"))
    return 0
