from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noisylab.reports import RunFolderError, find_runs, read_run, run_labels

MakeRun = Callable[..., Path]


def test_a_run_is_read_whole(make_run: MakeRun) -> None:
    run = read_run(make_run(seed=3, config={"model": {"init_args": {"warmup_epochs": 5}}}))
    assert (run.method, run.seed, run.recipe, run.data) == ("ELR", 3, "elr_digits", "digits")
    assert (run.noise, run.measured_rate, run.warmup_epochs, run.complete) == ("symmetric 40 %", 0.3984, 5.0, True)
    epochs, values = run.curves["test/acc"]
    np.testing.assert_array_equal(epochs, [0, 1, 2])
    np.testing.assert_array_equal(values, [0.5, 0.75, 0.625])


def test_a_curve_of_every_second_epoch_keeps_its_epochs_and_nan(make_run: MakeRun) -> None:
    folder = make_run()
    text = "epoch,step,name,value\r\n1,2,select/f1,nan\r\n3,4,select/f1,0.5\r\n"
    (folder / "metrics.csv").write_bytes(text.encode())
    epochs, values = read_run(folder).curves["select/f1"]
    np.testing.assert_array_equal(epochs, [1, 3])
    np.testing.assert_array_equal(values, [np.nan, 0.5])


def test_what_is_logged_within_epochs_is_no_curve(make_run: MakeRun) -> None:
    folder = make_run()
    rows = "0,10,train/loss_step,2.5\n0,20,train/loss_step,1.5\n0,20,train/loss,2.0\n1,30,train/loss_step,1.0\n"
    (folder / "metrics.csv").write_text(f"epoch,step,name,value\n{rows}")
    assert list(read_run(folder).curves) == ["train/loss"]


def test_number_is_none_where_absent_null_or_no_number(make_run: MakeRun) -> None:
    test = {"headline": {"last": 0.5, "best_by_val": None, "best": "high", "last10_mean": float("nan")}}
    run = read_run(make_run(test=test))
    assert run.number("test", "headline", "last") == 0.5
    for key in ("best_by_val", "best", "last10_mean", "absent"):
        assert run.number("test", "headline", key) is None
    assert run.number("method", "headline") is None
    assert run.number("complete") is None


def test_at_end_prefers_the_summary_and_falls_back_on_the_curve(make_run: MakeRun) -> None:
    run = read_run(make_run(diagnostics={"memorization/clean_acc": 0.75, "select/f1": None}))
    assert run.at_end("memorization/clean_acc") == 0.75
    assert run.at_end("memorization/noisy_as_given") == 0.5
    assert run.at_end("select/f1") is None
    assert run.at_end("transition/error") is None


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"kind": "pairflip", "rate": 0.29}, "pairflip 29 %"),
        ({"kind": "file", "rate": None}, "file"),
        ({"kind": None, "rate": None}, "labels as given"),
    ],
)
def test_noise_in_words(make_run: MakeRun, noise: dict[str, object], words: str) -> None:
    assert read_run(make_run(noise=noise)).noise == words


def test_a_protocol_given_as_a_mapping_is_put_in_words(make_run: MakeRun) -> None:
    assert read_run(make_run(protocol={"val": "given", "fraction": 0.1})).protocol == "val given, fraction 0.1"


def test_a_config_without_init_args_has_no_warmup(make_run: MakeRun) -> None:
    assert read_run(make_run(config={"model": "ELR"})).warmup_epochs is None


def test_found_runs_are_sorted_and_unfinished_ones_apart(make_run: MakeRun, tmp_path: Path) -> None:
    later, earlier, other = make_run("b", "2"), make_run("b", "1"), make_run("a", "3")
    running = make_run("a", "4")
    (running / "summary.json").unlink()
    assert find_runs(tmp_path / "runs") == [other, earlier, later]
    assert find_runs(str(later)) == [later]
    assert find_runs(tmp_path, finished=False) == [running]


def test_finding_runs_in_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"nowhere is not a folder; give the folder that holds the runs"):
        find_runs(tmp_path / "nowhere")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"run folder .*gone does not exist; give a folder runs/<name>/<time>"):
        read_run(tmp_path / "gone")


