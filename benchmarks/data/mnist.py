"""MNIST to arrays for `Arrays`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from converting import arguments, read, some_rows, write_arrays


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__ or "").parse_args(argv)
    mnist = read(options.source, "mnist/mnist.npz")
    rows, test_rows = (some_rows(mnist[name], options.limit, options.seed) for name in ("y_train", "y_test"))
    write_arrays(
        options.out,
        x=mnist["x_train"][rows],
        y=mnist["y_train"][rows].astype(np.int64),
        class_names=np.array([str(digit) for digit in range(10)]),
        test_x=mnist["x_test"][test_rows],
        test_y=mnist["y_test"][test_rows].astype(np.int64),
    )


if __name__ == "__main__":
    main()
