"""Labels of several annotators that tests share."""

import numpy as np

LABELS = np.array([[0, 0, 1], [1, 1, 1], [2, 2, -1], [0, 1, -1], [1, -1, 1], [2, 0, 2], [-1, 2, 2], [0, 0, 0]])
PROBS = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.2, 0.6, 0.2],
        [0.1, 0.2, 0.7],
        [0.3, 0.5, 0.2],
        [0.1, 0.8, 0.1],
        [0.3, 0.1, 0.6],
        [0.2, 0.5, 0.3],
        [0.9, 0.05, 0.05],
    ]
)


def simulated() -> tuple[np.ndarray, np.ndarray]:
    """(993, 5) labels by annotators of accuracy 0.9, 0.8, 0.7, 0.6 and 0.4, who see 60 % of the items, and the true classes."""
    random = np.random.RandomState(0)
    truth = random.randint(3, size=1000)
    labels = np.full((1000, 5), -1)
    for place, accuracy in enumerate((0.9, 0.8, 0.7, 0.6, 0.4)):
        right = random.rand(1000) < accuracy
        wrong = (truth + random.randint(1, 3, 1000)) % 3
        seen = random.rand(1000) < 0.6
        labels[:, place] = np.where(seen, np.where(right, truth, wrong), -1)
    kept = (labels >= 0).any(1)
    return labels[kept], truth[kept]
