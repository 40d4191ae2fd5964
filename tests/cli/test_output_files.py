"""What --overwrite may replace outside of run folders, and what it never does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from noisylab.cli.errors import UserError
from noisylab.cli.folder.marker import foreign_entries, mark
from noisylab.cli.folder.outputs import check_not_read, check_output, is_predictions
from noisylab.cli.main import main
from noisylab.reports.style import is_figure, save_png


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Path:
    folder = Path("run")
    (folder / "checkpoints").mkdir(parents=True)
    mark(folder, "fit")
    for name in ("config.yaml", "predictions.csv", "checkpoints/last.ckpt"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("name", ["config.yaml", ".noisylab", "checkpoints/last.ckpt"])
def test_no_output_replaces_a_file_of_a_run(run: Path, name: str) -> None:
    with pytest.raises(UserError, match="belongs to the run"):
        check_not_read(run / name, "--out")
    Path("link").symlink_to(run)
    with pytest.raises(UserError, match="belongs to the run"):
        check_not_read(Path("link") / name, "--out")


def test_predictions_of_a_run_are_replaced(run: Path) -> None:
    check_not_read(run / "predictions.csv", "--out", [str(run / "config.yaml")])


def test_no_output_replaces_what_the_command_reads() -> None:
    for name in ("labels.csv", "photos/a.png", "photos/old.csv", "other.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("hard.csv").hardlink_to("labels.csv")
    read = ["labels.csv", "photos", "a" * 9999, "\0"]
    for name in ("labels.csv", "hard.csv", "photos/a.png", "./photos/../labels.csv"):
        with pytest.raises(UserError, match="which this command reads"):
            check_not_read(Path(name), "--out", read)
    for name in ("other.csv", "photos/old.csv", "new.csv"):
        check_not_read(Path(name), "--out", read)


def test_an_output_below_a_file_is_refused_at_once() -> None:
    Path("file").touch()
    with pytest.raises(UserError, match="file, which is not a folder"):
        check_output(Path("file/below/out.csv"), "--out")
    check_output(Path("new/below/out.csv"), "--out")


def test_overwrite_replaces_nothing_but_what_the_command_writes() -> None:
    def refused(name: str, ours: Callable[[Path], bool]) -> bool:
        try:
            check_output(Path(name), "--out", overwrite=True, ours=ours, what="outputs")
        except UserError as error:
            assert "is not one of the outputs that noisylab writes" in str(error)
            return True
        return False

    Image.new("L", (3, 3)).save("photo.png")
    drawn = PngInfo()
    drawn.add_text("Software", "Matplotlib version3.9.0, https://matplotlib.org/")
    Image.new("L", (3, 3)).save("plot.png", pnginfo=drawn)
    Path("text.png").write_text("notes")
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:20])
    save_png(Figure(), Path("ours.png"))
    assert all(refused(name, is_figure) for name in ("photo.png", "plot.png", "text.png", "cut.png"))
    assert not refused("ours.png", is_figure)

    tables = {
        "labels.csv": "file,label\na.png,cat\n",
        "long.csv": "file,given,predicted,probability,remark\n",
        "notes.csv": "dear diary",
        "old.csv": "file,given,predicted,probability\r\na.png,cat,dog,0.5\r\n",
        "rows.csv": "index,given,predicted,probability\n",
        "empty.csv": "",
    }
    for name, text in tables.items():
        Path(name).write_text(text, newline="")
    assert [refused(name, is_predictions) for name in tables] == [True] * 3 + [False] * 3


@pytest.mark.slow
def test_predictions_never_replace_the_data_or_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "ce_digits", "--data.subset", "60", "--trainer.max_epochs", "1", "--run_dir", "run"]) == 0
    checkpoint = Path("run/checkpoints/last.ckpt")
    before = checkpoint.read_bytes()
    copy = Path("copy.ckpt")
    copy.write_bytes(before)
    for out, more in ((checkpoint, []), (copy, ["--ckpt_path", "copy.ckpt"]), (Path("run/config.yaml"), [])):
        assert main(["predict", "--run_dir", "run", *more, "--out", str(out), "--overwrite"]) == 2
        assert f"--out {out} belongs to" in capsys.readouterr().err
    assert checkpoint.read_bytes() == copy.read_bytes() == before
    Path("old.csv").write_text("file,given,predicted,probability\n")
    assert main(["predict", "--run_dir", "run", "--out", "old.csv", "--overwrite"]) == 0
    assert Path("old.csv").read_text().startswith("index,")


def test_a_figure_of_another_form_is_refused_before_the_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "run", "--out", "figure.pdf"]) == 2
    out, err = capsys.readouterr()
    assert not out and "name it figure.png" in err


def test_a_copy_of_a_checkpoint_under_a_name_of_the_users_own_is_the_users(run: Path) -> None:
    assert foreign_entries(run) == []
    (run / "checkpoints" / "epoch=3-step=40.ckpt").touch()  # of Lightning's ModelCheckpoint
    (run / "checkpoints" / "for the paper.ckpt").touch()
    assert foreign_entries(run) == ["checkpoints/for the paper.ckpt"]
