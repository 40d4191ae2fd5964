"""The Python blocks of the documentation run, page by page, in the order in which a reader would run them."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

import pytest
from blocks import PAGES, ROOT, blocks, write_files

WITH_PYTHON = [page for page in PAGES if any(block.runs for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:GPU available but not used")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    write_files(page, tmp_path)
    files = {path.stem for path in tmp_path.glob("*.py")}
    namespace = {"__name__": "page"}
    try:
        for number, block in enumerate(block for block in blocks(page) if block.runs):
            name = f"{page.name}, Python block {number + 1}"
            linecache.cache[name] = (len(block.text), None, block.text.splitlines(keepends=True), name)
            exec(compile(block.text, name, "exec"), namespace)
    finally:
        for module in files:
            sys.modules.pop(module, None)
