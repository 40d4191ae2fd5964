"""What `noisylab issues` refuses: with status 2, a message that names rows and the next step, and nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import write_table

from noisylab.cli import main

SHORT = ("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
NAMES = ("cat", "dog", "owl")
Row = tuple[str, ...]


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures in one folder, ``flat``, and in class folders, ``sorted``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    rng = np.random.default_rng(0)
    for name in (*(name for name, _ in ROWS), *(name for name, _ in SORTED)):
        folder = Path("sorted") if "/" in name else Path("flat")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / name)
    write_table(Path("good.csv"), ("file", "label"), ROWS)


ROWS: list[Row] = [(f"{row:02d}.png", NAMES[row % 3]) for row in range(15)]
SORTED: list[Row] = [(f"{label}/{name}", label) for name, label in ROWS]


def tree() -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command says on standard error; it must end with status 2 and leave every file as it was."""

    def run(*argv: object) -> str:
        before = tree()
        assert main(["issues", *map(str, argv)]) == 2
        assert tree() == before
        text = capsys.readouterr().err
        assert "Traceback" not in text
        return text

    return run


# ---- tables


TABLES: list[tuple[str, Row, Sequence[Row], tuple[str, ...]]] = [
    (
        "columns of other names",
        ("filename", "class"),
        ROWS,
        ("no column file and no column label", "has filename, class", "file_column=filename and label_column=class"),
    ),
    ("columns that mean nothing", ("a", "b"), ROWS, ("no column file and no column label; its first line has a, b",)),
    (
        "files that are listed twice",
        ("file", "label"),
        [*ROWS, ROWS[0]],
        ("2 of 16 images", "row 2: 00.png is listed more than once", "row 17: 00.png", "Correct or remove"),
    ),
    (
        "files that do not exist",
        ("file", "label"),
        [*ROWS, *((f"x{row}.png", "cat") for row in range(12))],
        ("12 of 27 images", "row 17: x0.png does not exist", "row 26: x9.png", "and 2 more", "looked for in flat"),
    ),
    ("one class", ("file", "label"), [(name, "cat") for name, _ in ROWS], ("only one class, cat", "at least two classes")),
    (
        "a class with one picture",
        ("file", "label"),
        [*ROWS[:-1], (ROWS[-1][0], "catt")],
        ("1 of 4 classes", "row 16: 14.png is catt", "Add samples to these classes, correct their names, or remove the rows"),
    ),
    (
        "labels that all differ",
        ("file", "label"),
        [(name, name) for name, _ in ROWS],
        ("all 15 labels of t.csv are different", "row 2: 00.png is 00.png", "label_column"),
    ),
]


@pytest.mark.parametrize(("header", "rows", "said"), [case[1:] for case in TABLES], ids=[case[0] for case in TABLES])
def test_a_table_is_refused_for(refused: Callable[..., str], header: Row, rows: Sequence[Row], said: tuple[str, ...]) -> None:
    write_table(Path("t.csv"), header, rows)
    text = refused("--images", "flat", "--labels", "t.csv")
    for part in said:
        assert part in text


def test_a_class_folder_that_the_table_does_not_know_is_named(refused: Callable[..., str]) -> None:
    write_table(Path("t.csv"), ("file", "label"), [row for row in SORTED if row[1] != "owl"])
    text = refused("--images", "sorted", "--labels", "t.csv")
    assert "are not labels of t.csv" in text
    assert "\n  owl\n" in text
    assert "Add their images to the table, or move these folders elsewhere" in text


def test_labels_that_are_no_class_folder_are_named_with_their_rows(refused: Callable[..., str]) -> None:
    write_table(Path("t.csv"), ("file", "label"), [*SORTED[:-2], *((name, "cow") for name, _ in SORTED[-2:])])
    text = refused("--images", "sorted", "--labels", "t.csv")
    assert "2 of 15 labels" in text
    assert f"row 15: {SORTED[-2][0]} is cow" in text
    assert "Correct these labels or rename the folders" in text


