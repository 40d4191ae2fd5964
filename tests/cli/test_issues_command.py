"""`noisylab issues`, as a user types it, on tiny data."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from PIL import Image
from samples import write_table
from torch import Tensor

from noisylab.cli import main
from noisylab.data import frozen
from noisylab.models.backbones import Backbone
from noisylab.noise import load_noise

SHORT = ("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
# each command reads data, trains and writes a page; those of apply and of mistakes are in the quick part
pytestmark = pytest.mark.slow
ANIMALS = ("cat", "dog", "owl")
MADE = {"config.yaml", "metrics.csv", "checkpoints", "summary.json", "label_issues.csv", "issues.html", "noise_report.json"}
MADE |= {".noisylab"}


class Ran(NamedTuple):
    folder: Path
    status: int
    out: str
    err: str


def noisylab(*argv: object) -> Ran:
    """Run the command line in this process; the folder is that of ``--run_dir`` or ``--run``."""
    texts = [str(text) for text in argv]
    folder = next((texts[texts.index(flag) + 1] for flag in ("--run_dir", "--run") if flag in texts), "")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(texts)
    return Ran(Path(folder), status, out.getvalue(), err.getvalue())


def draw(
    root: Path, classes: Sequence[str] = ANIMALS, rows: int = 36, side: int = 12, mode: str = "RGB"
) -> list[tuple[str, str]]:
    """Pictures with a bright band for each class, in one folder; (file, label), every seventh label wrong."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    listed = []
    for row in range(rows):
        kind = row % len(classes)
        pixels = rng.integers(0, 60, (side, side, 3), dtype=np.uint8)
        pixels[kind * side // 3 : (kind + 1) * side // 3] += 150
        Image.fromarray(pixels).convert(mode).save(root / f"{row:02d}.png")
        listed.append((f"{row:02d}.png", classes[(kind + (row % 7 == 0)) % len(classes)]))
    return listed


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "label_issues.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def report_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "noise_report.json").read_text())
    return loaded


def shown_in(folder: Path) -> dict[int, bytes]:
    """The pictures in the page by the place of their row."""
    script = (folder / "issues.html").read_text().split('id="contents">')[1].split("</script>")[0]
    contents = json.loads(script) or {"kind": "picture", "rows": {}}
    assert contents["kind"] == "picture"
    return {int(place): base64.b64decode(source.partition(",")[2]) for place, source in contents["rows"].items()}


def config_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    return loaded


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder ``images`` of 36 pictures and ``labels.csv`` of the first 33."""
    root = tmp_path_factory.mktemp("pictures")
    write_table(root / "labels.csv", ("file", "label"), draw(root / "images")[:33])
    return root


@pytest.fixture(scope="module")
def command(pictures: Path) -> tuple[object, ...]:
    return ("issues", "--images", pictures / "images", "--labels", pictures / "labels.csv", *SHORT)


@pytest.fixture(scope="module")
def run(command: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return noisylab(*command, "--run_dir", tmp_path_factory.mktemp("runs") / "a run")


# ---- images and a table


def test_the_run_folder_holds_list_page_and_report_beside_the_run(run: Ran) -> None:
    assert run.status == 0
    assert {path.name for path in run.folder.iterdir()} == MADE


def test_every_listed_file_is_ranked_once_and_no_other_the_worst_first(run: Ran, pictures: Path) -> None:
    rows = rows_of(run.folder)
    given = dict(line.split(",") for line in (pictures / "labels.csv").read_text().split()[1:])
    assert {row["file"]: row["given"] for row in rows} == given
    assert len(rows) == len(given) == 33
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [row["is_issue"] == "True" for row in rows] == [score > 0.5 for score in scores]
    assert all((row["suggested"] != row["given"]) == (row["is_issue"] == "True") for row in rows)
    assert {row["suggested"] for row in rows} <= set(ANIMALS)


def test_report_and_page_say_what_the_list_says(run: Ran) -> None:
    rows, report = rows_of(run.folder), report_of(run.folder)
    issues = [row for row in rows if row["is_issue"] == "True"]
    assert (report["num_rows"], report["num_issues"], report["class_names"]) == (33, len(issues), list(ANIMALS))
    assert (report["method"], report["recipe"], report["metrics"]) == ("RobustLoss", "issues", None)
    low, high = report["noise_rate_interval"]
    assert low <= report["noise_rate"] <= high
    assert np.isclose(report["noise_rate"], np.mean([float(row["score"]) for row in rows]), atol=1e-5)
    page = (run.folder / "issues.html").read_text()
    assert all(row["file"] in page for row in rows)


def test_each_row_of_the_page_has_its_own_picture(run: Ran, pictures: Path) -> None:
    shown = shown_in(run.folder)
    assert list(shown) == list(range(33))
    for place, row in enumerate(rows_of(run.folder)):
        with Image.open(pictures / "images" / row["file"]) as image, Image.open(io.BytesIO(shown[place])) as picture:
            np.testing.assert_array_equal(np.array(picture)[4::8, 4::8], np.array(image), err_msg=row["file"])


def test_what_is_printed_names_the_pictures_left_out_the_files_and_the_next_command(run: Ran) -> None:
    assert "3 images of" in run.err
    assert "33.png, 34.png and 35.png" in run.err
    assert "of 33 labels look wrong (between" in run.out
    assert f"in {run.folder}: label_issues.csv, noise_report.json and issues.html" in run.out
    typed = f"noisylab issues apply --run '{run.folder}' --accepted accepted.csv --out labels_fixed.csv"
    assert run.out.rstrip().endswith(typed), "the folder has a blank in its name"


def test_what_is_said_to_be_trained_is_what_the_flags_ask_for(run: Ran) -> None:
    assert "33 labels of 3 classes; SmallCNN, generalized cross-entropy, 1 epochs of batches of 4\n" in run.out
    config = config_of(run.folder)
    assert config["model"]["class_path"].endswith(".RobustLoss")
    assert config["model"]["init_args"]["loss"]["class_path"].endswith(".GCE")
    assert (config["trainer"]["max_epochs"], config["data"]["init_args"]["batch_size"]) == (1, 4)


def test_another_method_keeps_the_network(command: tuple[object, ...], run: Ran) -> None:
    ran = noisylab(*command, "--model", "ELR", "--print_config")
    before, after = config_of(run.folder)["model"], yaml.safe_load(ran.out)["model"]
    assert after["class_path"].endswith(".ELR")
    assert after["init_args"]["network"] == before["init_args"]["network"]
    assert "SmallCNN, ELR, 1 epochs" in ran.err


def test_columns_of_other_names_classes_from_1_and_a_picture_that_cannot_be_read(pictures: Path) -> None:
    numbered = [(name, str(1 + ANIMALS.index(label))) for name, label in draw(Path("gray"), mode="L", side=8)]
    write_table(Path("t.csv"), ("id", "klass"), [("x.png", "1"), *numbered])
    Path("gray/x.png").write_bytes(b"no picture")
    flags = ("--labels", "t.csv", "--file_column", "id", "--label_column", "klass", "--skip_unreadable", "--pictures", "0")
    ran = noisylab("issues", "--images", "gray", *flags, *SHORT, "--run_dir", "r")
    assert ran.status == 0 and "x.png" in ran.err
    assert {row["file"]: row["given"] for row in rows_of(ran.folder)} == dict(numbered)
    assert report_of(ran.folder)["class_names"] == ["1", "2", "3"]
    assert not shown_in(ran.folder)


def test_class_folders_need_no_table_and_run_folders_get_a_name() -> None:
    for row, (name, label) in enumerate(draw(Path("flat"), side=8)):
        target = Path("sorted") / label / "deeper" / name if row % 2 else Path("sorted") / label / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("flat") / name, target)
    ran = noisylab("issues", "--images", "sorted", "--backbone", "none", *SHORT)
    assert ran.status == 0
    assert "as --backbone none says" in ran.out
    (folder,) = Path("runs/issues").iterdir()
    rows = rows_of(folder)
    assert len({row["file"] for row in rows}) == 36
    assert all(row["file"].startswith(row["given"] + "/") for row in rows)
    assert f"apply --run {folder} " in ran.out


def test_a_printed_configuration_stands_alone_and_nothing_is_written(command: tuple[object, ...], tmp_path: Path) -> None:
    ran = noisylab(*command, "--print_config")
    assert ran.status == 0
    assert yaml.safe_load(ran.out)["recipe"] == "issues"
    assert noisylab(*command, "--dry_run").status == 0
    assert not list(tmp_path.iterdir())


# ---- features of a backbone


class Means(Backbone):
    """The mean color of each third of a picture."""

    num_features = 9

    def load(self, image_size: int) -> Any:
        def network(pixels: Tensor) -> Tensor:
            return pixels.float().unfold(2, image_size // 3, image_size // 3).mean((3, 4)).flatten(1)

        network.to = lambda device: network  # type: ignore[attr-defined]
        return network


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").write_bytes(b"1")
    monkeypatch.setattr(frozen, "find_backbone", lambda name: Means(name, tmp_path / "weights.pth"))
    monkeypatch.setattr("noisylab.cli.commands.issue_defaults.available_backbone", lambda: "efficientnet_lite0")
    monkeypatch.setenv("NOISYLAB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("backbone")
def test_photographs_become_features_where_there_are_weights_and_stay_pictures_in_the_page() -> None:
    write_table(Path("t.csv"), ("file", "label"), draw(Path("photos"), side=24))
    ran = noisylab("issues", "--images", "photos", "--labels", "t.csv", *SHORT, "--run_dir", "r")
    assert ran.status == 0
    assert "36 images, trained on features of the frozen efficientnet_lite0" in ran.out
    assert "a perceptron, generalized cross-entropy" in ran.out
    config = config_of(ran.folder)
    assert config["data"]["class_path"].endswith(".ImageFeatures")
    assert config["model"]["init_args"]["network"]["init_args"]["in_features"] == 9
    assert len({row["file"] for row in rows_of(ran.folder)}) == 36
    assert len(shown_in(ran.folder)) == 36


@pytest.mark.usefixtures("backbone")
def test_gray_pictures_go_without_a_backbone_unless_one_is_asked_for() -> None:
    write_table(Path("t.csv"), ("file", "label"), draw(Path("gray"), side=24, mode="L"))
    command = ("issues", "--images", "gray", "--labels", "t.csv", "--print_config")
    assert yaml.safe_load(noisylab(*command).out)["data"]["class_path"].endswith(".ImageFolder")
    asked = yaml.safe_load(noisylab(*command, "--backbone", "efficientnet_lite0").out)["data"]
    assert asked["class_path"].endswith(".ImageFeatures")
    assert asked["init_args"]["backbone"] == "efficientnet_lite0"


# ---- a finished run


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a packaged recipe."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    flags = ("--data.subset", "80", "--data.batch_size", "32", "--model.network.width", "4", "--model.warmup_epochs", "1")
    assert noisylab("fit", "--config", "act_digits.yaml", *flags, *SHORT, "--run_dir", folder).status == 0
    return folder


def test_a_finished_run_is_described_and_left_as_it_is(digits: Path) -> None:
    before = contents(digits)
    ran = noisylab("issues", "--run", digits)
    assert ran.status == 0
    after = contents(digits)
    assert set(after) - set(before) == {"issues.html", "noise_report.json"}
    assert {name: after[name] for name in before} == before
    rows, report = rows_of(digits), report_of(digits)
    assert len({row["index"] for row in rows}) == len(rows) == report["num_rows"] == 80
    assert report["method"] == "ACT"
    assert 0 <= report["metrics"]["auroc"] <= 1, "the truth of the digits is known"
    assert len(shown_in(digits)) == 80
    assert "issues apply" not in ran.out, "the labels of a published data set are not rewritten"
    noise = load_noise(digits / "noise.npz")
    assert all(int(row["given"]) == int(noise.given_target[int(row["index"])]) for row in rows)


def test_a_second_description_replaces_the_first(digits: Path) -> None:
    noisylab("issues", "--run", digits)
    before = contents(digits)
    assert noisylab("issues", "--run", digits, "--pictures", "5").status == 0
    after = contents(digits)
    assert {name for name in after if after[name] != before.get(name)} == {"issues.html"}
    assert len(shown_in(digits)) == 5


def test_a_recipe_is_trained_as_it_stands_and_then_described() -> None:
    flags = ("--data.subset", "60", "--data.batch_size", "32", "--model.network.width", "4")
    ran = noisylab("issues", "--config", "ce_digits.yaml", *flags, *SHORT, "--run_dir", "r")
    assert ran.status == 0
    assert (report_of(ran.folder)["method"], report_of(ran.folder)["recipe"]) == ("CrossEntropy", "ce_digits")
    assert {path.name for path in ran.folder.iterdir()} >= MADE


# ---- interrupted, again, in place of another


def _die_at(step: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    from noisylab.callbacks import RunCheckpoint

    save = RunCheckpoint.on_train_batch_end

    def save_then_die(self: Any, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.every_n_steps = 1
        save(self, trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step == step:
            raise error

    monkeypatch.setattr(RunCheckpoint, "on_train_batch_end", save_then_die)


class Killed(Exception):
    pass


@pytest.mark.parametrize("whole", [False, True], ids=["with the folder alone", "with the whole command again"])
def test_a_killed_run_is_continued_and_described_like_an_undisturbed_one(
    whole: bool, command: tuple[object, ...], run: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        _die_at(3, Killed, patched)
        with pytest.raises(Killed):
            noisylab(*command, "--run_dir", "k")
    assert not Path("k/label_issues.csv").exists()
    ran = noisylab(*(command if whole else ("issues",)), "--run_dir", "k", "--resume")
    assert ran.status == 0
    for name in ("label_issues.csv", "noise_report.json", "issues.html"):
        assert Path("k", name).read_bytes() == (run.folder / name).read_bytes(), name
    assert "issues apply --run k " in ran.out


def test_an_interrupted_run_says_how_to_go_on(command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    _die_at(3, KeyboardInterrupt, monkeypatch)
    ran = noisylab(*command, "--run_dir", "k")
    assert ran.status == 130
    assert "noisylab issues --run_dir k --resume" in ran.err
    assert not Path("k/issues.html").exists()


def test_a_run_in_the_folder_is_replaced_only_when_that_is_asked_for(command: tuple[object, ...], run: Ran) -> None:
    shutil.copytree(run.folder, "o")
    refused = noisylab(*command, "--run_dir", "o")
    assert refused.status == 2
    assert "--overwrite" in refused.err
    assert contents(Path("o")) == contents(run.folder)
    assert noisylab(*command, "--data.batch_size", "8", "--overwrite", "--run_dir", "o").status == 0
    assert config_of(Path("o"))["data"]["init_args"]["batch_size"] == 8
    assert {path.name for path in Path("o").iterdir()} == MADE
    assert rows_of(Path("o")) != rows_of(run.folder)


# ---- arrays, and probabilities out of sample


class Arrays(NamedTuple):
    ran: Ran
    truth: list[str]
    given: list[str]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    """48 points in three clusters, in mixed order, with every eighth label wrong; trained on with two folds besides."""
    root = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(1)
    number = rng.permutation(np.arange(48) % 3)
    centers = 4 * np.eye(3, 6)
    given = np.where(np.arange(48) % 8 == 0, (number + 1) % 3, number)
    names = np.array(ANIMALS)
    points = (centers[number] + 0.3 * rng.standard_normal((48, 6))).astype(np.float32)
    np.savez(root / "d.npz", x=points, y=names[given])
    flags = ("--trainer.max_epochs", "8", "--trainer.accelerator", "cpu", "--model.optimizer.lr", "1e-2")
    ran = noisylab("issues", "--arrays", root / "d.npz", "--crossfit", "2", *flags, "--run_dir", root / "r")
    return Arrays(ran, names[number].tolist(), names[given].tolist())


def test_arrays_are_ranked_by_their_row_with_the_wrong_ones_on_top(arrays: Arrays) -> None:
    rows = rows_of(arrays.ran.folder)
    assert {int(row["index"]): row["given"] for row in rows} == dict(enumerate(arrays.given))
    wrong = {row for row in range(48) if arrays.given[row] != arrays.truth[row]}
    assert {int(row["index"]) for row in rows[: len(wrong)]} == wrong
    assert all(row["suggested"] == arrays.truth[int(row["index"])] for row in rows[: len(wrong)])
    assert "--accepted accepted.csv --out fixed.npz" in arrays.ran.out


def test_out_of_sample_probabilities_stand_beside_the_labels_they_are_of(arrays: Arrays) -> None:
    folder = arrays.ran.folder
    probs, given = np.load(folder / "pred_probs.npy"), np.load(folder / "given_labels.npy")
    assert probs.shape == (48, 3)
    assert [ANIMALS[label] for label in given] == arrays.given
    assert np.isfinite(probs).all()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert [ANIMALS[label] for label in probs.argmax(1)] == arrays.truth, "far clusters are told apart, row by row"
    assert str(folder / "pred_probs.npy") in arrays.ran.out


def test_each_row_is_judged_by_the_fold_that_has_not_seen_it(arrays: Arrays) -> None:
    probs, seen = np.load(arrays.ran.folder / "pred_probs.npy"), []
    assert {path.name for path in (arrays.ran.folder / "crossfit").iterdir()} == {*(".noisylab", "fold0", "fold1", "folds.json")}
    for fold in (0, 1):
        held = np.load(arrays.ran.folder / "crossfit" / f"fold{fold}" / "held_out.npz")
        np.testing.assert_array_equal(held["probs"], probs[held["index"]])
        trained = {int(row["index"]) for row in rows_of(arrays.ran.folder / "crossfit" / f"fold{fold}")}
        assert not trained & set(held["index"].tolist())
        seen += held["index"].tolist()
    assert sorted(seen) == list(range(48))


def test_cleanlab_takes_the_probabilities_as_they_are(arrays: Arrays) -> None:
    found = pytest.importorskip("cleanlab.filter")
    folder = arrays.ran.folder
    issues = found.find_label_issues(np.load(folder / "given_labels.npy"), np.load(folder / "pred_probs.npy"), n_jobs=1)
    assert issues.tolist() == [given != truth for given, truth in zip(arrays.given, arrays.truth, strict=True)]


def test_folds_that_were_broken_off_are_continued(arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(arrays.ran.folder, "c")
    for path in Path("c").rglob("*.npy"):
        path.unlink()
    shutil.rmtree("c/crossfit/fold1")
    Path("c/crossfit/folds.json").unlink()
    ran = noisylab("issues", "--run_dir", "c", "--crossfit", "2", "--resume")
    assert ran.status == 0
    assert "fold 0 of 0..1 is finished" in ran.out
    np.testing.assert_array_equal(np.load("c/pred_probs.npy"), np.load(arrays.ran.folder / "pred_probs.npy"))


def test_unlabeled_rows_have_no_probabilities_and_are_said(tmp_path: Path) -> None:
    y = np.arange(40) % 2
    y[::5] = -1
    names = np.array(["no", "yes"])
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(40, 3)).astype("f4"), y=y, class_names=names)
    ran = noisylab("issues", "--arrays", tmp_path / "d.npz", "--crossfit", "2", *SHORT, "--run_dir", tmp_path / "r")
    assert ran.status == 0 and "of 32 rows" in ran.out and "8 unlabeled rows have nan and -1 there" in ran.out
    probs, given = (np.load(tmp_path / "r" / name) for name in ("pred_probs.npy", "given_labels.npy"))
    assert given.tolist() == y.tolist() and np.isnan(probs[y < 0]).all() and np.allclose(probs[y >= 0].sum(1), 1, atol=1e-5)
    assert {int(row["index"]) for row in rows_of(tmp_path / "r")} == set(np.flatnonzero(y >= 0).tolist())
