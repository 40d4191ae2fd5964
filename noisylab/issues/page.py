"""The ranked labels as one HTML page that works offline: look through it, tick fixes, download them as a table."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisylab.files import atomic_path
from noisylab.issues.contents import Contents
from noisylab.issues.table import SIGNALS, IssueTable

__all__ = ["write_page"]

_MOST_CLASSES = 30  # in the heat map
_MOST_PAIRS = 10  # in the table of confusions; the filters reach the others
_STRONG = 0.75  # share of the heat map's color from which light text is the easier one to read
_SCALE = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)


def write_page(
    path: str | Path,
    table: IssueTable,
    report: Mapping[str, Any],
    contents: Contents | None,
    title: str = "Labels to check",
) -> None:
    """Write the page atomically: after an error, the file is as it was before.

    Everything is inside the file: style, script, rows and their contents; its content policy lets a browser load nothing else
    and run no other script. What a reader accepts is downloaded as ``accepted.csv`` with the columns ``file`` (or ``id``, or
    ``index``), ``label`` and ``given``.

    Args:
        path: the file, ``issues.html``.
        table: the rows; all of them are in the page, of which a browser shows a hundred at a time. `IssueTable.head` gives fewer.
        report: content of ``noise_report.json``.
        contents: what there is to see of the rows, by their place in `table`. With any, rows are cards, those without get a
            placeholder; with none, rows are lines of a table with the signals.
        title: the heading.

    Raises:
        ValueError: for contents of rows that `table` does not have, and when `report` names other classes than `table`.
        KeyError: when `report` lacks an entry.
    """
    if list(report["class_names"]) != list(table.class_names):
        raise ValueError(
            f"report is for the classes {_few(report['class_names'])}, table for {_few(table.class_names)}; "
            "give the report that was made from this table"
        )
    if contents is not None:
        contents.check(len(table))
    style, script = _asset("page.css"), _asset("page.js")
    rows = _rows(table)
    digest = hashlib.sha256(_json(rows).encode()).hexdigest()[:16]  # under which a browser keeps what was accepted
    html = Template(_asset("page.html")).substitute(
        title=escape(title),
        style=style,
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        summary=_summary(report),
        extent=escape(_extent(len(table), int(report["num_rows"]))),
        rows=_json({"digest": digest, **rows}),
        contents=_json(contents.as_json() if contents is not None else None),
    )
    with atomic_path(path) as partial:
        # a file name that is no text (a lone surrogate) must not keep the page from being written
        partial.write_bytes(html.encode("utf-8", "replace"))


def _asset(name: str) -> str:
    return resources.files("noisylab.issues").joinpath(name).read_text("utf-8")


def _json(value: Any) -> str:
    """JSON in ASCII that neither ends nor opens an element or a comment of the page that it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _rows(table: IssueTable) -> dict[str, Any]:
    """The table column by column, with the six decimals of ``label_issues.csv``."""
    return {
        "key": table.key,
        "keys": table.keys,
        "classes": list(table.class_names),
        "given": table.given.tolist(),
        "suggested": table.suggested.tolist(),
        "score": _decimals(table.score),
        "issue": table.is_issue.astype(int).tolist(),
        "confidence": _decimals(table.confidence),
        "signals": {
            name: _decimals(table.signals[name])
            for name in SIGNALS
            if name in table.signals and not np.isnan(table.signals[name]).all()
        },
    }


def _decimals(values: NDArray[np.float64]) -> list[float | None]:
    return [round(value, 6) if math.isfinite(value) else None for value in values.tolist()]


# ---- the summary, which needs no script


def _summary(report: Mapping[str, Any]) -> str:
    names = [str(name) for name in report["class_names"]]
    confusion, transition = _square(report["confusion"], len(names)), _square(report["transition"], len(names))
    wide = " wide" if len(names) > 12 else ""
    return "\n".join(
        [
            _warnings(report["warnings"]),
            _facts(report),
            f'<div class="two{wide}">',
            _pairs(report["confused_pairs"], names),
            _heat_map(transition, _shown_classes(confusion, transition), names),
            "</div>",
        ]
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<section class="warnings" aria-label="Warnings"><h2>Warnings</h2><ul>{items}</ul></section>'


def _facts(report: Mapping[str, Any]) -> str:
    low, high = report["noise_rate_interval"]
    issues, rows = int(report["num_issues"]), int(report["num_rows"])
    facts = [
        ("Estimated share of wrong labels", _percent(report["noise_rate"]), f"interval {_percent(low)} to {_percent(high)}"),
        ("Issues", f"{issues:,}", f"of {rows:,} rows ({_percent(issues / max(rows, 1))})"),
        ("Method", str(report["method"]), f"recipe {report['recipe']}" if report.get("recipe") else ""),
    ]
    items = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}{f'<small>{escape(more)}</small>' if more else ''}</dd></div>"
        for name, value, more in facts
    ]
    return f'<dl class="facts">{"".join(items)}</dl>{_metrics(report.get("metrics") or {})}'


