"""How good is a choice of method without clean labels? Its regret against the best in hindsight.

    export NOISYLAB_DATA=...   # docs/data.md; digits and the synthetic table need none
    python benchmarks/choice_regret.py --out build/choice_regret            # a line is written as it is measured
    python benchmarks/choice_regret.py --out build/choice_regret --table    # the table of docs/choosing.md

For each data set and noise, all default methods of `noisylab compare-methods` are trained in full at equal compute, with a tenth
of the noisy rows held out, and tested on clean rows at the last epoch. `auto` is the successive halving of `noisylab auto`,
replayed on the curves of these runs: a run that is paused and goes on has the numbers of one that was not, so that the race
needs no training of its own. Its winner is then trained on all rows. The regret of a way to choose is the test accuracy of the
best of the six runs minus that of the run it chooses.

One seed for everything. A run that was stopped goes on where it was. No setting was chosen by these figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped, unused-ignore]
from choice_data import DATA, Tables
from lightning.pytorch.callbacks import ModelCheckpoint

from noisylab.callbacks import Curves, Diagnostics, HeldOutLabels
from noisylab.cli.configuration.compose import compose
from noisylab.cli.running.app import build
from noisylab.cli.running.session import quiet
from noisylab.cli.studies.choice import is_level
from noisylab.cli.studies.halving import Candidate, ladder, starts_after, survivors
from noisylab.cli.studies.methodset import DEFAULT_METHODS, MethodPlan, Setup, method_set
from noisylab.reports.paired_rows import row_difference

BUDGET = 60  # epochs of cross-entropy: what `noisylab auto` takes by default for features
STEPS = 10  # batches of an epoch
HELD_OUT = 0.1


# ---- noise


def noise(name: str, rate: float, **arguments: Any) -> dict[str, Any]:
    return {"class_path": name, "init_args": {"rate": rate, **arguments}}


NOISE: dict[str, dict[str, Any] | None] = {
    "symmetric 40 %": noise("Symmetric", 0.4),
    "pair flip 40 %": noise("PairFlip", 0.4),
    "human 40 %": None,  # the labels of CIFAR-10N, "worse"
    "symmetric 60 %": noise("Symmetric", 0.6),
    "instance 40 %": noise("InstanceDependent", 0.4, scale="standardized"),
    "symmetric 20 %": noise("Symmetric", 0.2),
}


def cells() -> Iterator[tuple[str, str]]:
    """Data and noise: every data set with the first noise, then with the next."""
    for kind in NOISE:
        for data in DATA:
            if kind != "human 40 %" or data == "CIFAR-10":
                yield data, kind


# ---- training


def prepared(out: Path, data: str, kind: str) -> tuple[Path, Tables]:
    """The arrays of a data set, made once."""
    file = out / "data" / f"{data}{'-human' if NOISE[kind] is None else ''}.npz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = DATA[data]()
        human = made.pop("human", None)
        np.savez(out / "data" / f"{data}.npz", **made)
        if human is not None:
            np.savez(out / "data" / f"{data}-human.npz", **{**made, "y": human, "y_true": made["y"]})
    with np.load(file) as found:
        return file, {name: found[name] for name in found.files}


def plans_of(tables: Tables, held_out: bool) -> dict[str, MethodPlan]:
    network = {"class_path": "MLP", "init_args": {"in_features": tables["x"].shape[1], "hidden": [256]}}
    rows = len(tables["x"]) * (1 - HELD_OUT) if held_out else len(tables["x"])
    batch = round(len(tables["x"]) / STEPS)
    setup = Setup("features", network, int(tables["y"].max()) + 1, round(rows), batch, validation=held_out)
    return method_set(DEFAULT_METHODS, setup, BUDGET, compute=True)


def trained(place: Path, file: Path, kind: str, plan: MethodPlan, held_out: bool) -> dict[str, Any]:
    """What the run of a method came to, trained if it is not; without checkpoints, which take longer than these epochs."""
    record = place / "result.json"
    if not record.is_file():
        place.mkdir(parents=True, exist_ok=True)
        data: dict[str, Any] = {"path": str(file.absolute()), "batch_size": plan.batch_size}
        data |= {"val_fraction": HELD_OUT} if held_out else {}
        data |= {"noise": NOISE[kind]} if NOISE[kind] is not None else {}
        trainer = {"max_epochs": plan.epochs, "accelerator": "cpu", "devices": 1, "enable_progress_bar": False}
        recipe = {"model": plan.model, "data": {"class_path": "Arrays", "init_args": data}, "trainer": trainer}
        written = place / "recipe.yaml"
        written.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        app = build("fit", compose([str(written)], [("seed_everything", "0")]).config, folder=None)
        curves, seconds = Curves(None), time.monotonic()
        loop: Any = app.trainer
        callbacks = [callback for callback in loop.callbacks if not isinstance(callback, Diagnostics | ModelCheckpoint)]
        loop.callbacks = [*callbacks, curves, HeldOutLabels(place)]
        loaders = app.datamodule.val_dataloader
        app.datamodule.val_dataloader = lambda: {name: loader for name, loader in loaders().items() if name == "val"}
        app.trainer.fit(app.model, datamodule=app.datamodule)
        app.datamodule.val_dataloader = loaders
        app.trainer.validate(app.model, datamodule=app.datamodule, verbose=False)  # the test rows, once
        found: dict[str, Any] = {"val": [value for _, value in curves.series("val/acc")], "test": app.model.last_accuracy("test")}
        wrong = app.datamodule.given_target != app.datamodule.clean_target
        found |= {"wrong": float(wrong.double().mean()), "seconds": time.monotonic() - seconds}
        if held_out:
            with np.load(place / "validation.npz") as saved:
                found |= {"predicted": saved["pred"].tolist(), "given": saved["given"].tolist()}
        record.write_text(json.dumps(found), encoding="utf-8")
    return dict(json.loads(record.read_text(encoding="utf-8")))


def measure(out: Path) -> None:
    """Train what has no line yet, and append its line."""
    lines = out / "cells.jsonl"
    done = {(line["data"], line["noise"]) for line in read(lines)}
    for data, kind in cells():
        if (data, kind) in done:
            continue
        file, tables = prepared(out, data, kind)
        place = out / "runs" / data / kind.replace(" ", "").replace("%", "")
        plans, methods = plans_of(tables, True), {}
        for name, plan in plans.items():
            run = trained(place / name, file, kind, plan, True)
            given, wrong = run.pop("given"), run.pop("wrong")
            methods[name] = {"epochs": plan.epochs, "passes": plan.passes, "warmup": starts_after(plan.model), **run}
        line = {"data": data, "noise": kind, "wrong": wrong, "given": given, "methods": methods}
        winner = race(line)["chosen"]
        final = trained(place / f"final-{winner}", file, kind, plans_of(tables, False)[winner], False)
        line["final"] = {"method": winner, "test": final["test"]}
        with lines.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(f"{data}, {kind}: {winner}", flush=True)


def read(lines: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()] if lines.is_file() else []


# ---- choosing


def race(line: Mapping[str, Any], early: bool = False) -> dict[str, Any]:
    """The choice of successive halving from the curves of whole runs.

    Args:
        line: of a data set and noise.
        early: whether the warm-up of the methods is left out of account.
    """
    methods = line["methods"]
    candidates = [
        Candidate(name, found["epochs"], 0 if early else found["warmup"], found["passes"] / found["epochs"])
        for name, found in methods.items()
    ]
    alive, cost = list(methods), 0.0
    trained_to = dict.fromkeys(methods, 0)
    for rung in ladder(candidates):
        for name in alive:
            cost += (rung.epochs[name] - trained_to[name]) / methods[name]["epochs"]
            trained_to[name] = rung.epochs[name]
        reached = {name: methods[name]["val"][rung.epochs[name] - 1] for name in alive}
        last, alive = alive, survivors(reached, rung.keep, candidates)
    order = survivors(reached, len(last), candidates)
    chosen, level = alive[0], False
    if len(order) > 1:
        first, second = (np.array(methods[name]["predicted"]) == np.array(line["given"]) for name in order[:2])
        level = is_level(row_difference(first, second))
        if level:
            chosen = min(order[:2], key=lambda name: methods[name]["passes"] / methods[name]["epochs"])
    return {"chosen": chosen, "best": order[0], "level": level, "cost": cost / len(methods)}


def regrets(line: Mapping[str, Any]) -> dict[str, float]:
    """The regret of each way to choose."""
    test = {name: found["test"] for name, found in line["methods"].items()}
    val = {name: found["val"][-1] for name, found in line["methods"].items()}
    best = max(test.values())
    raced = race(line)
    chosen = {
        "auto": test[raced["chosen"]],
        "auto, but the better of two level ones": test[raced["best"]],
        "auto, judged before the warm-up is over": test[race(line, early=True)["best"]],
        "noisy validation of whole runs": test[max(val, key=val.__getitem__)],
        **{f"always {name}": test[name] for name in test},
        "one at random": statistics.fmean(test.values()),
    }
    return {name: best - accuracy for name, accuracy in chosen.items()}


def show(out: Path) -> None:
    found = read(out / "cells.jsonl")
    if not found:
        raise SystemExit(f"{out} holds no results yet")
    names = list(found[0]["methods"])
    print(f"| data | noise | wrong | {' | '.join(names)} | auto | retrained |")
    print(f"|:--|:--|--:|{'--:|' * len(names)}:--|--:|")
    for line in found:
        test = {name: each["test"] for name, each in line["methods"].items()}
        top = max(test.values())
        shown = [f"**{100 * value:.1f}**" if value == top else f"{100 * value:.1f}" for value in test.values()]
        raced = race(line)
        final = line["final"]
        retrained = f"{100 * final['test']:.1f}" if final["method"] == raced["chosen"] else "-"
        words = [line["data"], line["noise"], f"{100 * line['wrong']:.0f} %", *shown, raced["chosen"], retrained]
        print(f"| {' | '.join(words)} |")
    all_regrets = [regrets(line) for line in found]
    groups = {kind: [number for number, line in enumerate(found) if kind in line["noise"]] for kind in ("symmetric", "pair flip")}
    groups["other"] = [number for number in range(len(found)) if not any(number in group for group in groups.values())]
    groups = {name: group for name, group in groups.items() if group}
    heads = "".join(f" {name} ({len(group)}) |" for name, group in groups.items())
    print(f"\n| choice | mean regret | worst | none in |{heads}\n|:--|--:|--:|--:|{'--:|' * len(groups)}")
    for name in all_regrets[0]:
        values = [100 * each[name] for each in all_regrets]
        none = sum(value < 1e-9 for value in values)
        by_noise = "".join(f" {statistics.fmean(values[number] for number in group):.2f} |" for group in groups.values())
        print(f"| {name} | {statistics.fmean(values):.2f} | {max(values):.2f} | {none} of {len(values)} |{by_noise}")
    races = [race(line) for line in found]
    share = statistics.fmean(each["cost"] for each in races)
    gain = statistics.fmean(line["final"]["test"] - line["methods"][line["final"]["method"]]["test"] for line in found)
    held, level = sorted({len(line["given"]) for line in found}), sum(each["level"] for each in races)
    print(
        f"\n{len(found)} cells, one seed; {held[0]} to {held[-1]} rows held out; the race took {share:.0%} of the compute of all "
        f"whole runs;\nthe two finalists were level in {level}; training on all rows brought {100 * gain:+.2f} points on average"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/choice_regret"), help="folder of the runs and results")
    parser.add_argument("--table", action="store_true", help="print the tables of what has been measured, train nothing")
    options = parser.parse_args()
    quiet()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.table:
        show(options.out)
    else:
        measure(options.out)


if __name__ == "__main__":
    main()
