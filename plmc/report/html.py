"""HTML that needs nothing but itself: no scripts, no fonts, no requests."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

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
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; margin: .3rem 0 .8rem;
  font-size: .82rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: .8rem; font-size: 15px; } th, td { padding: .28rem .42rem; }
  figure { overflow-x: auto; } figure img { min-width: 46rem; } }
@media print { :root { --ink: #000; --dim: #444; --paper: #fff; --card: #f4f4f4; --line: #bbb; color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; } .wide { overflow: visible; border: 0; }
  table { font-size: 7.5pt; } th, td { padding: .12rem .25rem; white-space: normal; } tr, figure, pre { break-inside: avoid; }
  th:first-child, td:first-child { position: static; } h2 { break-after: avoid; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document around finished parts."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An icon of no content, or the browser asks the server for one.
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style></head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, kinds: Sequence[str] = (), texts: Sequence[int] = ()) -> str:
    """Cells are plain text and are escaped. `kinds`: for each row `strong`, `faint` or nothing; `texts`: columns of words."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = []
    for i, row in enumerate(rows):
        kind = f' class="{kinds[i]}"' if i < len(kinds) and kinds[i] else ""
        cells = (f'<td{" class=text" if j in texts else ""}>{escape(cell)}</td>' for j, cell in enumerate(row))
        body.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n' + "\n".join(body) + "</tbody></table></div>"


def picture(figure: Figure, caption: str) -> str:
    """The figure as SVG inside the page."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", facecolor="white", metadata={"Date": None})
    data = base64.b64encode(out.getvalue()).decode("ascii")
    said = escape(caption)
    return f'<figure><img alt="{said}" src="data:image/svg+xml;base64,{data}"><figcaption>{said}</figcaption></figure>'


def paragraph(text: str, kind: str = "") -> str:
    """One paragraph of plain text."""
    return f'<p{f" class={kind}" if kind else ""}>{escape(text)}</p>'


def code(text: str) -> str:
    """Commands, as they were typed."""
    return f"<pre>{escape(text)}</pre>"
