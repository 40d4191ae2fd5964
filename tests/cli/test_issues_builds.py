"""How often noisylab issues reads the data and builds what it needs."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylab.cli import main
from noisylab.data import Arrays
from noisylab.methods import NoisyLabelMethod


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each was done."""
    count: Counter[str] = Counter()
    for cls, name in ((Arrays, "__init__"), (Arrays, "load"), (NoisyLabelMethod, "__init__")):
        what = getattr(cls, name)

        @functools.wraps(what)
        def one_more(self: Any, *arguments: Any, what: Any = what, key: str = f"{cls.__name__}.{name}", **keywords: Any) -> Any:
            count[key] += 1
            return what(self, *arguments, **keywords)

        monkeypatch.setattr(cls, name, one_more)
    return count


def test_the_data_are_read_for_the_choice_of_a_network_and_for_training(
    counted: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    classes = np.arange(60) % 3
    rows = np.random.default_rng(0).normal(size=(60, 3)) + 2 * np.eye(3)[classes]
    np.savez("a.npz", x=rows.astype(np.float32), y=classes)
    assert main(["issues", "--arrays", "a.npz", "--trainer.max_epochs", "1", "--run_dir", "r"]) == 0
    assert Path("r/issues.html").is_file()
    # one to choose by, one that is tried out before the parser makes its own
    assert counted == {"Arrays.__init__": 3, "Arrays.load": 2, "NoisyLabelMethod.__init__": 2}
    counted.clear()
    assert main(["issues", "--run", "r"]) == 0
    assert counted == {"Arrays.__init__": 1, "Arrays.load": 1}, "a finished run needs no method"
