"""From a labeling tool's file to a ranked list, and back into the same file: `noisylab issues` and `noisylab issues apply`."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.exports import KINDS, annotation, choice, coco, label_studio, task, write_json

from noisylab.cli import main
from noisylab.data.exports import read_export

SHORT = ("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")


def noisylab(*argv: object) -> int:
    return main([str(text) for text in argv])


def ranked(run: Path) -> list[dict[str, str]]:
    with (run / "label_issues.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def accept(path: Path, changes: Mapping[str, tuple[str, str]]) -> Path:
    """A list of accepted fixes as the page writes it: by file, the new label and the one it replaces."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "given"])
        writer.writerows([name, *fix] for name, fix in changes.items())
    return path


def other(label: str) -> str:
    return KINDS[(KINDS.index(label) + 1) % 3]


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISYLAB_RUN_DIR", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of 50 tasks and a COCO file, and a short run on each."""
    root = tmp_path_factory.mktemp("made")
    write_json(root / "tasks.json", label_studio(root / "studio"), indent=4)
    write_json(root / "coco.json", coco(root / "coco", boxes=True), indent=None, ensure_ascii=True)
    studio = ("--images", root / "studio" / "photos", "--labels", root / "tasks.json", "--label_column", "species")
    assert noisylab("issues", *studio, *SHORT, "--run_dir", root / "run_studio") == 0
    assert (
        noisylab("issues", "--images", root / "coco", "--labels", root / "coco.json", *SHORT, "--run_dir", root / "run_coco") == 0
    )
    return root


def ten(run: Path) -> dict[str, tuple[str, str]]:
    return {row["file"]: (other(row["given"]), row["given"]) for row in ranked(run)[:10]}


