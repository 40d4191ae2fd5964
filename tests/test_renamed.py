"""Names from before the American spelling work for one version, and say what they are called now."""

from __future__ import annotations

import importlib

import pytest

from noisylab.methods import ELR, ELRPlus
from noisylab.models import SmallCNN

OLD = {
    "noisylab.losses": {
        "cores2_regulariser": "cores2_regularizer",
        "elr_regulariser": "elr_regularizer",
        "normalised": "normalized",
    },
    "noisylab.selection": {"mislabelled": "mislabeled", "normalise": "normalize"},
    "noisylab.data": {"unlabelled_images": "unlabeled_images"},
}


@pytest.mark.parametrize(("room", "old", "new"), [(room, old, new) for room, names in OLD.items() for old, new in names.items()])
def test_an_old_name_is_the_new_one_with_a_warning(room: str, old: str, new: str) -> None:
    module = importlib.import_module(room)
    with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
        assert getattr(module, old) is getattr(module, new)
    assert old not in module.__all__


def test_other_names_are_not_there() -> None:
    losses = importlib.import_module("noisylab.losses")
    with pytest.raises(AttributeError, match=r"module 'noisylab\.losses' has no attribute 'nothing'"):
        losses.nothing  # noqa: B018


@pytest.mark.parametrize("method", [ELR, ELRPlus])
def test_the_old_argument_is_the_new_one_with_a_warning(method: type[ELR | ELRPlus]) -> None:
    with pytest.warns(DeprecationWarning, match="regularisation is now called regularization"):
        old = method(10, SmallCNN, regularisation=5.0)
    assert old.regularization == method(10, SmallCNN, regularization=5.0).regularization == 5.0
    assert method(10, SmallCNN).regularization == 3.0
