"""Images without a label: from a folder beside the classes or from a table, behind all others, and what becomes of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import write_folders, write_image, write_table

from noisylab.cli.main import main
from noisylab.data import ImageFolder
from noisylab.data.imagelist import account_of
from noisylab.data.imageparts import image_lists
from noisylab.data.planned import planned
from noisylab.types import EpochPlan, Phase, Stream


def pool(folder: Path, count: int = 4) -> None:
    for n in range(count):
        write_image(folder / f"u{n}.png", seed=90 + n)


def ready(images: Path, **kwargs: Any) -> ImageFolder:
    data = ImageFolder(str(images), **kwargs)
    data.setup()
    return data


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled"])
def test_a_folder_beside_the_classes_holds_unlabeled_rows_behind_all_others(tmp_path: Path, name: str) -> None:
    write_folders(tmp_path)
    before = ready(tmp_path)
    pool(tmp_path / name)
    data = ready(tmp_path)
    assert data.source.names == [*(before.source.names or []), *(f"{name}/u{n}.png" for n in range(4))]
    assert data.given_target.tolist() == [*before.given_target.tolist(), *[-1] * 4]
    assert data.info.class_names == ("cat", "dog") and data.info.unlabeled_rows.tolist() == [6, 7, 8, 9]
    assert data.source.account[:2] == [
        f"{tmp_path}: 10 image files, 10 read; 2 classes: cat 3, dog 3",
        f"{tmp_path / name}: 4 images without a label; if that is a class, say --data.missing none",
    ]
    assert ready(tmp_path, missing="none").info.class_names == tuple(sorted(["cat", "dog", name]))
    left = ready(tmp_path, use_unlabeled=False)
    assert left.source.names == before.source.names and "without a label left out" in left.source.account[2]


def test_a_pool_may_lie_beside_the_parts_of_the_data(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_folders(tmp_path / part)
    pool(tmp_path / "unlabeled", 2)
    pool(tmp_path / "test" / "unlabeled", 3)
    train, test = image_lists(str(tmp_path), None, None, None, None, None)
    assert train.names[-2:] == ["unlabeled/u0.png", "unlabeled/u1.png"] and train.labels[-2:] == ["", ""]
    assert test is not None and len(test) == 6 and "" not in test.labels
    assert any(line == f"3 images of {tmp_path / 'test'} without a label left out" for line in account_of(test))


def test_other_names_of_a_pool_are_classes_and_are_said(tmp_path: Path) -> None:
    write_folders(tmp_path)
    pool(tmp_path / "unsup")
    data = ready(tmp_path)
    assert data.info.class_names == ("cat", "dog", "unsup")
    assert any("'unsup' is taken for a class; if it stands for no label, say so" in line for line in data.source.account)
    assert ready(tmp_path, missing=["unsup"]).info.unlabeled_rows.tolist() == [6, 7, 8, 9]


def test_true_labels_of_unlabeled_images_are_kept_for_reports(tmp_path: Path) -> None:
    for n in range(6):
        write_image(tmp_path / f"{n}.png", seed=n)
    rows = [(f"{n}.png", "" if n in (1, 4) else "ab"[n % 2], "ab"[n % 2]) for n in range(6)]
    write_table(tmp_path / "l.csv", ("file", "label", "true_label"), rows)
    with pytest.warns(UserWarning, match="2 of 6 rows have no label"):
        data = ready(tmp_path, labels_csv=str(tmp_path / "l.csv"))
    assert (data.given_target.tolist(), data.clean_target.tolist()) == ([0, 0, 1, 1, -1, -1], [0, 0, 1, 1, 1, 0])


@pytest.mark.parametrize("load", ["memory", "files"])
def test_a_batch_of_unlabeled_images_has_no_targets(tmp_path: Path, load: str) -> None:
    write_folders(tmp_path)
    pool(tmp_path / "unlabeled")
    data = ready(tmp_path, load=load, size=8)
    stream = Stream(data.info.unlabeled_rows, ("weak", "weak"), batch_size=6, endless=True)
    plan = planned(EpochPlan((Phase(streams={"a": Stream(), "b": stream}),)), 0, 0, data.split, data.view_set(), 6)
    (batch,) = data.batches(plan, torch.device("cpu"))
    assert sorted(batch["a"].target.tolist()) == [0, 0, 0, 1, 1, 1] and batch["b"].target.tolist() == [-1] * 6
    assert set(batch["b"].index.tolist()) == {6, 7, 8, 9} and not torch.equal(*batch["b"].views)  # type: ignore[arg-type]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_issues_rank_labeled_images_alone_and_a_corrected_table_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)
    write_folders(Path("images"), ("cat", "dog"))
    short = ["--backbone", "none", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    command = ["issues", "--images", "images", *short]
    pool(Path("images/unlabeled"))
    assert main([*command, "--dry_run"]) == 0
    assert "samples    6 training, 0 held out, 0 test; 2 classes\n" in capsys.readouterr().out  # its method has no use for others
    kept = ["--model", "CrossEntropy", "--model.network", "SmallCNN", "--model.network.width", "4"]
    assert main([*command, *kept, "--run_dir", "kept"]) == 0
    assert "CrossEntropy learns from labeled rows alone: 4 unlabeled rows are left out" in capsys.readouterr().err
    ranked = read(Path("kept/label_issues.csv"))
    assert {row["file"] for row in ranked} == {f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(3)}
    Path("accepted.csv").write_text(f"file,label\n{ranked[0]['file']},{'dog' if ranked[0]['given'] == 'cat' else 'cat'}\n")
    assert main(["issues", "apply", "--run", "kept", "--accepted", "accepted.csv", "--out", "fixed.csv"]) == 0
    fixed = {row["file"]: row["label"] for row in read(Path("fixed.csv"))}
    assert [fixed[f"unlabeled/u{n}.png"] for n in range(4)] == [""] * 4 and len(fixed) == 10
    with pytest.warns(UserWarning, match="4 of 10 rows"):
        assert len(ready(Path("images"), labels_csv="fixed.csv").info.unlabeled_rows) == 4
