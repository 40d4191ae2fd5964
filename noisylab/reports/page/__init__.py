"""One page about any set of finished runs, or about a study: HTML that needs nothing else, or Markdown."""

from noisylab.reports.page.content import Content, read_content
from noisylab.reports.page.write import figure_paths, is_report, write_html, write_markdown

__all__ = ["Content", "figure_paths", "is_report", "read_content", "write_html", "write_markdown"]
