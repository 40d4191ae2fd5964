import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from noisylab.noise import FromFile, NoisyTargets, OpenSet, Symmetric, digest, load_noise, save_noise

CLEAN = torch.arange(10).repeat(3)


@pytest.fixture
def noisy() -> NoisyTargets:
    return Symmetric(0.4, seed=5)(CLEAN, 10)


@pytest.fixture
def path(tmp_path: Path, noisy: NoisyTargets) -> Path:
    save_noise(tmp_path / "noise.npz", noisy, "symmetric", 5)
    return tmp_path / "noise.npz"


def test_what_is_saved_is_read_back(path: Path, noisy: NoisyTargets) -> None:
    stored = load_noise(path)
    assert torch.equal(stored.given_target, noisy.given_target) and stored.given_target.dtype == torch.int64
    assert (stored.kind, stored.rate, stored.seed) == ("symmetric", 0.4, 5)
    assert stored.measured_rate == noisy.measured_rate and stored.clean_sha256 == digest(CLEAN)


def test_labels_from_the_file_replace_the_draw(path: Path, noisy: NoisyTargets) -> None:
    read = FromFile(str(path))(CLEAN, 10)
    assert torch.equal(read.given_target, noisy.given_target) and torch.equal(read.clean_target, CLEAN)
    assert read.measured_rate == noisy.measured_rate and read.rate == 0.4 and read.transition_matrix is None


def test_labels_read_from_a_file_can_be_saved_again(path: Path, noisy: NoisyTargets) -> None:
    save_noise(path, FromFile(path)(CLEAN, 10), "file", None)
    again = load_noise(path)
    assert torch.equal(again.given_target, noisy.given_target)
    assert again.rate == 0.4 and again.seed is None and again.kind == "file"


def test_open_set_labels_come_back_for_the_known_classes(tmp_path: Path) -> None:
    noise = OpenSet(0.2)
    save_noise(tmp_path / "open.npz", noise(CLEAN, 10), noise.kind, noise.seed)
    read = FromFile(str(tmp_path / "open.npz"), model_classes=8)
    assert read.num_classes(10) == 8
    assert torch.equal(read(CLEAN, 10).given_target, noise(CLEAN, 10).given_target)


def test_digest_is_sha256_of_little_endian_int64() -> None:
    expected = hashlib.sha256(struct.pack("<3q", 1, 2, 258)).hexdigest()
    assert digest(torch.tensor([1, 2, 258])) == digest(torch.tensor([1, 2, 258], dtype=torch.int32)) == expected


def test_a_file_of_other_labels_is_refused_with_both_digests(path: Path) -> None:
    other = CLEAN.flip(0)[:20]
    message = (
        rf"made for other true labels: digest {digest(CLEAN)[:12]} \(30 labels\) in the file, "
        rf"{digest(other)[:12]} \(20 labels\) in the data; use the file"
    )
    with pytest.raises(ValueError, match=message):
        FromFile(str(path))(other, 10)


def test_a_file_without_digest_needs_the_check_switched_off(tmp_path: Path) -> None:
    path = str(tmp_path / "human.npz")
    np.savez(path, worse=CLEAN.flip(0).numpy().astype(np.int32))
    with pytest.raises(ValueError, match=r"has no digest .* set check_digest=False"):
        FromFile(path, key="worse")(CLEAN, 10)
    read = FromFile(path, key="worse", check_digest=False)(CLEAN, 10)
    assert read.given_target.tolist() == CLEAN.flip(0).tolist()


def test_a_bare_array_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", CLEAN.numpy())
    read = FromFile(str(tmp_path / "labels.npy"), check_digest=False)(CLEAN, 10)
    assert torch.equal(read.given_target, CLEAN) and read.measured_rate == 0.0 and read.rate is None


def test_another_number_of_rows_is_refused_without_the_digest(path: Path) -> None:
    with pytest.raises(ValueError, match="holds 30 labels, the data has 29 rows"):
        FromFile(str(path), check_digest=False)(CLEAN[:-1], 10)


def test_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.array([0, 1, 7]))
    with pytest.raises(ValueError, match=r"labels\.npy: targets must be in 0\.\.4, got 7 at row 2"):
        FromFile(str(tmp_path / "labels.npy"), check_digest=False)(torch.tensor([0, 1, 2]), 5)


def test_a_wrong_key_is_refused_with_the_keys_there(path: Path) -> None:
    with pytest.raises(ValueError, match=r"no entry 'worse', it holds \['clean_sha256', 'given_sha256', 'given_target', "):
        load_noise(path, key="worse")


