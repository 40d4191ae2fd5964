"""CIFAR-10N and CIFAR-100N: the layout of their releases on a few rows, and the figures of the real label files."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import train_batches, write_cifar, write_cifarn

from noisylab.cli import main
from noisylab.data import named
from noisylab.data.named import CIFARN, cifarn, human_labels
from noisylab.noise import Symmetric
from noisylab.transforms import CIFAR10_MEAN, CIFAR100_MEAN

LABELS = {
    "aggregate": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worse": "worse_label",
    "worst": "worse_label",
    "fine": "noisy_label",
    "coarse": "noisy_coarse_label",
}


class Evil:
    """Would make a folder when unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


def read(root: Path, labels: str, **given: Any) -> CIFARN:
    data = CIFARN(labels, str(root), verify=False, **given)  # type: ignore[arg-type]
    data.setup()
    return data


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ten")
    write_cifarn(root, 10, 40, 20)
    return root


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hundred")
    write_cifarn(root, 100, 200, 100)
    return root


# ---- what is read


@pytest.mark.parametrize("labels", LABELS)
def test_each_kind_of_labels_is_given_and_the_truth_is_cifars(labels: str, ten: Path, hundred: Path) -> None:
    large = labels in ("fine", "coarse")
    data = read(hundred if large else ten, labels)
    held = torch.load((hundred / "CIFAR-100_human.pt") if large else (ten / "CIFAR-10_human.pt"), weights_only=False)
    assert data.given_target.tolist() == held[LABELS[labels]].tolist()
    assert data.clean_target.tolist() == held["clean_coarse_label" if labels == "coarse" else "clean_label"].tolist()
    assert data.noisy is None and not torch.equal(data.given_target, data.clean_target)


@pytest.mark.parametrize(("labels", "classes", "mean"), [("worse", 10, CIFAR10_MEAN), ("fine", 100, CIFAR100_MEAN)])
def test_classes_and_pixel_statistics_are_those_of_the_release(labels: Any, classes: int, mean: tuple[float, ...]) -> None:
    data = CIFARN(labels, "nowhere")
    assert data.num_classes == classes and data.view_set()["eval"].mean == mean


def test_coarse_labels_are_tested_on_coarse_classes(hundred: Path) -> None:
    data = read(hundred, "coarse")
    assert data.num_classes == CIFARN("coarse").num_classes == 20
    assert data.info.class_names[:2] == ("coarse0", "coarse1")
    assert data.source.test_target is not None
    assert data.source.test_target.tolist() == [row % 100 // 5 for row in range(100)]


def test_a_training_batch_holds_the_images_and_the_labels_of_people(ten: Path) -> None:
    batch = next(train_batches(read(ten, "worse", batch_size=8), ("weak", "strong")))
    held = torch.load(ten / "CIFAR-10_human.pt", weights_only=False)
    assert batch.target.tolist() == held["worse_label"][batch.index.numpy()].tolist()
    assert [view.shape for view in batch.views] == [(8, 3, 32, 32)] * 2


def test_validation_labels_are_those_of_people_unless_clean_ones_are_asked_for(ten: Path) -> None:
    rows, given = (read(ten, "worse", val_fraction=0.5, val_labels=kind).split for kind in ("given", "clean"))
    assert torch.equal(rows.val, given.val)
    differ = (rows.val_target != given.val_target)[rows.val]
    assert torch.equal(differ, rows.val % 3 == 0) and bool(differ.any())


def test_the_synthetic_twin_has_the_same_matrix_on_other_images(tmp_path: Path) -> None:
    held = write_cifarn(tmp_path, 10, 2000, 20)
    first = np.arange(2000) < 600
    held["worse_label"] = (held["clean_label"] + first) % 10  # the first 30 % of each class are wrong by one class
    torch.save(held, tmp_path / "CIFAR-10_human.pt")
    people, drawn, again, other = (read(tmp_path, "worse", synthetic_seed=seed) for seed in (None, 0, 0, 1))
    assert torch.equal(drawn.given_target, again.given_target) and not torch.equal(drawn.given_target, other.given_target)
    moved = ((drawn.given_target - drawn.clean_target) % 10).numpy()
    assert set(moved.tolist()) == {0, 1}, "other mistakes than people made"
    assert abs(moved.mean() - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5
    wrong = (people.given_target != people.clean_target).numpy()
    assert not wrong[~first].any() and moved[~first].any() and not moved[first].all(), "the images are the same"


def test_noise_is_not_added_to_labels_that_are_wrong(ten: Path) -> None:
    with pytest.raises(ValueError, match=r"noise cannot be added to CIFARN.*use it with CIFAR10"):
        CIFARN("worse", str(ten), noise=Symmetric(0.2))
    with pytest.raises(ValueError, match=r"labels must be .*got 'worsst'"):
        CIFARN("worsst", str(ten))  # type: ignore[arg-type]


# ---- where and in which form the label file may be


def save_as_numpy(root: Path, held: dict[str, Any], name: str = "CIFAR-10_human.npy") -> Path:
    np.save(root / name, np.array(held, dtype=object), allow_pickle=True)
    return root / name


@pytest.mark.parametrize("form", ["legacy", "npy", "inside", "named"])
def test_other_forms_and_places_of_the_label_file_give_the_same_labels(tmp_path: Path, form: str) -> None:
    held = write_cifarn(tmp_path, 10, 40, 20)
    file, more = tmp_path / "CIFAR-10_human.pt", {}
    if form == "legacy":
        torch.save(held, file, _use_new_zipfile_serialization=False)
        assert not zipfile.is_zipfile(file)
    elif form == "npy":
        file.unlink()
        save_as_numpy(tmp_path, held)
    elif form == "inside":
        file.rename(tmp_path / "cifar-10-batches-py" / file.name)
    else:
        file.rename(tmp_path / "mine.pt")
        more = {"label_file": str(tmp_path / "mine.pt")}
    assert read(tmp_path, "worse", **more).given_target.tolist() == held["worse_label"].tolist()


@pytest.mark.parametrize("form", ["zip", "legacy", "npy"])
def test_a_label_file_that_would_run_code_is_refused(tmp_path: Path, form: str) -> None:
    proof, file = tmp_path / "proof", tmp_path / "CIFAR-10_human.pt"
    if form == "npy":
        file = save_as_numpy(tmp_path, {"clean_label": Evil(proof)})
    else:
        torch.save({"clean_label": Evil(proof)}, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match=r"cannot read .*CIFAR-10_human.*it asks for \w+\.mkdir"):
        human_labels(file, verify=False)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read"),
        (b"PK\x03\x04", "cannot read"),
        (pickle.dumps({"clean_label": np.arange(3)}), "it is no file of torch.save"),
        ({"clean_label": np.arange(3), "given": np.arange(3)}, "holds clean_label, given, no labels of people"),
        ({"clean_label": np.arange(3), "aggre_label": np.arange(4)}, r"must hold 'aggre_label' as one row .*\(4,\)"),
        ({"clean_label": np.arange(3), "aggre_label": np.ones(3)}, "must hold 'aggre_label' .*float64"),
        ({"clean_label": np.arange(3), "aggre_label": np.array([0, -1, 2])}, "negative labels in 'aggre_label'"),
        ({"clean_label": torch.arange(3), "aggre_label": torch.arange(3)}, "it asks for torch._utils"),
    ],
)
def test_a_damaged_label_file_is_named(tmp_path: Path, content: Any, message: str) -> None:
    file = tmp_path / "CIFAR-10_human.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(ValueError, match=f"(?s)CIFAR-10_human.pt.*{message}|{message}"):
        human_labels(file, verify=False)