def _metrics(metrics: Mapping[str, float | None]) -> str:
    if not metrics:
        return ""
    known = {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}
    items = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{f'{known[name]:.3f}' if name in known else 'unknown'}</dd></div>"
        for name in metrics
    )
    return (
        '<section aria-labelledby="metrics-heading"><h2 id="metrics-heading">Against the true labels</h2>'
        f'<dl class="metrics">{items}</dl></section>'
    )


def _pairs(pairs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    head = '<section aria-labelledby="pairs-heading"><h2 id="pairs-heading">Most confused pairs</h2>'
    if not pairs:
        return f'{head}<p class="note">There is no issue.</p></section>'
    number = {name: str(place) for place, name in enumerate(names)}
    lines = []
    for pair in pairs[:_MOST_PAIRS]:
        given, suggested = str(pair["given"]), str(pair["suggested"])
        lines.append(
            f"<tr><td>{escape(given)}</td><td>{escape(suggested)}</td>"
            f'<td class="number">{int(pair["count"]):,}</td><td class="number">{_percent(pair["share"])}</td>'
            f'<td><button type="button" class="small" data-given="{number[given]}" data-suggested="{number[suggested]}" '
            f'aria-label="show given {escape(given)}, suggested {escape(suggested)}">show</button></td></tr>'
        )
    more = '<p class="note">More are in noise_report.json.</p>' if len(pairs) > _MOST_PAIRS else ""
    return (
        f'{head}<div class="scroll"><table class="pairs"><thead><tr><th scope="col">given</th><th scope="col">suggested</th>'
        '<th scope="col" class="number">issues</th><th scope="col" class="number">of the class</th><td></td></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>{more}</section>"
    )


def _square(values: Any, classes: int) -> NDArray[np.float64]:
    matrix = np.array(values, dtype=np.float64)
    if matrix.shape != (classes, classes):
        raise ValueError(f"the report has a matrix of shape {matrix.shape} for {classes} classes; it must be K x K")
    return matrix


def _shown_classes(confusion: NDArray[np.float64], transition: NDArray[np.float64]) -> list[int]:
    """All classes; of many, those in the largest confusions, in their own order."""
    classes = len(confusion)
    if classes <= _MOST_CLASSES:
        return list(range(classes))
    outside = ~np.eye(classes, dtype=bool)
    counts = np.where(outside, np.nan_to_num(confusion), -1)
    # equal counts, above all zero, are put in order by the estimate, whose rows are true classes
    order = np.lexsort((-np.where(outside, np.nan_to_num(transition).T, -1).ravel(), -counts.ravel()))
    shown: set[int] = set()
    for place in order.tolist():
        pair = set(divmod(place, classes))
        if len(shown | pair) > _MOST_CLASSES:
            break
        shown |= pair
    return sorted(shown)


def _heat_map(transition: NDArray[np.float64], shown: Sequence[int], names: Sequence[str]) -> str:
    note = (
        f'<p class="note">Only the {len(shown)} of {len(names)} classes with the largest confusions are shown.</p>'
        if len(shown) < len(names)
        else ""
    )
    columns = "".join(f'<th scope="col" title="{escape(names[k])}"><span>{escape(names[k])}</span></th>' for k in shown)
    lines = []
    for true in shown:
        cells = "".join(_cell(float(transition[true, given]), f"true {names[true]}, given {names[given]}") for given in shown)
        lines.append(f'<tr><th scope="row" title="{escape(names[true])}">{escape(names[true])}</th>{cells}</tr>')
    scale = "".join(_cell(value, "") for value in _SCALE)
    return (
        '<section aria-labelledby="heat-heading"><h2 id="heat-heading">Which class is labeled as which</h2>'
        f'{note}<p class="note">Estimated share of each true class (row) that was given a label (column), in percent.</p>'
        '<div class="scroll" tabindex="0" role="group" aria-labelledby="heat-heading"><table class="heat">'
        f"<thead><tr><td></td>{columns}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        f'<table class="heat scale"><tbody><tr><th scope="row">color scale, percent</th>{scale}</tr></tbody></table></section>'
    )


def _cell(value: float, what: str) -> str:
    """A cell of the heat map; its color goes with the square root, so that a few percent can be seen."""
    if not math.isfinite(value):
        return f'<td style="--v:0" title="{escape(what)}: unknown">?</td>'
    depth = math.sqrt(min(max(value, 0.0), 1.0))
    text = "0" if value <= 0 else "&lt;1" if value < 0.005 else f"{100 * value:.0f}"
    kind = ' class="strong"' if depth >= _STRONG else ' class="zero"' if text == "0" else ""
    title = f' title="{escape(what)}: {100 * value:.2f} %"' if what else ""
    return f'<td{kind} style="--v:{depth:.3f}"{title}>{text}</td>'


def _extent(shown: int, rows: int) -> str:
    if shown < rows:
        return f"The {shown:,} rows with the most suspect labels, of {rows:,}, the most suspect first."
    return f"All {shown:,} rows, those most likely to be wrong first."


def _percent(value: float | None) -> str:
    return "unknown" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:5])) + (f" ... ({len(names)})" if len(names) > 5 else "")