def test_files_that_are_not_rows_of_integers_are_refused(tmp_path: Path) -> None:
    for content in (np.zeros((3, 2), dtype=np.int64), np.zeros(3)):
        np.save(tmp_path / "labels.npy", content)
        with pytest.raises(ValueError, match="must be one row of integers or text, got shape"):
            load_noise(tmp_path / "labels.npy")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", given_target=np.array([{"a": 1}], dtype=object))
    (tmp_path / "text.npz").write_text("labels")
    for name in ("objects.npy", "objects.npz", "text.npz"):
        with pytest.raises(ValueError, match=r"is not an \.npy or \.npz file of plain arrays"):
            load_noise(tmp_path / name)


def test_a_truncated_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"is not an \.npy or \.npz file of plain arrays"):
        load_noise(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no noise file at .*nowhere\.npz"):
        FromFile(str(tmp_path / "nowhere.npz"))(CLEAN, 10)


@pytest.mark.parametrize("failing", ["savez", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(file: object, *args: object, **kwargs: object) -> None:
        if failing == "savez":
            file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    before = path.read_bytes()
    monkeypatch.setattr(np if failing == "savez" else os, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        save_noise(path, Symmetric(0.1)(CLEAN, 10), "symmetric", 0)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_the_matrix_of_a_file_is_not_known(path: Path) -> None:
    with pytest.raises(ValueError, match="holds labels, not the matrix"):
        FromFile(str(path)).transition_matrix(10)


def test_model_classes_below_two_are_refused() -> None:
    with pytest.raises(ValueError, match="model_classes must be at least 2, got 1"):
        FromFile("labels.npy", model_classes=1)


# ---- classes are matched by name


NAMES = ("cat", "dog", "owl")


def written(tmp_path: Path, clean: list[int], given: list[int], names: tuple[str, ...] | None) -> Path:
    truth, labels = torch.tensor(clean), torch.tensor(given)
    save_noise(tmp_path / "n.npz", NoisyTargets(labels, truth, None, None, 0.5), "human", None, names)
    return tmp_path / "n.npz"


def test_labels_of_a_file_with_names_are_matched_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, [0, 1, 2, 1], [0, 2, 2, 1], NAMES)
    other = ("owl", "cat", "dog")  # the same classes in another order: 0 cat, 1 dog, 2 owl are 1, 2, 0 here
    noisy = FromFile(path)(torch.tensor([1, 2, 0, 2]), 3, class_names=other)
    assert noisy.given_target.tolist() == [1, 0, 0, 2]
    assert noisy.measured_rate == 0.25
    with pytest.raises(ValueError, match="made for other true labels"):
        FromFile(path)(torch.tensor([0, 1, 2, 1]), 3, class_names=other)
    with pytest.raises(ValueError, match=r"1 classes that the data lacks, 'owl' first \(nearest: 'owls'\)"):
        FromFile(path)(torch.tensor([0, 1, 2, 1]), 3, class_names=("cat", "dog", "owls"))


def test_labels_that_are_text_are_matched_by_name(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.array(["10", "9", "2", "10"]))
    noisy = FromFile(tmp_path / "n.npy", check_digest=False)(torch.tensor([2, 1, 0, 0]), 3, class_names=("2", "9", "10"))
    assert noisy.given_target.tolist() == [2, 1, 0, 2]


def test_numbers_without_names_are_the_names_of_classes_that_are_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.array([12, 3, 12, 7]))
    read = FromFile(tmp_path / "n.npy", check_digest=False)
    assert read(torch.tensor([2, 0, 1, 1]), 3, class_names=("3", "7", "12")).given_target.tolist() == [2, 0, 2, 1]
    np.save(tmp_path / "n.npy", np.array([2, 0, 2, 1]))
    with pytest.raises(ValueError, match=r"label 0, which is no class of the data \(3, 7, 12\); write the names"):
        read(torch.tensor([2, 0, 1, 1]), 3, class_names=("3", "7", "12"))
    assert read(torch.tensor([2, 0, 1, 1]), 3, class_names=NAMES).given_target.tolist() == [2, 0, 2, 1]


def test_numbers_with_a_digest_are_places(tmp_path: Path) -> None:
    path = written(tmp_path, [2, 0, 1, 1], [2, 0, 2, 1], None)
    assert FromFile(path)(torch.tensor([2, 0, 1, 1]), 3, class_names=("3", "7", "12")).given_target.tolist() == [2, 0, 2, 1]
