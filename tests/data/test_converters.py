"""The programs in benchmarks/data, on made-up sources and, where NOISYLAB_DATA is set, on the real ones."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from PIL import Image
from samples import train_batches

from noisylab.data import Arrays, ImageFolder
from noisylab.data.notes import DataNote
from noisylab.data.semi import study_split
from noisylab.noise import Asymmetric, FromFile, load_noise

Run = Callable[..., None]
realdata = pytest.mark.realdata
needs_data = pytest.mark.skipif("NOISYLAB_DATA" not in os.environ, reason="NOISYLAB_DATA is not set")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls a converter with arguments."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "data"))

    def call(name: str, *arguments: object) -> None:
        importlib.import_module(name).main([str(argument) for argument in arguments])

    return call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """All source files, tiny: 60 training and 20 test rows."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "source"

    def save(name: str, **arrays: Any) -> None:
        path = folder / name
        path.parent.mkdir(parents=True)
        np.savez(path, **arrays)

    def jpegs(count: int) -> tuple[Any, Any]:
        files = []
        for _ in range(count):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
            files.append(buffer.getvalue())
        return np.frombuffer(b"".join(files), dtype=np.uint8), np.cumsum([0, *map(len, files)])

    y, test_y = (np.arange(60) % 10).astype(np.uint8), (np.arange(20) % 10).astype(np.uint8)
    (train, offsets), (test, test_offsets) = jpegs(60), jpegs(20)
    images = {"train_bytes": train, "train_offsets": offsets, "train_labels": y}
    images |= {"test_bytes": test, "test_offsets": test_offsets, "test_labels": test_y}
    names = np.array([f"c{c}" for c in range(10)])
    save("cifar10_jpeg/cifar10_jpeg.npz", **images, class_names=names)
    save("tinyimagenet100_32/tinyimagenet100_32.npz", **images, class_names=names)
    noisy = np.where(np.arange(60) < 15, (y + 1) % 10, y).astype(np.uint8)
    ten = {f"c10_{kind}_label": noisy for kind in ("aggre", "worse")} | {f"c10_random_label{n}": noisy for n in (1, 2, 3)}
    save("cifar_n_labels/cifar_n_labels.npz", c10_clean_label=y, c100_clean_label=y, c100_noisy_label=noisy, **ten)
    idn = {f"{data}_idn_0.{n}": noisy for data in ("cifar10", "mnist") for n in (1, 2, 3, 4)}
    save("noisy_label_files/noisy_label_files.npz", **idn)
    digits = rng.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    save("mnist/mnist.npz", x_train=digits, y_train=y, x_test=digits[:20], y_test=test_y)
    actor = (np.arange(96) // 4 + 1).astype(np.uint8)
    emotions = np.array(["surprised", "calm", "happy", "sad", "angry", "neutral", "disgust", "fearful"])
    spoken = {"emotion": (np.arange(96) % 8).astype(np.uint8), "emotion_names": emotions, "actor": actor}
    mfcc, offsets = rng.normal(size=(96, 5)).astype(np.float32), np.cumsum([0, *(40 + np.arange(96))])
    mel = rng.integers(0, 256, (offsets[-1], 4), dtype=np.uint8)
    save("ravdess/ravdess_features.npz", mfcc_stats=mfcc, mel=mel, offsets=offsets, **spoken)
    views: dict[str, Any] = {}
    for view in range(5):
        matrix = scipy.sparse.random(60, 2000, density=0.01, format="csr", random_state=view, dtype=np.float32)
        views |= {f"v{view}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
    save("reuters_multiview/reuters_1200.npz", labels=np.repeat(np.arange(6), 10).astype(np.uint8), **views)
    return folder


def read(path: Path, **kwargs: Any) -> Any:
    data = Arrays(str(path), **kwargs)
    data.setup()
    return data


@pytest.mark.parametrize("name", ["cifar10_jpeg", "tinyimagenet100_32", "mnist"])
def test_images_become_arrays(run: Run, source: Path, tmp_path: Path, name: str) -> None:
    run(name, "--source", source, "--out", tmp_path / "a.npz")
    data = read(tmp_path / "a.npz")
    assert data.given_target.tolist() == [row % 10 for row in range(60)]
    assert len(data.source.test_target) == 20
    assert next(train_batches(data, ("weak", "strong"))).views[1].dtype == torch.float32


def test_a_limit_takes_the_same_stratified_rows_of_images_and_labels(run: Run, source: Path, tmp_path: Path) -> None:
    limit = ("--limit", 20, "--seed", 3, "--source", source)
    run("cifar10_jpeg", *limit, "--out", tmp_path / "a.npz")
    run("cifar_n_labels", *limit, "--out", tmp_path / "labels")
    data = read(tmp_path / "a.npz", noise=FromFile(tmp_path / "labels" / "cifar10n_worst.npz"))
    assert torch.bincount(data.clean_target).tolist() == [2] * 10
    assert len(data.split.test) == 20
    with pytest.raises(ValueError, match="made for other true labels"):
        run("cifar_n_labels", "--source", source, "--out", tmp_path / "all")
        read(tmp_path / "a.npz", noise=FromFile(tmp_path / "all" / "cifar10n_worst.npz"))


def test_the_study_has_its_rows_in_three_parts(run: Run, source: Path, tmp_path: Path) -> None:
    sizes = ("--sizes", 1, 2, 3, "--labeled", 1, "--test-rows", 12)
    run("semi_study", "--source", source, "--out", tmp_path / "a.npz", *sizes)
    with pytest.warns(DataNote, match="30 of 50 rows have no label"):
        data = read(tmp_path / "a.npz", val_by="group", val_fraction=0.2)
    split = study_split(torch.arange(60) % 10, 1, 2, 3, keep=1)
    rows = torch.cat([split.validation, split.labeled, split.unlabeled]).sort().values
    found = {"val": split.validation, "train": split.labeled, "unlabeled": split.unlabeled}
    for part, expected in found.items():
        assert torch.equal(rows[getattr(data.split, part)], expected.sort().values), part
    assert torch.equal(data.clean_target, rows % 10) and len(data.split.test) == 12
    run("semi_study", "--source", source, "--out", tmp_path / "b.npz", *sizes, "--side", 8)
    with np.load(tmp_path / "a.npz") as whole, np.load(tmp_path / "b.npz") as small:
        first = whole["x"].shape[1] // 8
        assert small["x"].shape[1:] == (8, 8, 3)
        assert abs(small["x"][3, 1, 2, 0] - whole["x"][3, first : 2 * first, 2 * first : 3 * first, 0].mean()) <= 0.5
    with pytest.raises(SystemExit, match="--side 7 does not divide"):
        run("semi_study", "--source", source, "--out", tmp_path / "c.npz", *sizes, "--side", 7)


def test_images_become_files_with_tables(run: Run, source: Path, tmp_path: Path) -> None:
    run("cifar_n_labels", "--source", source, "--out", tmp_path / "labels")
    noise = ("--noise", tmp_path / "labels" / "cifar10n_worst.npz")
    run("cifar10_jpeg", "--source", source, "--as-files", tmp_path / "files", "--out", tmp_path / "a.npz", "--limit", 30, *noise)
    files, arrays = tmp_path / "files", read(tmp_path / "a.npz")
    data: Any = ImageFolder(str(files / "images"), labels_csv=str(files / "train.csv"), test_csv=str(files / "test.csv"))
    data.setup()
    assert torch.equal(data.given_target, arrays.given_target)
    assert torch.equal(data.clean_target, arrays.clean_target)
    assert torch.equal(data.source.train.values, arrays.source.train.values)
    assert 0 < int((data.given_target != data.clean_target).sum()) < 30
    with pytest.raises(SystemExit, match="files exists; name a new folder"):
        run("cifar10_jpeg", "--source", source, "--as-files", files)
    assert not list(tmp_path.glob(".files*"))


def test_published_labels_become_noise_files(run: Run, source: Path, tmp_path: Path) -> None:
    run("noisy_label_files", "--source", source, "--out", tmp_path / "idn")
    assert len(list((tmp_path / "idn").iterdir())) == 8
    stored = load_noise(tmp_path / "idn" / "mnist_idn_0.2.npz")
    assert (stored.kind, stored.rate, stored.measured_rate) == ("instance", 0.2, 0.25)


def test_ravdess_holds_out_whole_actors(run: Run, source: Path, tmp_path: Path) -> None:
    run("ravdess", "--source", source, "--out", tmp_path / "a.npz")
    data = read(tmp_path / "a.npz", val_fraction=0.2, val_by="group", standardize=True)
    assert (data.info.num_train, len(data.source.test_target)) == (80, 16)
    with np.load(tmp_path / "a.npz") as arrays:
        assert len(set(arrays["group"].tolist())) == 20


SIX = ["neutral", "calm", "happy", "sad", "angry", "fearful"]


def test_six_emotions_are_in_the_order_of_the_named_noise(run: Run, source: Path, tmp_path: Path) -> None:
    run("ravdess", "--source", source, "--out", tmp_path / "a.npz", "--classes", 6)
    data = read(tmp_path / "a.npz", noise=Asymmetric(0.4, mapping="ravdess6"))
    assert data.info.class_names == tuple(SIX)
    with np.load(source / "ravdess" / "ravdess_features.npz") as held:
        truth = {row.tobytes(): held["emotion_names"][e] for row, e in zip(held["mfcc_stats"], held["emotion"], strict=True)}
    rows = data.source.train.values.numpy()
    assert [SIX[label] for label in data.clean_target.tolist()] == [truth[row.tobytes()] for row in rows]
    assert len(rows) + len(data.source.test_target) == 72


def test_frames_carry_their_clip_and_its_statistics(run: Run, source: Path, tmp_path: Path) -> None:
    run("ravdess", "--source", source, "--out", tmp_path / "a.npz", "--classes", 6, "--frames")
    data = read(tmp_path / "a.npz", noise=Asymmetric(0.4, mapping="ravdess6"), noise_unit="clip", val_fraction=0.2)
    with np.load(source / "ravdess" / "ravdess_features.npz") as held, np.load(tmp_path / "a.npz") as arrays:
        speakers = [set(held["actor"][arrays[name]].tolist()) for name in ("clip", "test_clip")]
        assert not speakers[0] & speakers[1] and len(speakers[0] | speakers[1]) == 24
        assert arrays["group"].tolist() == held["actor"][arrays["clip"]].tolist()
        for part in ("", "test_"):
            for clip in np.unique(arrays[f"{part}clip"]):
                chosen = arrays[f"{part}clip"] == clip
                mel = held["mel"][held["offsets"][clip] : held["offsets"][clip + 1]].astype(float)
                assert chosen.sum() == (1 if len(mel) < 64 else 1 + (len(mel) - 64) // 32)
                expected = [mel[:64].mean(0), mel[:64].std(0), abs(mel[1:64] - mel[:-1][:63]).mean(0)]
                np.testing.assert_allclose(arrays[f"{part}x"][chosen][0], np.concatenate(expected), rtol=1e-5)
                labels = {SIX[label] for label in arrays[f"{part}y"][chosen]}
                assert labels == {held["emotion_names"][held["emotion"][clip]]}
    assert len(data.split.val) > 0


def test_reuters_becomes_five_sparse_views(run: Run, source: Path, tmp_path: Path) -> None:
    run("reuters_1200", "--source", source, "--out", tmp_path / "a.npz")
    data = read(tmp_path / "a.npz", views=["v3", "v0"])
    assert torch.bincount(data.given_target).tolist() == [8] * 6
    assert torch.bincount(data.source.test_target).tolist() == [2] * 6
    gathered = data.source.train.gather(torch.arange(48))
    with np.load(source / "reuters_multiview" / "reuters_1200.npz") as held:
        whole = scipy.sparse.csr_matrix((held["v3_data"], held["v3_indices"], held["v3_indptr"]), shape=(60, 2000)).toarray()
    assert len({row.tobytes() for row in gathered["v3"].numpy()} - {row.tobytes() for row in whole}) == 0
    assert list(next(train_batches(data)).views[0]) == ["v3", "v0"]


def test_reuters_without_test_rows_has_folds(run: Run, source: Path, tmp_path: Path) -> None:
    run("reuters_1200", "--source", source, "--out", tmp_path / "a.npz", "--test-fraction", 0)
    with np.load(tmp_path / "a.npz") as arrays:
        assert not [name for name in arrays if name.startswith("test")]
    whole = read(tmp_path / "a.npz", views=["v3"])
    with np.load(source / "reuters_multiview" / "reuters_1200.npz") as held:
        kept = scipy.sparse.csr_matrix((held["v3_data"], held["v3_indices"], held["v3_indptr"]), shape=(60, 2000)).toarray()
        assert whole.given_target.tolist() == held["labels"].tolist()
    assert np.array_equal(whole.source.train.gather(torch.arange(60)).numpy(), kept)
    (batch,) = read(tmp_path / "a.npz", views=["v3"], folds=5, fold=4).test_dataloader()["test"]
    assert torch.bincount(batch.target).tolist() == [2] * 6
    assert np.array_equal(batch.inputs.numpy(), kept[batch.index.numpy()])
    with pytest.raises(SystemExit, match="2"):
        run("reuters_1200", "--source", source, "--out", tmp_path / "b.npz", "--test-fraction", 1)


def test_a_missing_source_is_explained(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"mnist\.npz does not exist; check --source"):
        run("mnist", "--source", tmp_path, "--out", tmp_path / "a.npz")
    monkeypatch.delenv("NOISYLAB_DATA", raising=False)
    with pytest.raises(SystemExit, match="--source DIR, or set NOISYLAB_DATA"):
        run("mnist", "--out", tmp_path / "a.npz")


@pytest.mark.parametrize(
    "name",
    [
        "cifar10_jpeg",
        "tinyimagenet100_32",
        "mnist",
        "cifar_n_labels",
        "noisy_label_files",
        "ravdess",
        "reuters_1200",
        "semi_study",
    ],
)
def test_every_converter_explains_itself(run: Run, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(name, "--help")
    assert "--source" in capsys.readouterr().out


# ---- the real files


@pytest.fixture
def converted(run: Run, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    def convert(name: str) -> Path:
        run(name, "--out", tmp_path / "a.npz", "--limit", 200)
        return tmp_path / "a.npz"

    yield convert


@realdata
@needs_data
@pytest.mark.parametrize(
    ("name", "classes", "shape"),
    [
        ("cifar10_jpeg", 10, (3, 32, 32)),
        ("tinyimagenet100_32", 100, (3, 32, 32)),
        ("mnist", 10, (1, 28, 28)),
        ("ravdess", 8, (200,)),
    ],
)
def test_real_rows_can_be_trained_on(converted: Callable[[str], Path], name: str, classes: int, shape: tuple[int, ...]) -> None:
    data = read(converted(name), batch_size=16)
    assert (data.num_classes, data.info.num_train) == (classes, 200)
    batch = next(train_batches(data, ("weak", "strong")))
    assert all(isinstance(view, torch.Tensor) and view.shape == (16, *shape) for view in batch.views)


@realdata
@needs_data
def test_real_reuters_has_five_views(converted: Callable[[str], Path]) -> None:
    data = read(converted("reuters_1200"))
    views = next(train_batches(data)).views[0]
    assert {name: tuple(view.shape) for name, view in views.items()} == {f"v{v}": (128, 2000) for v in range(5)}


@realdata
@needs_data
def test_real_human_labels_belong_to_the_images(converted: Callable[[str], Path], run: Run, tmp_path: Path) -> None:
    path = converted("cifar10_jpeg")
    run("cifar_n_labels", "--out", tmp_path / "n", "--limit", 200)
    data = read(path, noise=FromFile(tmp_path / "n" / "cifar10n_worst.npz"))
    assert data.noisy is not None
    assert 0.3 < data.noisy.measured_rate < 0.5


@realdata
@needs_data
def test_real_human_labels_have_the_published_noise_rates(run: Run, tmp_path: Path) -> None:
    run("cifar_n_labels", "--out", tmp_path)
    rates = {"aggre": 0.09010, "random1": 0.17234, "random2": 0.18122, "random3": 0.17640, "worst": 0.40208}
    for name, rate in rates.items():
        assert load_noise(tmp_path / f"cifar10n_{name}.npz").measured_rate == pytest.approx(rate, abs=5e-6)
    assert load_noise(tmp_path / "cifar100n_noisy.npz").measured_rate == pytest.approx(0.40200, abs=5e-6)
    worst = load_noise(tmp_path / "cifar10n_worst.npz").given_target[:10].tolist()
    assert worst == [4, 9, 0, 5, 1, 9, 2, 4, 8, 8]


@realdata
@needs_data
def test_real_instance_noise_has_the_rate_of_its_name(run: Run, tmp_path: Path) -> None:
    run("noisy_label_files", "--out", tmp_path)
    for rate in (0.1, 0.2, 0.3, 0.4):
        assert load_noise(tmp_path / f"mnist_idn_{rate}.npz").measured_rate == pytest.approx(rate, abs=0.001)
