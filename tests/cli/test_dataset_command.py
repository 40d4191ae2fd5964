"""Tables by --dataset: from a file to a list, a page and corrected labels."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from noisylab.cli.main import main

ROWS = 48
WORDS = {"good": ("fine", "lovely", "bright"), "bad": ("dull", "awful", "gray")}


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of texts, two labels of which are wrong, with row ids."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    with Path("reviews.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review", "sentiment"])
        for row in range(ROWS):
            true = ("good", "bad")[row % 2]
            words = " ".join(generator.choice(WORDS[true], 3))
            given = true if row not in (4, 9) else {"good": "bad", "bad": "good"}[true]
            writer.writerow([f"r{row:02d}", f"a {words} film, number {row} 😀", given])
    return tmp_path


def run(*argv: str) -> int:
    return main([*argv, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"])


def test_texts_become_a_list_a_page_and_corrected_labels(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ("--dataset", "reviews.csv", "--data.features", "tfidf", "--run_dir", "run")
    assert run("issues", *found, "--trainer.max_epochs", "12") == 0
    said = capsys.readouterr().out
    assert "label: the column sentiment; text: the column review; row ids: the column id" in said
    assert "--out reviews_fixed.csv" in said
    lines = list(csv.DictReader(io.StringIO(Path("run/label_issues.csv").read_text("utf-8"))))
    assert {lines[0]["id"], lines[1]["id"]} == {"r04", "r09"}
    page = Path("run/issues.html").read_text("utf-8")
    assert '"kind":"text"' in page and "\\ud83d\\ude00" in page
    assert main(["issues", "apply", "--run", "run", "--top", "2", "--out", "reviews_fixed.csv"]) == 0
    old, new = (Path(name).read_text("utf-8").splitlines() for name in ("reviews.csv", "reviews_fixed.csv"))
    changed = [row for row, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    assert changed == [5, 10] and all(line.endswith(("good", "bad")) for line in new[1:])
    assert main(["predict", "--run_dir", "run", "--dataset", "reviews.csv"]) == 0
    predicted = list(csv.DictReader(io.StringIO(Path("run/predictions.csv").read_text("utf-8"))))
    assert [line["id"] for line in predicted] == [f"r{row:02d}" for row in range(ROWS)]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("issues", "--dataset", "none.parquet"), "none.parquet"),
        (("issues", "--dataset", "reviews.csv", "--label", "sentimnt"), "did you mean 'sentiment'"),
        (("issues", "--dataset", "reviews.csv", "--label", "id", "--text", "review"), "all 48 labels"),
        (("issues", "--dataset", "reviews.csv", "--images", "."), "--images does not go with --dataset"),
        (("issues", "--dataset", "reviews.csv", "--labels", "l.csv"), "--label COLUMN"),
        (("issues", "--dataset", "reviews.csv", "--split", "tset"), "none of the splits"),
        (("issues", "--dataset", "reviews.csv", "--text", "review", "--audio", "review"), "exclude each other"),
        (("fit", "--model", "ELR", "--label", "sentiment"), "--dataset FILE"),
        (("fit", "--model", "ELRR", "--dataset", "reviews.csv"), "ELRPlus"),
        (("fit", "--model", "ELR", "--data", "Text", "--dataset", "reviews.csv"), "both say what the data is"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(
    reviews: Path, argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(argv)) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in reviews.iterdir()] == ["reviews.csv"]


def test_fit_takes_the_table_as_data(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = ("--model.network", "MLP", "--model.network.in_features", "auto")
    argv = ("fit", "--model", "CrossEntropy", *network, "--dataset", "reviews.csv", "--print_config=skip_default")
    assert main(list(argv)) == 0
    out = capsys.readouterr()
    assert "Text" in out.out and "label: sentiment" in out.out and "text: review" in out.out
    assert "label: the column sentiment" in out.err
