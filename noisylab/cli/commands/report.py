"""The command report: one page about finished runs or a study, to read, print and hand on."""

from __future__ import annotations

from pathlib import Path

from noisylab.cli.errors import UserError
from noisylab.cli.folder.outputs import check_not_read, check_output, free_name
from noisylab.cli.options import Options
from noisylab.reports.page import figure_paths, is_report, read_content, write_html, write_markdown
from noisylab.reports.style import is_figure
from noisylab.terminal import visible

__all__ = ["report"]

_ENDINGS = (".html", ".md")


def report(options: Options) -> int:
    """Write the page, and with ``--out NAME.md`` its figures beside it.

    Args:
        options: run folders, studies or folders that hold runs, ``--out``, ``--best`` and ``--overwrite``.
    """
    if not options.places:
        raise UserError("noisylab report needs run folders or a study: noisylab report DIR [DIR ...] [--out report.html]")
    asked, overwrite = options.own.get("out"), "overwrite" in options.own
    path = free_name(Path("report.html")) if asked is None else Path(asked)
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(
            f"--out {path} ends in neither .html nor .md, the formats that are written; name it {path.with_suffix('.html').name}"
        )
    check_output(path, "--out", overwrite=overwrite, ours=is_report, what="reports")
    check_not_read(path, "--out")
    content = read_content(options.places)
    best = "best" in options.own
    if path.suffix.lower() == ".html":
        written = [write_html(path, content, best=best)]
    else:
        for figure in figure_paths(path, content):
            check_output(figure, "--out", overwrite=overwrite, ours=is_figure, what="figures")
            check_not_read(figure, "--out")
        written = write_markdown(path, content, best=best)
    runs = len(content.runs)
    finished = f"{runs} of {content.planned} runs finished" if content.unfinished else f"{runs} run{'s' * (runs != 1)}"
    print(visible(f"report: {written[0]} ({finished})"))
    for figure in written[1:]:
        print(visible(f"figure: {figure}"))
    return 0
