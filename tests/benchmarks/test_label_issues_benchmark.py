"""The comparison of label lists: its data, the two sides, its figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cleanlab_side
import issue_settings
import label_issues
import numpy as np
import pytest
import torch
from cleanlab_side import LAST, TUNED, Found, Seconds
from torch import Tensor, nn

from noisylab.data import Arrays
from noisylab.issues import IssueTable

TOOK = Seconds(2.0, 1.0)


def test_figures_of_five_labels_by_hand() -> None:
    given, true = np.array([0, 0, 1, 1, 2]), np.array([1, 0, 1, 0, 2])  # rows 0 and 3 are wrong
    score, flags = np.array([0.9, 0.8, 0.1, 0.7, 0.2]), np.array([True, True, False, True, False])
    found = label_issues.figures(given, true, Found(score, flags, np.array([1, 2, 1, 2, 2]), TOOK))
    assert found["auroc"] == pytest.approx(5 / 6)  # of six pairs, only row 3 against row 1 is the wrong way round
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((2 / 3, 1, 0.8))
    assert (found["flagged"], found["precision_at_k"], found["top5_right"]) == pytest.approx((0.6, 0.5, 1))
    # row 0 is the 5 %: it becomes right. Of all flagged, row 1 becomes wrong and row 3 stays so.
    assert (found["label_accuracy"], found["label_accuracy_top5"], found["label_accuracy_fixed"]) == pytest.approx(
        (0.6, 0.8, 0.6)
    )
    assert (found["wall_seconds"], found["process_seconds"]) == (2, 1)


def test_figures_at_a_cut_follow_the_order_of_the_list_where_scores_tie() -> None:
    given, true, same = np.array([0, 0]), np.array([0, 1]), np.array([0.5, 0.5])
    found = Found(same, np.array([True, True]), np.array([1, 1]), TOOK, order=np.array([1, 0]))
    assert label_issues.figures(given, true, found)["precision_at_k"] == 1


def test_digits_are_written_as_arrays_reads_them_with_the_noise_of_the_seed(tmp_path: Path) -> None:
    first, again, second = (
        issue_settings.prepare("dig-P", seed, tmp_path / name) for seed, name in ((0, "a"), (0, "b"), (1, "a"))
    )
    assert (first.name, second.name) == ("dig-P-0.npz", "dig-P-1.npz")
    labels = [np.load(path)["y"] for path in (first, again, second)]
    assert np.array_equal(labels[0], labels[1]) and not np.array_equal(labels[0], labels[2])
    data = Arrays(str(first))
    data.setup()
    given, true = data.given_target, data.clean_target
    assert true is not None and (len(given), data.num_classes) == (1797, 10)
    wrong = given != true
    assert torch.equal(given[wrong], (true[wrong] + 1) % 10)
    assert abs(float(wrong.double().mean()) - 0.4) < 4 * (0.4 * 0.6 / 1797) ** 0.5


def write(folder: Path, name: str, **arrays: Any) -> None:
    (folder / name).mkdir()
    np.savez(folder / name / f"{name}.npz", **arrays)


def test_source_files_become_settings(tmp_path: Path) -> None:
    true = np.array([3, 1, 2], dtype=np.uint8)
    write(tmp_path, "mnist", x_train=np.full((3, 28, 28), 7, np.uint8), y_train=true)
    write(tmp_path, "noisy_label_files", **{"mnist_idn_0.4": np.array([3, 0, 2, 9], np.uint8)})
    write(tmp_path, "cifar10_jpeg", train_labels=true)
    write(tmp_path, "cifar_n_labels", c10_worse_label=np.array([3, 1, 4], np.uint8), c10_aggre_label=true)
    # rows (3, 0, 4) and, without terms, (0, 0, 0)
    sparse = {"v0_data": np.array([3, 4], np.float32), "v0_indices": np.array([0, 2], np.int16), "v0_indptr": np.array([0, 2, 2])}
    write(tmp_path, "reuters_multiview", **sparse, labels=np.array([0, 1], np.uint8))
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / issue_settings.FEATURES, features)  # which are then not made again

    found = {name: np.load(issue_settings.prepare(name, 0, tmp_path, tmp_path)) for name in ("mn-I", "c10-W", "c10-A", "reut")}
    assert found["mn-I"]["y"].tolist() == [3, 0, 2] and found["mn-I"]["y_true"].tolist() == [3, 1, 2]
    assert found["mn-I"]["x"].shape == (3, 28, 28)
    assert found["c10-W"]["y"].tolist() == [3, 1, 4] and found["c10-A"]["y"].tolist() == [3, 1, 2]
    assert np.array_equal(found["c10-W"]["x"], features)
    np.testing.assert_allclose(found["reut"]["x"][:, :3], [[0.6, 0, 0.8], [0, 0, 0]])
    assert found["reut"]["x"].shape == (2, 2000)


def test_missing_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOISYLAB_DATA", raising=False)
    with pytest.raises(SystemExit, match="NOISYLAB_DATA"):
        issue_settings.prepare("mn-S", 0, tmp_path)
    with pytest.raises(SystemExit, match=r"mnist holds 0 .npz files"):
        issue_settings.prepare("mn-S", 0, tmp_path, tmp_path)


class Listener(nn.Module):
    """Notes which rows it is trained on and which it is asked about; the only input of a row is its number."""

    made: list[Listener] = []

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(1, classes)
        self.seen: dict[bool, set[int]] = {True: set(), False: set()}
        Listener.made.append(self)

    def forward(self, x: Tensor) -> Tensor:
        self.seen[self.training] |= set(x[:, 0].int().tolist())
        return self.head(x / 100)


def test_probabilities_are_out_of_sample_and_there_for_every_row_and_epoch() -> None:
    Listener.made.clear()
    given = np.arange(30) % 3
    probs = cleanlab_side.fold_probs(torch.arange(30.0)[:, None], given, Listener, epochs=2, folds=5, seed=0)
    assert probs.shape == (2, 30, 3) and len(Listener.made) == 5
    np.testing.assert_allclose(probs.sum(2), 1, rtol=1e-5)  # no row is left out
    assert not np.array_equal(probs[0], probs[1])
    for model in Listener.made:
        assert len(model.seen[False]) == 6 and model.seen[True] == set(range(30)) - model.seen[False]


def test_tuned_epoch_is_the_best_on_the_given_labels_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cleanlab")
    given = np.arange(40) % 2
    sure = np.where(np.eye(2, dtype=bool)[given], 0.9, 0.1)
    probs = np.stack([np.full((40, 2), 0.5), sure, sure])
    probs[1, 7] = probs[1, 7, ::-1]  # row 7 looks wrong after epoch 2, and ten rows do after epoch 3
    probs[2, :10] = probs[2, :10, ::-1]
    monkeypatch.setattr(cleanlab_side, "fold_probs", lambda *args: probs)
    found = cleanlab_side.network_findings(torch.zeros(40, 1), given, Listener, 3, 5, 0)
    assert {name: one.facts["epoch"] for name, one in found.items()} == {LAST: 3, TUNED: 2}
    assert found[TUNED].facts["held_out_accuracy"] == 39 / 40
    np.testing.assert_allclose(found[TUNED].score, np.where(np.arange(40) == 7, 0.9, 0.1))
    assert found[TUNED].is_issue.nonzero()[0].tolist() == [7] and found[TUNED].suggested[7] == 0


def test_logistic_regression_takes_the_strength_that_predicts_held_out_labels() -> None:
    pytest.importorskip("cleanlab")
    given = (np.arange(60) % 3 == 0).astype(np.int64)
    x = torch.from_numpy(given[:, None] * 0.02).float()  # so small that under a strong penalty only the larger class is left
    (found,) = cleanlab_side.logistic_findings(x, given, 3, 0, strengths=(1e-3, 1e6)).values()
    assert (found.facts["C"], found.facts["held_out_accuracy"]) == (1e6, 1)
    assert np.array_equal(found.suggested, given)


def table(rows: Sequence[int]) -> IssueTable:
    """Row 2 first, then the others; digits as classes."""
    size = len(rows)
    scores = np.linspace(0.9, 0.1, size)
    given, suggested = np.zeros(size, dtype=np.int64), np.ones(size, dtype=np.int64)
    return IssueTable(np.array(rows), None, ("0", "1", "2"), given, suggested, scores, scores > 0.5, scores)


def test_list_of_a_run_is_brought_into_the_order_of_the_rows(tmp_path: Path) -> None:
    table([2, 0, 1]).write(tmp_path / "list.csv")
    found = label_issues.listed(tmp_path / "list.csv", 3, 3, TOOK)
    assert found.score.tolist() == [0.5, 0.1, 0.9] and found.is_issue.tolist() == [False, False, True]
    assert found.order is not None and found.order.tolist() == [2, 0, 1] and found.suggested.tolist() == [1, 1, 1]


@pytest.mark.parametrize("rows", [[2, 0], [2, 0, 0]], ids=["one missing", "one twice"])
def test_list_without_every_row_is_refused(tmp_path: Path, rows: list[int]) -> None:
    table(rows).write(tmp_path / "list.csv")
    with pytest.raises(SystemExit, match="not each of 3 once"):
        label_issues.listed(tmp_path / "list.csv", 3, 3, TOOK)


def test_run_is_given_no_truth_and_a_failed_one_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(argv: Sequence[str]) -> int:
        flags = dict(zip(argv[1::2], argv[2::2], strict=True))
        with np.load(flags["--arrays"]) as arrays:
            assert sorted(arrays.files) == ["x", "y"] and arrays["y"].tolist() == [0, 2, 1]
        assert (argv[0], flags["--trainer.max_epochs"], flags["--seed_everything"]) == ("issues", "4", "1")
        table([2, 0, 1]).write(Path(flags["--run_dir"]) / "label_issues.csv")
        print("something is the matter")
        return status

    monkeypatch.setattr(label_issues, "noisylab_main", stand_in)
    status = 0
    found = label_issues.noisylab_findings(np.zeros((3, 2)), np.array([0, 2, 1]), seed=1, epochs=4)
    assert found["noisylab"].score.tolist() == [0.5, 0.1, 0.9]
    status = 2
    with pytest.raises(SystemExit, match="something is the matter"):
        label_issues.noisylab_findings(np.zeros((3, 2)), np.array([0, 2, 1]), seed=1, epochs=4)


def entry(setting: str, seed: int, detector: str, value: float) -> dict[str, Any]:
    about = {"setting": setting, "kind": "pair flip", "seed": seed, "rows": 10, "wrong": 0.4, "detector": detector}
    return {**about, **dict.fromkeys(label_issues.FIGURES, value)}


def test_settings_count_alike_whatever_their_seeds_and_seconds_are_summed() -> None:
    results = [entry("dig-P", 0, TUNED, 0.2), entry("dig-P", 1, TUNED, 0.4), entry("mn-P", 0, TUNED, 0.9)]
    results += [entry("dig-P", 0, "noisylab", 0.6), entry("mn-P", 0, "noisylab", 1.2), entry("mn-P", 0, LAST, 0.5)]
    means = {row["detector"]: row for row in label_issues.summary(results)}
    assert set(means) == {TUNED, "noisylab"}  # the other has not been run on both
    assert means[TUNED]["auroc"] == pytest.approx((0.3 + 0.9) / 2) and means[TUNED]["process_seconds"] == pytest.approx(1.2)
    assert means["noisylab"]["time_ratio"] == pytest.approx(1.8 / 1.2)
    lines = label_issues.by_setting(results, "auroc").splitlines()
    assert lines[0] == f"| auroc | noise | share wrong | {TUNED} | noisylab | {LAST} |"
    assert lines[2:] == [
        "| dig-P | pair flip | 0.400 | 0.300 | 0.600 | - |",
        "| mn-P | pair flip | 0.400 | 0.900 | 1.200 | 0.500 |",
        "| mean |  |  | 0.600 | 0.900 | - |",
    ]


def test_earlier_results_of_cleanlab_are_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, out = tmp_path / "before.json", tmp_path / "out.json"
    asked: list[set[str]] = []

    def stand_in(setting: str, seed: int, file: Path, sides: set[str], **more: bool) -> list[dict[str, Any]]:
        asked.append(sides)
        return [entry(setting, seed, "noisylab", 0.5)]

    monkeypatch.setattr(label_issues, "run", stand_in)
    old = [entry("dig-S", 0, TUNED, 0.7), entry("dig-S", 0, "noisylab", 0.1), entry("dig-P", 0, TUNED, 0.2)]
    before.write_text(json.dumps({"short": True, "results": old}))
    argv = ["--short", "--cleanlab", str(before), "--folder", str(tmp_path), "--out", str(out)]
    label_issues.main(argv)
    assert asked == [{"noisylab"}]
    results = [(one["setting"], one["detector"], one["auroc"]) for one in json.loads(out.read_text())["results"]]
    assert results == [("dig-S", TUNED, 0.7), ("dig-S", "noisylab", 0.5)]

    before.write_text(json.dumps({"short": True, "results": [{**old[0], "wrong": 0.3}]}))
    with pytest.raises(SystemExit):
        label_issues.main(argv)
    before.write_text(json.dumps({"short": False, "results": old}))
    with pytest.raises(SystemExit):
        label_issues.main(argv)


@pytest.mark.slow
def test_short_run_compares_both_sides_without_source_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cleanlab")
    monkeypatch.delenv("NOISYLAB_DATA", raising=False)
    label_issues.main(["--short", "--logistic", "--folder", str(tmp_path), "--out", str(tmp_path / "out.json")])
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["short"] and facts["versions"]["cleanlab"] != "not installed"
    found = {one["detector"]: one for one in facts["results"]}
    assert list(found) == [LAST, TUNED, cleanlab_side.LOGISTIC, "noisylab"]
    assert all(one["rows"] == 400 and one["process_seconds"] > 0 for one in found.values())
    # so short a training of the network is no better than chance, which is why a short run is not to quote
    assert all(found[name]["auroc"] > 0.7 for name in (cleanlab_side.LOGISTIC, "noisylab"))
    assert [row["detector"] for row in facts["summary"]] == list(found)
    assert "| dig-S | symmetric |" in capsys.readouterr().out
