"""Wrong labels in a table of texts: one command of noisylab beside cleanlab on the same embeddings.

The texts are the first sentences of docstrings in the source files of installed libraries; the task is which library a docstring
comes from. 30 % of the labels are moved to another library, drawn uniformly. noisylab is the command ``noisylab issues --dataset
texts.parquet`` with its defaults; cleanlab gets out-of-sample probabilities of a logistic regression in five folds on the vectors
that noisylab trained on, and ranks by self-confidence. Needs ``pip install "noisylab[text,tables]" cleanlab``.

    python benchmarks/text_issues.py --seeds 0 1 2 --out text_issues.json
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARIES = ("matplotlib", "networkx", "numpy", "pandas", "scipy", "sklearn", "sympy", "torch", "torchvision", "transformers")
ROWS, RATE = 5000, 0.3
_WORDS = (6, 60)  # of a text


@cache
def docstrings(library: str) -> tuple[str, ...]:
    """Different first paragraphs of the docstrings of a library, in the order of its files; nothing is imported."""
    return tuple(dict.fromkeys(_docstrings(library)))


def _docstrings(library: str) -> Iterator[str]:
    found = importlib.util.find_spec(library)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{library} is not installed: pip install {library}")
    for file in sorted(Path(found.submodule_search_locations[0]).rglob("*.py")):
        if "test" in str(file.relative_to(file.parents[1])):
            continue
        try:
            tree = ast.parse(file.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError):  # files for other versions of Python
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if _WORDS[0] <= len(text.split()) <= _WORDS[1]:
                    yield text


def texts(seed: int) -> tuple[list[str], NDArray[np.int64]]:
    """The texts, as many of each library, in a random order, and the place of each one's library."""
    generator = np.random.default_rng(seed)
    seen: set[str] = set()
    rows: list[tuple[str, int]] = []
    for place, library in enumerate(LIBRARIES):
        own = [text for text in docstrings(library) if text not in seen]
        seen |= set(own)
        chosen = generator.choice(len(own), ROWS // len(LIBRARIES), replace=False)
        rows += [(own[row], place) for row in chosen]
    order = generator.permutation(len(rows))
    return [rows[row][0] for row in order], np.array([rows[row][1] for row in order])


def measure(seed: int, folder: Path) -> dict[str, Any]:
    """Figures of one draw of texts, wrong labels and training."""
    import pyarrow as pa
    from pyarrow import parquet

    written, true = texts(seed)
    generator = np.random.default_rng(1000 + seed)
    wrong = generator.random(len(true)) < RATE
    given = np.where(wrong, (true + generator.integers(1, len(LIBRARIES), len(true))) % len(LIBRARIES), true)
    table = folder / "texts.parquet"
    parquet.write_table(pa.table({"text": written, "label": [LIBRARIES[k] for k in given]}), table)
    start = time.perf_counter()
    command = [sys.executable, "-m", "noisylab", "issues", "--dataset", str(table), "--seed_everything", str(seed)]
    subprocess.run([*command, "--run_dir", str(folder / "run")], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    return {
        "seed": seed,
        "rows": len(true),
        "wrong": float(wrong.mean()),
        "noisylab": _ours(folder, wrong, seconds),
        "cleanlab": _theirs(table, given, wrong),
    }


def _ours(folder: Path, wrong: NDArray[np.bool_], seconds: float) -> dict[str, float]:
    from noisylab.issues import read_issues

    found = read_issues(folder / "run" / "label_issues.csv")
    score, flag = np.zeros(len(wrong)), np.zeros(len(wrong), dtype=bool)
    score[found.index], flag[found.index] = found.score, found.is_issue
    return {**_figures(wrong, score, flag), "seconds": seconds}


def _theirs(table: Path, given: NDArray[np.int64], wrong: NDArray[np.bool_]) -> dict[str, float]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    from noisylab.data import Text
    from noisylab.data.rows import DenseRows

    data = Text(table=str(table), text="text", label="label")
    data.setup()
    store = data.source.train
    assert isinstance(store, DenseRows)
    vectors = store.values.float().numpy()
    start = time.perf_counter()
    probs = cross_val_predict(LogisticRegression(max_iter=1000), vectors, given, cv=5, method="predict_proba")
    score = 1 - get_label_quality_scores(given, probs, method="self_confidence")
    flag = find_label_issues(given, probs)
    return {**_figures(wrong, score, flag), "seconds": time.perf_counter() - start}


def _figures(wrong: NDArray[np.bool_], score: NDArray[np.float64], flag: NDArray[np.bool_]) -> dict[str, float]:
    from sklearn.metrics import f1_score, roc_auc_score

    first = np.argsort(-score, kind="stable")[:100]
    return {
        "auroc": float(roc_auc_score(wrong, score)),
        "f1": float(f1_score(wrong, flag)),
        "flagged": float(flag.mean()),
        "precision_at_100": float(wrong[first].mean()),
    }


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="file of the figures, JSON")
    asked = parser.parse_args()
    runs = []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(seed, Path(folder)))
        print(json.dumps(runs[-1]), flush=True)
    print("\n|  | " + " | ".join(runs[0]["noisylab"]) + " |\n|:--|" + "--:|" * len(runs[0]["noisylab"]))
    for side in ("noisylab", "cleanlab"):
        cells = [[run[side][key] for run in runs] for key in runs[0][side]]
        print(f"| {side} | " + " | ".join(f"{np.mean(cell):.3f} ± {np.std(cell):.3f}" for cell in cells) + " |")
    if asked.out is not None:
        asked.out.write_text(json.dumps(runs, indent=2) + "\n")


if __name__ == "__main__":
    main()
