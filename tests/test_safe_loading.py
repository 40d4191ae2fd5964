"""Nothing that may come from elsewhere runs code when it is read; looked for in the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from helpers import PlainMLP, ToyData, fit

import noisylab
from noisylab.checkpoints.atomic import AtomicCheckpointIO
from noisylab.methods import CrossEntropy

_ROOT = Path(noisylab.__file__).parent

# what each call must say; None: the call may not be there at all
_CALLS: dict[str, tuple[str, str] | None] = {
    "torch.load": ("weights_only", "True"),
    "np.load": ("allow_pickle", "False"),
    "tar.extractall": ("filter", "'data'"),
    "pickle.load": None,
    "pickle.loads": None,
    "pickle.Unpickler": None,
    "torch.hub.load": None,
    "torch.hub.load_state_dict_from_url": None,
    "joblib.load": None,
    "shutil.unpack_archive": None,
    "eval": None,
    "exec": None,
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
}


def _breaches(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in _CALLS:
            continue
        required = _CALLS[ast.unparse(node.func)]
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if required is None or given.get(required[0]) != required[1]:
            found.append(ast.unparse(node))
    return found


def test_every_file_is_read_without_running_what_it_holds() -> None:
    calls = 0
    for file in sorted(_ROOT.rglob("*.py")):
        source = file.read_text()
        calls += source.count("torch.load(") + source.count("np.load(") + source.count("extractall(")
        assert not _breaches(source), file
    assert calls >= 5, "the names above are those that the source uses"


def test_the_search_finds_a_breach() -> None:
    assert _breaches("import torch\ntorch.load(path)")
    assert _breaches("np.load(path, allow_pickle=True)")
    assert not _breaches("torch.load(path, weights_only=True)")


class _Runs:
    """Runs a function when it is unpickled."""

    ran = False

    def __reduce__(self) -> tuple[object, ...]:
        return setattr, (_Runs, "ran", True)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A good checkpoint that somebody has put code into."""
    fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path, 1)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    torch.save({**checkpoint, "more": _Runs()}, tmp_path / "bad.ckpt")
    return tmp_path / "bad.ckpt"


def test_a_checkpoint_that_would_run_code_is_refused_everywhere(bad: Path, tmp_path: Path) -> None:
    for read in (
        lambda: CrossEntropy.load_from_checkpoint(bad),
        lambda: CrossEntropy.load_from_checkpoint(bad, weights_only=False),
        lambda: AtomicCheckpointIO().load_checkpoint(bad, weights_only=False),
        lambda: fit(CrossEntropy(3, PlainMLP), ToyData(), tmp_path, 2, resume=bad),
    ):
        with pytest.raises(Exception, match="Weights only load failed"):
            read()
    assert not _Runs.ran
