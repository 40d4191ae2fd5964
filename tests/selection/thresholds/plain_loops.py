"""The rules written apart: lists of Python numbers, a loop over rows. Each is called with the rows of one step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Rows = list[list[float]]


def largest(row: list[float]) -> tuple[float, int]:
    confidence = max(row)
    return confidence, row.index(confidence)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def variance(values: list[float]) -> float:
    middle = mean(values)
    return sum((value - middle) ** 2 for value in values) / (len(values) - 1)


def quantile(values: list[float], share: float) -> float:
    rising = sorted(values)
    place = share * (len(rising) - 1)
    low = math.floor(place)
    high = min(low + 1, len(rising) - 1)
    return rising[low] + (rising[high] - rising[low]) * (place - low)


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def flexmatch(num_classes: int, num_unlabeled: int, threshold: float = 0.95, warmup: bool = True) -> Callable[..., list[float]]:
    selected = [-1] * num_unlabeled
    learned = [0.0] * num_classes

    def step(rows: Rows, index: list[int], **_: Any) -> list[float]:
        weights = []
        for row in rows:
            confidence, k = largest(row)
            weights.append(float(confidence >= threshold * learned[k] / (2 - learned[k])))
        for row, place in zip(rows, index, strict=True):
            confidence, k = largest(row)
            if confidence >= threshold:
                selected[place] = k
        counts = [selected.count(k) for k in range(num_classes)]
        if any(counts):
            most = max([*counts, selected.count(-1)] if warmup else counts)
            learned[:] = [count / most for count in counts]
        return weights

    return step


def freematch(num_classes: int, momentum: float, share: float | None = None, clip: bool = False) -> Callable[..., list[float]]:
    state = {"t": 1 / num_classes, "p": [1 / num_classes] * num_classes, "h": [1 / num_classes] * num_classes}

    def step(rows: Rows, **_: Any) -> list[float]:
        best = [largest(row) for row in rows]
        confidences = [confidence for confidence, _ in best]
        level = mean(confidences) if share is None else quantile(confidences, share)
        state["t"] = momentum * state["t"] + (1 - momentum) * level
        if clip:
            state["t"] = min(state["t"], 0.95)
        for k in range(num_classes):
            state["p"][k] = momentum * state["p"][k] + (1 - momentum) * mean([row[k] for row in rows])
            state["h"][k] = momentum * state["h"][k] + (1 - momentum) * mean([float(found == k) for _, found in best])
        return [float(confidence >= state["t"] * state["p"][k] / max(state["p"])) for confidence, k in best]

    return step


def softmatch(
    num_classes: int, momentum: float, n_sigma: float = 2.0, aligned: bool = True, per_class: bool = False
) -> Callable[..., list[float]]:
    overall: list[float] = []
    count = num_classes if per_class else 1
    mu, var = [1 / num_classes] * count, [1.0] * count

    def step(rows: Rows, **_: Any) -> list[float]:
        if aligned:
            means = [mean([row[k] for row in rows]) for k in range(num_classes)]
            overall[:] = [momentum * old + (1 - momentum) * new for old, new in zip(overall or means, means, strict=True)]
            scaled = [[p * (1 / num_classes + 1e-6) / (m + 1e-6) for p, m in zip(row, overall, strict=True)] for row in rows]
            rows = [[p / sum(row) for p in row] for row in scaled]
        best = [largest(row) for row in rows]
        for k in range(count):
            own = [confidence for confidence, found in best if found == k or not per_class]
            if len(own) > 1:
                new_mu, new_var = mean(own), variance(own)
            elif per_class:
                new_mu, new_var = 0.0, 1.0
            else:
                continue
            mu[k], var[k] = momentum * mu[k] + (1 - momentum) * new_mu, momentum * var[k] + (1 - momentum) * new_var
        weights = []
        for confidence, found in best:
            k = found if per_class else 0
            weights.append(math.exp(-(min(confidence - mu[k], 0) ** 2) * n_sigma**2 / (2 * var[k])))
        return weights

    return step


def dash(rho: float, interval: int, floor: float = 0.05) -> Callable[..., list[float]]:
    def step(rows: Rows, logits: Rows, epoch: int, **_: Any) -> list[float]:
        limit = max(1.0001 * 1.27 ** -(epoch // interval) * rho, floor)
        weights = []
        for row in logits:
            probs = softmax(row)
            target = softmax(row, 0.5) if limit > floor else [float(k == row.index(max(row))) for k in range(len(row))]
            loss = -sum(t * math.log(p) for t, p in zip(target, probs, strict=True))
            weights.append(float(loss <= limit))
        return weights

    return step


def adamatch(num_classes: int, momentum: float, threshold: float = 0.95) -> Callable[..., list[float]]:
    wanted, found = [1 / num_classes] * num_classes, []

    def step(rows: Rows, labeled: Rows, **_: Any) -> list[float]:
        means = [mean([row[k] for row in rows]) for k in range(num_classes)]
        found[:] = [momentum * old + (1 - momentum) * new for old, new in zip(found or means, means, strict=True)]
        for k in range(num_classes):
            wanted[k] = momentum * wanted[k] + (1 - momentum) * mean([row[k] for row in labeled])
        cut = threshold * mean([max(row) for row in labeled])
        weights = []
        for row in rows:
            scaled = [p * (w + 1e-6) / (m + 1e-6) for p, w, m in zip(row, wanted, found, strict=True)]
            weights.append(float(max(scaled) / sum(scaled) >= cut))
        return weights

    return step


def labeled_rule(share: float | None, start: float = 0.95) -> Callable[..., list[float]]:
    state = {"t": start}

    def step(rows: Rows, labeled: Rows, target: list[int], **_: Any) -> list[float]:
        right = [largest(row)[0] for row, y in zip(labeled, target, strict=True) if largest(row)[1] == y]
        if right:
            state["t"] = mean(right) if share is None else quantile(right, share)
        return [float(max(row) >= state["t"]) for row in rows]

    return step


def percentile(accuracies: list[float], factor: float = 1.0) -> Callable[..., list[float]]:
    def step(rows: Rows, epoch: int, **_: Any) -> list[float]:
        count = math.floor(len(rows) * min(accuracies[epoch] * factor, 1) + 1e-6)
        order = sorted(range(len(rows)), key=lambda place: (-max(rows[place]), place))
        return [float(order.index(place) < count) for place in range(len(rows))]

    return step


def scs(num_classes: int, momentum: float) -> Callable[..., list[float]]:
    state = {"g": 1 / num_classes, "l": [1 / num_classes] * num_classes}

    def epoch(rows: Rows, given: list[int]) -> list[float]:
        state["g"] = min(
            momentum * state["g"] + (1 - momentum) * quantile([row[y] for row, y in zip(rows, given, strict=True)], 0.8), 0.95
        )
        for k in range(num_classes):
            state["l"][k] = momentum * state["l"][k] + (1 - momentum) * mean([row[k] for row in rows])
        return [float(row[y] >= state["g"] * state["l"][y] / max(state["l"])) for row, y in zip(rows, given, strict=True)]

    return epoch
