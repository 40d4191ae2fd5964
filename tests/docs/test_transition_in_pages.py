"""The pages name what a run with a transition matrix leaves behind, and the hooks that bring it about."""

from __future__ import annotations

import torch
from blocks import ROOT

from noisylab.methods import NoisyLabelMethod
from noisylab.metrics import TransitionRecord, transition_metrics


def test_the_recipes_page_names_files_numbers_and_keys() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert "| `transition.png` |" in page and "| `transition.csv` |" in page
    row = next(line for line in page.splitlines() if line.startswith("| `transition` |"))
    assert not [key for key in TransitionRecord.__annotations__ if f"`{key}`" not in row]
    table = page.partition("### metrics.csv")[2].partition("### summary.json")[0]
    names = [*transition_metrics(torch.eye(2), torch.eye(2)), "anchor_right"]
    assert not [name for name in names if f"/{name}`" not in table]


def test_the_methods_page_names_the_hooks() -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for hook in (NoisyLabelMethod.transition_matrix, NoisyLabelMethod.anchor_rows):
        assert f"| `{hook.__name__}()` |" in page
