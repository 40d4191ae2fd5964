"""`noisylab issues export`: ranked labels as Label Studio, FiftyOne, Spotlight and spreadsheets read them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from helpers.exports import KINDS, annotation, choice, label_studio, task, write_json

from noisylab.cli import main
from noisylab.data.exports import read_export

SHORT = ("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")


def noisylab(*argv: object) -> int:
    return main([str(text) for text in argv])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on an export of 50 tasks, on the same pictures in a table, and on arrays."""
    root = tmp_path_factory.mktemp("made")
    export = write_json(root / "tasks.json", label_studio(root))
    labels = {row.value: row.label for row in read_export(export, "species").rows if row.label}
    lines = [f"{unquote(value).rpartition('/')[2]},{label}" for value, label in labels.items()]
    (root / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    np.savez(root / "d.npz", x=rng.standard_normal((40, 4)).astype(np.float32), y=np.arange(40) % 3)
    studio = ("--images", root / "photos", "--labels", export, "--label_column", "species")
    for name, source in (
        ("studio", studio),
        ("table", ("--images", root / "photos", "--labels", root / "labels.csv")),
        ("arrays", ("--arrays", root / "d.npz")),
    ):
        assert noisylab("issues", *source, *SHORT, "--run_dir", root / name) == 0
    return root


def export(made: Path, run: str, to: str, out: str, *more: str) -> Path:
    assert noisylab("issues", "export", "--run", made / run, "--to", to, "--out", out, *more) == 0
    return Path(out)


def test_fiftyone_gets_a_row_for_each_file_that_is_there(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, ranked = rows_of(export(made, "table", "fiftyone", "o.csv")), rows_of(made / "table" / "label_issues.csv")
    assert "dataset_type=fiftyone.types.CSVDataset" in capsys.readouterr().out
    assert [row["file"] for row in rows] == [row["file"] for row in ranked]
    for row, other in zip(rows, ranked, strict=True):
        assert Path(row["filepath"]).is_absolute()
        assert Path(row["filepath"]).is_file()
        assert (row["given"], row["suggested"], row["is_issue"]) == (other["given"], other["suggested"], other["is_issue"])
        assert float(row["score"]) == pytest.approx(float(other["score"]))
    assert "clean_prob" not in rows[0], "a signal that the method does not have"


def test_spotlight_gets_a_parquet_with_categories(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(export(made, "table", "spotlight", "o.parquet"))
    assert 'dtype={"image": renumics.spotlight.Image}' in capsys.readouterr().out
    ranked = rows_of(made / "table" / "label_issues.csv")
    assert frame["file"].tolist() == [row["file"] for row in ranked]
    assert frame["given"].tolist() == [row["given"] for row in ranked]
    assert sorted(frame["suggested"].cat.categories) == sorted(KINDS)
    assert frame["is_issue"].dtype == bool
    assert frame["score"].to_numpy() == pytest.approx([float(row["score"]) for row in ranked])
    assert all(Path(path).is_file() for path in frame["image"])


def test_the_first_rows_alone_and_rows_without_files(made: Path) -> None:
    rows = rows_of(export(made, "arrays", "csv", "o.csv", "--top", "5"))
    assert [row["index"] for row in rows] == [row["index"] for row in rows_of(made / "arrays" / "label_issues.csv")[:5]]
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_parquet(export(made, "arrays", "spotlight", "o.parquet", "--top", "10%"))) == 4


def test_label_studio_gets_its_own_tasks_back_with_the_suggestions_as_predictions(made: Path) -> None:
    tasks = json.loads(export(made, "studio", "label-studio", "o.json").read_text("utf-8"))
    flagged = [row for row in rows_of(made / "studio" / "label_issues.csv") if row["is_issue"] == "True"]
    assert len(tasks) == len(flagged) > 0
    own = {one["id"]: one for one in json.loads((made / "tasks.json").read_text("utf-8"))}
    for one, row in zip(tasks, flagged, strict=True):
        *before, new = one["predictions"]
        assert {**one, "predictions": before} == own[one["id"]], "all else is as it was exported"
        result = {"from_name": "species", "to_name": "photo", "type": "choices", "value": {"choices": [row["suggested"]]}}
        assert new["result"] == [result]
        assert 0 <= new["score"] <= 1
        assert new["model_version"].startswith("noisylab ")
        assert unquote(one["data"]["photo"]).endswith(f"/{row['file']}")


def test_other_pictures_become_tasks_whose_files_are_served_from_beside_their_folder(made: Path) -> None:
    tasks = json.loads(export(made, "table", "label-studio", "o.json").read_text("utf-8"))
    for one in tasks:
        kind, path = one["data"]["image"].split("?d=")
        assert kind == "/data/local-files/"
        assert (made / unquote(path)).is_file(), "the folder above that of the pictures is what Label Studio serves"
        assert one["predictions"][0]["result"][0]["from_name"] == "label"
        assert one["data"]["given"] != one["predictions"][0]["result"][0]["value"]["choices"][0]


def test_texts_of_an_export_are_a_table_whose_corrections_go_back(made: Path) -> None:
    from noisylab.data.frames.reading import read_tables
    from noisylab.issues.apply_exports import apply_to_tasks

    tasks = [
        task(n, {"text": f"é {n}"}, [annotation(50 + n, [choice("a"), choice("x", "mood")] if n != 3 else [], n)])
        for n in range(1, 6)
    ]
    path = write_json(Path("t.json"), tasks)
    table = read_tables(str(path))["train"]
    assert list(table.columns) == ["text", "species", "mood"]
    assert table.ids == ["1", "2", "3", "4", "5"]
    assert table.columns["species"].missing.tolist() == [False, False, True, False, False]
    assert table.columns["text"].texts()[0] == "é 1"
    write_json(path, [*tasks, task(9, {"text": "z"}, [annotation(99, [choice("b")], 9)])])
    assert apply_to_tasks(path, {"4": ("b", "a")}, "new.json", label="species").changed == 1
    assert read_tables("new.json")["train"].columns["species"].texts() == ["a", "a", "", "b", "a", "b"]


def test_what_cannot_be_exported_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*argv: object) -> str:
        capsys.readouterr()
        assert noisylab("issues", "export", *argv) == 2
        assert not list(Path.cwd().glob("o.*"))
        return capsys.readouterr().err

    run = ("--run", made / "arrays")
    assert "needs --to label-studio or fiftyone" in refused(*run, "--out", "o.csv")
    assert "'spotlite'" in refused(*run, "--to", "spotlite", "--out", "o.csv")
    assert "ends in .parquet" in refused(*run, "--to", "spotlight", "--out", "o.csv")
    assert "FiftyOne shows files" in refused(*run, "--to", "fiftyone", "--out", "o.csv")
    assert "top must be between 1 and the 40 rows" in refused(*run, "--to", "csv", "--out", "o.csv", "--top", "41")
    assert "there is no run" in refused("--run", made, "--to", "csv", "--out", "o.csv")
    assert "already exists" in refused(*run, "--to", "csv", "--out", made / "labels.csv")
    if any(row["is_issue"] == "True" for row in rows_of(made / "arrays" / "label_issues.csv")):
        assert "rows of arrays are none of these" in refused(*run, "--to", "label-studio", "--out", "o.json")