def leaves(value: Any, way: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """Every value of a JSON file that is no list or object, by the way to it; keys of objects in their order."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        return {way: value}
    found = {(*way, "keys"): list(value) if isinstance(value, dict) else len(value)}
    for key, item in inner:
        found |= leaves(item, (*way, key))
    return found


def test_ten_corrections_come_back_into_the_export_and_nothing_else_changes(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(ranked(made / "run_studio")) == 46, "tasks without a label are not ranked"
    fixes = ten(made / "run_studio")
    accepted = accept(Path("accepted.csv"), fixes)
    before = (made / "tasks.json").read_bytes()
    capsys.readouterr()
    assert noisylab("issues", "apply", "--run", made / "run_studio", "--accepted", accepted, "--out", "fixed.json") == 0
    assert "10 labels changed, 0 were so already: fixed.json" in capsys.readouterr().out
    assert (made / "tasks.json").read_bytes() == before
    old, new = leaves(json.loads(before)), leaves(json.loads(Path("fixed.json").read_bytes()))
    assert list(old) == list(new), "no entry is added, lost or moved"
    changed = {way: (value, new[way]) for way, value in old.items() if new[way] != value}
    tasks = json.loads(before)
    by_task = {tasks[way[0]]["data"]["photo"].rpartition("/")[2] for way in changed}
    assert len(by_task) == 10
    for way, (was, now) in changed.items():
        assert way[1] == "annotations"
        assert way[-3:] == ("value", "choices", 0)
        assert (now, was) in fixes.values()
    lines = Path("fixed.json").read_bytes().split(b"\n")
    differing = [line for line, was in zip(lines, before.split(b"\n"), strict=True) if line != was]
    assert len(differing) == len(changed), "blanks and line ends are as they were"
    assert labels_of("fixed.json", "species") == {**labels_of(made / "tasks.json", "species"), **expected(made, fixes)}


def labels_of(path: str | Path, control: str | None = None) -> dict[str, str]:
    """The label of each picture by the last part of its name."""
    from noisylab.data.exports.values import address

    return {address(row.value)[1].rpartition("/")[2]: row.label for row in read_export(path, control).rows}


def expected(made: Path, fixes: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {name: label for name, (label, _) in fixes.items()}


def test_the_corrected_export_trains_and_has_the_new_labels(made: Path) -> None:
    fixes = ten(made / "run_studio")
    run = ("issues", "apply", "--run", made / "run_studio", "--accepted", accept(Path("a.csv"), fixes), "--out", "fixed.json")
    assert noisylab(*run) == 0
    config = made / "run_studio" / "config.yaml"
    assert noisylab("fit", "--config", config, "--data.labels_csv", "fixed.json", "--run_dir", "fixed") == 0
    given = {row["file"]: row["given"] for row in ranked(Path("fixed"))}
    assert given == {**{row["file"]: row["given"] for row in ranked(made / "run_studio")}, **expected(made, fixes)}


def test_every_annotation_that_said_the_old_label_is_changed(made: Path) -> None:
    row = next(row for row in ranked(made / "run_studio") if row["file"].endswith(" 05.png"))
    fix = {row["file"]: (other(other(row["given"])), row["given"])}
    accepted = accept(Path("a.csv"), fix)
    assert noisylab("issues", "apply", "--run", made / "run_studio", "--accepted", accepted, "--out", "fixed.json") == 0
    old, new = (json.loads(path.read_bytes())[5]["annotations"] for path in (made / "tasks.json", Path("fixed.json")))

    def said(annotations: list[dict[str, Any]]) -> list[str]:
        return [item["value"]["choices"][0] for one in annotations for item in one["result"] if item["from_name"] == "species"]

    label, given = fix[row["file"]]
    assert said(old).count(given) == 2
    assert said(new) == [label if one == given else one for one in said(old)]
    assert [one["id"] for one in new] == [one["id"] for one in old]


def test_ten_corrections_come_back_into_a_coco_file(made: Path) -> None:
    fixes = ten(made / "run_coco")
    accepted = accept(Path("a.csv"), fixes)
    assert noisylab("issues", "apply", "--run", made / "run_coco", "--accepted", accepted, "--out", "fixed.json") == 0
    before, after = json.loads((made / "coco.json").read_bytes()), json.loads(Path("fixed.json").read_bytes())
    old, new = leaves(before), leaves(after)
    assert list(old) == list(new)
    changed = {way for way, value in old.items() if new[way] != value}
    assert len(changed) == 10
    assert {(way[0], way[2]) for way in changed} == {("annotations", "category_id")}
    assert labels_of("fixed.json") == {**labels_of(made / "coco.json"), **expected(made, fixes)}
    names = {one["id"]: one["name"] for one in before["categories"]}
    assert len((made / "coco.json").read_bytes()) == len(Path("fixed.json").read_bytes()), "ids have two digits each"
    assert {names[new[way]] for way in changed} <= set(KINDS)


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    before = sorted(Path.cwd().rglob("*"))
    capsys.readouterr()
    assert noisylab(*argv) == 2
    assert sorted(Path.cwd().rglob("*")) == before
    return capsys.readouterr().err


def test_corrections_that_cannot_be_written_are_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixes = ten(made / "run_studio")
    accepted = accept(Path("a.csv"), fixes)
    apply = ("issues", "apply", "--run", made / "run_studio", "--accepted")
    assert "--out must end in .json" in refused(capsys, *apply, accepted, "--out", "fixed.csv")
    assert "never overwritten" in refused(capsys, *apply, accepted, "--out", made / "tasks.json")
    name = next(iter(fixes))
    accept(Path("none.csv"), {"none.png": (KINDS[0], KINDS[1])})
    assert "none.png" in refused(capsys, *apply, "none.csv", "--out", "o.json")
    accept(Path("word.csv"), {name: ("chat nior", fixes[name][1])})
    assert "'chat nior', nearest 'chat noir'" in refused(capsys, *apply, "word.csv", "--out", "o.json")
    skipped = f"{KINDS[1][0]} 07.png"
    accept(Path("skipped.csv"), {skipped: (KINDS[0], "")})
    error = refused(capsys, *apply, "skipped.csv", "--out", "o.json")
    assert f"task 7 ({skipped})" in error
    assert "Annotate them in Label Studio" in error


def test_the_command_says_what_it_read_and_what_to_do_with_it(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert noisylab("issues", "--run", made / "run_studio") == 0
    assert "--accepted accepted.csv --out labels_fixed.json" in capsys.readouterr().out


def test_tasks_at_fault_are_named_before_anything_is_trained(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = label_studio(Path("studio"))
    flags = ("issues", "--images", "studio", "--labels", "bad.json")
    write_json(Path("bad.json"), tasks)
    assert "several choices, 'species' (55), 'quality' (49)" in refused(capsys, *flags)
    tasks[4]["data"]["photo"] = "/data/local-files/?d=store/photos/gone.png"
    write_json(Path("bad.json"), tasks)
    assert "task 4: photos/gone.png does not exist" in refused(capsys, *flags, "--label_column", "species")
    tasks[4]["annotations"][0]["result"][1]["value"]["choices"] = list(KINDS[:2])
    write_json(Path("bad.json"), tasks)
    assert "task 4, annotation 1004 chooses" in refused(capsys, *flags, "--label_column", "species")


def test_tasks_of_text_go_in_as_a_data_set_and_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"gut": "schön prima toll fein klar froh", "schlecht": "übel mies öde fad trist lahm"}
    tasks = []
    for n in range(40):
        label = ("gut", "schlecht")[n % 2]
        said = choice(("gut", "schlecht")[(n + (n % 8 == 0)) % 2], "tone")
        tasks.append(task(7 * n, {"text": f"{words[label]} Nummer {n} 🙂"}, [annotation(900 + n, [said], 7 * n)] * (n != 13)))
    path = write_json(Path("texts.json"), tasks)
    flags = ("--data.features", "tfidf", "--data.width", "64", "--run_dir", "run")
    assert noisylab("issues", "--dataset", path, "--text", "text", *SHORT, *flags) == 0
    assert "--accepted accepted.csv --out texts_fixed.json" in capsys.readouterr().out
    rows = ranked(Path("run"))
    assert sorted(int(row["id"]) for row in rows) == [7 * n for n in range(40) if n != 13]
    changed = {row["id"]: {"gut": "schlecht", "schlecht": "gut"}[row["given"]] for row in rows[:5]}
    lines = [f"{row['id']},{changed[row['id']]},{row['given']}" for row in rows[:5]]
    Path("accepted.csv").write_text("\n".join(["id,label,given", *lines]) + "\n", encoding="utf-8")
    assert noisylab("issues", "apply", "--run", "run", "--accepted", "accepted.csv", "--out", "fixed.json") == 0
    new = {row.row_id: row.label for row in read_export("fixed.json").rows}
    assert new == {**{row.row_id: row.label for row in read_export(path).rows}, **changed}
    assert noisylab("issues", "export", "--run", "run", "--to", "csv", "--out", "o.csv") == 0
    with Path("o.csv").open(newline="", encoding="utf-8") as file:
        shown = {row["id"]: row["text"] for row in csv.DictReader(file)}
    assert shown == {str(one["id"]): one["data"]["text"] for one in tasks if one["annotations"]}