def test_another_file_than_the_official_one_is_refused_before_the_images_are_read(ten: Path) -> None:
    with pytest.raises(ValueError, match=r"CIFAR-10_human\.pt has the md5 .* 96644db5574813cae939af5f7f2a0aec.*verify=False"):
        CIFARN("worse", str(ten)).setup()


def test_without_the_label_file_the_error_says_where_it_belongs(tmp_path: Path) -> None:
    write_cifar(tmp_path, 100, 200, 100)
    with pytest.raises(FileNotFoundError, match=r"CIFAR-100_human\.pt.*a67b45c1d7992051865b5c755bd68bb1.*label_file"):
        CIFARN("fine", str(tmp_path)).setup()


# ---- its order


def changed(root: Path, order: Any) -> None:
    file = root / "CIFAR-10_human.pt"
    torch.save({key: labels[order] for key, labels in torch.load(file, weights_only=False).items()}, file)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (np.roll(np.arange(40), 1), "is in another order than the images, perhaps in that of TensorFlow Datasets"),
        (np.arange(39), "has 39 labels for 40 images"),
        (np.arange(40) // 8, "belongs to other images: .* first differ in row 1"),
    ],
)
def test_labels_in_another_order_are_refused(tmp_path: Path, order: Any, message: str) -> None:
    write_cifarn(tmp_path, 10, 40, 20)
    changed(tmp_path, order)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "worse")


def test_labels_of_the_other_set_are_refused(tmp_path: Path) -> None:
    write_cifarn(tmp_path / "100", 100, 200, 100)
    write_cifar(tmp_path, 10, 40, 20)
    with pytest.raises(ValueError, match="has no labels 'worse', only clean, fine, clean_coarse, coarse"):
        read(tmp_path, "worse", label_file=str(tmp_path / "100" / "CIFAR-100_human.pt"))


# ---- the command data check


