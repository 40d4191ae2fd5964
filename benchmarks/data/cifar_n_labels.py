"""CIFAR-10N and CIFAR-100N human labels to noise files for `FromFile`, one a kind, bound to the true labels by their digest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from converting import arguments, read, some_rows, write_noise

_FILES = {
    "c10_aggre_label": "cifar10n_aggre",
    "c10_worse_label": "cifar10n_worst",  # the name that the data set's page uses
    "c10_random_label1": "cifar10n_random1",
    "c10_random_label2": "cifar10n_random2",
    "c10_random_label3": "cifar10n_random3",
    "c100_noisy_label": "cifar100n_noisy",
}


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__ or "", folder=True).parse_args(argv)
    labels = read(options.source, "cifar_n_labels/cifar_n_labels.npz")
    for key, name in _FILES.items():
        clean = labels[f"{key.split('_')[0]}_clean_label"].astype(np.int64)
        rows = some_rows(clean, options.limit, options.seed)
        write_noise(Path(options.out) / f"{name}.npz", labels[key][rows], clean[rows], kind="human")


if __name__ == "__main__":
    main()
