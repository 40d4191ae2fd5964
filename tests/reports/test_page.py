"""The page about runs: what is on it, what must never be, and that it is one whole file."""

from __future__ import annotations

import datetime
import itertools
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import markdown  # type: ignore[import-untyped, unused-ignore]  # comes with mkdocs
import numpy as np
import pytest
import yaml

from noisylab.reports import RunFolderError
from noisylab.reports.page import is_report, read_content, write_html, write_markdown
from noisylab.reports.page.pictures import COLORS
from noisylab.reports.studyfolder import read_study
from noisylab.reports.studyreport import study_report

MakeRun = Callable[..., Path]
TODAY = datetime.date(2026, 12, 1)
ODD = '<b onclick="x">&amp; "cat" | `d` $e$'
_VOID = {"meta", "link", "br", "path", "circle", "image", "rect", "img"}
_TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


class _Reader(HTMLParser):
    """Elements in order; fails where one is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _page(folders: list[Path], out: Path, **options: Any) -> tuple[str, _Reader]:
    write_html(out, read_content(folders), today=TODAY, **options)
    text = out.read_text(encoding="utf-8")
    reader = _Reader()
    reader.feed(text)
    assert not reader.open
    return text, reader


def _words(reader: _Reader) -> str:
    return " ".join(" ".join(reader.text).replace("\xa0", " ").split())


def _seeds(make_run: MakeRun, method: str, values: dict[int, float], **more: Any) -> list[Path]:
    return [
        make_run(
            method.lower(),
            f"seed{seed}",
            method=method,
            seed=seed,
            recipe=f"{method.lower()}.yaml",
            headline=value,
            config={"model": {"class_path": f"noisylab.{method}", "init_args": {"beta": 0.7}}},
            **more,
        )
        for seed, value in values.items()
    ]


def test_the_page_loads_nothing_and_runs_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    text, reader = _page([make_run()], tmp_path / "r.html")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text.replace("http-equiv", ""))
    assert "script" not in {tag for tag, _ in reader.found}
    assert all((attrs.get("href") or "#").startswith(("#", "data:")) for _, attrs in reader.found)
    assert "default-src 'none'" in text


def test_means_and_deviations_are_those_of_the_runs(make_run: MakeRun, tmp_path: Path) -> None:
    runs = _seeds(make_run, "ELR", {0: 0.5, 1: 0.75}) + _seeds(make_run, "CE", {0: 0.25, 1: 0.35})
    words = _words(_page(runs, tmp_path / "r.html")[1])
    assert "62.50 ± 12.50" in words  # mean of 50 and 75, population standard deviation
    assert "30.00 ± 5.00" in words
    assert "Highest mean ELR" in words
    assert "+32.50" in words  # paired: 50 - 25 and 75 - 35, in the mean
    assert "2 of 2" in words and "too few" in words


def test_the_best_test_epoch_is_shown_only_on_request_and_marked(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()  # its best test epoch is 75 %
    words = _words(_page([run], tmp_path / "a.html")[1])
    assert "best test epoch" not in words and "75.00" not in words
    assert "No epoch was chosen on the test set" in words
    words = _words(_page([run], tmp_path / "b.html", best=True)[1])
    assert "best test epoch *" in words and "75.00" in words and "chosen on the test set: an upper bound" in words
    assert "No epoch was chosen on the test set" not in words


def test_everything_is_escaped(make_run: MakeRun, tmp_path: Path) -> None:
    summary = json.loads((make_run("plain") / "summary.json").read_text())
    test = {"headline": {**summary["test"]["headline"], "confusion": [[5, 1], [2, 4]]}}
    data = {"name": ODD, "num_classes": 2, "num_train": 10, "class_names": [ODD, "b"], "account": [ODD]}
    noise = {
        "kind": ODD,
        "generator": f"{ODD} 2",
        "rate": 0.4,
        "digest": ODD,
        "seed": 1,
        "realized_transition": [[0.6, 0.4], [0, 1]],
    }
    record = {"epoch": 2, "estimate": [[0.7, 0.3], [0.1, 0.9]], "truth": [[0.6, 0.4], [0, 1]], "metrics": {"error": 0.2}}
    folder = make_run(
        'odd "<i>&', "a'b", method=ODD, recipe=ODD, protocol=ODD, device=ODD, versions={ODD: ODD},
        data=data, noise=noise, test=test, transition=record, config={"model": {"class_path": "x.Y", "init_args": {ODD: ODD}}},
    )  # fmt: skip
    text, reader = _page([folder, make_run("other")], tmp_path / "r.html")
    assert "<b" not in text.replace("<body", "").replace("<br", "") and "<i>" not in text
    assert not any("onclick" in attrs for _, attrs in reader.found)
    words = _words(reader)
    for kept in (ODD, "odd", "\"<i>&/a'"):
        assert kept in words
    pages = write_markdown(tmp_path / "r.md", read_content([folder, make_run("third")]), today=TODAY)
    made = _Reader()
    made.feed(markdown.markdown(pages[0].read_text(encoding="utf-8"), extensions=["tables"]))
    assert {tag for tag, _ in made.found} <= {"h1", "h2", "h3", "p", "ul", "li", "strong", "code", "img", *_TABLE}
    assert ODD in _words(made)
    assert all(page.is_file() for page in pages)


def test_a_class_name_is_no_markup_in_a_heat_map(make_run: MakeRun, tmp_path: Path) -> None:
    record = {"epoch": 2, "estimate": [[1.0, 0.0], [0.0, 1.0]], "truth": None, "metrics": {}}
    data = {"name": "d", "num_classes": 2, "num_train": 4, "class_names": ["<script>", "</table>"]}
    text, reader = _page([make_run(transition=record, data=data)], tmp_path / "r.html")
    assert "<script" not in text
    assert "The true matrix is not known" in _words(reader)


@pytest.mark.parametrize("classes", [3, 100])
def test_matrices_of_any_size(make_run: MakeRun, tmp_path: Path, classes: int) -> None:
    estimate = (0.5 * np.eye(classes) + 0.5 / classes).tolist()
    record = {"epoch": 2, "estimate": estimate, "truth": np.eye(classes).tolist(), "metrics": {"error": 0.25}}
    data = {"name": "d", "num_classes": classes, "num_train": 4, "class_names": [f"class {k}" for k in range(classes)]}
    text, reader = _page([make_run(transition=record, data=data)], tmp_path / "r.html")
    assert "Error 0.250" in _words(reader)
    assert len(text) < 300_000
    assert ("data:image/png" in text) == (classes > 20)


def test_tables_and_pictures_can_be_understood_without_seeing(make_run: MakeRun, tmp_path: Path) -> None:
    runs = _seeds(make_run, "ELR", {0: 0.5, 1: 0.75}) + _seeds(make_run, "CE", {0: 0.25, 1: 0.35})
    text, reader = _page(runs, tmp_path / "r.html")
    headings = [attrs for tag, attrs in reader.found if tag == "th"]
    assert headings and all(attrs.get("scope") in ("col", "row", "colgroup", "rowgroup") for attrs in headings)
    assert text.count("<table") == text.count("<caption")
    for picture in re.findall(r"<svg class=\"(?:chart|strip)[^>]*>.{7}", text):
        assert 'role="img"' in picture and picture.endswith("<title>")
    assert '<html lang="en">' in text
    levels = [int(tag[1]) for tag, _ in reader.found if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
    keys = [attrs["id"] for _, attrs in reader.found if "id" in attrs]
    assert len(keys) == len(set(keys))
    assert {(attrs["href"] or "")[1:] for tag, attrs in reader.found if tag == "a"} <= set(keys)


def test_only_settings_that_differ_are_listed(make_run: MakeRun, tmp_path: Path) -> None:
    def config(beta: float, width: int) -> dict[str, Any]:
        network = {"class_path": "noisylab.SmallCNN", "init_args": {"width": width, "depth": 4}}
        return {"model": {"class_path": "noisylab.methods.ELR", "init_args": {"beta": beta, "network": network}}}

    runs = [make_run("a", config=config(0.7, 32)), make_run("b", config=config(0.9, 32))]
    words = _words(_page(runs, tmp_path / "r.html")[1])
    assert "model.beta 0.7" in words and "model.beta 0.9" in words
    assert "model.network" not in words and "depth" not in words
    assert "2 settings of ELR" in words


def test_settings_of_a_noise_are_listed_once_and_not_with_every_method(make_run: MakeRun, tmp_path: Path) -> None:
    runs = []
    for method, beta in (("ELR", 0.7), ("CE", 0.1)):
        for rate in (0.2, 0.4):
            data = {"class_path": "Digits", "init_args": {"noise": {"class_path": "Symmetric", "init_args": {"rate": rate}}}}
            config = {"model": {"class_path": f"x.{method}", "init_args": {"beta": beta}}, "data": data}
            noise = {"kind": "symmetric", "rate": rate, "digest": f"d{rate}", "seed": 0}
            runs.append(make_run(method, f"rate{rate}", method=method, config=config, noise=noise))
    words = _words(_page(runs, tmp_path / "r.html")[1])
    settings = words[words.index("Settings that are not the same") : words.index("How to repeat each number Each")]
    assert [settings.count(text) for text in ("data.noise.rate 0.2", "data.noise.rate 0.4", "model.beta 0.7")] == [1, 1, 1]


def test_each_run_has_the_command_that_repeats_it(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("with space", seed=7)
    words = _words(_page([folder], tmp_path / "r.html")[1])
    assert f"noisylab fit --config '{folder}/config.yaml'" in words


def test_the_data_card_counts_the_labels_that_were_given(make_run: MakeRun, tmp_path: Path) -> None:
    data = {
        "name": "d",
        "num_classes": 3,
        "num_train": 6,
        "num_train_used": 5,
        "class_names": ["x", "y", "z"],
        "account": ["2 rows left out"],
    }
    folder = make_run(data=data)
    np.savez(folder / "noise.npz", given_target=np.array([0, 0, 0, 2, 2, -1]))
    words = _words(_page([folder], tmp_path / "r.html")[1])
    assert "x 3 y 0 z 2" in words
    assert "ab12" in words and "39.84" in words and "2 rows left out" in words
    (folder / "noise.npz").write_bytes(b"PK\x03\x04 broken")
    words = _words(_page([folder], tmp_path / "r.html")[1])
    assert "noise.npz cannot be read" in words and "x 3 y" not in words


def test_methods_that_were_given_other_labels_are_named(make_run: MakeRun, tmp_path: Path) -> None:
    def noise(digest: str) -> dict[str, Any]:
        return {"kind": "symmetric", "rate": 0.4, "measured_rate": 0.4, "digest": digest, "seed": 0}

    same = _seeds(make_run, "ELR", {0: 0.5}, noise=noise("aa")) + _seeds(make_run, "CE", {0: 0.4}, noise=noise("aa"))
    assert "were given the same labels" not in _words(_page(same, tmp_path / "r.html")[1])
    other = _seeds(make_run, "DMI", {0: 0.5}, noise=noise("bb"))
    assert "were given the same labels, by their digests: seed 0" in _words(_page([*same, *other], tmp_path / "r.html")[1])


def test_a_run_that_stopped_early_is_marked(make_run: MakeRun, tmp_path: Path) -> None:
    words = _words(_page([make_run(complete=False, method="ELR")], tmp_path / "r.html")[1])
    assert "ELR †" in words and "Highest mean" not in words and "Stopped before the last epoch" in words


def test_a_run_that_stopped_does_not_count_beside_whole_ones(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [*_seeds(make_run, "ELR", {0: 0.5, 1: 0.75}), *_seeds(make_run, "ELR", {2: 0.1}, complete=False)]
    content = read_content(runs)
    assert [run.seed for run in content.runs] == [0, 1] and content.planned == 3
    words = _words(_page(runs, tmp_path / "r.html")[1])
    assert "62.50 ± 12.50" in words and "1 stopped" in words and str(runs[2]) in words


def test_named_runs_must_be_whole(make_run: MakeRun, tmp_path: Path) -> None:
    whole, running = make_run("a"), make_run("b")
    (running / "summary.json").unlink()
    with pytest.raises(RunFolderError, match=r"summary.json is missing"):
        read_content([whole, running])
    with pytest.raises(RunFolderError, match="does not exist"):
        read_content([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match="no run folder and holds none"):
        read_content([tmp_path / "empty"])


def test_a_folder_of_runs_lists_those_that_are_not_finished(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("a")
    running, damaged = make_run("b"), make_run("c")
    (running / "summary.json").unlink()
    (damaged / "metrics.csv").write_text("epoch,step,name,value\n0,1,test/acc")
    inner = damaged / "crossfit" / "fold0"  # a run within a run is no run of its own
    inner.mkdir(parents=True)
    (inner / "config.yaml").write_text("{}")
    content = read_content([tmp_path / "runs"])
    assert len(content.runs) == 1 and content.planned == 3
    assert {each.state for each in content.unfinished} == {"damaged", "not finished"}
    words = _words(_page([tmp_path / "runs"], tmp_path / "r.html")[1])
    assert "is cut short in line 2" in words and "1 of 3" in words and "not in the figures: 1 damaged, 1 not finished" in words


def test_one_folder_named_twice_is_one_run(make_run: MakeRun) -> None:
    folder = make_run()
    assert len(read_content([folder, folder / ".." / folder.name]).runs) == 1


def _study(make_run: MakeRun, tmp_path: Path) -> Path:
    """Two methods under two noises; of the eight cells one failed, one never began and one is damaged."""
    cells = []
    for method in ("CE", "ELR"):
        for noise in ("sym40", "pair"):
            for seed in (0, 1):
                name = f"{method}/{noise}/seed{seed}"
                axes = {"method": method, "noise": noise, "seed": str(seed)}
                cells.append({"folder": name, "axes": axes, "configs": [], "row": None, "flags": []})
                if (method, noise, seed) != ("ELR", "pair", 1):
                    kind = {
                        "kind": "symmetric" if noise == "sym40" else "pairflip",
                        "rate": 0.4,
                        "digest": noise + str(seed),
                        "seed": seed,
                    }
                    make_run(method, f"{noise}/seed{seed}", method=method, seed=seed, headline=0.5 + 0.1 * seed, noise=kind)
    folder = tmp_path / "runs"
    plan = {"format": 2, "name": "two noises", "baseline": "CE", "spec": {"budget": {"compute": 8}}, "job": None, "cells": cells}
    (folder / "study.yaml").write_text(yaml.safe_dump(plan))
    (folder / "ELR/sym40/seed1/summary.json").unlink()
    state = folder / ".cells" / "ELR--sym40--seed1"
    state.mkdir(parents=True)
    (state / "state.json").write_text(json.dumps({"state": "failed", "attempts": 2, "message": "the loss is <nan> in epoch 3"}))
    (folder / "CE/pair/seed1/summary.json").write_text("{")
    return folder


def test_a_study_shows_its_cells_its_baseline_and_what_failed(make_run: MakeRun, tmp_path: Path) -> None:
    folder = _study(make_run, tmp_path)
    content = read_content([folder])
    assert [(group.label, len(group.runs)) for group in content.groups] == [("CE", 2), ("ELR", 1), ("CE", 1), ("ELR", 1)]
    words = _words(_page([folder], tmp_path / "r.html")[1])
    assert "as much compute for each method as 8 epochs of cross-entropy" in words
    assert "two noises" in words and "symmetric 40 % (sym40)" in words
    assert "Differences to CE on the same seeds" in words
    assert "ELR/sym40/seed1 failed" in words and "No run of" not in words and "the loss is <nan> in epoch 3" in words
    assert "CE/pair/seed1 damaged" in words and "ELR/pair/seed1 waiting" in words
    assert "5 of 8" in words


def test_a_page_and_the_table_of_its_study_agree(make_run: MakeRun, tmp_path: Path) -> None:
    """Two seeds with two folds each, under validation rows: compared by the last epoch, one fold of the third seed is missing."""
    values = {
        ("CE", 0): (0.5, 0.7),
        ("CE", 1): (0.4, 0.5),
        ("ELR", 0): (0.8, 0.9),
        ("ELR", 1): (0.6, 0.7),
        ("ELR", 2): (0.1, None),
    }
    cells = []
    for (method, seed), figures in values.items():
        for fold, last in enumerate(figures):
            name = f"{method}/seed{seed}/fold{fold}"
            cells.append({"folder": name, "axes": {"method": method, "seed": str(seed), "fold": str(fold)}})
            if last is not None:
                data = {"name": "d", "num_classes": 2, "num_train": 9, "folds": 2, "fold": fold}
                test = {"headline": {"last": last, "best_by_val": 0.01, "last10_mean": 0.02}}
                make_run(
                    method,
                    f"seed{seed}/fold{fold}",
                    method=method,
                    seed=seed,
                    data=data,
                    test=test,
                    headline=0.01,
                    val={"last": 0.3},
                )
    folder = tmp_path / "runs"
    (folder / "study.yaml").write_text(yaml.safe_dump({"format": 2, "name": "s", "baseline": "CE", "spec": {}, "cells": cells}))
    entries = study_report(read_study(folder)).text
    words = _words(_page([folder], tmp_path / "r.html")[1])
    # CE: seeds 60 and 45 in the mean of their folds; ELR: 85 and 65
    for figure in ("52.50 ± 7.50", "75.00 ± 10.00", "+22.50"):
        assert figure in entries and figure in words
    assert "Compared by Test accuracy in the last epoch" in words
    assert "ELR/seed2/fold0 finished" in words and "when all folds of its seed are finished" in words


def test_a_study_beside_other_runs_gives_its_runs(make_run: MakeRun, tmp_path: Path) -> None:
    folder = _study(make_run, tmp_path)
    content = read_content([folder, folder / "CE/sym40/seed0"])
    assert content.study is None and len(content.runs) == 5
    assert f"{folder}/ELR/sym40/seed1" in {each.name for each in content.unfinished}


def test_a_study_of_which_nothing_is_finished_has_a_page(make_run: MakeRun, tmp_path: Path) -> None:
    folder = _study(make_run, tmp_path)
    for summary in folder.rglob("summary.json"):
        summary.unlink()
    words = _words(_page([folder], tmp_path / "r.html")[1])
    assert "No run is finished yet" in words and "ELR/sym40/seed1" in words


def test_runs_without_a_test_set_or_truth_have_a_page(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(
        curves={"train/loss": [1.0], "val/acc": [0.5]},
        test={"headline": {}},
        noise={"kind": None, "rate": None, "measured_rate": None, "digest": None, "seed": None},
        diagnostics={},
        headline=None,
    )
    words = _words(_page([folder], tmp_path / "r.html")[1])
    assert "labels as given" in words and "Held-out accuracy" in words and "Memorization" not in words
    assert "test accuracy" not in words.lower()


def test_many_methods_have_a_mark_each_and_all_are_drawn(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [path for k in range(20) for path in _seeds(make_run, f"M{k}", {0: 0.5})]
    text, _ = _page(runs, tmp_path / "r.html")
    assert "1 to 8 of 20" in text and "17 to 20 of 20" in text
    marks = re.findall(r'<svg class="swatch"[^>]*><path (class="[^"]*"(?: stroke-dasharray="[^"]*")?)', text)
    assert len(set(marks)) >= 20


def test_markdown_has_its_figures_beside_it(make_run: MakeRun, tmp_path: Path) -> None:
    runs = _seeds(make_run, "ELR", {0: 0.5, 1: 0.75}) + _seeds(make_run, "CE", {0: 0.25, 1: 0.35})
    page, *figures = write_markdown(tmp_path / "r.md", read_content(runs), today=TODAY)
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text) == [figure.name for figure in figures]
    assert all(figure.read_bytes()[:4] == b"\x89PNG" for figure in figures)
    assert "| ELR | **62.50 ± 12.50** |" in text
    assert is_report(page)


def test_a_page_is_known_again_and_other_files_are_not(make_run: MakeRun, tmp_path: Path) -> None:
    write_html(tmp_path / "r.html", read_content([make_run()]))
    assert is_report(tmp_path / "r.html")
    (tmp_path / "other.html").write_text("<!doctype html><title>mine</title>")
    assert not is_report(tmp_path / "other.html")


def test_folds_are_repetitions_and_their_protocol_is_one(make_run: MakeRun, tmp_path: Path) -> None:
    for fold in (0, 1, 2):
        make_run(
            "folds",
            f"fold{fold}",
            data={"name": "d", "num_classes": 2, "num_train": 9, "folds": 3, "fold": fold},
            protocol=f"mean of the last ten epochs; the test set is fold {fold} of 0..2 of the training rows",
            config={"data": {"class_path": "Tabular", "init_args": {"folds": 3, "fold": fold}}},
            headline=0.25 * (fold + 1),
        )
    content = read_content([tmp_path / "runs" / "folds"])
    assert [len(group.runs) for group in content.groups] == [3]
    words = _words(_page([tmp_path / "runs" / "folds"], tmp_path / "r.html")[1])
    assert "50.00 ± 20.41" in words and "each fold of 0..2" in words and "not chosen by one protocol" not in words
    assert "ELR, fold 2" in words  # whose command stands by itself


def test_trials_of_a_sweep_go_by_their_folders(make_run: MakeRun) -> None:
    def config(k: int) -> dict[str, Any]:
        return {"model": {"class_path": "noisylab.ELR", "init_args": {"beta": 0.1 * k, "scale": k, "depth": k % 2}}}

    runs = [make_run("sweep", f"trial-{k:04}", config=config(k)) for k in range(10)]
    assert [group.label for group in read_content(runs).groups] == [f"trial-{k:04}" for k in range(10)]
    assert [group.label for group in read_content(runs[:2]).groups] == ["beta 0.0", "beta 0.1"]


def test_data_that_differ_under_one_name_are_named(make_run: MakeRun, tmp_path: Path) -> None:
    def data(digest: str) -> dict[str, Any]:
        return {"name": "d", "num_classes": 2, "num_train": 9, "digests": {"inputs": "ab", "test_labels": digest}}

    runs = _seeds(make_run, "ELR", {0: 0.5}, data=data("x")) + _seeds(make_run, "CE", {0: 0.4}, data=data("x"))
    assert "read the same data" not in _words(_page(runs, tmp_path / "r.html")[1])
    runs += _seeds(make_run, "DMI", {0: 0.4}, data=data("y"))
    assert "Not all runs read the same data, by their digests: test labels." in _words(_page(runs, tmp_path / "r.html")[1])


def _luminance(color: str) -> float:
    """Relative luminance of WCAG 2, section "relative luminance"."""
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colors_of_texts_and_lines_can_be_read_in_light_and_dark() -> None:
    style = resources.files("noisylab.reports.page").joinpath("page.css").read_text("utf-8")
    schemes = [dict(re.findall(r"--(\w+[\w-]*): (#\w{6})", part)) for part in re.findall(r":root \{(.*?)\}", style, re.S)[:2]]
    for colors in schemes:
        for name in ("text", "soft", "accent", "wrong", *(f"c{k}" for k in range(8))):
            light, dark = sorted((_luminance(colors[name]), _luminance(colors["back"])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, colors[name])
    assert tuple(schemes[0][f"c{k}"] for k in range(8)) == COLORS
