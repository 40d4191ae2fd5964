from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from method_pages import MethodEntry, method_pages, outdated_pages, write_pages

DOCSTRING = """Early-learning regularization.

    Keeps the network near its own early predictions ``t``, read from `EMA<targets>`.
    Objective, for samples <i>:

        L = CE(z, y) + lam * log(1 - <p, t>)

        t <- beta * t + (1 - beta) * p

    - first point
      goes on
    - second point
    **Paper**: Liu et al., Early-Learning Regularization,
    NeurIPS 2020, <https://arxiv.org/abs/2007.00151>.
    **Authors' code**: repository at commit 1.
    **Differences** from that code:
    - float32 targets: (their half overflow).

    Args:
        num_classes: K.
        beta (float): share of the old value in the moving
            average, in [0, 1).
        **kwargs: passed on.

    Raises:
        ValueError: beta is outside of [0, 1).

    Example:
        >>> ELR(num_classes=3)
        ELR()

        >>> 1 + 1
        2
    """


def entry(name: str = "ELR", **changes: Any) -> MethodEntry:
    method: MethodEntry = {
        "name": name,
        "docstring": DOCSTRING,
        "inputs": "none",
        "networks": 1,
        "cost": "1x",
        "recipes": [
            {"path": "configs/elr_digits.yaml", "row": "-", "cells": {"data": "Digits", "measured": "97.18"}},
            {"path": "configs/elr_cifar10.yaml", "row": "sym40", "cells": {"data": "CIFAR10", "expected": "91.43"}},
        ],
        "results": [],
    }
    return {**method, **changes}  # type: ignore[typeddict-item]


def test_a_page_has_the_parts_in_order() -> None:
    page = method_pages([entry()])["elr.md"]
    headings = [line for line in page.splitlines() if line.startswith(("# ", "## "))]
    assert headings == ["# ELR", "## Arguments", "## Raises", "## Example", "## Recipes", "## Results"]
    assert page.endswith("\n") and not page.endswith("\n\n")


def test_prose_keeps_formulas_lists_and_code() -> None:
    page = method_pages([entry()])["elr.md"]
    assert "predictions `t`, read from `EMA<targets>`." in page
    assert r"for samples \<i>:" in page
    assert "```text\nL = CE(z, y) + lam * log(1 - <p, t>)\n\nt <- beta * t + (1 - beta) * p\n```" in page
    assert "\n\n- first point\n  goes on\n- second point\n\n**Paper**" in page


def test_paper_code_and_differences_are_paragraphs() -> None:
    page = method_pages([entry()])["elr.md"]
    assert "NeurIPS 2020, <https://arxiv.org/abs/2007.00151>.\n\n**Authors' code**: repository at commit 1.\n\n" in page
    assert "**Differences** from that code:\n\n- float32 targets: (their half overflow)." in page


def test_arguments_are_a_list_with_joined_lines() -> None:
    page = method_pages([entry()])["elr.md"]
    assert "- `num_classes`: K.\n- `beta`: share of the old value in the moving average, in [0, 1).\n- `**kwargs`: passed" in page
    assert "- `ValueError`: beta is outside of [0, 1)." in page


def test_the_example_is_a_code_block() -> None:
    page = method_pages([entry()])["elr.md"]
    assert "## Example\n\n```python\n>>> ELR(num_classes=3)\nELR()\n\n>>> 1 + 1\n2\n```" in page


def test_a_paragraph_after_a_section_is_prose_again() -> None:
    page = method_pages([entry(docstring="One line.\n\nArgs:\n    a: b\n\nMore of it.\n\n    x = 1\n")])["elr.md"]
    assert "- `a`: b\n\nMore of it.\n\n```text\nx = 1\n```" in page


def test_recipes_are_linked_each_row_with_its_figures() -> None:
    page = method_pages([entry()])["elr.md"]
    assert "`noisylab fit --config elr_cifar10.yaml --row sym40` runs one of them:" in page
    assert "| recipe | row | data | measured | expected |" in page
    assert "| [elr_digits](../../configs/elr_digits.yaml) | - | Digits | 97.18 | - |" in page
    assert "| [elr_cifar10](../../configs/elr_cifar10.yaml) | sym40 | CIFAR10 | - | 91.43 |" in page
    assert "None yet." in method_pages([entry(recipes=[])])["elr.md"]


def test_results_are_a_table_or_not_yet() -> None:
    assert "## Results\n\nNot yet.\n" in method_pages([entry()])["elr.md"]
    rows = [{"data": "digits", "headline": "62.50"}, {"data": "CIFAR-10", "command": "a | b"}]
    page = method_pages([entry(results=rows, recipes=[])])["elr.md"]
    assert "| data | headline | command |\n|:--|--:|:--|\n| digits | 62.50 | - |\n| CIFAR-10 | - | a \\| b |" in page
    assert "## Recipes\n\nNone yet." in page


def test_the_index_lists_the_methods_in_order() -> None:
    pages = method_pages([entry(inputs="noise rate (oracle)", networks=2), entry("CoTeaching", slug="co_teaching")])
    assert list(pages) == ["elr.md", "co_teaching.md", "README.md"]
    rows = [line for line in pages["README.md"].splitlines() if line.startswith("| [")]
    paper = "Liu et al., Early-Learning Regularization, NeurIPS 2020, <https://arxiv.org/abs/2007.00151>."
    assert rows[0] == f"| [ELR](elr.md) | {paper} | noise rate (oracle) | 2 | 1x | not yet |"
    assert rows[1].startswith("| [CoTeaching](co_teaching.md) |")


def test_a_method_without_paper_has_a_dash_in_the_index() -> None:
    assert "| [ELR](elr.md) | - |" in method_pages([entry(docstring="Plain training.", results=[{"a": "b"}])])["README.md"]


@pytest.mark.parametrize(
    ("methods", "problem"),
    [
        ([entry(docstring="  ")], "method 'ELR' has an empty docstring"),
        ([entry(), entry("Elr")], "method 'Elr' would be a second page elr.md; give it another 'slug'"),
        ([entry(slug="readme")], "would be a second page readme.md"),
        ([{"name": "ELR", "docstring": "x"}], "method 'ELR' has no inputs, networks, cost, recipes, results; add it"),
    ],
)
def test_a_wrong_entry_is_named(methods: list[MethodEntry], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        method_pages(methods)


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "docs" / "methods"
    assert write_pages([entry()], folder) == {"elr.md": "missing", "README.md": "missing"}
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(times) == ["README.md", "elr.md"]
    assert write_pages([entry()], folder) == {}
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def test_the_check_names_outdated_pages_and_writes_nothing(tmp_path: Path) -> None:
    assert outdated_pages([entry()], tmp_path / "none") == {"elr.md": "missing", "README.md": "missing"}
    assert not (tmp_path / "none").exists()
    write_pages([entry(), entry("ACT")], tmp_path)
    (tmp_path / "notes.md").write_text("by hand", encoding="utf-8")
    (tmp_path / "elr.md").write_text("edited", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    expected = {"elr.md": "changed", "README.md": "changed", "act.md": "left over"}
    assert outdated_pages([entry()], tmp_path) == expected
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert write_pages([entry()], tmp_path) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "elr.md", "notes.md"]
    assert outdated_pages([entry()], tmp_path) == {}
