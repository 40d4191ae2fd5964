"""How the figures came about, in sentences, from what the runs say of themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from noisylab.reports.page.blocks import Section, Terms
from noisylab.reports.page.content import Content
from noisylab.reports.page.settings import value_of
from noisylab.reports.page.words import count, distinct, listed, percents, some
from noisylab.reports.runs import RunFolder
from noisylab.reports.studyfigures import FIGURES, principal

__all__ = ["protocol_of", "protocol_section", "seed_words", "test_rows"]

_MOST_GROUPS = 6  # named where runs differ in something


def protocol_section(content: Content, *, best: bool) -> Section:
    """What was trained on what, for how long, and how the figures are chosen.

    Args:
        content: with at least one run.
        best: whether the best test epoch is shown, too.
    """
    terms = [
        ("Data", _by_group(content, _data), ""),
        ("Noise", _by_group(content, _noise), "" if _truth_known(content.runs) else _UNKNOWN),
        ("Held out", _by_group(content, _held_out), ""),
        ("Seeds", seed_words(content.runs), "The seed of a run gives its first weights and the order of its batches."),
        ("Training", _by_group(content, _training), ""),
        ("Budget", _budget(content), ""),
        ("Figure", _by_group(content, lambda run: protocol_of(run) or "the runs do not name their protocol"), _chosen(best)),
        ("Compared by", FIGURES[principal(content.study)].title if content.study is not None else "", ""),
        ("Spread", _SPREAD, ""),
    ]
    return Section("protocol", "Protocol", [Terms([term for term in terms if term[1]])])


_UNKNOWN = "The true labels are not known: nothing can be said of memorization or of how right a selection is."
_SPREAD = (
    "Means are over the seeds, of each the mean over its folds, and ± is the population standard deviation. In the curves "
    "a line is the mean and its band reaches from the lowest run to the highest."
)


def _chosen(best: bool) -> str:
    if best:
        return "The best test epoch is shown on request and marked *: chosen on the test set, it is an upper bound, no result."
    return "No epoch was chosen on the test set."


def _by_group(content: Content, words: Callable[[RunFolder], str]) -> str:
    """One text where all runs agree; else each with the tasks or methods that it is true of."""
    texts = [(group, text) for group in content.groups for text in distinct(words(run) or "none" for run in group.runs)]
    if len({text for _, text in texts}) < 2:
        return texts[0][1] if texts and texts[0][1] != "none" else ""
    by_task = _each_of_its_task(content, words)
    if by_task:
        return by_task
    of_label: dict[str, set[str]] = {}
    for group, text in texts:
        of_label.setdefault(group.label, set()).add(text)
    told_by_label = all(len(found) == 1 for found in of_label.values())
    found: dict[str, list[str]] = {}
    for group, text in texts:
        found.setdefault(text, []).append(
            group.label if told_by_label or len(content.tasks) == 1 else f"{group.label} ({group.task})"
        )
    return "\n".join(f"{text} ({some(distinct(names), _MOST_GROUPS)})" for text, names in found.items())


def _each_of_its_task(content: Content, words: Callable[[RunFolder], str]) -> str:
    texts = {task: distinct(words(run) for group in content.of(task) for run in group.runs) for task in content.tasks}
    if len(texts) < 2 or any(len(found) > 1 for found in texts.values()):
        return ""
    return "\n".join(found[0] if found else "none" for found in texts.values())


def _data(run: RunFolder) -> str:
    data = run.summary["data"]
    rows, classes = data.get("num_train"), data.get("num_classes")
    parts = [run.data]
    if isinstance(rows, int):
        parts.append(f"{count(rows, 'training row')}")
    if isinstance(classes, int):
        parts.append(count(classes, "class", "classes"))
    tested = test_rows(run)
    if tested:
        parts.append(count(tested, "test row"))
    for key, what in (("num_unlabeled", "unlabeled row"), ("num_trusted", "trusted row")):
        if data.get(key):
            parts.append(count(int(data[key]), what))
    if data.get("folds"):
        parts.append(f"{data['folds']} folds, each once the test set")
    return f"{parts[0]}: {', '.join(parts[1:])}" if len(parts) > 1 else parts[0]


def _budget(content: Content) -> str:
    """What was to be equal for all methods of a study."""
    asked = content.study.spec.get("budget") if content.study is not None else None
    if not isinstance(asked, Mapping):
        return ""
    if asked.get("compute") is not None:
        return f"as much compute for each method as {asked['compute']} epochs of cross-entropy, by what its training step costs"
    return f"{asked['epochs']} epochs for each method" if asked.get("epochs") is not None else ""


def protocol_of(run: RunFolder) -> str:
    """How the figure is chosen, the same words for all folds."""
    return run.protocol if run.number("data", "fold") is None else re.sub(r"\bfold \d+ of\b", "each fold of", run.protocol)


def test_rows(run: RunFolder) -> int | None:
    """How many test rows there are; None where the summary has no confusion matrix."""
    confusion = (run.summary["test"].get("headline") or {}).get("confusion")
    if not confusion:
        return None
    return int(sum(sum(row) for row in confusion))


def _noise(run: RunFolder) -> str:
    if run.noise == "labels as given":
        known = run.measured_rate
        return "labels as given" if known is None else f"labels as given, {percents(known)} % of them wrong"
    generator = (run.summary.get("noise") or {}).get("generator")
    kind = (run.summary.get("noise") or {}).get("kind")
    return f"{run.noise}{f' ({generator})' if generator and generator != kind else ''}"


def _truth_known(runs: Sequence[RunFolder]) -> bool:
    return any(run.measured_rate is not None or run.at_end("memorization/clean_acc") is not None for run in runs)


def _held_out(run: RunFolder) -> str:
    share = value_of(run, "data", "val_fraction")
    if not share:
        return "no training rows"
    labels, by = value_of(run, "data", "val_labels"), value_of(run, "data", "val_by")
    how = "drawn by whole groups" if by == "group" else "stratified by given label"
    seed = value_of(run, "data", "split_seed")
    which = "as given, noise included" if labels == "given" else f"{labels}"
    return (
        f"{100 * share:g} % of the training rows, {how}{'' if seed is None else f', split seed {seed}'}; their labels are {which}"
    )


def seed_words(runs: Sequence[RunFolder]) -> str:
    """The seeds of the runs and of their noise."""
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    noise = sorted({seed for run in runs if isinstance(seed := (run.summary.get("noise") or {}).get("seed"), int)})
    text = f"runs {_numbers(seeds)}" if seeds else "runs without a seed"
    return f"{text}; noise {_numbers(noise)}" if noise else text


def _numbers(found: Sequence[int]) -> str:
    if len(found) > 4 and found == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return listed(str(each) for each in found)


def _training(run: RunFolder) -> str:
    epochs = run.number("epochs")
    batch = value_of(run, "data", "batch_size")
    parts = [] if epochs is None else [count(int(epochs), "epoch")]
    parts += [] if batch is None else [f"batches of {batch}"]
    parts += [f"precision {run.summary['precision']}"] if run.summary.get("precision") else []
    return ", ".join(parts)