def test_an_empty_cell_is_said_and_its_image_is_not_ranked(
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    write_table(Path("t.csv"), ("file", "label"), [*ROWS[:-1], (ROWS[-1][0], "")])
    source = ("--images", "flat", "--labels", "t.csv", "--backbone", "none")
    assert main(["issues", *source, *SHORT, "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert "14 images, " in printed and "14 training, 0 held out" in printed
    assert "1 of 15 rows have no label (empty 1), 14 are labeled; if empty labels were forgotten" in printed
    assert "row 16: 14.png has no label" in refused(*source, "--data.missing", "none")


RECIPE = """model:
  class_path: CrossEntropy
  init_args: {network: {class_path: SmallCNN, init_args: {in_channels: 1, width: 4}}}
data:
  class_path: ImageFolder
  init_args: {images: nowhere, MORE}
"""


def test_what_a_recipe_says_of_missing_labels_counts(refused: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(RECIPE.replace("MORE", "missing: none"))
    write_table(Path("t.csv"), ("file", "label"), [*ROWS[:-1], (ROWS[-1][0], "NA")])
    assert "row 16: 14.png is NA" in refused("--images", "flat", "--labels", "t.csv", "--config", "r.yaml", "--backbone", "none")
    Path("r.yaml").write_text(RECIPE.replace("MORE", "missing: ['?']"))
    write_table(Path("t.csv"), ("file", "label"), [*ROWS[:-1], (ROWS[-1][0], "?")])
    command = ["issues", "--images", "flat", "--labels", "t.csv", "--config", "r.yaml", "--backbone", "none", *SHORT, "--dry_run"]
    assert main(command) == 0, capsys.readouterr().err
    assert "14 training" in capsys.readouterr().out
    assert "row 16: 14.png is ?" in refused(*command[1:], "--data.missing", "none")


def test_a_table_that_a_recipe_names_is_looked_at(refused: Callable[..., str]) -> None:
    Path("r.yaml").write_text(RECIPE.replace("MORE", "labels_csv: t.csv, label_column: klass"))
    write_table(Path("t.csv"), ("file", "klass"), [*ROWS[:-1], (ROWS[-1][0], "catt")])
    assert "row 16: 14.png is catt" in refused("--images", "flat", "--config", "r.yaml", "--backbone", "none")


@pytest.mark.parametrize("count", [3, 12])
def test_unreadable_pictures_are_listed_up_to_ten(refused: Callable[..., str], count: int) -> None:
    for name, _ in ROWS[:count]:
        Path("flat", name).write_bytes(b"no picture")
    text = refused("--images", "flat", "--labels", "good.csv")
    assert f"{count} of 15 images of good.csv cannot be used" in text
    assert [f"row {row + 2}: {ROWS[row][0]} is not an image" in text for row in range(12)] == [
        row < min(count, 10) for row in range(12)
    ]
    assert ("and 2 more" in text) == (count == 12)
    assert "Correct or remove them" in text


def test_a_picture_that_ends_early_is_found_before_training(refused: Callable[..., str]) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)).save("flat/05.png")
    whole = Path("flat/05.png").read_bytes()
    Path("flat/05.png").write_bytes(whole[: len(whole) // 2])
    assert "row 7: cannot read the image flat/05.png" in refused("--images", "flat", "--labels", "good.csv")


# ---- folders and arrays


def test_folders_that_hold_nothing_to_learn_from_are_refused(refused: Callable[..., str]) -> None:
    Path("empty").mkdir()
    assert "empty has no class folder" in refused("--images", "empty")
    assert "15 of 15 images of good.csv cannot be used" in refused("--images", "empty", "--labels", "good.csv")
    assert "flat has no class folder" in refused("--images", "flat")
    assert "there is no folder nowhere" in refused("--images", "nowhere")
    assert "there is no table none.csv" in refused("--images", "flat", "--labels", "none.csv")
    shutil.rmtree("sorted/dog")
    shutil.rmtree("sorted/owl")
    assert "one class folder, cat" in refused("--images", "sorted")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.arange(20), "all 20 labels of y in d.npz are different"),
        (np.zeros(20, np.int64), "only one class, 0"),
        (np.array([*(["cat", "dog"] * 10)[:19], "yak"]), "row 19 is yak"),
        (np.linspace(0, 1, 20), "y in d.npz has the label 0.0526"),
        (np.arange(19) % 2, "19"),
    ],
    ids=["all different", "one class", "a class with one row", "no classes", "other number of rows"],
)
def test_arrays_with_labels_of_no_use_are_refused(refused: Callable[..., str], labels: np.ndarray, said: str) -> None:
    np.savez("d.npz", x=np.zeros((20, 4), np.float32), y=labels)
    assert said in refused("--arrays", "d.npz", *SHORT)


def test_arrays_that_are_not_there_are_refused(refused: Callable[..., str]) -> None:
    assert "there is no file or folder d.npz" in refused("--arrays", "d.npz")
    np.savez("d.npz", x=np.zeros((20, 4), np.float32))
    assert "d.npz has no array 'y'; it holds x" in refused("--arrays", "d.npz")


# ---- flags


GOOD = ("--images", "flat", "--labels", "good.csv")
FLAGS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    ((), ("needs data", "--images DIR --labels labels.csv", "--arrays FILE.npz", "--run DIR")),
    (("stuff",), ("'stuff' stands without a key", "issues apply")),
    ((*GOOD, "stuff"), ("'stuff' stands without a key",)),
    (("apply", "now"), ("'now' stands without a key",)),
    ((*GOOD, "--arrays", "d.npz"), ("--images and --arrays exclude each other",)),
    ((*GOOD, "--run", "r"), ("--images and --run exclude each other",)),
    (("--labels", "good.csv"), ("needs data", "--images DIR --labels")),
    (("--labels", "good.csv", "--config", "ce_digits.yaml"), ("--labels belongs to --images DIR",)),
    (("--arrays", "d.npz", "--labels", "good.csv"), ("--labels belongs to --images",)),
    (("--images", "sorted", "--label_column", "x"), ("--file_column and --label_column name columns of --labels FILE",)),
    (("--images", "flat", "--label", "good.csv"), ("--label says what", "--labels FILE")),
    ((*GOOD, "--crossfit", "1"), ("--crossfit", "folds, 2 or more, got '1'")),
    ((*GOOD, "--crossfit", "abc"), ("--crossfit", "folds, 2 or more, got 'abc'")),
    ((*GOOD, "--crossfit", "16", *SHORT), ("--crossfit 16: there are only 15 rows",)),
    (
        (*GOOD, "--crossfit", "2", "--data.val_fraction", "0.2", *SHORT),
        ("3 of 15 rows are left out of training", "data.val_fraction"),
    ),
    (
        (*GOOD, "--crossfit", "2", "--data.labels_per_class", "2", *SHORT),
        ("--crossfit 2 ranks the labels of all rows, and labels_per_class=2, labels_seed=0 takes those of most away",),
    ),
    ((*GOOD, "--pictures", "many"), ("--pictures: expected a whole number, 0 or more, got 'many'",)),
    ((*GOOD, "--top", "5%"), ("--top belongs to noisylab issues apply",)),
    ((*GOOD, "--out", "x.csv"), ("--out belongs to noisylab issues apply",)),
    ((*GOOD, "--checkpoint", "best"), ("--checkpoint belongs to noisylab validate, test, predict",)),
    ((*GOOD, "--resume"), ("--resume needs --run_dir",)),
    ((*GOOD, "--resume", "--run_dir", "none"), ("--run_dir none: there is no run to continue", "leave --resume out")),
    (
        (*GOOD, "--run_dir", "sorted"),
        ("--run_dir sorted is not empty", "files that noisylab did not write", "name another folder"),
    ),
    ((*GOOD, "--run_dir", "sorted", "--overwrite"), ("sorted holds no run of noisylab", "Name another folder")),
    ((*GOOD, "--model", "ELLR"), ("'ELLR' is not known", "nearest: ELR")),
    ((*GOOD, "--trainer.maxepochs", "1"), ("'maxepochs' is not known", "nearest: max_epochs")),
    (
        (*GOOD, "--backbone", "nosuch"),
        ("backbone must be auto, efficientnet_lite0, efficientnet_lite2, or torchvision:", "'nosuch'"),
    ),
    ((*GOOD, "--backbone", "torchvision:resnet1"), ("'resnet1'", "nearest: resnet18")),
    (("--run", "nowhere"), ("--run nowhere: there is no run (no config.yaml)",)),
    (("--run", "flat"), ("--run flat: there is no run (no config.yaml)",)),
    (("--run", "good.csv"), ("--run good.csv: there is no run",)),
    (("--run", "r", *SHORT), ("trains nothing, so --trainer.max_epochs cannot be given with it",)),
    (("--run", "r", "--labels", "good.csv"), ("trains nothing, so --labels cannot be given with it",)),
    (("--run", "r", "--run_dir", "x"), ("trains nothing, so --run_dir cannot be given with it",)),
    (("--run", "r", "--config", "ce_digits.yaml"), ("trains nothing, so --config cannot be given with it",)),
    (("--run", "r", "--crossfit", "2"), ("trains nothing, so --crossfit cannot be given with it",)),
    (
        ("--config", "ce_digits.yaml", "--crossfit", "2"),
        ("--crossfit 2 turns the training rows into test sets", "test rows of its own"),
    ),
]


@pytest.mark.parametrize(("argv", "said"), FLAGS, ids=[" ".join(argv) or "nothing" for argv, _ in FLAGS])
def test_flags_are_refused(refused: Callable[..., str], argv: tuple[str, ...], said: tuple[str, ...]) -> None:
    text = refused(*argv)
    for part in said:
        assert part in text


def test_a_run_that_has_not_come_to_its_end_is_refused_with_the_command_that_ends_it(refused: Callable[..., str]) -> None:
    Path("r").mkdir()
    Path("r/config.yaml").write_text("model: ACT")
    text = refused("--run", "r")
    assert "r has no label_issues.csv" in text
    assert "noisylab fit --run_dir r --resume" in text


@pytest.mark.parametrize("flag", ["--labels", "--arrays", "--run", "--backbone", "--crossfit", "--top"])
def test_other_commands_do_not_pass_over_flags_of_issues(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "ce_digits.yaml", flag, "x"]) == 2
    assert f"{flag} belongs to noisylab issues" in capsys.readouterr().err
