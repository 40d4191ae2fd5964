"""A run that was killed and resumed, as W&B, TensorBoard and MLflow have it: names, groups, settings, no number twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.dashboards import read_wandb, tensorboard_of

from noisylab.cli import main
from noisylab.cli.running.loggers.identity import kept
from noisylab.cli.running.loggers.panels import SECTIONS

wandb = pytest.importorskip("wandb")
pytest.importorskip("tensorboard")
pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow on SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning"),  # inside TensorBoard
]

_SMOKE = ["--config", "elr_digits.yaml", "--config", "smoke.yaml", "--model.network.width", "4", "--data.val_fraction", "0.2"]
_LOGGERS = [word for name in ("wandb", "tensorboard", "mlflow") for word in ("--logger", name)]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run folder of two epochs; after the second, the checkpoint of the first was resumed again: the run had been killed."""
    folder = tmp_path_factory.mktemp("runs") / "elr"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
            patch.delenv(name)
        for name, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true"), ("NOISYLAB_STUDY", "six methods")):
            patch.setenv(name, value)
        _fit([*_SMOKE, "--trainer.max_epochs", "1"], folder)
        shutil.move(folder / "wandb", folder.parent / "first")  # to another disk, say
        (folder / "summary.json").rename(folder.parent / "summary.json")
        shutil.copytree(folder / "checkpoints", folder.parent / "checkpoints")
        _fit(["--resume", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "2"], folder)
        shutil.move(folder / "wandb", folder.parent / "second")
        (folder / "summary.json").unlink()
        shutil.rmtree(folder / "checkpoints")
        shutil.move(folder.parent / "checkpoints", folder / "checkpoints")
        _fit(["--resume", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "2"], folder)
        wandb.teardown()  # the service writes the file's last block only as it ends
        yield folder


def _fit(argv: list[str], folder: Path) -> None:
    assert main(["fit", *argv, *_LOGGERS, "--run_dir", str(folder)]) == 0
    wandb.finish()


def test_wandb_has_one_run_whatever_became_of_its_folder(resumed: Path) -> None:
    places = (resumed.parent / "first", resumed.parent / "second", resumed / "wandb")
    runs = [read_wandb(next(place.glob("offline-run-*/run-*.wandb"))).run for place in places]
    assert [run.run_id for run in runs] == [kept(resumed, "wandb")["id"]] * 3
    assert {run.run_group for run in runs} == {"six methods"}
    assert {run.display_name for run in runs} == {"elr_digits sym0.4 seed0"}
    assert {run.job_type for run in runs} == {"ELR"}
    assert set(runs[-1].tags) == {"ELR", "Digits", "sym0.4", "seed0"}


def test_wandb_draws_over_the_epoch_what_the_panels_name(resumed: Path) -> None:
    found = read_wandb(next((resumed / "wandb").glob("offline-run-*/run-*.wandb")))
    names = {name for section in SECTIONS for panel in section.panels for name in panel.metrics}
    rows = [row for row in found.history if names & set(row)]
    assert names <= {name for row in rows for name in row} and {row["epoch"] for row in rows} == {1}
    assert {found.axes[f"{name.partition('/')[0]}/*"] for name in names} == {"epoch"}
    assert found.axes["train/loss_step"] == "trainer/global_step"


def test_wandb_has_settings_one_can_read_and_the_outcome(resumed: Path) -> None:
    found = read_wandb(next((resumed / "wandb").glob("offline-run-*/run-*.wandb")))
    assert (found.config["method"], found.config["noise"], found.config["noise_rate"]) == ("ELR", "symmetric", 0.4)
    assert (found.config["seed"], found.config["study"]) == (0, "six methods")
    assert found.config["model"]["network"] == {"class_path": "noisylab.SmallCNN", "in_channels": 1, "width": 4}
    assert found.summary["headline"] == json.loads((resumed / "summary.json").read_text())["headline"]


def test_tensorboard_shows_every_number_once(resumed: Path) -> None:
    events = tensorboard_of(resumed).multiplexer
    curves = [line.split(",") for line in (resumed / "metrics.csv").read_text().splitlines()[1:]]
    for name in ("test/acc", "val/acc", "memorization/noisy_as_given", "train/loss"):
        expected = [(int(step) - 1, pytest.approx(float(value))) for _, step, found, value in curves if found == name]
        assert [(event.step, _number(event)) for event in events.Tensors("tensorboard", name)] == expected, name
    steps = [event.step for event in events.Tensors("tensorboard", "train/loss_step")]
    assert steps == [int(step) for _, step, name, _ in curves if name == "train/loss_step"] and len(steps) > 1


def _number(event: Any) -> float:
    from tensorboard.util import tensor_util

    return float(tensor_util.make_ndarray(event.tensor_proto))


def test_the_hparams_tab_has_settings_and_headline(resumed: Path) -> None:
    from tensorboard import context
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    every = [value for name, value in api_pb2.Status.items() if name != "STATUS_UNKNOWN"]
    request = api_pb2.ListSessionGroupsRequest(slice_size=9, allowed_statuses=[api_pb2.STATUS_UNKNOWN, *every])
    asked = context.RequestContext(), backend_context.Context(tensorboard_of(resumed)), ""
    (group,) = list_session_groups.Handler(*asked, request).run().session_groups
    settings = {name: value.string_value or value.number_value for name, value in group.hparams.items()}
    assert settings["method"] == "ELR" and settings["noise_rate"] == 0.4 and settings["model.target_momentum"] == 0.7
    figures = {metric.name.tag: metric.value for metric in group.metric_values}
    summary = json.loads((resumed / "summary.json").read_text())
    assert figures["outcome/headline"] == pytest.approx(summary["headline"]) and "val/acc" in figures


def test_the_custom_scalars_tab_has_the_sections(resumed: Path) -> None:
    from tensorboard import context
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin

    layout = json.loads(CustomScalarsPlugin(tensorboard_of(resumed)).layout_impl(context.RequestContext(), ""))
    found = {part["title"]: [chart["title"] for chart in part["chart"]] for part in layout["category"]}
    assert found == {section.title: [panel.title for panel in section.panels] for section in SECTIONS}


def test_mlflow_has_one_run_with_every_number_once(resumed: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{resumed / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "noisylab"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("elr_digits sym0.4 seed0", "FINISHED")
    assert run.data.params["model.target_momentum"] == "0.7" and run.data.params["trainer.max_epochs"] == "1"
    assert run.data.tags["noisylab.resumed.trainer.max_epochs"] == "2"
    assert (run.data.tags["noisylab.study"], run.data.tags["noisylab.method"]) == ("six methods", "ELR")
    curves = [line.split(",") for line in (resumed / "metrics.csv").read_text().splitlines()[1:]]
    for name in ("test/acc", "val/acc", "memorization/noisy_as_given"):
        expected = [(int(epoch), pytest.approx(float(value))) for epoch, _, found, value in curves if found == name]
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted((item.step, item.value) for item in history) == expected, name
    assert run.data.metrics["outcome/headline"] == json.loads((resumed / "summary.json").read_text())["headline"]


def test_nothing_of_the_loggers_is_foreign_in_a_run_folder(resumed: Path) -> None:
    from noisylab.cli.folder.marker import foreign_entries

    assert foreign_entries(resumed) == []
