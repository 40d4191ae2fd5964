"""Data modules that take over what a model knows of its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.toy import ToyData

from noisylab.checkpoints.fitted import changes, check_unchanged
from noisylab.data import Arrays
from noisylab.data.identity import with_classes
from noisylab.data.rows import DenseRows
from noisylab.data.source import Source


def save(path: Path, x: np.ndarray, y: list[str]) -> Arrays:
    np.savez(path, x=x, y=np.array(y))
    return Arrays(str(path))


def test_labels_are_numbered_as_the_model_knows_its_classes() -> None:
    source = Source(
        DenseRows(torch.zeros(3, 1)),
        torch.tensor([0, 1, 2]),
        ("a", "b", "c"),
        clean=torch.tensor([2, -1, 0]),
        test_target=torch.tensor([1]),
    )
    found = with_classes(source, {"classes": ["c", "a", "b"]})
    assert found.class_names == ("c", "a", "b")
    assert found.given.tolist() == [1, 2, 0]
    assert found.clean is not None and found.clean.tolist() == [0, -1, 1]
    assert found.test_target is not None and found.test_target.tolist() == [2]
    with pytest.raises(ValueError, match=r"the classes a, d; the data are now without d and with b, c besides"):
        with_classes(source, {"classes": ["a", "d"]})


def test_pictures_are_normalized_by_the_statistics_of_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (6, 8, 8), dtype=np.uint8)
    first = save(tmp_path / "a.npz", x, ["a", "b"] * 3)
    first.setup()
    later = save(tmp_path / "a.npz", np.concatenate([x, x + 100]), ["a", "b"] * 6)
    later.adopt(first.fitted())
    later.setup()
    assert later.view_set()["eval"] == first.view_set()["eval"]
    alone = Arrays(str(tmp_path / "gone.npz"))
    alone.adopt(first.fitted())
    alone.setup_blank()
    assert alone.view_set()["eval"] == first.view_set()["eval"] and alone.num_classes == 2
    assert alone.info.class_names == ("a", "b") and alone.info.num_train == 0
    assert list(changes(first.fitted(), later.fitted())) == ["train"]


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        ({"x": (3,)}, {"x": (2,)}, r"x in .* has rows of shape \(2,\), but the model was trained on rows of shape \(3,\); give"),
        (
            {"x": (8, 8, 3)},
            {"x": (9, 8, 3)},
            r"rows of shape \(3, 9, 8\), but the model was trained on rows of shape \(3, 8, 8\)",
        ),
        ({"x_a": (3,), "x_b": (2,)}, {"x_a": (3,), "x_b": (4,)}, r"x_b in .* has rows of shape \(4,\), but .* shape \(2,\)"),
        ({"x_a": (3,), "x_b": (2,)}, {"x_a": (3,)}, r"has the inputs x, but the model was trained on x_a, x_b; give"),
    ],
)
def test_inputs_of_another_shape_or_name_are_refused(
    tmp_path: Path, then: dict[str, tuple[int, ...]], now: dict[str, tuple[int, ...]], message: str
) -> None:
    modules = []
    for place, shapes in enumerate((then, now)):
        scale = np.random.default_rng(0)
        arrays = {name: scale.integers(0, 255, (6, *shape)) * np.logspace(0, 3, shape[-1]) for name, shape in shapes.items()}
        if len(shapes["x" if "x" in shapes else "x_a"]) == 3:
            arrays = {name: array.astype(np.uint8) for name, array in arrays.items()}
        np.savez(tmp_path / f"{place}.npz", y=np.array(["a", "b"] * 3), **arrays)
        modules.append(Arrays(str(tmp_path / f"{place}.npz")))
    modules[0].setup()
    modules[1].adopt(modules[0].fitted())
    with pytest.raises(ValueError, match=message):
        modules[1].setup()


def test_what_changed_is_named_by_part() -> None:
    then, same, more, other = ToyData(), ToyData(), ToyData(num_train=41), ToyData(blob_seed=1)
    for data in (then, same, more, other):
        data.setup()
    assert changes(then.fitted(), same.fitted()) == {}
    assert "41 rows now and had 40" in changes(then.fitted(), more.fitted())["train"]
    assert "the inputs of the training data are no longer" in changes(then.fitted(), other.fitted())["train"]
    with pytest.raises(ValueError, match="resume with the data that the run was started with"):
        check_unchanged(then.fitted(), other.fitted())
    tested = ToyData()
    tested.setup()
    record = {**tested.fitted(), "test": {**tested.fitted()["test"], "labels": "x"}}
    assert "the labels of the test data" in check_unchanged(then.fitted(), record)[0]


def test_a_record_is_adopted_before_setup_or_not_at_all() -> None:
    data = ToyData()
    with pytest.raises(RuntimeError, match=r"after adopt\(\)"):
        data.setup_blank()
    data.setup()
    with pytest.raises(RuntimeError, match="adopt the record of a model before it"):
        data.adopt(data.fitted())
