"""What the columns of a table are taken for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noisylab.data.frames import Column, Columns, Media
from noisylab.data.frames.roles import roles_of

ROWS = 12
REVIEWS = [f"a film that {'is fine' if row % 2 else 'is dull'} in its own way, number {row}" for row in range(ROWS)]


def column(kind: Any, values: Any, names: tuple[str, ...] | None = None) -> Column:
    return Column(kind, values, np.zeros(len(values), dtype=bool), names)


def numbers(seed: int = 0) -> Column:
    return column("number", np.random.default_rng(seed).random(ROWS))


def words(*some: str) -> Column:
    return column("text", [some[row % len(some)] for row in range(ROWS)])


def classes(*names: str) -> Column:
    return column("class", np.arange(ROWS) % len(names), names)


def table(**columns: Column) -> Columns:
    return Columns("t.parquet", columns)


TEXT = column("text", REVIEWS)
PICTURES = column("image", [Media(f"{row}.png") for row in range(ROWS)])


def test_one_text_and_one_column_that_repeats_need_no_names() -> None:
    found = roles_of(table(review=TEXT, sentiment=words("good", "bad")))
    assert (found.data, found.arguments) == ("Text", {"label": "sentiment", "text": "review"})
    assert found.said == ["label: the column sentiment; text: the column review"]


def test_a_column_of_classes_comes_before_the_names() -> None:
    found = roles_of(table(text=TEXT, label=words("a", "b"), kind=classes("x", "y", "z")))
    assert found.arguments["label"] == "kind"
    assert found.said[-1] == "not used: the column label"


def test_several_candidates_are_refused_and_named() -> None:
    with pytest.raises(ValueError, match="label may be any of the columns label, target; say which: --label label"):
        roles_of(table(text=TEXT, label=words("a", "b"), target=words("x", "y")))
    with pytest.raises(ValueError, match="give one of --image photo, --text caption"):
        roles_of(table(caption=TEXT, photo=PICTURES, label=words("a", "b")))
    assert roles_of(table(caption=TEXT, photo=PICTURES, label=words("a", "b")), image="photo").data == "TableImages"


def test_labels_that_all_differ_are_none() -> None:
    with pytest.raises(ValueError, match="looks like labels"):
        roles_of(table(text=TEXT, label=column("number", np.arange(ROWS))))


def test_numbers_and_categories_are_a_table() -> None:
    ids = column("number", 7 + np.arange(ROWS))
    found = roles_of(table(id=ids, age=numbers(), city=words("Bern", "Rome", "Oslo"), y=words("0", "1")))
    assert (found.data, found.arguments) == ("Tabular", {"label": "y", "id_column": "id"})
    assert found.said == ["label: the column y; features: the columns age, city; row ids: the column id"]


def test_other_forms_of_the_label_and_true_labels_are_no_inputs() -> None:
    given = words("0", "1", "2")
    found = roles_of(table(age=numbers(), label=given, label_text=words("cat", "dog", "owl"), true_label=words("2", "1", "0")))
    assert found.arguments == {"label": "label", "drop": ["label_text"], "true_label": "true_label"}
    assert "left out, as another name of the label: label_text" in found.said[0]
    assert "training never sees it" in found.said[1]


def test_vectors_are_features_and_files_are_pictures_or_sound() -> None:
    vectors = column("vector", np.zeros((ROWS, 3), dtype=np.float32))
    assert roles_of(table(embedding=vectors, label=words("a", "b"))).arguments["columns"] == ["embedding"]
    photos, clips = (column("text", [f"{row}{end}" for row in range(ROWS)]) for end in (".JPG", ".wav"))
    assert roles_of(table(file=photos, label=words("a", "b"))).arguments["image"] == "file"
    assert roles_of(table(file=clips, label=words("a", "b"))).data == "Sound"


def test_languages_without_blanks_are_texts() -> None:
    reviews = column("text", [f"这部电影非常有意思值得再看第{row}遍" for row in range(ROWS)])
    assert roles_of(table(评论=reviews, label=words("好", "坏"))).arguments["text"] == "评论"


def test_what_is_named_is_taken_and_nothing_else_is_said() -> None:
    found = roles_of(table(a=numbers(1), b=numbers(2), label=words("x", "y")), label="label", features=["b"])
    assert (found.data, found.arguments, found.said) == ("Tabular", {"label": "label", "columns": ["b"]}, [])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"label": "lable"}, "did you mean 'label'"),
        ({"label": "text", "text": "text"}, "named as an input, too"),
        ({"label": "photo"}, "holds image values"),
        ({"label": "label", "features": ["label"]}, "named as an input, too"),
        ({"text": "text", "image": "photo"}, "exclude each other"),
        ({"id_column": "ids"}, "no such column"),
    ],
)
def test_names_that_cannot_be_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        roles_of(table(text=TEXT, photo=PICTURES, label=words("a", "b")), **asked)
