from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy import ToyData
from PIL import Image
from samples import write_image, write_table

from noisylab.data import Arrays, Digits, ImageFolder
from noisylab.issues.contents import picture_contents
from noisylab.issues.page import write_page
from noisylab.issues.report import noise_report
from noisylab.issues.table import IssueTable
from noisylab.issues.thumbnails import thumbnails

NASTY = ["</script><script>alert(1)</script>", 'a "quoted", <b>bold</b> & more', "naïve 猫 \u2028 -->", "plain"]


def picture(kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 30, 30)).save(file, kind)
    return file.getvalue()


def make_table(names: list[str] | None, class_names: list[str], rows: int = 4) -> IssueTable:
    classes = len(class_names)
    given = np.arange(rows) % classes
    is_issue = np.arange(rows) < rows // 2
    return IssueTable(
        index=np.arange(rows) * 3,
        names=names,
        class_names=tuple(class_names),
        given=given,
        suggested=np.where(is_issue, (given + 1) % classes, given),
        score=np.linspace(0.9876543, 0.1, rows),
        is_issue=is_issue,
        confidence=np.linspace(0.5, 0.75, rows),
        signals={"mean_loss": np.arange(rows) / 3, "clean_prob": np.full(rows, np.nan)},
    )


def make_report(table: IssueTable, **more: Any) -> dict[str, Any]:
    made = noise_report(table, method="GCE", recipe="gce/<toy>", rate=0.25, interval=(0.2, 0.31), metrics=None)
    return {**made, **more}


