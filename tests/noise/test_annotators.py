"""Labels of several annotators, from the table to the rows of a data module."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import write_folders

from noisylab.crowd import Annotations, dawid_skene
from noisylab.data import Digits, ImageFolder
from noisylab.noise import FromAnnotators

CATS = ("cat", "dog", "owl")
LABELS = [
    ("a", "ann", "cat"),
    ("a", "bob", "dog"),
    ("a", "eve", "dog"),
    ("b", "ann", "owl"),
    ("c", "bob", "cat"),
    ("c", "ann", "cat"),
]
UNKNOWN = torch.full((3,), -1)


def table(path: Path, rows: Iterable[Iterable[object]], header: str = "item,annotator,label") -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return str(path)


def test_a_long_table_is_matched_by_name_in_any_order(tmp_path: Path) -> None:
    path = table(tmp_path / "long.csv", LABELS[::-1])
    noisy = FromAnnotators(path)(torch.tensor([1, 2, 1]), 3, None, CATS, ["a", "b", "c"])
    assert noisy.given_target.tolist() == [1, 2, 0] and noisy.measured_rate == pytest.approx(1 / 3)
    assert noisy.soft_target is None and noisy.crowd is not None
    soft = FromAnnotators(path, aggregate="soft")(UNKNOWN, 3, None, CATS, ["c", "b", "a"])
    assert soft.soft_target is not None and soft.measured_rate == 0 and soft.transition_matrix is None
    torch.testing.assert_close(soft.soft_target, torch.tensor([[1, 0, 0], [0, 0, 1], [1 / 3, 2 / 3, 0]]))


def test_wide_tables_and_counts_give_the_same(tmp_path: Path) -> None:
    wide = table(
        tmp_path / "wide.csv", [["b", "owl", "", ""], ["a", "cat", "dog", "dog"], ["c", "cat", "cat", "NaN"]], "item,x,y,z"
    )
    counts = table(tmp_path / "counts.csv", [["c", 0, 2, 0], ["a", 2, 1, 0], ["b", 0, 0, 1.0]], "file,dog,cat,owl")
    said = np.array([[0, 1, 1], [2, -1, -1], [0, 0, -1]])
    np.save(tmp_path / "wide.npy", said)
    np.savez(tmp_path / "counts.npz", humans=np.array([[1, 2, 0], [0, 0, 1], [2, 0, 0]]))
    for noise, names in (
        (FromAnnotators(wide, aggregate="soft"), ["a", "b", "c"]),
        (FromAnnotators(counts, aggregate="soft"), ["a", "b", "c"]),
        (FromAnnotators(str(tmp_path / "wide.npy"), aggregate="soft", layout="wide"), None),
        (FromAnnotators(str(tmp_path / "counts.npz"), aggregate="soft", layout="counts", key="humans"), None),
    ):
        soft = noise(UNKNOWN, 3, None, CATS, names).soft_target
        assert soft is not None
        torch.testing.assert_close(soft, torch.tensor([[1 / 3, 2 / 3, 0], [0, 0, 1], [1, 0, 0]]))


def test_numbers_with_gaps_are_the_places_of_the_classes_and_items_the_rows(tmp_path: Path) -> None:
    path = table(tmp_path / "wide.csv", [["0", "1.0", "1.0"], ["2", "0.0", ""], ["1", "2", "-1"]], ",x,y")
    assert FromAnnotators(path)(UNKNOWN, 3, None, CATS).given_target.tolist() == [1, 2, 0]
    letters = table(tmp_path / "e.csv", [["e\u0301.png", "cat", "cat"], ["b\\c.png", "dog", "dog"]], "item,x,y")
    assert FromAnnotators(letters)(UNKNOWN[:2], 3, None, CATS, ["./b/c.png", "\u00e9.png"]).given_target.tolist() == [1, 0]
    noisy = FromAnnotators(path)(UNKNOWN, 3, None, CATS, ["p.png", "q.png", "r.png"])
    assert noisy.given_target.tolist() == [1, 2, 0]
    assert noisy.crowd is not None and "taken for the numbers of the rows" in noisy.crowd.annotations.notes[-1]


def test_of_labels_given_twice_the_last_one_counts(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", [*LABELS, ("b", "ann", "dog"), ("c", "bob", "")])
    noise = FromAnnotators(path)
    noisy = noise(UNKNOWN, 3, None, CATS, ["a", "b", "c"])
    assert noisy.given_target.tolist() == [1, 1, 0]
    assert [text.split(": ")[1] for text in noise.warnings(noisy)] == [
        "1 labels were given again by the same annotator for the same item; the last one counts",
        "1 of 8 rows have no label and are left out",
    ]


def test_an_annotator_without_a_label_is_left_out(tmp_path: Path) -> None:
    path = table(tmp_path / "wide.csv", [["a", "cat", "", "dog"], ["b", "owl", "", "owl"], ["c", "cat", "", "cat"]], "item,x,y,z")
    noise = FromAnnotators(path, aggregate="dawid_skene")
    noisy = noise(UNKNOWN, 3, None, CATS, ["a", "b", "c"])
    assert noisy.crowd is not None and noisy.crowd.annotations.annotators == ("x", "z")
    assert noise.warnings(noisy)[0].endswith("1 annotators gave no label and are left out: y")
    said = Annotations.of_matrix([[0, 1], [2, 2], [0, 0]], 3)
    np.testing.assert_allclose(noisy.crowd.probs, dawid_skene(said).probs)
    empty = table(tmp_path / "none.csv", [["a", "", ""], ["b", "-1", "nan"]], "item,x,y")
    with pytest.raises(ValueError, match="has no label: every cell is empty, -1 or NaN"):
        FromAnnotators(empty)(UNKNOWN, 3, None, CATS, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [*LABELS, ("d", "ann", "cat")],
            r"1 of 4 items are not among the 3 rows of the training data: d; .*unknown_items: ignore",
        ),
        (
            [*LABELS, ("c", "eve", "cst")],
            r"1 of the names used as labels are no class of the data: 'cst' \(nearest: 'cat'\); the classes are cat, dog, owl",
        ),
        (LABELS[:4], "1 of the 3 rows of the training data have no label, c among them; .*missing: unlabeled"),
        ([*LABELS, ("a", "", "cat")], "1 rows name no item or no annotator, the first is row 8"),
        ([*LABELS, ("./a", "ann", "cat")], r"the items a, \./a are one row of the data"),
        ([*LABELS, ("a", "ann", "cat", "dog")], "1 rows have another number of cells than the header's 3, the first is row 8"),
    ],
)
def test_tables_that_do_not_fit_the_data_are_refused(tmp_path: Path, rows: list[tuple[str, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FromAnnotators(table(tmp_path / "t.csv", rows))(UNKNOWN, 3, None, CATS, ["a", "b", "c"])


def test_rows_without_a_label_and_items_without_a_row_can_be_allowed(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", [*LABELS[:4], ("test1", "ann", "dog")])
    noise = FromAnnotators(path, missing="unlabeled", unknown_items="ignore", aggregate="soft")
    noisy = noise(torch.tensor([1, 2, 0]), 3, None, CATS, ["a", "b", "c"])
    assert noisy.given_target.tolist() == [1, 2, -1] and noisy.measured_rate == 0
    assert noisy.soft_target is not None and noisy.soft_target[2].tolist() == [0, 0, 0]
    assert len(noise.warnings(noisy)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item;annotator;label\na;b;c\n", "has no column 'item' of items, .*; separate the columns by commas"),
        ("items,annotator,label\na,b,c\n", r"has no column 'item' of items, .*; is it 'items'\? Say which column it is"),
        ("item,label\na,c\n", "it needs item, annotator and label, or two annotators' columns"),
        ("item,x,y\na,c,d\na,c,d\n", "has two rows of item 'a'"),
        ("item,x,x\na,c,d\n", "has the column 'x' 2 times"),
        ("", "is empty; it needs a header and rows"),
    ],
)
def test_files_that_are_no_such_tables_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        FromAnnotators(str(tmp_path / "t.csv"))(UNKNOWN, 3, None, CATS, ["a", "b", "c"])


def test_arrays_whose_layout_is_not_said_and_missing_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2), dtype=np.int64))
    with pytest.raises(ValueError, match="which can be labels or counts: set layout"):
        FromAnnotators(str(tmp_path / "a.npy"))(UNKNOWN, 3)
    with pytest.raises(FileNotFoundError, match="there is no table"):
        FromAnnotators(str(tmp_path / "none.csv"))(UNKNOWN, 3)


def test_arguments_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="soft=True belongs to 'dawid_skene' and 'one_coin', got aggregate='vote'"):
        FromAnnotators("t.csv", soft=True)
    with pytest.raises(ValueError, match="which anonymous columns do not say; use 'vote' or 'soft'"):
        FromAnnotators("t.csv", aggregate="dawid_skene", anonymous=True)
    with pytest.raises(ValueError, match="aggregate must be one of 'vote', 'dawid_skene'"):
        FromAnnotators("t.csv", aggregate="mean")  # type: ignore[arg-type]


def test_the_labels_of_a_module_are_the_consensus_and_only_trained_rows_have_soft_ones(tmp_path: Path) -> None:
    plain = Digits()
    plain.setup()
    truth = plain.clean_target.numpy()
    random = np.random.default_rng(0)
    rows = [
        (row, f"p{j}", int(label) if random.random() < accuracy else int(random.integers(10)))
        for row, label in enumerate(truth)
        for j, accuracy in enumerate((0.9, 0.7, 0.4))
    ]
    noise = FromAnnotators(table(tmp_path / "t.csv", rows), aggregate="dawid_skene", soft=True)
    data = Digits(noise=noise, val_fraction=0.1)
    data.setup()
    assert data.noisy is not None and data.noisy.crowd is not None
    info = data.info
    assert torch.equal(data.clean_target, plain.clean_target) and 0 < data.noisy.measured_rate < 0.2
    assert info.soft_target is not None and info.soft_target.shape == (1438, 10)
    trained = torch.zeros(1438, dtype=torch.bool)
    trained[info.train_rows] = True
    assert bool((info.soft_target[~trained] == 0).all()) and len(info.train_rows) < 1438
    assert torch.equal(info.soft_target[trained].argmax(1), info.given_target[trained])
    np.testing.assert_allclose(info.soft_target[trained].sum(1), 1, atol=1e-6)
    quality = data.noisy.crowd.annotator_quality  # right by chance, too: accuracy + (1 - accuracy) / 10
    np.testing.assert_allclose(quality, [0.91, 0.73, 0.46], atol=0.04)
    assert any("4,314 labels of 1,438 items by 3 annotators" in line for line in data.source.account)


def test_labels_of_files_are_matched_by_name_and_not_taken_for_the_truth(tmp_path: Path) -> None:
    write_folders(tmp_path / "photos", each=3, size=(6, 6))
    plain = ImageFolder(str(tmp_path / "photos"))
    plain.setup()
    names = list(plain.source.names or [])
    classes = plain.source.class_names
    rows = [
        (f"./{name}", who, classes[int(row == 1 or (who == "z" and row == 2))]) for row, name in enumerate(names) for who in "xyz"
    ]
    noise = FromAnnotators(table(tmp_path / "t.csv", rows[::-1]), aggregate="soft")
    data = ImageFolder(str(tmp_path / "photos"), noise=noise)
    data.setup()
    assert data.given_target.tolist() == [0, 1, 0, 0, 0, 0], "row 1 by all, row 2 by one of three"
    assert data.clean_target.tolist() == [-1] * 6
    assert data.info.soft_target is not None
    torch.testing.assert_close(data.info.soft_target[2], torch.tensor([2 / 3, 1 / 3]))
