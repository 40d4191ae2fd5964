"""Every packaged recipe, from its text to its predictions, with its data, networks and length replaced by toys."""

import csv
import json
import math
import shutil
from itertools import takewhile

import pytest
import torch
import yaml
from helpers import ToyData, assert_same
from samples import train_batches

from matrix import toys
from noisylab.cli import main
from noisylab.cli.configuration import recipes
from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.registry import full_name, locate
from noisylab.data import Arrays, ImageFolder
from noisylab.trust import allow

RECIPES, OVERLAYS, COVERING = toys.packaged_recipes(), toys.packaged_overlays(), toys.covering_recipes()
EACH = [name if name in COVERING else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]  # others differ in values


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYLAB_DEBUG", "1")  # a recipe that fails shows where


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run of a recipe, trained when it is first asked for."""
    runs = {}

    def run(name):
        if name not in runs:
            runs[name] = toys.train(name, tmp_path_factory.mktemp(name.removesuffix(".yaml")))
        return runs[name]

    return run


def printed(capsys, *configs):
    capsys.readouterr()
    assert main(["fit", *(part for name in configs for part in ("--config", str(name))), "--print_config"]) == 0
    return capsys.readouterr().out


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def losses(folder):
    """The mean training loss by epoch."""
    return {int(row["epoch"]): float(row["value"]) for row in read_csv(folder / "metrics.csv") if row["name"] == "train/loss"}


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def checkpoint_of(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


# ---- its text


@pytest.mark.parametrize("name", EACH)
def test_recipe_prints_from_any_directory_a_config_that_composes_to_itself(name, capsys, tmp_path):
    text = printed(capsys, name)
    (tmp_path / "again.yaml").write_text(text)
    assert yaml.safe_load(text)["recipe"] == name.removesuffix(".yaml")
    assert printed(capsys, "again.yaml") == text


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_header_names_source_expectation_and_hardware(name):
    lines = recipes.packaged()[name].read_text().splitlines()
    header = list(takewhile(lambda line: line.startswith("#"), lines))
    for word in ("# Source: ", "# Expected: ", "# Hardware: "):
        assert any(line.startswith(word) and line.removeprefix(word).strip() for line in header), word
    assert len(lines) <= 60


def without_weights(node):
    """A class with its arguments and those of the classes among them, none of which names weights that would be downloaded."""
    if not isinstance(node, dict):
        return node
    return {key: None if key == "weights" else without_weights(value) for key, value in node.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_the_networks_of_a_recipe_can_be_built(name):
    model = compose([name], []).config["model"]
    for argument in toys.network_arguments(model):
        network = without_weights(model["init_args"][argument])
        auto = {key: 4 for key, value in network["init_args"].items() if value == "auto"}  # as wide as the data
        built = locate(network["class_path"])(3, **network["init_args"] | auto)
        assert built.num_classes == 3


def leaves(node, path=()):
    """(key, ...) and value of everything in a configuration, ``init_args`` left out of the keys."""
    for key, value in node.items():
        inner = path if key == "init_args" else (*path, key)
        yield from leaves(value, inner) if isinstance(value, dict) else [(inner, value)]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", COVERING)
def test_every_value_of_an_overlay_reaches_a_recipe(name, overlay, capsys):
    whole = dict(leaves(yaml.safe_load(printed(capsys, name, overlay))))
    wanted = dict(leaves(recipes.load_yaml(recipes.packaged()[overlay].read_text(), overlay)))
    assert wanted
    assert {key: whole.get(key) for key in wanted} == wanted
    assert whole["recipe",] == name.removesuffix(".yaml")


# ---- its run


@pytest.mark.parametrize("name", EACH)
def test_recipe_trains_and_leaves_a_complete_run_folder(name, trained):
    run = trained(name)
    assert run.status == 0
    for file in ("config.yaml", "metrics.csv", "summary.json", "checkpoints/last.ckpt"):
        assert (run.folder / file).is_file(), file
    found = losses(run.folder)
    assert list(found) == [0, 1]
    assert all(math.isfinite(loss) for loss in found.values()), found
    checkpoint = checkpoint_of(run.folder)
    assert checkpoint["global_step"] >= 2 * toys.EPOCHS
    assert run.toy.networks
    for argument in run.toy.networks:
        assert checkpoint["hyper_parameters"][argument]["class_path"] == full_name(toys.ToyNet)


@pytest.mark.parametrize("name", EACH)
def test_the_summary_tells_what_was_trained(name, trained):
    run = trained(name)
    summary = summary_of(run.folder)
    assert summary["recipe"] == name.removesuffix(".yaml")
    assert summary["method"] == compose([name], []).config["model"]["class_path"].rpartition(".")[2]
    assert summary["epochs"] == toys.EPOCHS and summary["complete"]
    assert summary["data"]["num_classes"] == len(summary["data"]["class_names"]) == run.toy.classes
    assert 0 < summary["data"]["num_train_used"] <= toys.ROWS
    for predictor, figures in summary["test"].items():
        assert sum(map(sum, figures["confusion"])) == run.toy.test_rows, predictor
        assert len(figures["confusion"]) == run.toy.classes, predictor


@pytest.mark.parametrize("name", EACH)
def test_memorization_is_reported_where_the_truth_is_known_and_nowhere_else(name, trained):
    run = trained(name)
    summary = summary_of(run.folder)
    reported = {row["name"] for row in read_csv(run.folder / "metrics.csv")} | set(summary["diagnostics"])
    assert any(metric.startswith("memorization/") for metric in reported) == run.toy.files.truth
    assert (summary["noise"]["measured_rate"] is not None) == run.toy.files.truth


@pytest.mark.parametrize("name", COVERING)
def test_a_run_predicts_every_test_image(name, trained):
    run = trained(name)
    out = run.folder / "predictions.csv"
    assert main(["predict", "--run_dir", str(run.folder)]) == 0
    rows, summary = read_csv(out), summary_of(run.folder)
    assert len({row.get("index", row.get("file")) for row in rows}) == len(rows) == run.toy.test_rows
    assert {row["predicted"] for row in rows} <= set(summary["data"]["class_names"])
    # the most probable of K classes has at least a K-th
    assert all(1 / run.toy.classes - 1e-6 <= float(row["probability"]) <= 1 for row in rows)
    right = sum(row["given"] == row["predicted"] for row in rows)
    assert right / len(rows) == pytest.approx(summary["test"]["headline"]["last"])


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERING)
def test_a_run_goes_on_for_one_more_epoch(name, trained, tmp_path):
    run = trained(name)
    shutil.copytree(run.folder, tmp_path / "R")
    assert main(["fit", "--run_dir", "R", "--resume", "--trainer.max_epochs", str(toys.EPOCHS + 1)]) == 0
    before, after = run.folder / "metrics.csv", tmp_path / "R" / "metrics.csv"
    assert after.read_text().startswith(before.read_text())
    found = losses(tmp_path / "R")
    assert list(found) == [0, 1, 2] and math.isfinite(found[2])
    assert summary_of(tmp_path / "R")["epochs"] == toys.EPOCHS + 1
    old, new = (checkpoint_of(folder) for folder in (run.folder, tmp_path / "R"))
    assert new["global_step"] > old["global_step"]
    first = next(key for key in old["state_dict"] if key.startswith("networks.") and key.endswith("head.weight"))
    moved = not torch.equal(old["state_dict"][first], new["state_dict"][first])
    # a batch of 16 lacks one of ten classes, and then L_DMI has no gradient
    assert moved or summary_of(tmp_path / "R")["method"] == "DMI"


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERING)
def test_a_run_stopped_within_an_epoch_and_resumed_ends_as_if_it_had_not(name, trained, tmp_path):
    run, folder = trained(name), tmp_path / "R"
    stop = {"class_path": "helpers.nursery.StopWithin", "init_args": {"epoch": 1, "batch": 1}}
    asked = ["fit", "--config", name, *run.toy.flags, "--run_dir", "R", "--trainer.callbacks", json.dumps([stop])]
    assert main(asked) == 143
    stopped, straight = checkpoint_of(folder), checkpoint_of(run.folder)
    assert stopped["epoch"] == 1 and stopped["global_step"] < straight["global_step"]
    assert list(losses(folder)) == [0] and not (folder / "summary.json").exists(), "it is within its second epoch"
    assert main(["fit", "--run_dir", "R", "--resume"]) == 0  # the batch of the signal does not come again
    assert (folder / "metrics.csv").read_text() == (run.folder / "metrics.csv").read_text()
    found = checkpoint_of(folder)
    assert "observed_loss" in found["state_dict"]["memory._extra_state"]
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert_same(found[part], straight[part], part)
    times = ("wall_time_s", "images_per_s", "resumes", "code")  # the code of the callback that stops
    resumed, expected = (
        {key: value for key, value in summary_of(place).items() if key not in times} for place in (folder, run.folder)
    )
    assert_same(resumed, expected, "summary")


@pytest.mark.parametrize(("name", "classes"), [("act_cifar100.yaml", 100), ("act_cifar80.yaml", 80)])
def test_open_set_classes_are_unknown_to_the_model(name, classes, trained):
    summary = summary_of(trained(name).folder)
    assert summary["data"]["num_classes"] == classes
    assert summary["diagnostics"]["select/size"] >= 0


# ---- the matrix itself


@pytest.mark.slow
def test_every_method_and_data_class_of_the_recipes_is_among_those_that_resume():
    def classes(names):
        return {compose([name], []).config[part]["class_path"] for name in names for part in ("model", "data")}

    assert set(COVERING) < set(RECIPES) and classes(COVERING) == classes(RECIPES)


NEW = """\
# Source: a test
# Expected: nothing
# Hardware: any
model:
  class_path: CrossEntropy
  init_args: {network: {class_path: MLP, init_args: {in_features: 3072}}}
