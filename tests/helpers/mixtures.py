"""A method that fits a mixture to its losses and uses it for nothing."""

from __future__ import annotations

from noisylab.methods import CrossEntropy
from noisylab.selection.mixture import fit_mixture, normalize
from noisylab.selection.mixture_fit import MixtureFit


class FittedToy(CrossEntropy):
    """Cross-entropy whose losses in training are fitted by a mixture at the end of each epoch but the first."""

    def mixture_fit(self) -> dict[str, MixtureFit]:
        if self.current_epoch < 1:
            return {}
        rows = self.info.train_rows.to(self.device)
        values = normalize(self.memory["observed_loss"][rows])
        return {"network": MixtureFit(rows, values, fit_mixture(values))}
