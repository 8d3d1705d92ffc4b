"""HTML that needs nothing but itself: no scripts, no fonts, no requests."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The policy makes the browser refuse what a slip of ours would load.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #59636e; --paper: #fff; --card: #f6f8fa; --line: #d1d9e0;
  --mark: #0a58ca; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --dim: #9aa4af; --paper: #12151a; --card: #1b2027; --line: #343b45; --mark: #7db3ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 76rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p, li { max-width: 48rem; } .dim, figcaption, .notes { color: var(--dim); font-size: .88rem; }
nav a, a { color: var(--mark); } nav { margin: .8rem 0; } nav a { margin-right: 1rem; }
.warn { border-left: 4px solid #d97706; background: var(--card); padding: .5rem .8rem; margin: .8rem 0; }
.wide { overflow-x: auto; margin: .5rem 0; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { background: var(--card); font-weight: 600; } tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 10rem; position: sticky; left: 0; }
td:first-child { background: var(--paper); } td.text { text-align: left; white-space: normal; }
tr.strong td { font-weight: 600; } tr.faint td { color: var(--dim); }
figure { margin: .8rem 0; }
figure img { width: 100%; height: auto; background: #fff; border-radius: 6px; border: 1px solid var(--line); }
details { margin: .4rem 0; } summary { cursor: pointer; color: var(--mark); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; margin: .3rem 0
  .8rem;
  font-size: .82rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: .8rem; font-size: 15px; } th, td { padding: .28rem .42rem; }
  figure { overflow-x: auto; } figure img { min-width: 46rem; } }
@media print { :root { --ink: #000; --dim: #444; --paper: #fff; --card: #f4f4f4; --line: #bbb; color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; } .wide { overflow: visible; border: 0; }
  table { font-size: 7.5pt; } th, td { padding: .12rem .25rem; white-space: normal; } tr, figure, pre { break-inside:
  avoid; } th:first-child, td:first-child { position: static; } h2 { break-after: avoid; } }
"""


def page(title: str, parts: Iterable[Markup]) -> str:
    """A whole document around finished parts; a part that is plain text is escaped."""
    return str(_macros().page(title, POLICY, Markup(STYLE), list(parts)))


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, kinds: Sequence[str] = (), texts: Sequence[int] = ()
) -> Markup:
    """Cells are plain text.

    Args:
        kinds: for each row `strong`, `faint` or nothing.
        texts: columns of words.
    """
    return _macros().table(list(heads), [list(row) for row in rows], list(kinds), list(texts))


def picture(figure: Figure, caption: str) -> Markup:
    """The figure as SVG inside the page."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", facecolor="white", metadata={"Date": None})
    return _macros().picture(base64.b64encode(out.getvalue()).decode("ascii"), caption)


def paragraph(text: str, kind: str = "") -> Markup:
    """One paragraph of plain text."""
    return _macros().paragraph(text, kind)


def code(text: str) -> Markup:
    """Commands, as they were typed."""
    return _macros().code(text)


def heading(level: int, text: str, anchor: str = "") -> Markup:
    """A heading; `anchor` is where links of the page lead."""
    return _macros().heading(level, text, anchor)


def links(targets: Sequence[tuple[str, str]]) -> Markup:
    """Links to headings of the page: (anchor, text)."""
    return _macros().links(list(targets))


def folded(summary: str, parts: Iterable[Markup]) -> Markup:
    """Parts behind a line that opens them."""
    return _macros().folded(summary, list(parts))


@cache
def _macros():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    files = FileSystemLoader(Path(__file__).parent)
    return Environment(autoescape=True, loader=files, undefined=StrictUndefined).get_template("parts.jinja").module
