"""The page as a reader uses it, in headless Chromium."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noisylab.issues.apply import read_accepted
from noisylab.issues.contents import Contents, picture_contents
from noisylab.issues.page import write_page
from noisylab.issues.report import noise_report
from noisylab.issues.table import IssueTable

api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on PATH")]

CLASSES = ("cat", 'dog, "big"', "<script>owl</script>")
Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def tab(browser: Any, tmp_path: Path) -> Iterator[Opener]:
    """Opens a page of a table; at the end, no page may have complained or asked for anything but its own file."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1000, "height": 700}, accept_downloads=True)

    def watch(page: Any) -> None:
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url.startswith(("http", "ws")) else None)
        page.on("dialog", lambda dialog: complaints.append(dialog.message))

    context.on("page", watch)

    def show(table: IssueTable, contents: Contents | dict[int, bytes] | None = None, script: str | None = None) -> Any:
        report = noise_report(table, method="GCE", recipe="toy", rate=0.3, interval=(0.2, 0.4), metrics=None)
        contents = picture_contents(contents) if isinstance(contents, dict) else contents
        write_page(tmp_path / "issues.html", table, report, contents)
        page = context.new_page()
        if script is not None:
            page.add_init_script(script)
        page.goto((tmp_path / "issues.html").as_uri())
        return page

    yield show
    context.close()
    assert complaints == []


def square() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (40, 90, 160)).save(file, "PNG")
    return file.getvalue()


