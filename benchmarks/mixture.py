"""Two Gaussians over N losses and the posterior of each loss: scikit-learn's GaussianMixture against noisylab's.

The losses are made up: 60 % are drawn around 0.25 and the others around 0.65, so that the two overlap, and mapped to [0, 1].
Both run with DivideMix's settings (10 iterations at most, tolerance 0.01, 0.0005 added to the variances). scikit-learn gets a
column of float64 on the host and another seed each repeat, as its k-means draws its first centers; noisylab gets the same numbers
on the device. Timed is a fit and the probabilities of all N.

How to read it: ``time ratio`` is over scikit-learn in the same repeat. ``farthest from scikit-learn`` is the largest difference
between a probability of ours and one of scikit-learn's, over its seeds; ``scikit-learn's spread`` that between its own seeds.

    python benchmarks/mixture.py [--short] [--device cuda] [--sizes 50000 1000000] [--out FILE]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from timing import Claim, Report, clock, parse, parser_for
from torch import Tensor

from noisylab.selection import fit_mixture, normalize

CLAIMED = 1_000_000  # losses that the bound is about
CLAIM = "noisylab's mixture against scikit-learn's"


def made_up_losses(size: int) -> Tensor:
    """(N,) float64 in [0, 1], of two overlapping groups."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(size, generator=generator, dtype=torch.float64)
    clean = torch.arange(size) < size * 6 // 10
    return normalize(torch.where(clean, 0.25 + 0.12 * normal, 0.65 + 0.15 * normal))


class Contest:
    """The two rows of one N.

    Args:
        size: N.
        device: of noisylab's row.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.values = made_up_losses(size).to(device)
        self.column = self.values.cpu()[:, None].numpy()
        self.theirs: list[np.ndarray] = []
        self.mine = self.values

    def sklearn(self) -> float:
        """Seconds of a fit and its probabilities; those of the component with the smaller mean are kept."""
        started = clock(torch.device("cpu"))
        settings = {"max_iter": 10, "tol": 1e-2, "reg_covar": 5e-4, "random_state": len(self.theirs)}
        fit = GaussianMixture(n_components=2, **settings).fit(self.column)
        prob = fit.predict_proba(self.column)[:, fit.means_.argmin()]
        seconds = clock(torch.device("cpu")) - started
        self.theirs.append(prob)
        return seconds

    def noisylab(self) -> float:
        """Seconds of the same."""
        started = clock(self.values.device)
        self.mine = fit_mixture(self.values).clean_prob(self.values)
        return clock(self.values.device) - started

    def differences(self) -> dict[str, float]:
        """How far the probabilities lie apart, at most."""
        theirs, mine = np.stack(self.theirs), self.mine.cpu().numpy()
        spread = float((theirs.max(0) - theirs.min(0)).max())
        return {"farthest from scikit-learn": float(abs(theirs - mine).max()), "scikit-learn's spread": spread}


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_for("mixture", __doc__, repeats=9)
    parser.add_argument("--sizes", type=int, nargs="+", help="values of N (default: 50000 1000000; short: 2000 20000)")
    options = parse(parser, argv)
    sizes = options.sizes or ([2000, 20_000] if options.short else [50_000, CLAIMED])
    if min(sizes) < 10:
        parser.error(f"--sizes must be at least 10, got {min(sizes)}")
    report = Report(options, "a fit of two Gaussians to N losses and the posterior of each, from losses that are there already")
    report.more |= {"differences": {}}
    for size in sizes:
        contest = Contest(size, options.device)
        contest.noisylab()  # the first call sets torch's kernels up
        contest.sklearn()
        text, bound = f"{CLAIM}, N = {size:,}", 5 if size >= CLAIMED else None
        report.measure(
            {"scikit-learn": contest.sklearn, "noisylab": contest.noisylab},
            "scikit-learn",
            group=f"N = {size:,}",
            unit="fit",
            claims=[Claim(text, "noisylab", "scikit-learn", bound, "at least")],
        )
        found = report.more["differences"][str(size)] = contest.differences()
        print(", ".join(f"{name} {value:.2g}" for name, value in found.items()))
    report.write()


if __name__ == "__main__":
    main()
