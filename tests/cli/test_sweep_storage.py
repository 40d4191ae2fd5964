"""Where trials are kept: databases that are locked, journals that were cut, passwords."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from noisylab.cli.errors import UserError
from noisylab.cli.options import parse
from noisylab.cli.sweeps import storage as module
from noisylab.cli.sweeps.asked import asked_for
from noisylab.cli.sweeps.ledger import open_ledger
from noisylab.cli.sweeps.plan import SweepPlan
from noisylab.cli.sweeps.storage import JOURNAL, lasting_storage, open_storage, patient


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_SQLITE_WAIT", 0.01)


def plan_with(*flags: str) -> SweepPlan:
    words = ["sweep", "--config", "elr_digits.yaml", "--search", "model.regularization=1..7", *flags]
    asked = asked_for(parse(words))
    base = {"trainer": {"max_epochs": 3}, "model": {"class_path": "noisylab.methods.elr.ELR", "init_args": {}}}
    return SweepPlan("elr", "study", asked.space, asked.settings, base)


def hold(file: str) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_trials_are_there_when_the_storage_is_opened_again(kind: str) -> None:
    plan = plan_with("--storage", kind, "--trials", "3")
    trial = open_ledger(plan, Path()).next()
    assert trial is not None
    again = open_ledger(plan, Path())
    assert [found.state.name for found in again.trials()] == ["RUNNING", "WAITING", "WAITING"]


def test_two_workers_never_take_more_trials_than_were_asked_for() -> None:
    plan = plan_with("--trials", "5")
    ledgers = [open_ledger(plan, Path()) for _ in range(2)]
    taken = [ledgers[turn % 2].next() for turn in range(8)]
    assert [trial.number if trial else None for trial in taken] == [0, 1, 2, 3, 4, None, None, None]


def test_a_locked_database_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = open_ledger(plan_with("--storage", "sqlite", "--trials", "1"), Path())
    holder = hold("trials.db")
    release = threading.Timer(0.3, holder.rollback)
    release.start()
    try:
        assert ledger.next() is not None
    finally:
        release.join()
        holder.close()


def test_a_database_that_stays_locked_is_said_in_words() -> None:
    ledger = open_ledger(plan_with("--storage", "sqlite", "--trials", "1"), Path())
    holder = hold("trials.db")
    try:
        with pytest.raises(UserError, match=r"storage sqlite: database is locked, for \d+ seconds and 3 tries\n") as refused:
            patient(lambda: ledger.study.set_user_attr("a", 1), "sqlite", waits=(0.01, 0.01))
    finally:
        holder.close()
    assert "continue with --resume" in str(refused.value)


def test_other_errors_are_not_tried_again() -> None:
    calls = []

    def fails() -> None:
        calls.append(1)
        raise ValueError("database is locked, says a value")

    with pytest.raises(ValueError, match="says a value"):
        patient(fails, "journal")
    assert len(calls) == 1


def test_a_line_that_a_crash_cut_off_is_dropped_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_with("--trials", "2")
    open_ledger(plan, Path())
    whole = Path(JOURNAL).read_bytes()
    Path(JOURNAL).write_bytes(whole + b'{"op_code": 5, "wor')
    assert len(open_ledger(plan, Path()).trials()) == 2
    assert "ended in the middle of a line, as after a crash; its 19 bytes are cut off" in capsys.readouterr().err
    assert Path(JOURNAL).read_bytes().startswith(whole + b'{"op_code":0')


def test_a_damaged_journal_is_refused() -> None:
    open_ledger(plan_with("--trials", "2"), Path())
    lines = Path(JOURNAL).read_bytes().splitlines(keepends=True)
    Path(JOURNAL).write_bytes(b"".join([lines[0], b"nonsense\n", *lines[2:]]))
    with pytest.raises(UserError, match=r"trials\.journal is damaged .*the trials in it cannot be read"):
        open_storage("journal", Path())


def test_a_lock_that_was_left_behind_is_said_and_taken_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_with("--trials", "1")
    lock = Path(f"{JOURNAL}.lock")
    lock.touch()
    old = time.time() - 100
    os.utime(lock, (old, old))
    clock = iter(range(0, 10_000, 3))
    monkeypatch.setattr("optuna.storages.journal._file.time.sleep", lambda seconds: None)
    monkeypatch.setattr("optuna.storages.journal._file.time.monotonic", lambda: float(next(clock)))
    assert open_ledger(plan, Path()).next() is not None
    told = capsys.readouterr().err
    assert "a worker was probably killed while it held the lock; it is taken away after 30 seconds" in told
    assert "Forcibly releasing the lock file" in told


def test_a_password_does_not_get_into_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="would be kept in the folder") as refused:
        lasting_storage("postgresql://me:secret@host/db")
    assert "postgresql://me:${DB_PASSWORD}@host/db" in str(refused.value)
    assert "secret" not in str(refused.value)
    url = "postgresql://me:${DB_PASSWORD}@host/db"
    assert lasting_storage(url) == url
    with pytest.raises(UserError, match="the variable DB_PASSWORD is not set"):
        open_storage(url, Path())


@pytest.mark.parametrize("wrong", ["jurnal", "trials.db", "redis://host"])
def test_what_is_no_storage_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match="expected journal"):
        lasting_storage(wrong)


def test_a_file_of_sqlite_is_kept_by_its_absolute_path(tmp_path: Path) -> None:
    assert lasting_storage("sqlite:///a.db") == f"sqlite:///{tmp_path / 'a.db'}"


def test_another_plan_in_the_same_storage_is_refused_with_the_difference() -> None:
    open_ledger(plan_with("--trials", "2"), Path())
    with pytest.raises(
        UserError, match=r"began with another plan: direction maximize, now minimize; objective val/acc, now val/loss"
    ):
        open_ledger(plan_with("--trials", "2", "--objective", "val/loss"), Path())