class Page(HTMLParser):
    """What a browser would see: elements, the content of scripts, the text outside of them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._inside: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or tag if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.text += data
        else:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]


def written(tmp_path: Path, table: IssueTable, report: dict[str, Any] | None = None, **more: Any) -> Page:
    pictures = more.pop("pictures", None)
    contents = picture_contents(pictures) if pictures else None
    write_page(tmp_path / "issues.html", table, make_report(table) if report is None else report, contents, **more)
    return Page(tmp_path / "issues.html")


def test_the_rows_in_the_page_are_the_table(tmp_path: Path) -> None:
    table = make_table(NASTY, NASTY)
    rows = json.loads(written(tmp_path, table).scripts["rows"])
    assert rows["key"] == "file"
    assert rows["keys"] == NASTY
    assert rows["classes"] == NASTY
    assert rows["given"] == table.given.tolist()
    assert rows["suggested"] == table.suggested.tolist()
    assert rows["issue"] == [1, 1, 0, 0]
    assert rows["score"] == [0.987654, 0.69177, 0.395885, 0.1]
    assert rows["confidence"] == [0.5, 0.583333, 0.666667, 0.75]
    assert rows["signals"] == {"mean_loss": [0.0, 0.333333, 0.666667, 1.0]}, "a signal that is unknown everywhere is no column"


def test_rows_without_files_are_called_by_their_number(tmp_path: Path) -> None:
    rows = json.loads(written(tmp_path, make_table(None, ["a", "b"])).scripts["rows"])
    assert rows["key"] == "index"
    assert rows["keys"] == ["0", "3", "6", "9"]


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = written(tmp_path, make_table(["a.png"] * 4, ["a", "b"]), pictures={0: picture()})
    for name in ("src", "href", "action", "srcset", "poster", "data"):
        assert [text for text in page.attributes(name) if not text.startswith(("#", "data:"))] == []
    style = page.scripts["style"]
    assert "@import" not in style and "url(" not in style
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert "fetch(" not in page.scripts["script"] and "XMLHttpRequest" not in page.scripts["script"]
    policy = next(attrs["content"] or "" for tag, attrs in page.elements if tag == "meta" and "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    table = make_table(NASTY, NASTY)
    page = written(tmp_path, table, make_report(table, warnings=[f"look at {NASTY[0]}"]), title=NASTY[0])
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 3
    assert "alert(1)" not in page.scripts["script"]
    assert page.text.count(NASTY[0]) >= 4, "title, heading, warning and heat map show the name as it is"
    assert NASTY[1] in page.attributes("title")
    for name in ("rows", "contents"):
        assert not set("<>&") & set(page.scripts[name])


def test_the_summary_says_what_the_report_says(tmp_path: Path) -> None:
    table = make_table(None, ["cat", "dog", "owl"], 6)
    text = " ".join(
        written(tmp_path, table, make_report(table, warnings=["take care"], num_rows=1000, metrics={"auroc": 0.9})).text.split()
    )
    for part in ("25.0 %", "20.0 % to 31.0 %", "of 1,000 rows (0.3 %)", "GCE", "recipe gce/<toy>", "take care", "auroc0.900"):
        assert part in text
    assert "The 6 rows with the most suspect labels, of 1,000" in text
    assert re.search(r"cat ?dog ?1 ?50\.0 %", text), "one of two rows given cat is suggested as dog"


def test_the_heat_map_has_true_classes_in_rows(tmp_path: Path) -> None:
    table = make_table(None, ["cat", "dog"])
    transition = [[0.9, 0.1], [0.004, None]]
    titles = written(tmp_path, table, make_report(table, transition=transition)).attributes("title")
    assert "true cat, given dog: 10.00 %" in titles
    assert "true dog, given cat: 0.40 %" in titles
    assert "true dog, given dog: unknown" in titles


def test_a_name_that_is_no_text_does_not_keep_the_page_from_being_written(tmp_path: Path) -> None:
    rows = json.loads(written(tmp_path, make_table(["caf\udce9.png", "b", "c", "d"], ["\udcff", "b"])).scripts["rows"])
    assert rows["keys"][0] == "caf\udce9.png"


def test_of_many_classes_the_heat_map_shows_the_most_confused(tmp_path: Path) -> None:
    names = [f"c{k:02}" for k in range(40)]
    table = make_table(None, names)
    confusion = np.diag(np.full(40, 50))
    confusion[39, 5] = 9
    transition = np.eye(40)
    for k in range(10, 38):
        transition[k, k + 1] = 0.5 - k / 100  # P(given k + 1 | true k), above that of all pairs without issues
    page = written(tmp_path, table, make_report(table, confusion=confusion.tolist(), transition=transition.tolist()))
    shown = {title[5:8] for title in page.attributes("title") if title.startswith("true ")}
    assert shown == {"c05", "c39", *names[10:38]}
    assert "Only the 30 of 40 classes with the largest confusions are shown." in page.text


def test_pictures_are_in_the_page_by_their_place(tmp_path: Path) -> None:
    page = written(tmp_path, make_table(list("abcd"), ["a", "b"]), pictures={2: picture("JPEG"), 0: picture()})
    sources = json.loads(page.scripts["contents"])["rows"]
    assert list(sources) == ["0", "2"]
    assert sources["0"].startswith("data:image/png;base64,") and sources["2"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(("pictures", "message"), [({4: picture()}, "position 4"), ({1: b"GIF89a"}, "neither JPEG nor PNG")])
def test_pictures_that_cannot_be_shown_are_refused(tmp_path: Path, pictures: dict[int, bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        written(tmp_path, make_table(None, ["a", "b"]), pictures=pictures)
    assert list(tmp_path.iterdir()) == []


def test_the_report_of_another_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="report is for the classes a, c, table for a, b"):
        written(tmp_path, make_table(None, ["a", "b"]), make_report(make_table(None, ["a", "c"])))


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def test_digits_become_crisp_pictures_with_white_at_sixteen() -> None:
    data = Digits()
    data.setup()
    pictures = thumbnails(data, [7, 3], size=100)
    assert pictures is not None and list(pictures) == [0, 1]
    image = opened(pictures[1])
    assert (image.format, image.size, image.mode) == ("PNG", (96, 96), "L")
    values: Any = data.source.train
    expected = np.round(values.values[3, 0].double().numpy() * 255 / 16).astype(np.uint8)
    assert np.array_equal(np.asarray(image), np.kron(expected, np.ones((12, 12), dtype=np.uint8)))


def test_float_images_are_scaled_from_zero_to_one(tmp_path: Path) -> None:
    x = np.zeros((4, 1, 6, 6), dtype=np.float32)
    x[1, 0, 0, 0], x[2] = 0.5, 1.0
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(4) % 2)
    data = Arrays(str(tmp_path / "a.npz"))
    data.setup()
    pictures = thumbnails(data, [1], size=12)
    assert pictures is not None
    assert np.asarray(opened(pictures[0]))[:3, :3].tolist() == [[128, 128, 0], [128, 128, 0], [0, 0, 0]]


def test_a_file_that_is_gone_leaves_the_others_their_picture(tmp_path: Path) -> None:
    for row in range(4):
        write_image(tmp_path / f"{row}.png", size=(200, 100), seed=row)
    labels = write_table(tmp_path / "labels.csv", ["file", "label"], [(f"{row}.png", "ab"[row % 2]) for row in range(4)])
    data = ImageFolder(str(tmp_path), labels, load="files")
    data.setup()
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"no image")
    pictures = thumbnails(data, [0, 1, 2, 3], size=50)
    assert pictures is not None and list(pictures) == [0, 3]
    image = opened(pictures[3])
    assert (image.format, image.size) == ("JPEG", (50, 25))


def test_features_show_the_files_that_they_came_from(tmp_path: Path) -> None:
    write_image(tmp_path / "5.png", size=(40, 40))
    data: Any = ToyData(num_train=12)
    data.setup()
    assert thumbnails(data, [0]) is None
    data.image_paths = [str(tmp_path / f"{row}.png") for row in range(12)]
    pictures = thumbnails(data, [4, 5], size=96)
    assert pictures is not None and list(pictures) == [1]
    assert opened(pictures[1]).size == (80, 80)


def test_standardized_images_and_several_views_have_no_pictures(tmp_path: Path) -> None:
    data: Any = Digits()
    data.setup()
    data.source.train.values = data.source.train.values.float() - 8
    assert thumbnails(data, [0]) is None
    np.savez(tmp_path / "a.npz", x_one=np.eye(4), x_two=np.zeros((4, 1, 6, 6), dtype=np.uint8), y=np.arange(4) % 2)
    views = Arrays(str(tmp_path / "a.npz"))
    views.setup()
    assert thumbnails(views, [0]) is None


def test_a_row_that_is_not_there_is_refused() -> None:
    data = Digits()
    data.setup()
    with pytest.raises(IndexError, match="row 1438, but there are 1438"):
        thumbnails(data, torch.tensor([0, 1438]).tolist())
    with pytest.raises(ValueError, match="size must be at least 1"):
        thumbnails(data, [0], size=0)