def make_table(rows: int = 12, files: bool = True, issues: int | None = None) -> IssueTable:
    """Given 0, 1, 2, 0, ...; the first half are issues, each suggested as the next class; the confidence rises."""
    given = np.arange(rows) % 3
    is_issue = np.arange(rows) < (rows // 2 if issues is None else issues)
    return IssueTable(
        index=100 + np.arange(rows),
        names=[f"folder/{row:05d}.png" for row in range(rows)] if files else None,
        class_names=CLASSES,
        given=given,
        suggested=np.where(is_issue, (given + 1) % 3, given),
        score=np.linspace(0.99, 0.01, rows),
        is_issue=is_issue,
        confidence=np.linspace(0.3, 0.9, rows),
        signals={"mean_loss": np.linspace(3.0, 0.1, rows), "clean_prob": np.where(is_issue, np.nan, 0.5)},
    )


def rows_of(page: Any) -> list[int]:
    """The rows in the document, in order."""
    return [int(row) for row in page.eval_on_selector_all(".item", "nodes => nodes.map(node => node.dataset.row)")]


def accepted(page: Any) -> list[int]:
    return [int(row) for row in page.eval_on_selector_all(".item.accepted", "nodes => nodes.map(node => node.dataset.row)")]


def focused(page: Any) -> int:
    return int(page.evaluate("document.activeElement.dataset.row"))


def download(page: Any, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename == "accepted.csv"
    path = folder / "accepted.csv"
    waiting.value.save_as(path)
    return path


def test_filters_leave_the_rows_that_pass_them_all(tab: Opener) -> None:
    page = tab(make_table(), {0: square()})
    assert rows_of(page) == [0, 1, 2, 3, 4, 5], "only issues at first"
    page.select_option("#given", "1")
    assert rows_of(page) == [1, 4]
    page.uncheck("#only-issues")
    assert rows_of(page) == [1, 4, 7, 10]
    page.select_option("#suggested", "2")
    assert rows_of(page) == [1, 4]
    page.fill("#search", "00004.PNG")
    assert rows_of(page) == [4]
    page.fill("#search", "nowhere")
    assert rows_of(page) == [] and page.is_visible("#nothing")
    page.click("#reset")
    assert rows_of(page) == [0, 1, 2, 3, 4, 5]
    page.click("button[data-given='2'][data-suggested='0']")
    assert rows_of(page) == [2, 5]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("score-down", [0, 1, 2, 3, 4, 5]),
        ("score-up", [5, 4, 3, 2, 1, 0]),
        ("given", [0, 3, 1, 4, 2, 5]),
        ("confidence-down", [5, 4, 3, 2, 1, 0]),
        ("confidence-up", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_rows_are_sorted(tab: Opener, order: str, expected: list[int]) -> None:
    page = tab(make_table())
    page.select_option("#sort", order)
    assert rows_of(page) == expected


def test_a_table_without_issues_shows_all_rows(tab: Opener) -> None:
    page = tab(make_table(issues=0))
    assert len(rows_of(page)) == 12
    assert page.locator(".accept:enabled").count() == 0, "where nothing is suggested there is nothing to accept"
    page.click("#accept-all")
    assert page.is_disabled("#download")


def test_cards_show_their_row_and_a_placeholder_without_picture(tab: Opener) -> None:
    page = tab(make_table(), {0: square()})
    first, second = page.locator(".item").nth(0), page.locator(".item").nth(1)
    assert first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 8
    assert second.locator("img").count() == 0 and "no picture" in second.inner_text()
    text = " ".join(second.inner_text().split())
    for part in ("folder/00001.png", 'dog, "big" → <script>owl</script>', "score 0.901", "confidence 0.355"):
        assert part in text


def test_keys_move_and_accept(tab: Opener) -> None:
    page = tab(make_table(), {0: square()})
    columns = page.eval_on_selector_all(".item", "nodes => nodes.filter(node => node.offsetTop === nodes[0].offsetTop).length")
    assert 1 < columns < 6
    page.keyboard.press("j")
    assert focused(page) == 0
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("k")
    assert focused(page) == 1
    page.keyboard.press("ArrowDown")
    assert focused(page) == min(1 + columns, 5)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("a")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    first = min(1 + columns, 5) - columns
    assert accepted(page) == [first - 1, first]
    page.keyboard.press("a")
    assert accepted(page) == [first]
    page.keyboard.press("/")
    page.keyboard.type("0000ja5")
    assert page.input_value("#search") == "0000ja5", "letters typed in the search field are text"
    page.fill("#search", "")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    assert page.evaluate("document.activeElement.className") == "label"


def test_the_focus_can_be_seen_and_rows_say_what_they_are(tab: Opener) -> None:
    page = tab(make_table(), {0: square()})
    page.keyboard.press("j")
    assert page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    page.keyboard.press("a")
    name = page.locator(".item").nth(0).get_attribute("aria-label")
    assert name == 'folder/00000.png: given cat, suggested dog, "big", score 0.990, accepted as dog, "big"'
    page.get_by_role("checkbox", name="accept <script>owl</script> for folder/00001.png").check()
    assert accepted(page) == [0, 1]
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter(node => !node.labels?.length && "
        "!node.getAttribute('aria-label') && !node.textContent.trim()).length"
    )
    assert nameless == 0


def test_the_download_has_what_was_accepted(tab: Opener, tmp_path: Path) -> None:
    table = make_table()
    assert table.names is not None
    table.names[1] = 'a, "b" & <i>.png'
    table.names[2] = "naïve 猫.png"
    page = tab(table)
    assert page.is_disabled("#download")
    for row in (2, 1, 0):
        page.locator(f".item[data-row='{row}'] .accept").check()
    choice = page.locator(".item[data-row='3'] .label")
    choice.focus()
    choice.select_option("2")
    assert accepted(page) == [0, 1, 2, 3], "who chooses another class accepts it"
    assert "6 rows shown, 4 accepted" in page.inner_text("#count")
    path = download(page, tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["file", "label", "given"],
        ["folder/00000.png", CLASSES[1], CLASSES[0]],
        ['a, "b" & <i>.png', CLASSES[2], CLASSES[1]],
        ["naïve 猫.png", CLASSES[0], CLASSES[2]],
        ["folder/00003.png", CLASSES[2], CLASSES[0]],
    ]
    assert read_accepted(path)['a, "b" & <i>.png'] == (CLASSES[2], CLASSES[1])
    choice.select_option("0")
    assert accepted(page) == [0, 1, 2], "the given class takes the correction back"


def test_all_shown_are_accepted_and_cleared_and_brought_back(tab: Opener) -> None:
    page = tab(make_table(rows=600), {0: square()})
    page.locator(".item[data-row='0'] .accept").check()
    page.select_option("#given", "1")
    assert page.inner_text("#accept-all") == "Accept all 100 shown"
    page.click("#accept-all")
    assert "101 accepted" in page.inner_text("#count")
    page.click("#undo")
    assert "1 accepted" in page.inner_text("#count")
    page.click("#accept-all")
    page.click("#clear")
    assert "0 accepted" in page.inner_text("#count") and accepted(page) == []
    page.click("#undo")
    assert "101 accepted" in page.inner_text("#count") and page.is_hidden("#undo")
    page.click("#reset")
    page.check("#only-accepted")
    assert len(rows_of(page)) == 100 and rows_of(page)[:3] == [0, 1, 4]


def test_what_is_accepted_outlives_a_reload(tab: Opener) -> None:
    page = tab(make_table())
    page.locator(".item[data-row='1'] .accept").check()
    choice = page.locator(".item[data-row='2'] .label")
    choice.focus()
    choice.select_option("1")
    page.reload()
    assert accepted(page) == [1, 2]
    assert page.locator(".item[data-row='2'] .label").input_value() == "1"
    assert accepted(tab(make_table(rows=14))) == [], "another table has its own"


def test_what_was_kept_and_makes_no_sense_is_passed_over(tab: Opener) -> None:
    page = tab(make_table())
    key = page.evaluate("'noisylab-issues-' + JSON.parse(document.getElementById('rows').textContent).digest")
    for text, expected in (("{broken", []), ("null", []), ('{"1": 7, "x": 1, "99": 1, "0": 0, "4": 0}', [4])):
        page.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, text])
        page.reload()
        assert accepted(page) == expected


def test_a_browser_that_keeps_nothing_says_so_and_works(tab: Opener, tmp_path: Path) -> None:
    refuse = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
    page = tab(make_table(files=False), script=refuse)
    assert "keeps nothing" in page.inner_text("#kept")
    page.click("#accept-all")
    assert download(page, tmp_path).read_bytes().startswith(b'index,label,given\r\n100,"dog, ""big""",cat\r\n')


def test_ten_thousand_rows_are_a_hundred_at_a_time(tab: Opener) -> None:
    page = tab(make_table(rows=10_000), {0: square()})
    assert rows_of(page) == list(range(100))
    page.locator(".item").last.focus()
    page.keyboard.press("j")
    assert focused(page) == 100 and rows_of(page) == list(range(100, 200))
    page.keyboard.press("ArrowLeft")
    assert focused(page) == 99
    page.click("nav >> nth=0 >> text=Next")
    assert rows_of(page) == list(range(100, 200))
    page.uncheck("#only-issues")
    page.select_option("#sort", "score-up")
    assert rows_of(page) == list(range(9999, 9899, -1))
    page.fill("#search", "0123")
    assert rows_of(page)[0] == 1239 and len(rows_of(page)) < 100
    page.fill("#search", "")
    page.click("#accept-all")
    assert "10,000 rows shown, 5,000 accepted" in page.inner_text("#count")
    assert len(rows_of(page)) == 100


def test_rows_without_pictures_are_a_table_with_the_signals(tab: Opener) -> None:
    page = tab(make_table(files=False))
    heads = page.eval_on_selector_all("#head th", "nodes => nodes.map(node => node.textContent)")
    assert heads == ["new label", "index", "given", "suggested", "score", "confidence", "issue", "mean loss", "clean prob"]
    page.uncheck("#only-issues")
    cells = page.eval_on_selector_all(".item:nth-child(12) > *", "nodes => nodes.slice(1).map(node => node.textContent)")
    assert cells == ["111", CLASSES[2], CLASSES[2], "0.010", "0.900", "no", "0.100", "0.500"]
    assert page.locator(".item").nth(0).locator("td").last.inner_text() == "", "an unknown signal is an empty cell"
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("a")
    assert accepted(page) == [1]


@pytest.mark.parametrize("pictures", [{0: square()}, None], ids=["cards", "table"])
def test_long_names_fit_a_narrow_window(tab: Opener, pictures: dict[int, bytes] | None) -> None:
    table = make_table()
    assert table.names is not None
    table.names[0] = "x" * 300 + ".png"
    long = IssueTable(**{**table.__dict__, "class_names": ("y" * 200, "b", "c")})
    page = tab(long, pictures)
    for width in (1000, 400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_of_the_heat_map_can_be_read(browser: Any, tab: Opener, scheme: str) -> None:
    page = tab(make_table())
    page.emulate_media(color_scheme=scheme)
    contrasts = page.eval_on_selector_all(
        ".scale td",
        """nodes => {
          const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
          const light = (color) => {
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255)
              .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          return nodes.map((node) => {
            const style = getComputedStyle(node);
            const [low, high] = [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
          });
        }""",
    )
    assert len(contrasts) == 8
    assert min(contrasts) >= 4.0