def test_a_file_is_not_a_run_folder(make_run: MakeRun) -> None:
    with pytest.raises(RunFolderError, match=r"summary\.json is a file, not a folder"):
        read_run(make_run() / "summary.json")


def test_the_folder_above_a_run_points_to_the_run(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    with pytest.raises(RunFolderError) as caught:
        read_run(tmp_path / "runs")
    assert "is not a run folder" in str(caught.value)
    assert f"give one of the 1 below it, such as {folder}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        ("config.yaml", "start the run again from its recipe"),
        ("metrics.csv", "wait for the run, resume it"),
        ("summary.json", "wait for the run, or resume it"),
    ],
)
def test_a_missing_file_is_named_with_the_next_step(make_run: MakeRun, name: str, next_step: str) -> None:
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(RunFolderError) as caught:
        read_run(folder)
    assert str(caught.value).startswith(f"run folder {folder}: {name} is missing")
    assert next_step in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("config.yaml", "model: [", "config.yaml is not valid YAML"),
        ("config.yaml", "", "config.yaml does not hold a mapping"),
        ("summary.json", '{"method": "EL', "summary.json is not whole JSON"),
        ("summary.json", "[]", "summary.json has no entry 'method'"),
        ("summary.json", '{"method": "ELR", "data": {}, "noise": {}}', "summary.json has no entry 'test'"),
        ("metrics.csv", "", "metrics.csv is cut short in line 1"),
        ("metrics.csv", "epoch,step,name,value\n0,1,test/acc,0.", "metrics.csv is cut short in line 2"),
        ("metrics.csv", "step,epoch,name,value\n", "starts with the columns step,epoch,name,value"),
        ("metrics.csv", "epoch,step,name,value\n0,1,test/acc\n", "line 2 is '0,1,test/acc'"),
        ("metrics.csv", "epoch,step,name,value\n0,1,a,high\n", "line 2 is '0,1,a,high'"),
        ("metrics.csv", "epoch,step,name,value\n0,1,a,1\n0,2,a,1\n", "line 3 gives 'a' of epoch 0 a second time"),
    ],
)
def test_a_half_written_file_is_named(make_run: MakeRun, name: str, content: str, problem: str) -> None:
    folder = make_run()
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(RunFolderError) as caught:
        read_run(folder)
    assert str(folder) in str(caught.value)
    assert problem in str(caught.value)
    assert "; " in str(caught.value)  # the next step


def test_a_file_of_other_bytes_is_named(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunFolderError, match=r"config\.yaml is not UTF-8 text"):
        read_run(folder)


def test_a_run_that_stopped_early_is_read(make_run: MakeRun) -> None:
    assert not read_run(make_run(complete=False)).complete


def test_labels_are_the_methods_where_these_differ(make_run: MakeRun) -> None:
    runs = [read_run(make_run("a", method="ELR")), read_run(make_run("b", method="ACT"))]
    assert run_labels(runs) == ["ELR", "ACT"]


def test_labels_name_what_differs(make_run: MakeRun) -> None:
    runs = [
        read_run(make_run("a", seed=0)),
        read_run(make_run("b", seed=1, noise={"kind": "pairflip", "rate": 0.2})),
    ]
    assert run_labels(runs) == ["ELR, symmetric 40 %, seed 0", "ELR, pairflip 20 %, seed 1"]


def test_labels_fall_back_on_recipe_then_folder(make_run: MakeRun) -> None:
    other = read_run(make_run("c", "1", recipe="tuned.yaml"))
    runs = [read_run(make_run("a", "1")), read_run(make_run("b", "1")), other]
    assert run_labels(runs) == ["ELR, elr_digits, a/1", "ELR, elr_digits, b/1", "ELR, tuned"]


def test_the_summary_is_kept_as_written(make_run: MakeRun) -> None:
    folder = make_run()
    assert read_run(folder).summary == json.loads((folder / "summary.json").read_text(encoding="utf-8"))
