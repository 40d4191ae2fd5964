"""Which files the addresses in an export mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.exports import annotation, choice, task, write_json

from noisylab.data.exports import read_pictures
from noisylab.data.exports.files import names_below


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


VALUES = [
    (
        ["/data/local-files/?d=store/cats%20and%20dogs/1.jpg", "/data/local-files/?d=store/owls/1.jpg"],
        ["cats and dogs/1.jpg", "owls/1.jpg"],
    ),
    (["/data/upload/3/0a1b2c3d-1.jpg", "/data/upload/3/ffff0000-b.jpg"], ["1.jpg", "b.jpg"]),
    (["/data/upload/3/0a1b2c3d-1.jpg", "/data/upload/3/ffff0000-b.jpg"], ["0a1b2c3d-1.jpg", "ffff0000-b.jpg"]),
    (["s3://bucket/a/b/1.jpg", "s3://bucket/a/c/1.jpg"], ["b/1.jpg", "c/1.jpg"]),
    (["https://example.org/media/1.jpg?token=9&x=%2F", "https://example.org/media/%C3%A4.jpg"], ["1.jpg", "ä.jpg"]),
    (["./a/1.jpg", "b/2.jpg"], ["a/1.jpg", "b/2.jpg"]),
    (["D:\\photos\\1.jpg", "D:\\photos\\2.jpg"], ["1.jpg", "2.jpg"]),
    (["/data/upload/3/0a1b2c3d-1.jpg", "s3://bucket/x/y/2.jpg"], ["1.jpg", "2.jpg"]),
]


@pytest.mark.parametrize(("values", "names"), VALUES)
def test_addresses_mean_files_below_the_folder(tmp_path: Path, values: list[str], names: list[str]) -> None:
    assert names_below(made(tmp_path, *names), values, "e.json")[0] == names


def test_all_addresses_lose_the_same_folders_so_that_none_means_another_s_file(tmp_path: Path) -> None:
    made(tmp_path, "a/1.jpg", "1.jpg", "a/2.jpg")
    names, _ = names_below(tmp_path, ["s3://x/r/a/1.jpg", "s3://x/r/a/2.jpg", "s3://x/r/b/1.jpg"], "e.json")
    assert names == ["a/1.jpg", "a/2.jpg", "b/1.jpg"], "b/1.jpg is not there, and 1.jpg is another picture"


def test_a_folder_that_holds_none_of_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the 1 pictures of"):
        names_below(tmp_path, ["/data/upload/3/0a1b2c3d-1.jpg"], "e.json")
    made(tmp_path / "in", "x.jpg")
    made(tmp_path, "1.jpg")
    with pytest.raises(ValueError, match="none of the 1"):
        names_below(tmp_path / "in", ["../1.jpg"], "e.json")


def test_tasks_of_one_file_and_tasks_of_text_are_refused(tmp_path: Path) -> None:
    made(tmp_path, "1.jpg")
    values = ["/data/upload/3/0a1b2c3d-1.jpg", "/data/upload/3/ffff0000-1.jpg"]
    tasks = [task(n, {"image": value}, [annotation(n, [choice("a")], n)]) for n, value in enumerate(values)]
    with pytest.raises(ValueError, match="tasks 0, 1 are all of 1"):
        read_pictures(write_json(tmp_path / "e.json", tasks), tmp_path)
    tasks = [task(n, {"text": value}, [annotation(n, [choice("a")], n)]) for n, value in enumerate("ab")]
    with pytest.raises(ValueError, match="holds tasks of text"):
        read_pictures(write_json(tmp_path / "e.json", tasks), tmp_path)
