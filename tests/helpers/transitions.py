"""A method that has a transition matrix and uses it for nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylab.methods import CrossEntropy


class EstimatingToy(CrossEntropy):
    """Cross-entropy that from its second epoch on has a matrix, which depends on the epoch, and the first row of each class."""

    def transition_matrix(self) -> Tensor | None:
        if self.current_epoch < 1:
            return None
        share = 0.1 * min(self.current_epoch, 5)
        matrix = torch.full((self.num_classes, self.num_classes), share / (self.num_classes - 1), device=self.device)
        return matrix.fill_diagonal_(1 - share)

    def anchor_rows(self) -> Tensor | None:
        if self.current_epoch < 1:
            return None
        given = self.info.given_target
        return torch.stack([(given == label).nonzero()[0, 0] for label in range(self.num_classes)]).to(self.device)
