"""Reuters multilingual (1,200 documents, five views) to sparse arrays for `Arrays`, with a stratified test set or without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from converting import Array, arguments, read, some_rows, write_arrays

_VIEWS, _TERMS = 5, 2000


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--test-fraction", type=float, default=0.2, help="share of the documents in the test set, 0 for folds (default: 0.2)"
    )
    options = parser.parse_args(argv)
    if not 0 <= options.test_fraction < 1:
        parser.error(f"--test-fraction must be at least 0 and below 1, got {options.test_fraction}")
    reuters = read(options.source, "reuters_multiview/reuters_1200.npz")
    labels = reuters["labels"].astype(np.int64)
    test = some_rows(labels, round(options.test_fraction * len(labels)), options.seed)
    train = np.setdiff1d(np.arange(len(labels)), test)
    train, test = (part[some_rows(labels[part], options.limit, options.seed)] for part in (train, test))
    parts = {"": train, "test_": test} if len(test) else {"": train}
    arrays = {f"{prefix}y": labels[rows] for prefix, rows in parts.items()}
    for prefix, rows in parts.items():
        for view in range(_VIEWS):
            data, indices, indptr = (reuters[f"v{view}_{part}"] for part in ("data", "indices", "indptr"))
            for name, array in _rows_of_csr(data, indices, indptr, rows):
                arrays[f"{prefix}x_v{view}_{name}"] = array
    write_arrays(options.out, **arrays)


def _rows_of_csr(data: Array, indices: Array, indptr: Array, rows: Array) -> Iterator[tuple[str, Array]]:
    taken = np.concatenate([np.arange(indptr[row], indptr[row + 1]) for row in rows])
    yield "data", data[taken]
    yield "indices", indices[taken].astype(np.int64)
    yield "indptr", np.concatenate([[0], np.cumsum(indptr[rows + 1] - indptr[rows])])
    yield "shape", np.array([len(rows), _TERMS])


if __name__ == "__main__":
    main()
