"""What every test gets: one thread, named seeds, no run folders in the working tree."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from helpers.quick import take_shortcuts

torch.set_num_threads(1)
for _name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
    logging.getLogger(_name).setLevel(logging.ERROR)


@pytest.fixture(autouse=True, scope="session")
def _settings_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the settings and caches of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISYLAB_SETTINGS", str(tmp_path_factory.mktemp("settings")))
        patch.setenv("NOISYLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _quick_trainers() -> Iterator[None]:
    """Trainers that do not repeat what changes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        take_shortcuts(patch)
        yield


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same random state at the start of every test, whatever ran before it."""
    torch.manual_seed(0)
    yield
