from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import train_batches, write_reuters
from torch import Tensor

from noisylab.data import Reuters
from noisylab.data.rows import MultiRows, SparseRows
from noisylab.noise import Symmetric
from noisylab.transforms.draws import Draws

NAMES = ("C15", "CCAT", "E21", "ECAT", "GCAT", "M11")
SIZES = {"EN": 21531, "FR": 24893, "GR": 34279, "IT": 15506, "SP": 11547}
GOOD = "C15 1:1\nCCAT 2:1\nE21 3:1\nECAT 4:1\nGCAT 5:1\nM11 6:1\n"


def ready(root: Path, **kwargs: Any) -> Any:
    data = Reuters(str(root), **kwargs)
    data.setup()
    return data


def file(root: Path, view: str, content: str | bytes, original: str = "EN", end: str = "") -> Path:
    path = root / view / f"Index_{original}-{view}{end}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def dense(rows: SparseRows) -> Tensor:
    return rows.gather(torch.arange(len(rows)))


def slowly(path: Path, terms: int, first: int = 1, unit: bool = False) -> tuple[list[int], Tensor]:
    """Labels and dense rows of a file, read term by term."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = content.decode().splitlines()
    labels, values = [], torch.zeros(len(lines), terms, dtype=torch.float64)
    for row, line in enumerate(lines):
        name, *pairs = line.split()
        labels.append(NAMES.index(name))
        for pair in pairs:
            term, weight = pair.split(":")
            values[row, int(term) - first] = float(weight)
        norm = float(values[row].norm())
        if unit and norm > 0:
            values[row] /= norm
    return labels, values.float()


# ---- reading


@pytest.mark.parametrize("normalize", [False, True])
def test_weights_and_labels_are_those_of_a_slow_parser(tmp_path: Path, normalize: bool) -> None:
    write_reuters(tmp_path, each=3)
    data = ready(tmp_path, test_fraction=0, normalize=normalize)
    store: Any = data.source.train
    assert isinstance(store, MultiRows) and list(store.views) == ["EN", "FR"]
    views: dict[str, Any] = dict(store.views)
    for view, rows in views.items():
        labels, expected = slowly(tmp_path / view / f"Index_EN-{view}", SIZES[view], unit=normalize)
        assert (rows.data.dtype, rows.indices.dtype, rows.indptr.dtype) == (torch.float32, torch.int64, torch.int64)
        assert data.given_target.tolist() == data.clean_target.tolist() == labels
        torch.testing.assert_close(dense(rows), expected, rtol=2e-7, atol=0)
    assert data.info.class_names == NAMES


def test_a_document_of_several_views_is_the_same_line_of_each_file(tmp_path: Path) -> None:
    written = write_reuters(tmp_path, each=5, views=("EN", "FR", "SP"))
    data = ready(tmp_path, views=("SP", "EN"), normalize=False, batch_size=7)
    batch = next(train_batches(data))
    assert list(batch.views[0]) == ["SP", "EN"]
    lines = {tuple(sorted(document.items())): n for n, document in enumerate(written["EN"]) if document}
    for row, label in enumerate(batch.target.tolist()):
        found = {}
        for view, values in batch.views[0].items():
            assert values.shape == (7, SIZES[view])
            found[view] = {int(t) + 1: round(float(values[row, t]), 6) for t in values[row].nonzero().flatten()}
        line = lines.get(tuple(sorted(found["EN"].items())))
        if line is not None:
            assert label == line % 6
            assert found["SP"] == written["SP"][line]
        else:
            assert not found["EN"] and not found["SP"]


def test_rows_have_unit_length_and_those_without_terms_stay_zero(tmp_path: Path) -> None:
    written = write_reuters(tmp_path, each=3)
    rows = ready(tmp_path, test_fraction=0).source.train.views["FR"]
    expected = torch.tensor([1.0 if document else 0.0 for document in written["FR"]])
    assert 0 < float(expected.sum()) < len(expected)
    torch.testing.assert_close(dense(rows).norm(dim=1), expected)


def test_two_weights_of_three_and_four_become_three_and_four_fifths(tmp_path: Path) -> None:
    file(tmp_path, "EN", GOOD.replace("E21 3:1", "E21 2:-3 9:4e0"))
    values = dense(ready(tmp_path, views=("EN",), test_fraction=0).source.train)
    torch.testing.assert_close(values[2, [1, 8]], torch.tensor([-0.6, 0.8]))
    assert int((values != 0).sum()) == 7


def test_large_and_small_weights_are_normalized_without_overflow(tmp_path: Path) -> None:
    file(tmp_path, "EN", GOOD.replace("E21 3:1", "E21 2:3e38 9:3e38").replace("M11 6:1", "M11 2:1e-40"))
    values = dense(ready(tmp_path, views=("EN",), test_fraction=0).source.train)
    torch.testing.assert_close(values.norm(dim=1), torch.ones(6))


@pytest.mark.parametrize(("first", "term"), [(1, 21531), (0, 21530)])
def test_terms_count_from_one_or_from_zero_where_the_file_has_a_zero(tmp_path: Path, first: int, term: int) -> None:
    path = file(tmp_path, "EN", GOOD.replace("3:1", f"{first}:2 7:.5 {term}:1.5"))
    rows = ready(tmp_path, views=("EN",), test_fraction=0, normalize=False).source.train
    assert torch.equal(dense(rows), slowly(path, SIZES["EN"], first)[1])
    assert dense(rows)[2, [0, 21530]].tolist() == [2, 1.5]


def test_order_of_terms_spaces_and_ends_of_lines_do_not_matter(tmp_path: Path) -> None:
    plain = file(tmp_path, "EN", GOOD.replace("3:1", "3:1 8:2e-1 12:+.5"))
    other = file(tmp_path, "FR", GOOD.replace("3:1", " 12:0.5\t3:1.0  8:0.2  ").replace("\n", "\r\n") + "\r\n")
    views = ready(tmp_path, test_fraction=0).source.train.views
    assert plain.read_bytes() != other.read_bytes()
    assert torch.equal(dense(views["EN"])[:, :20], dense(views["FR"])[:, :20])


def test_a_file_without_any_term_is_all_zeros(tmp_path: Path) -> None:
    file(tmp_path, "EN", "".join(f"{name}\n" for name in NAMES))
    data = ready(tmp_path, views=("EN",), test_fraction=0)
    assert int(dense(data.source.train).count_nonzero()) == 0
    for name in ("weak", "strong", "eval"):
        assert data.view_set()[name](torch.zeros(6, 4), Draws(0, torch.arange(6))).count_nonzero() == 0


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_files_are_found_packed_and_in_the_folder_of_the_archive(tmp_path: Path, nested: bool, packed: bool) -> None:
    folder = tmp_path / "rcv1rcv2aminigoutte" if nested else tmp_path
    write_reuters(folder, each=2, views=("EN", "SP"), original="GR", packed=packed)
    data = ready(tmp_path, views=("EN", "SP"), original="GR", test_fraction=0, normalize=False)
    for view, rows in data.source.train.views.items():
        expected = slowly(folder / view / f"Index_GR-{view}{'.gz' * packed}", SIZES[view])[1]
        torch.testing.assert_close(dense(rows), expected, rtol=2e-7, atol=0)


def test_files_are_found_in_the_folder_of_the_original_language(tmp_path: Path) -> None:
    file(tmp_path, "EN", GOOD, original="FR").rename(tmp_path / "Index_FR-EN")
    (tmp_path / "FR").mkdir()
    (tmp_path / "Index_FR-EN").rename(tmp_path / "FR" / "Index_FR-EN")
    assert ready(tmp_path, views=("EN",), original="FR", test_fraction=0).info.num_train == 6


def test_the_classes_are_known_before_any_file_is_read() -> None:
    assert Reuters("nowhere").num_classes == Reuters("nowhere").source_classes == 6


# ---- test set and balanced part


def places(data: Any, part: str) -> list[int]:
    """Lines of the rows of a part, from the term that each line has of its own."""
    return (getattr(data.source, part).indices + 1).tolist()


def numbered(root: Path, counts: dict[str, int]) -> list[str]:
    """A file whose line n has the term n alone, from 1; returns the classes of its lines."""
    longest = max(counts.values())
    names = [name for turn in range(longest) for name in NAMES if turn < counts[name]]
    file(root, "EN", "".join(f"{name} {n + 1}:1\n" for n, name in enumerate(names)))
    return names


def test_the_test_set_is_stratified_disjoint_and_the_same_for_every_seed(tmp_path: Path) -> None:
    counts = dict(zip(NAMES, (10, 20, 30, 15, 10, 25), strict=True))
    names = numbered(tmp_path, counts)
    data = ready(tmp_path, views=("EN",), val_fraction=0.1)
    train, test = places(data, "train"), places(data, "test")
    assert sorted(train + test) == list(range(1, 111))
    assert train == sorted(train) and test == sorted(test)
    for rows, target in ((train, data.given_target), (test, data.source.test_target)):
        assert [names[n - 1] for n in rows] == [NAMES[c] for c in target.tolist()]
    assert torch.bincount(data.source.test_target).tolist() == [counts[name] // 5 for name in NAMES]
    other = ready(tmp_path, views=("EN",), split_seed=5, seed=3, val_fraction=0.1)
    assert places(other, "test") == test
    assert len(ready(tmp_path, views=("EN",), test_fraction=0.5).source.test_target) == 55


def test_without_a_test_set_all_documents_are_training_rows(tmp_path: Path) -> None:
    numbered(tmp_path, dict.fromkeys(NAMES, 2))
    data = ready(tmp_path, views=("EN",), test_fraction=0)
    assert (places(data, "train"), data.source.test, data.source.test_target) == (list(range(1, 13)), None, None)
    assert data.test_dataloader() == {}


def test_a_balanced_part_has_as_many_documents_of_each_class_by_the_split_seed(tmp_path: Path) -> None:
    names = numbered(tmp_path, dict(zip(NAMES, (10, 20, 30, 15, 12, 25), strict=True)))

    def part(seed: int) -> list[int]:
        data = ready(tmp_path, views=("EN",), per_class=10, split_seed=seed)
        assert torch.bincount(data.given_target).tolist() == [8] * 6
        assert torch.bincount(data.source.test_target).tolist() == [2] * 6
        return sorted(places(data, "train") + places(data, "test"))

    first = part(0)
    assert len(set(first)) == 60 and all(sum(names[n - 1] == name for n in first) == 10 for name in NAMES)
    assert part(0) == first
    assert part(1) != first


def test_test_labels_are_true_where_training_labels_are_not(tmp_path: Path) -> None:
    names = numbered(tmp_path, dict.fromkeys(NAMES, 10))
    data = ready(tmp_path, views=("EN",), noise=Symmetric(0.5))
    assert not torch.equal(data.given_target, data.clean_target)
    assert [NAMES[c] for c in data.source.test_target.tolist()] == [names[n - 1] for n in places(data, "test")]


# ---- batches


def test_one_view_makes_plain_batches_and_several_make_one_of_each(tmp_path: Path) -> None:
    write_reuters(tmp_path, each=4)
    plain, both = ready(tmp_path, views=("FR",), eval_batch_size=5), ready(tmp_path, eval_batch_size=5)
    assert isinstance(plain.source.train, SparseRows)
    batches = (list(data.evaluation_batches(torch.arange(12), torch.device("cpu"))) for data in (plain, both))
    for one, two in zip(*batches, strict=True):
        assert torch.equal(one.inputs, two.inputs["FR"]) and list(two.inputs) == ["EN", "FR"]
        assert one.inputs.shape == (len(one.index), SIZES["FR"])
        assert torch.equal(one.inputs, dense(plain.source.train)[one.index])
        assert torch.equal(one.target, plain.given_target[one.index])
    (test,) = both.test_dataloader()["test"]
    assert torch.equal(test.inputs["EN"], dense(both.source.test.views["EN"])) and test.inputs["EN"].shape == (5, SIZES["EN"])


@pytest.mark.parametrize("normalize", [False, True])
def test_the_strong_view_adds_noise_of_a_quarter_of_the_length_of_a_document(tmp_path: Path, normalize: bool) -> None:
    write_reuters(tmp_path, each=5)
    data = ready(tmp_path, normalize=normalize, test_fraction=0, batch_size=30)
    (batch,) = train_batches(data, ("weak", "strong"))
    for view, stored in data.source.train.views.items():
        weak, strong = batch.views[0][view], batch.views[1][view]
        assert torch.equal(weak, dense(stored)[batch.index])
        empty = weak.norm(dim=1) == 0
        length = weak.square().sum(1).mean().sqrt()
        torch.testing.assert_close(strong[empty].norm(dim=1), (length / 4).expand(int(empty.sum())), rtol=0.03, atol=0)
        factor = (strong * weak).sum(1)[~empty] / weak.square().sum(1)[~empty]
        assert 0.7 < float(factor.min()) < float(factor.max()) < 1.3


def test_views_are_not_known_before_the_files() -> None:
    with pytest.raises(RuntimeError, match="call setup"):
        Reuters("nowhere").view_set()


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": ("EN", "DE")}, r"views names the language 'DE'; there are EN, FR, GR, IT, SP"),
        ({"original": "en"}, r"original names the language 'en'; there are EN, FR, GR, IT, SP"),
        ({"views": ()}, r"at least one language and none twice, got \[\]"),
        ({"views": ["EN", "EN"]}, r"none twice, got \['EN', 'EN'\]; choose of"),
        ({"per_class": 0}, r"per_class must be at least 1, got 0"),
        ({"test_fraction": 1.0}, r"test_fraction must be in \[0, 1\), got 1.0"),
        ({"test_fraction": -0.1}, r"test_fraction must be in \[0, 1\), got -0.1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reuters(**arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            GOOD.replace("E21 3:1", "E20 3:1"),
            r"line 3: 'E20' is not a class; a line is .* a class of C15, CCAT, E21, ECAT, GCAT, M11",
        ),
        (GOOD.replace("E21 3:1", "E213:1"), r"line 3: 'E213:1' is not a class"),
        (GOOD.replace("E21 3:1", "e21 3:1"), r"line 3: 'e21' is not a class"),
        (GOOD.encode().replace(b"E21", b"\xff\xfe"), r"line 3: '\ufffd\ufffd' is not a class"),
        (GOOD.replace("E21 3:1", ""), r"line 3 is empty; a line is CLASS term:weight"),
        (GOOD.replace("3:1", "1:1 3"), r"line 3: '3' is not a term with its weight; .*replace the file"),
        (GOOD.replace("3:1", "1:1 3:"), r"line 3: '3:' is not a term"),
        (GOOD.replace("3:1", "1:1 3:x 4:y"), r"line 3: '3:x' is not a term"),
        (GOOD.replace("3:1", "3:nan"), r"line 3: '3:nan' is not a term"),
        (GOOD.replace("3:1", "3:1:2"), r"line 3: '3:1:2' is not a term"),
        (GOOD.replace("3:1", "3:1.5.2"), r"line 3: '3:1.5.2' is not a term"),
        (GOOD.replace("3:1", "-3:1"), r"line 3: '-3:1' is not a term"),
        (GOOD.replace("3:1", "3:1 #4:1"), r"line 3: '#4:1' is not a term"),
        (GOOD.replace("3:1", "3 :1"), r"line 3: '3' is not a term"),
        (GOOD.replace("3:1", "3:1e39"), r"line 3: the weight 1e\+39 is too large for 32 bits"),
        (GOOD.replace("3:1", "3:1e999"), r"line 3: the weight inf is too large"),
        (GOOD.replace("3:1", "3:1 21532:1"), r"line 3: the term 21532 is beyond the vocabulary .*21531 terms, numbered 1..21531"),
        (GOOD.replace("3:1", "0:1 21531:1"), r"line 3: the term 21531 is beyond the vocabulary .*21531 terms, numbered 0..21530"),
        (GOOD.replace("3:1", f"{'9' * 400}:1"), r"line 3: the term inf is beyond"),
        (GOOD.replace("3:1", "3:1 7:2 3:1"), r"line 3: the term 3 is there twice"),
        ("", r"is empty; unpack it again"),
        (" \n\n", r"is empty; unpack it again"),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = file(tmp_path, "EN", content)
    with pytest.raises(ValueError, match=message) as error:
        ready(tmp_path, views=("EN",))
    assert str(error.value).startswith(str(path))


def test_a_long_token_is_shown_in_part(tmp_path: Path) -> None:
    file(tmp_path, "EN", GOOD.replace("3:1", "x" * 5000))
    with pytest.raises(ValueError, match="is not a term") as error:
        ready(tmp_path, views=("EN",))
    assert f"{'x' * 40}'" in str(error.value) and "x" * 41 not in str(error.value)


def test_a_damaged_packed_file_is_named(tmp_path: Path) -> None:
    path = file(tmp_path, "EN", gzip.compress(GOOD.encode(), mtime=0)[:-9], end=".gz")
    with pytest.raises(ValueError, match=r"cannot unpack .*Index_EN-EN\.gz: .*replace the file"):
        ready(tmp_path, views=("EN",))
    path.write_bytes(GOOD.encode())
    with pytest.raises(ValueError, match="cannot unpack"):
        ready(tmp_path, views=("EN",))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first, second = file(tmp_path, "EN", GOOD), file(tmp_path, "FR", GOOD + "M11 1:1\n")
    with pytest.raises(ValueError, match=r"has 6 lines, but .* has 7; line n of both must be the same document") as error:
        ready(tmp_path)
    assert str(first) in str(error.value) and str(second) in str(error.value)
    second.write_text(GOOD.replace("ECAT", "GCAT"))
    with pytest.raises(ValueError, match=r"line 4: the class is GCAT, but ECAT in the same line of .*unpack both again") as error:
        ready(tmp_path)
    assert str(error.value).startswith(str(second)) and str(first) in str(error.value)


@pytest.mark.parametrize("there", [False, True])
def test_without_files_the_error_says_where_they_belong_and_come_from(tmp_path: Path, there: bool) -> None:
    if there:
        file(tmp_path, "EN", GOOD)
    with pytest.raises(FileNotFoundError) as error:
        ready(tmp_path)
    view = "FR" if there else "EN"
    for part in (
        f"no file {tmp_path / view / f'Index_EN-{view}'}, nor Index_EN-{view}.gz",
        f"rcv1rcv2aminigoutte/{view}",
        "EN, FR, GR, IT, SP",
        "research only",
        "UCI machine learning repository",
        "Reuters RCV1 RCV2 Multilingual, Multiview Text Categorization Test collection",
    ):
        assert part in str(error.value)


def test_more_documents_of_each_class_than_the_smallest_has_are_refused(tmp_path: Path) -> None:
    numbered(tmp_path, dict(zip(NAMES, (10, 20, 9, 15, 10, 25), strict=True)))
    assert ready(tmp_path, views=("EN",), per_class=9).info.num_train == 43
    with pytest.raises(ValueError, match=r"per_class=10, but the class E21 has 9 of the 89 documents; ask for at most"):
        ready(tmp_path, views=("EN",), per_class=10)
