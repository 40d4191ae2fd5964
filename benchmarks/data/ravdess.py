"""RAVDESS speech (MFCC statistics) to arrays for `Arrays`; the test rows are all clips of some actors, `group` is the actor.

The 200 columns have very different scales: use `Arrays` with ``standardize: true``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from converting import arguments, read, some_rows, write_arrays

from noisylab.data.splits import group_holdout


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--test-share", type=float, default=1 / 6, help="share of the actors in the test set (default: 1/6, four)"
    )
    options = parser.parse_args(argv)
    clips = read(options.source, "ravdess/ravdess_features.npz")
    emotion, actor = clips["emotion"].astype(np.int64), clips["actor"].astype(np.int64)
    everyone = torch.arange(len(actor))
    test = group_holdout(everyone, torch.from_numpy(actor), options.test_share, options.seed).numpy()
    train = np.setdiff1d(everyone.numpy(), test)
    train, test = (part[some_rows(emotion[part], options.limit, options.seed)] for part in (train, test))
    write_arrays(
        options.out,
        x=clips["mfcc_stats"][train],
        y=emotion[train],
        group=actor[train],
        class_names=clips["emotion_names"],
        test_x=clips["mfcc_stats"][test],
        test_y=emotion[test],
    )


if __name__ == "__main__":
    main()
