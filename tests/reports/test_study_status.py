"""How far a study has come, in words."""

from __future__ import annotations

from pathlib import Path

from helpers.fake_runs import FakeCell, write_study

from noisylab.reports import read_study, status_text


def axes(method: str, seed: int) -> dict[str, str]:
    return {"method": method, "noise": "sym40", "seed": str(seed)}


def test_counts_rows_messages_time_and_next_step(tmp_path: Path) -> None:
    cells = [
        FakeCell(axes("CE", 0), seconds=100.0),
        FakeCell(axes("ELR", 0), seconds=300.0),
        FakeCell(axes("CE", 1), state="stopped", epochs=1),
        FakeCell(axes("ELR", 1), state="failed", message="\nit has diverged\nin epoch 3"),
        FakeCell(axes("CE", 2), state="waiting"),
        FakeCell(axes("ELR", 2), state="waiting"),
    ]
    place = write_study(tmp_path / "a study", cells)
    # CE: two thirds of 100 s and another 100 s; ELR: 300 s; the failed one is not counted
    assert status_text(read_study(place)) == (
        f"which in {place}: 6 runs: 2 finished, 1 stopped, 1 failed, 2 waiting\n"
        "\n"
        "CE   1 of 3 finished, 1 stopped, 1 waiting\n"
        "ELR  1 of 3 finished, 1 failed, 1 waiting\n"
        "\n"
        "ELR, sym40, seed 1 failed: it has diverged\n"
        "\n"
        "about 8 min left, 1 at a time, by the times of the finished runs\n"
        f"go on with: noisylab study --run_dir '{place}' --resume\n"
    )


def test_running_cells_say_their_epochs_and_share_the_time(tmp_path: Path) -> None:
    cells = [
        FakeCell(axes("CE", 0), seconds=30.0),
        FakeCell(axes("ELR", 0), state="running", epochs=2),
        FakeCell(axes("ELR", 1), state="running", epochs=1),
        FakeCell(axes("ELR", 2), state="failed", message="out of memory"),
    ]
    text = status_text(read_study(write_study(tmp_path / "S", cells)))
    assert "ELR  0 of 3 finished, sym40 seed 0 at 2 of 3 epochs, sym40 seed 1 at 1 of 3 epochs, 1 failed\n" in text
    # a third and two thirds of 30 s, two at a time; ELR is not known yet
    assert "about 15 s left, 2 at a time, by the times of the finished runs (ELR: as long as the others)\n" in text
    assert text.endswith("--resume tries the failed ones again\n")


def test_a_finished_study_names_its_table_and_a_new_one_has_no_estimate(tmp_path: Path) -> None:
    done = write_study(tmp_path / "done", [FakeCell(axes("CE", 0))])
    assert status_text(read_study(done)).endswith(f"CE  1 of 1 finished\n\nthe table: {done / 'study.txt'}\n")
    new = write_study(tmp_path / "new", [FakeCell(axes("CE", 0), state="waiting")])
    text = status_text(read_study(new))
    assert "1 run: 1 waiting" in text and "left" not in text
