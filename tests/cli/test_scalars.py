"""Text stays text, on the command line and in files, whatever YAML would make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from noisylab.cli.configuration.compose import compose
from noisylab.cli.configuration.recipes import load_yaml
from noisylab.cli.configuration.scalars import Typed, dump, settle, tree
from noisylab.cli.errors import UserError
from noisylab.cli.running.app import build, config_text

WORDS = (
    "2024-11-30",
    "007",
    "1e3",
    "null",
    "~",
    "yes",
    "NO",
    "on",
    "10:30",
    "#1",
    "[new]",
    "photos: new",
    "{a",
    "0x1F",
    "é",
    " a ",
)
MODEL = [("model", "CrossEntropy"), ("model.network", "SmallCNN"), ("data", "ImageFolder")]


def typed(text: str, hint: Any, take_back: bool = True) -> Any:
    return settle(Typed(text, "--x"), hint, take_back)


@pytest.mark.parametrize("word", WORDS)
def test_a_flag_of_text_is_taken_as_it_was_typed(word: str) -> None:
    assert typed(word, str) == typed(word, Path) == typed(word, str | None, take_back=False) == word
    assert typed(word, str | Path | None, take_back=False) == word


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("7", int, 7),
        ("5e-4", float, 5e-4),
        ("yes", bool, True),
        ("yes", str | bool, True),
        ("no", Literal["yes", "no"], "no"),
        ("2", str | int, 2),
        ("2,3", str | int | list[int], "2,3"),
        ("[2, 3]", str | int | list[int], [2, 3]),
        ("[no, 007, 2024-11-30]", list[str], ["no", "007", "2024-11-30"]),
        ("[no, 'yes', 1.0]", Literal["auto"] | list[str], ["no", "yes", "1.0"]),
        ("{no: 1e3, 10: on}", dict[str, str], {"no": "1e3", "10": "on"}),
        ("{1: 2}", str | dict[int, int] | dict[str, str], {1: 2}),
        ("{1: no}", str | dict[int, int] | dict[str, str], {"1": "no"}),
        ("{left: 3}", int | dict[str, int], {"left": 3}),
        ("[EN, NO]", tuple[str, ...], ["EN", "NO"]),
        ("[1, no]", tuple[int, str], [1, "no"]),
        ("32", Literal[64, 32] | Literal["32-true"] | None, 32),
        ("null", int | None, None),
        ("010", int, "010"),  # eight for YAML, ten for a reader: neither
    ],
)
def test_a_flag_is_read_as_its_hint_says(text: str, hint: Any, value: Any) -> None:
    found = typed(text, hint)
    assert (found, type(found)) == (value, type(value))


def test_null_takes_back_what_is_set_and_else_is_the_word() -> None:
    flag = ("data.label_column", "null")
    alone = compose([], [*MODEL, ("data.images", "p"), flag]).config["data"]["init_args"]
    after = compose([], [*MODEL, ("data.images", "p"), ("data.label_column", "kind"), flag]).config["data"]["init_args"]
    assert (alone["label_column"], after["label_column"]) == ("null", None)


def test_text_in_a_file_stays_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "model: {class_path: CrossEntropy, init_args: {network: SmallCNN}}\n"
        "data:\n  class_path: ImageFolder\n  init_args:\n    images: 2024-11-30\n    file_column: no\n    label_column: null\n"
        "    noise: {class_path: Asymmetric, init_args: {rate: 0.2, mapping: {yes: no, 1: 2}}}\n"
    )
    arguments = compose([str(tmp_path / "c.yaml")], []).config["data"]["init_args"]
    assert (arguments["images"], arguments["file_column"], arguments["label_column"]) == ("2024-11-30", "no", None)
    assert arguments["noise"]["init_args"] == {"rate": 0.2, "mapping": {"yes": "no", "1": "2"}}


@pytest.mark.slow
@pytest.mark.parametrize("word", ["2024-11-30", "1e3", "null", "[new]", "#1", "NO"])
def test_a_written_configuration_reads_back_the_same(word: str, tmp_path: Path) -> None:
    flags = [*MODEL, *((f"data.{name}", word) for name in ("images", "labels_csv", "label_column")), ("recipe", word)]
    first = compose([], flags).config
    text = config_text(first)
    (tmp_path / "config.yaml").write_text(text)
    second = compose([str(tmp_path / "config.yaml")], []).config
    assert second["recipe"] == word
    assert [second["data"]["init_args"][name] for name in ("images", "labels_csv", "label_column")] == [word] * 3
    assert config_text(second) == text


def test_what_is_built_gets_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "null" / name).mkdir(parents=True)
        (tmp_path / "null" / name / "0.png").write_bytes(b"x")
    data = build("fit", compose([], [*MODEL, ("data.images", "null")]).config, folder=None).datamodule
    assert data.images == "null"  # type: ignore[attr-defined]


def test_words_that_some_reader_of_yaml_takes_for_something_else_are_quoted() -> None:
    assert dump({"a": ["1e3", "no", "2024-11-30", "x"], "010": 1e-3}) == (
        "a:\n- '1e3'\n- 'no'\n- '2024-11-30'\n- x\n'010': 0.001\n"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is there twice, first in line 1"),
        ("m:\n  no: 1\n  'no': 2\n", "line 3: the key 'no' is there twice, first in line 2"),
        ("{a: 1, a: 2}", "the key 'a' is there twice"),
        ("a: 1\nb: [", "line 2"),
        ("[a, b]: 1", "a key must be text"),
        ("a: !!python/name:os.system", "line 1"),
        ("a: !x {b: 1}", "the tag '!x' is not known"),
        ("[" * 3000, "nested too deeply"),
        (
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"{c}: &{c} [{', '.join([f'*{p}'] * 10)}]\n" for p, c in zip("abcdef", "bcdefg", strict=True)),
            "more than 100000 values",
        ),
        ("a: &a [*a]", "more than 100000 values"),
    ],
)
def test_what_is_no_configuration_is_refused_by_line(text: str, told: str) -> None:
    with pytest.raises(UserError, match=r"x\.yaml: ") as caught:
        tree(text, "x.yaml")
    assert told in str(caught.value)


def test_plain_yaml_is_what_it_was() -> None:
    assert load_yaml("a: {b: [1, 0.5, yes, null, x]}\n3: &n {c: 1}\nd: {<<: *n, c: 2}", "x") == {
        "a": {"b": [1, 0.5, True, None, "x"]}, 3: {"c": 1}, "d": {"c": 2}
    }  # fmt: skip
