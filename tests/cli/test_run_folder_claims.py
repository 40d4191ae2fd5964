"""Who may write in a folder, what --overwrite may delete, and what a command that came to nothing leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from noisylab.cli.errors import UserError
from noisylab.cli.folder.claim import claim, hold, new_default_folder
from noisylab.cli.folder.lock import LOCK, FolderLock, abandoned
from noisylab.cli.folder.marker import MARKER, foreign_entries, mark, read_marker
from noisylab.cli.main import main


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def finished(name: str = "run", text: str = "old") -> Path:
    """A run that has left a checkpoint."""
    folder = Path(name)
    with claim(folder, "fit") as claimed:
        claimed.prepare()
        (folder / "config.yaml").write_text(text)
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").write_text(text)
        claimed.begin()
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.resolve().parent.iterdir() if path.name.startswith("."))


def test_a_new_folder_bears_a_marker_of_its_own() -> None:
    first, second = (read_marker(finished(name)) for name in ("a", "b"))
    assert first is not None and second is not None
    assert first["format"] == 1 and first["command"] == "fit"
    assert first["id"] != second["id"]


def test_a_run_replaces_the_one_before_once_it_has_begun() -> None:
    folder = finished()
    with claim(folder, "fit", overwrite=True) as claimed:
        assert tree(folder)["config.yaml"] == "old"
        claimed.prepare()
        assert set(tree(folder)) == {MARKER, LOCK}
        (folder / "config.yaml").write_text("new")
        assert len(beside(folder)) == 1, "the run before is kept until then"
        claimed.begin()
        assert beside(folder) == []
    assert tree(folder)["config.yaml"] == "new"
    assert LOCK not in tree(folder)


def test_a_run_that_did_not_begin_gives_the_one_before_back() -> None:
    folder = finished()
    before = tree(folder)
    with pytest.raises(ZeroDivisionError), claim(folder, "fit", overwrite=True) as claimed:
        claimed.prepare()
        (folder / "config.yaml").write_text("new")
        raise ZeroDivisionError
    assert tree(folder) == before
    assert beside(folder) == []


def test_a_run_that_did_not_begin_leaves_no_folder() -> None:
    with pytest.raises(ZeroDivisionError), claim(Path("deep/run"), "fit") as claimed:
        claimed.prepare()
        Path("deep/run/config.yaml").write_text("new")
        raise ZeroDivisionError
    assert not Path("deep").exists()


def test_ctrl_c_while_a_folder_is_claimed_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, command: str) -> None:
        mark(folder, command)
        raise KeyboardInterrupt

    monkeypatch.setattr("noisylab.cli.folder.claim.mark", interrupted)
    with pytest.raises(KeyboardInterrupt):
        claim(Path("new/run"), "fit")
    assert not Path("new").exists()


def test_an_empty_folder_of_the_user_stays() -> None:
    Path("mine").mkdir()
    with pytest.raises(ZeroDivisionError), claim(Path("mine"), "fit"):
        raise ZeroDivisionError
    assert list(Path("mine").iterdir()) == []


def test_what_was_stopped_before_its_first_checkpoint_starts_again_unasked() -> None:
    folder = finished()
    shutil.rmtree(folder / "checkpoints")
    (folder / "metrics.csv").write_text("epoch,step,name,value\n")
    with claim(folder, "fit") as claimed:
        claimed.prepare()
        assert set(tree(folder)) == {MARKER, LOCK}


def test_numbers_of_an_epoch_are_not_deleted_unasked() -> None:
    folder = finished()
    shutil.rmtree(folder / "checkpoints")
    (folder / "metrics.csv").write_text("epoch,step,name,value\n0,1,val/acc,0.5\n")
    with pytest.raises(UserError, match="is not empty"):
        claim(folder, "fit")


@pytest.mark.parametrize("entry", ["notes.txt", "data/a.png", "checkpoints/mine.txt", "fold0/notes.md", ".git/HEAD"])
def test_files_of_others_are_never_deleted(entry: str) -> None:
    folder = finished()
    (folder / entry).parent.mkdir(exist_ok=True)
    (folder / entry).write_text("years of work")
    before = tree(folder)
    with pytest.raises(UserError) as refused:
        claim(folder, "folds" if "fold0" in entry else "fit", overwrite=True, series="fold0" in entry)
    assert entry.split("/")[0] in str(refused.value)
    assert tree(folder) == before


def test_a_folder_without_the_marker_is_no_run_whatever_its_files_are_called() -> None:
    Path("project").mkdir()
    Path("project/config.yaml").write_text("model: CrossEntropy\n")
    with pytest.raises(UserError, match=r"no file \.noisylab"):
        claim(Path("project"), "fit", overwrite=True)
    assert tree(Path("project")) == {"config.yaml": "model: CrossEntropy\n"}


def test_a_run_of_a_version_without_markers_is_known_by_its_summary() -> None:
    Path("run").mkdir()
    summary = {"recipe": "", "method": "ACT", "protocol": "p", "versions": {"noisylab": "0.1"}}
    Path("run/summary.json").write_text(json.dumps(summary))
    with claim(Path("run"), "fit", overwrite=True) as claimed:
        claimed.prepare()
        claimed.begin()
    assert "summary.json" not in tree(Path("run"))


@pytest.mark.parametrize("where", [".", "..", "run"])
def test_the_working_directory_and_those_above_it_are_spared(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished()
    inside = folder / "checkpoints"
    monkeypatch.chdir(inside if where == ".." else folder if where == "." else inside)
    with pytest.raises(UserError, match="working directory"):
        claim(Path("../../run") if where == "run" else Path(where), "fit", overwrite=True)


def test_home_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished()
    monkeypatch.setenv("HOME", str(folder.resolve()))
    with pytest.raises(UserError, match="home"):
        claim(folder, "fit", overwrite=True)


@pytest.mark.parametrize("through", ["run/checkpoints/last.ckpt", "link", "run/config.yaml"])
def test_what_the_command_itself_reads_is_spared(through: str) -> None:
    folder = finished()
    Path("link").symlink_to(folder / "checkpoints")
    with claim(folder, "fit", overwrite=True) as claimed, pytest.raises(UserError, match="belongs to this command"):
        claimed.spare(["ACT", "0.4", "nothing.npz", through])
    with claim(folder, "fit", overwrite=True) as claimed:
        claimed.spare(["ACT", "nothing.npz", "."])


def test_a_link_to_a_folder_stays_a_link() -> None:
    Path("scratch").mkdir()
    Path("run").symlink_to("scratch")
    finished()
    with claim(Path("run"), "fit", overwrite=True) as claimed:
        claimed.prepare()
        (Path("run") / "config.yaml").write_text("new")
        claimed.begin()
    assert Path("run").is_symlink()
    assert tree(Path("scratch"))["config.yaml"] == "new"


def test_series_and_runs_do_not_replace_each_other() -> None:
    finished()
    with pytest.raises(UserError, match="holds no folds"):
        claim(Path("run"), "folds", overwrite=True, series=True)
    with claim(Path("series"), "folds", series=True) as claimed:
        finished("series/fold0")
        claimed.begin()
    with pytest.raises(UserError, match="the folds of a series"):
        claim(Path("series"), "fit", overwrite=True)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_run_of_its_own_never_takes_the_place_of_a_fold(there: bool, overwrite: bool) -> None:
    with claim(Path("series"), "folds", series=True) as claimed:
        finished("series/fold0")
        if there:
            finished("series/fold1")
        claimed.begin()
    before = tree(Path("series"))
    with pytest.raises(UserError, match=r"keeps a part of series;.*\n.*noisylab folds --run_dir series --resume"):
        claim(Path("series/fold1"), "fit", overwrite=overwrite)
    Path("link").symlink_to("series/fold1")
    with pytest.raises(UserError, match="keeps a part of /"):
        claim(Path("link"), "fit", overwrite=overwrite)
    assert tree(Path("series")) == before
    torch.save({"global_step": 1}, "series/fold0/checkpoints/last.ckpt")
    with claim(Path("series/fold0"), "fit", resume=True) as claimed:  # one fold may go on by itself
        assert claimed.checkpoint is not None


def test_the_folds_behind_a_list_of_issues_are_not_replaced_by_others() -> None:
    finished("run")
    with hold(Path("run")), claim(Path("run/crossfit"), "folds", series=True) as claimed:
        finished("run/crossfit/fold0")
        claimed.begin()
    for folder in ("run/crossfit", "run/crossfit/fold0"):
        with pytest.raises(UserError, match=r"noisylab \w+ --run_dir run\S* --resume"):
            claim(Path(folder), "folds", overwrite=True, series=folder.endswith("crossfit"))


def test_default_folders_of_one_second_differ() -> None:
    found = {new_default_folder("ce") for _ in range(5)}
    assert len(found) == 5
    assert all(folder.is_dir() for folder in found)


def test_all_that_noisylab_writes_is_known() -> None:
    folder = finished()
    for name in ("metrics.csv", "summary.json", ".summary.json.0123456789abcdef.partial", "predictions.csv", "issues.html"):
        (folder / name).touch()
    (folder / "crossfit" / "fold0" / "checkpoints").mkdir(parents=True)
    (folder / "crossfit" / "fold0" / "checkpoints" / "best.ckpt.previous").touch()
    assert foreign_entries(folder) == []
    (folder / ".video.mkv.0123456789abcdef.partial").touch()
    assert foreign_entries(folder) == [".video.mkv.0123456789abcdef.partial"], "another program's"


# ---- one at a time


def _try(folder: str, answer) -> None:
    try:
        with hold(Path(folder)):
            answer.put("taken")
    except UserError as error:
        answer.put(str(error))


def elsewhere(folder: Path) -> str:
    """What another process is told which wants the folder."""
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    process = context.Process(target=_elsewhere, args=(str(folder), answer))
    process.start()
    said = answer.get(timeout=60)
    process.join()
    return said


def _elsewhere(folder: str, answer) -> None:
    from noisylab.cli.folder import claim as runfolder

    runfolder._held.clear()  # of the process that this one was forked from
    _try(folder, answer)


def _take_and_wait(folder: str, told, wait) -> None:
    FolderLock.take(Path(folder), Path(folder))
    told.set()
    wait.wait(60)
    os._exit(9)  # as a kill does


def test_the_folder_of_a_killed_process_is_told_from_one_that_was_given_back() -> None:
    folder = finished()
    assert not abandoned(folder), "given back"
    context = multiprocessing.get_context("fork")
    told, wait = context.Event(), context.Event()
    process = context.Process(target=_take_and_wait, args=(str(folder), told, wait))
    process.start()
    assert told.wait(60)
    assert not abandoned(folder), "in use"
    wait.set()
    process.join()
    assert abandoned(folder)


def test_another_process_is_told_whose_the_folder_is() -> None:
    folder = finished()
    with claim(folder, "fit", overwrite=True):
        said = elsewhere(folder)
    assert f"in use by process {os.getpid()}" in said
    assert "since" in said
    assert elsewhere(folder) == "taken"


def test_the_lock_goes_with_the_folder_that_replaces() -> None:
    folder = finished()
    with claim(folder, "fit", overwrite=True) as claimed:
        claimed.prepare()
        assert "in use" in elsewhere(folder)
        claimed.begin()
        assert "in use" in elsewhere(folder)
    assert elsewhere(folder) == "taken"


def test_the_lock_comes_back_with_the_folder_that_was_to_be_replaced() -> None:
    folder = finished()
    with hold(folder):
        with claim(folder, "fit", overwrite=True) as claimed:
            assert claimed.replaces
        assert "in use" in elsewhere(folder), "who asked twice gives it back twice"
    assert elsewhere(folder) == "taken"


def test_a_lock_file_that_a_killed_process_left_does_not_count() -> None:
    folder = finished()
    (folder / LOCK).write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with claim(folder, "fit", overwrite=True) as claimed:
        assert claimed.replaces


def test_a_planted_link_is_not_written_through() -> None:
    folder = finished()
    Path("precious").write_text("mine")
    (folder / LOCK).symlink_to(Path("precious").resolve())
    with pytest.raises(OSError):
        FolderLock.take(folder, folder)
    assert Path("precious").read_text() == "mine"


# ---- after a kill


def test_a_replacement_that_was_killed_before_it_began_is_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished()
    before = tree(folder)
    claimed = claim(folder, "fit", overwrite=True)
    claimed.prepare()
    (folder / "config.yaml").write_text("new")
    _die(folder)
    with pytest.raises(UserError, match="is not empty"):
        claim(folder, "fit")
    assert tree(folder) == before
    assert "the previous run is restored" in capsys.readouterr().err
    assert beside(folder) == []


def test_a_replacement_that_was_killed_between_two_renames_is_taken_back() -> None:
    folder = finished()
    before = tree(folder)
    claim(folder, "fit", overwrite=True).prepare()
    shutil.rmtree(folder)
    _die(folder)
    with pytest.raises(UserError, match="is not empty"):
        claim(folder, "fit")
    assert tree(folder) == before


def test_evaluation_says_where_the_run_is_that_a_kill_has_moved_aside(capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished()
    number = json.loads((folder / ".noisylab").read_text())["id"]
    folder.rename(f".run.{number}.replaced")
    assert main(["test", "--run_dir", "run"]) == 2
    assert "noisylab fit --run_dir run --resume restores it" in capsys.readouterr().err
    assert main(["test", "--run_dir", "other"]) == 2
    assert "there is no run" in capsys.readouterr().err


def _die(folder: Path) -> None:
    """What this process holds is given up without a word, as after a kill."""
    from noisylab.cli.folder import claim as runfolder

    runfolder._held.clear()


def test_a_system_without_file_locks_goes_by_the_process_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    folder = finished()
    with claim(folder, "fit", overwrite=True):
        assert json.loads((folder / LOCK).read_text())["pid"] == os.getpid()
        with pytest.raises(UserError, match="in use by process"):
            FolderLock.take(folder, folder)
    (folder / LOCK).write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname()}))
    FolderLock.take(folder, folder).drop(folder)


@pytest.mark.slow  # imports everything once more
def test_the_command_is_imported_where_the_system_has_no_file_locks() -> None:
    lacking = "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "pread", "pwrite", "fork", "sysconf", "geteuid"
    program = (
        f"import os, signal, sys\nsys.modules.update(fcntl=None, resource=None, pwd=None)\n"
        f"for name in {lacking}:\n    delattr(os, name)\ndel signal.SIGPIPE\n"
        "import noisylab.cli.main, noisylab.cli.commands.fit, noisylab.cli.commands.folds, noisylab.cli.commands.issues"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_folder_that_cannot_be_made_is_named() -> None:
    Path("file").touch()
    Path("loop").symlink_to("loop")
    for name in ("file/run", "loop", "loop/run"):
        with pytest.raises(UserError, match=f"--run_dir {name} cannot be created"):
            claim(Path(name), "fit")
