"""The choice of a method in plain words."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from noisylab.cli.studies.choice import CHECK_FILE, Choice, NoiseGuess, Standing, difference_error, standard_error
from noisylab.cli.studies.halving import Candidate, Rung
from noisylab.reports.paired import points
from noisylab.reports.table import percent

__all__ = ["choice_text", "ladder_text"]

_WIDTH = 110


def choice_text(
    choice: Choice,
    candidates: Sequence[Candidate],
    rungs: Sequence[Rung],
    standings: Sequence[Sequence[Standing]],
    noise: NoiseGuess | None,
    rows: int,
    failed: Mapping[str, str],
    kept: bool,
    compute: bool = True,
) -> str:
    """What was chosen, why, how sure that is, what it cannot see, and what checked labels would add.

    Args:
        choice: what was chosen.
        candidates: that took part.
        rungs: at which they were compared.
        standings: at each rung, best first.
        noise: an estimate of the share of wrong labels; None for none.
        rows: held out.
        failed: message by name of methods that ended with an error.
        kept: whether the held-out rows stay out of the final run.
        compute: whether all runs cost the same, or have the same number of epochs.
    """
    parts = {
        "Chosen": [f"{choice.method}."],
        "Why": _why(choice, "at equal compute" if compute else "with as many epochs each", candidates, standings, rows, failed),
        "How sure": _how_sure(choice, candidates),
        "In true accuracy": _in_clean_units(choice, standings, noise, rows),
        "What this cannot see": _blind(noise),
        "What checked labels would add": _checks(choice, noise, rows),
        "Final run": _final(choice, rows, kept),
    }
    text = "\n\n".join(f"{title}\n" + "\n".join(map(_wrapped, lines)) for title, lines in parts.items() if lines)
    return (
        f"{text}\n\nRungs: accuracy on the given labels of {rows:,} held-out rows in percent, ± one standard error\n\n"
        + _table(rungs, standings, noise, rows)
    )


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _accuracy(value: float, rows: int) -> str:
    return f"{percent(value)} ± {percent(standard_error(value, rows))} %"


def _why(
    choice: Choice,
    budget: str,
    candidates: Sequence[Candidate],
    standings: Sequence[Sequence[Standing]],
    rows: int,
    failed: Mapping[str, str],
) -> list[str]:
    last = {each.method: each.accuracy for each in standings[-1]}
    best, other = choice.finalists[0], choice.finalists[1:]
    against = f"; {other[0]}, the runner-up, {_accuracy(last[other[0]], rows)}" if other else ""
    lines = [
        f"Of {len(candidates)} methods {budget}, {best} predicts best the given labels of {rows:,} rows that no "
        f"method was trained on: {_accuracy(last[best], rows)}{against}."
    ]
    if not other:
        lines.append("No other method came to the end of the race.")
    return [
        *lines,
        *(
            f"{name} ended with an error and was out: {(text.splitlines() or ['without a message'])[0]}"
            for name, text in failed.items()
        ),
    ]


def _how_sure(choice: Choice, candidates: Sequence[Candidate]) -> list[str]:
    pair = choice.pair
    if pair is None:
        return ["That cannot be said: there was nothing to compare with."]
    best, other = choice.finalists
    low, high = (points(value) for value in pair.interval)
    lines = [
        f"On the same rows {best} alone agrees with the label on {pair.first_only}, {other} alone on {pair.second_only}: "
        f"{points(pair.difference)} points, {100 * pair.level:g} % interval {low} to {high}, McNemar's exact "
        f"p = {pair.p_value:.2g}."
    ]
    if choice.sure == "clear":
        lines.append(f"The interval leaves 0 out: on rows like these {best} agrees with the labels more often.")
    elif choice.sure == "likely":
        lines.append(f"The interval includes 0: {best} is the better guess, and no more than that.")
    else:
        costs = {each.name: each.cost for each in candidates}
        cheaper = (
            f"{choice.method} is taken, as an epoch of it costs {costs[choice.method]:.1f} epochs of cross-entropy and one of "
            f"{choice.other or other} {costs[choice.other or other]:.1f}"
            if costs[best] != costs[other]
            else f"they cost the same, so {choice.method} is taken"
        )
        lines.append(
            f"That is less than the standard error of the difference, {100 * difference_error(pair):.2f} points: the two are "
            f"level. Of two that are level the cheaper is taken: {cheaper}."
        )
    lines.append(
        "This is one seed: another one would move all figures. And the best of several looks better than it is, so expect new "
        "data to show less."
    )
    return lines


def _in_clean_units(choice: Choice, standings: Sequence[Sequence[Standing]], noise: NoiseGuess | None, rows: int) -> list[str]:
    if noise is None:
        return ["The share of wrong labels could not be estimated, so accuracies cannot be converted."]
    low, high = noise.bounds
    held = f"bounds that held in measured settings: {low:.0%} to {high:.0%}"
    guess = f"{noise.rate:.0%} of the labels are estimated to be wrong ({held})"
    if not noise.usable:
        return [f"{guess}: too many for accuracies on given labels to say anything about true ones."]
    last = {each.method: each.accuracy for each in standings[-1]}
    shown = [
        f"{name} {percent(noise.clean(last[name]))} ± {percent(standard_error(last[name], rows) / noise.slope)} %"
        for name in choice.finalists
    ]
    if noise.clean(last[choice.best]) > 1:
        shown.append("more than there is, by chance or because fewer labels are wrong")
    return [
        f"{guess}. If they are wrong symmetrically, a point of accuracy on given labels is {1 / noise.slope:.2f} points of true "
        f"accuracy: {', '.join(shown)}. The error of the estimated share comes on top."
    ]


def _blind(noise: NoiseGuess | None) -> list[str]:
    lines = [
        "Accuracy on given labels ranks methods as true accuracy does, up to chance, where every wrong label is as likely as any "
        "other (symmetric noise).",
        "Where classes are mistaken for particular others, it weighs errors by where labels go wrong, and can put two methods "
        "the wrong way round; where labels go wrong by what a sample looks like, it can prefer the method that repeats the "
        "labelers' mistakes. Nothing here can rule these out; checked labels can.",
    ]
    if noise is not None and noise.paired_in:
        lines.append(
            f"WARNING: by the lists of {', '.join(noise.paired_in)}, most classes here are mistaken for one other class each. "
            "The choice may be wrong by many points, however sure it looks above: check the rows below before you trust it."
        )
    return lines


def _checks(choice: Choice, noise: NoiseGuess | None, rows: int) -> list[str]:
    if choice.pair is None:
        return []
    first, second = choice.finalists
    count = len(choice.disagree)
    if not count:
        return [f"Nothing: {first} and {second} predict the same classes on all {rows:,} held-out rows."]
    lines = [
        f"{first} and {second} predict different classes on {count} of the {rows:,} held-out rows. Only these tell the two "
        f"apart; they are in {CHECK_FILE}, in random order, with both predictions and a column for the true label. Checking "
        "all of them says which of the two is right more often on the held-out rows, whatever the noise."
    ]
    if choice.checks is None:
        return lines
    enough = (
        "so check the first ones of the list"
        if choice.checks <= count
        else f"more than there are: with these rows the two may stay undecided, and {_share(choice.checks, count, rows)}"
    )
    lines.append(
        f"If the lead is what it seems, about {choice.checks:,} checked rows of that kind show it with a probability of 80 % "
        f"(95 % interval, symmetric noise), {enough}."
    )
    return lines


def _share(checks: int, count: int, rows: int) -> str:
    return f"about {round(rows * checks / count):,} held-out rows would have that many"


def _final(choice: Choice, rows: int, kept: bool) -> list[str]:
    if kept:
        return [f"The held-out rows stay out, as --keep_held_out says: the run that won, of {choice.method}, is the final one."]
    return [
        f"{choice.method} is trained again on all rows with its whole budget; the {rows:,} held-out rows return to training "
        "there, and only there. Its own accuracy on them means nothing."
    ]


def _table(rungs: Sequence[Rung], standings: Sequence[Sequence[Standing]], noise: NoiseGuess | None, rows: int) -> str:
    lines = []
    usable = noise is not None and noise.usable
    for number, (rung, each) in enumerate(zip(rungs, standings, strict=True), 1):
        lines.append(f"  rung {number}, {rung.share:.0%} of each run")
        for standing in each:
            clean = f"  true, if symmetric: {percent(noise.clean(standing.accuracy))}" if noise is not None and usable else ""
            mark = "" if number == len(rungs) else "goes on" if standing.goes_on else "out"
            shown = f"{_accuracy(standing.accuracy, rows):>15}"
            lines.append(f"    {standing.method:<18}{standing.epochs:>4} epochs  {shown}{clean}  {mark}".rstrip())
    return "\n".join(lines) + "\n"


def ladder_text(candidates: Sequence[Candidate], rungs: Sequence[Rung], words: str, budget: int, compute: bool) -> str:
    """The plan of a race.

    Args:
        candidates: that take part.
        rungs: at which they are compared.
        words: the data and the network.
        budget: epochs, or epochs of cross-entropy.
        compute: whether all runs cost the same.
    """
    what = f"about {budget} epochs of cross-entropy for each whole run (equal compute)" if compute else f"{budget} epochs each"
    names = [candidate.name for candidate in candidates]
    lines = [f"{'data':<10}{words}", f"{'budget':<10}{what}", ""]
    header = "".join(f"{f'{rung.share:.0%}':>8}" for rung in rungs)
    lines.append(f"{'method':<18}{'warm-up':>8}{header}   epochs by each rung")
    for each in candidates:
        epochs = "".join(f"{rung.epochs[each.name]:>8}" for rung in rungs)
        lines.append(f"{each.name:<18}{each.warmup or '-':>8}{epochs}")
    left, share, before = len(names), 0.0, 0.0
    for rung in rungs:
        share += left * (rung.share - before)
        left, before = rung.keep, rung.share
    keeps = ", ".join(f"{rung.keep}" for rung in rungs[:-1])
    lines.append("")
    if rungs[:-1]:
        late = [each.name for each in candidates if each.earliest >= rungs[0].share - 1e-9]
        why = f", a tenth of the run after the warm-up of {' and '.join(late)}" if late else ""
        lines.append(f"{'race':<10}at {rungs[0].share:.0%}{why}, the best go on ({keeps}), then to the end")
    lines.append(f"{'compute':<10}{share:.1f} of {len(names)} whole runs, and one more for the winner on all rows")
    return "\n".join(lines)
