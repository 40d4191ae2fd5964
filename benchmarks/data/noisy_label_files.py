"""Published instance-dependent labels (Chen et al., AAAI 2021) of CIFAR-10 and MNIST to noise files for `FromFile`.

The true labels, to which the files are bound by a digest, come from the files of CIFAR-10N and MNIST in the same source folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from converting import arguments, read, some_rows, write_noise

_RATES = ("0.1", "0.2", "0.3", "0.4")


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__ or "", folder=True).parse_args(argv)
    labels = read(options.source, "noisy_label_files/noisy_label_files.npz")
    clean_labels = {
        "cifar10": read(options.source, "cifar_n_labels/cifar_n_labels.npz")["c10_clean_label"],
        "mnist": read(options.source, "mnist/mnist.npz")["y_train"],
    }
    for data, clean in clean_labels.items():
        clean = clean.astype(np.int64)
        rows = some_rows(clean, options.limit, options.seed)
        for rate in _RATES:
            name = f"{data}_idn_{rate}"
            write_noise(Path(options.out) / f"{name}.npz", labels[name][rows], clean[rows], kind="instance", rate=float(rate))


if __name__ == "__main__":
    main()