def official(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Make the files below a folder the official ones of CIFAR-10N."""
    from dataclasses import replace

    layout, file = cifarn.layout_of("CIFAR10"), cifarn._FILES["CIFAR10"]

    def md5(part: dict[str, str]) -> dict[str, str]:
        return {name: cifarn.file_md5(root / layout.folder / name) for name in part}

    ours = replace(layout, train=md5(layout.train), test=md5(layout.test), names=md5(layout.names))
    monkeypatch.setattr(cifarn, "layout_of", lambda release, coarse=False: ours)
    found = human_labels(root / "CIFAR-10_human.pt", verify=False)
    labels = {
        name: replace(kind, wrong=int((found[name] != found["clean"]).sum()), sha256=cifarn.digest(found[name]))
        for name, kind in file.labels.items()
    }
    of_tiny = replace(file, md5=cifarn.file_md5(root / "CIFAR-10_human.pt"), labels=labels)
    monkeypatch.setattr(cifarn, "_FILES", {"CIFAR10": of_tiny, "CIFAR100": cifarn._FILES["CIFAR100"]})


def test_the_check_counts_wrong_labels_and_ends_with_zero_for_the_official_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = write_cifarn(tmp_path, 10, 40, 20)
    official(monkeypatch, tmp_path)
    command = ["data", "check", "CIFARN", "--root", str(tmp_path)]
    monkeypatch.setattr(cifarn, "_begun", lambda release, root: release == "CIFAR10")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"CIFARN in {tmp_path}: complete") and said.count("as published") == 8
    assert "CIFAR-10_human.pt: wrong labels of worse: 14" in said and "wrong labels of random3: 6" in said
    assert "note: no file of CIFAR-100N is there, so that labels cannot be fine and coarse" in said
    data = CIFARN("worse", str(tmp_path))
    save_as_numpy(tmp_path, held | {"worse_label": held["aggre_label"]})
    (tmp_path / "CIFAR-10_human.pt").unlink()
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "wrong labels of worse: 6, expected 14" in said and "has other labels than the official ones: worse" in said
    with pytest.raises(ValueError, match="has other labels than the official ones: worse"):
        data.setup()


def test_the_check_of_an_empty_folder_names_images_and_labels_of_both_sets(tmp_path: Path) -> None:
    missing = CIFARN.check_release(tmp_path).missing
    begins = ["cifar-10-python.tar.gz", "CIFAR-10_human.pt", "cifar-100-python.tar.gz", "CIFAR-100_human.pt"]
    assert [line.split(":")[0] for line in missing] == begins


# ---- the real labels


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    root = os.environ.get("NOISYLAB_DATA")
    if root is None:
        pytest.skip("NOISYLAB_DATA is not set")
    with np.load(Path(root) / "cifar_n_labels" / "cifar_n_labels.npz") as arrays:
        return dict(arrays)


def labels_of(real: dict[str, Any], release: str) -> dict[str, Any]:
    return {
        key.removeprefix(f"{release}_"): real[key].astype(np.int64)
        for key in real
        if key.startswith(f"{release}_") and "label" in key
    }


@pytest.mark.realdata
@pytest.mark.parametrize("release", ["c10", "c100"])
def test_the_real_labels_are_the_official_ones_in_the_form_of_numpy_and_not_in_tensorflows_order(
    release: str, real: dict[str, Any], tmp_path: Path
) -> None:
    held = labels_of(real, release)
    found = human_labels(save_as_numpy(tmp_path, held))
    assert sorted(labels.tolist() for labels in found.values()) == sorted(labels.tolist() for labels in held.values())
    order = real[f"{release}_tfds_order"]
    file = save_as_numpy(tmp_path, {key: labels[order] for key, labels in held.items()}, "CIFAR_human_ordered.npy")
    kind = cifarn._FILES["CIFAR10" if release == "c10" else "CIFAR100"]
    fault = cifarn._order_fault(file, human_labels(file)["clean"], found["clean"], kind.tensorflow)
    assert fault is not None and "is in the order of TensorFlow Datasets, not in that of the images" in fault
    held["clean_label"][0] += 1
    with pytest.raises(ValueError, match="other labels than the official ones: clean"):
        human_labels(save_as_numpy(tmp_path, held))


@pytest.mark.realdata
def test_the_rates_of_the_real_labels_are_those_of_the_specification(real: dict[str, Any], tmp_path: Path) -> None:
    found = human_labels(save_as_numpy(tmp_path, labels_of(real, "c10")))
    found |= {
        name: kind for name, kind in human_labels(save_as_numpy(tmp_path, labels_of(real, "c100"))).items() if name != "clean"
    }
    found["clean_fine"] = torch.from_numpy(real["c100_clean_label"].astype(np.int64))
    rates = {"aggregate": 9.010, "random1": 17.234, "random2": 18.122, "random3": 17.640, "worse": 40.208}
    for name, rate in (rates | {"fine": 40.200, "coarse": 26.404}).items():
        truth = found[f"clean_{name}"] if name in ("fine", "coarse") else found["clean"]
        assert 100 * float((found[name] != truth).double().mean()) == pytest.approx(rate, abs=1e-9), name
    for name, lowest in {"aggregate": 0.825, "random1": 0.743, "worse": 0.487}.items():
        matrix = cifarn._transition_matrix(found["clean"], found[name], 10)
        assert float(matrix.diagonal().min()) == pytest.approx(lowest, abs=5e-4)
    assert found["clean"][:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert found["worse"][:10].tolist() == [4, 9, 0, 5, 1, 9, 2, 4, 8, 8]


def test_the_named_sets_are_public() -> None:
    assert {"CIFARN", "human_labels"} <= set(named.__all__)