data:
  class_path: CIFAR10
  init_args:
    val_fraction: 0.2
    noise: {class_path: FromFile, init_args: {path: no/such/file.npz, key: worse_label}}
trainer: {max_epochs: 100, accelerator: gpu, precision: 16-mixed}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a recipe that the package then has."""
    known = recipes.packaged()

    def add(name, text):
        (tmp_path / "package").mkdir(exist_ok=True)
        known[name] = tmp_path / "package" / name
        known[name].write_text(text)

    monkeypatch.setattr(recipes, "packaged", lambda: known)
    return add


def test_a_new_recipe_is_found_and_trains(package, tmp_path):
    package("new.yaml", NEW)
    package("new_overlay.yaml", "trainer: {max_epochs: 3}\n")
    assert toys.packaged_recipes() == [*RECIPES, "new.yaml"]
    assert toys.packaged_overlays() == [*OVERLAYS, "new_overlay.yaml"]
    run = toys.train("new.yaml", tmp_path / "T")
    assert run.status == 0
    assert summary_of(run.folder)["noise"]["measured_rate"] == pytest.approx(0.2)
    assert summary_of(run.folder)["test"]["headline"]["best_by_val"] is not None


def test_a_new_data_class_is_told_where_its_toy_belongs(package, tmp_path):
    allow(["helpers"])  # a packaged recipe names classes of noisylab alone
    package("new.yaml", NEW.replace("CIFAR10", full_name(ToyData)).replace("    noise", "    # noise"))
    with pytest.raises(LookupError, match=r"helpers\.toy\.ToyData.*tests/matrix/toys\.py: FILES"):
        toys.make_toy("new.yaml", tmp_path / "T")


KINDS = {cls.__name__: (cls, {}) for cls in toys.FILES}
KINDS |= {
    "WebFG": (toys.WebFG, {"kind": "bird"}),
    "views": (Arrays, {"views": ["video", "audio"]}),
    "opened": (ImageFolder, {"load": "files"}),
}


@pytest.mark.parametrize(("cls", "given"), KINDS.values(), ids=KINDS)
def test_toy_files_are_read_and_their_batches_fit_the_toy_network(cls, given, tmp_path):
    files = toys.write_files({"class_path": full_name(cls), "init_args": given}, tmp_path / "files")
    data = cls(**{**given, **files.arguments}, batch_size=8)
    batch = next(iter(train_batches(data)))
    assert toys.ToyNet(files.classes)(batch.views[0]).shape == (8, files.classes)
    assert data.num_classes == files.classes
    assert len(data.test_dataloader()["test"].rows) == files.test_rows


def test_only_given_networks_and_whole_epochs_are_replaced():
    model = compose(["act_digits.yaml"], []).config["model"]
    assert toys.network_arguments(model) == ["network"]
    assert toys.epoch_arguments(model) == ["warmup_epochs"]
