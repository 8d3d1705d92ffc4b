"""Tables whose first column names and whose other columns are figures, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

NAMES, GAP = 22, 2
"""Characters that the first column keeps at least, and between two columns."""


@dataclass(frozen=True)
class Figures:
    """A table for `console.print`. Columns that no row fills are left out; those that do not fit side by side go on in
    a second block under the first, so that no figure is cut.

    Attributes:
        heads: of the columns.
        rows: cells, plain text.
        title: a line above.
        styles: of each row, for rich; none where they are fewer.
        notes: lines below.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    styles: Sequence[str | None] = ()
    notes: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.text import Text

        if self.title:
            yield Text(self.title, style="bold")
        for block in self._blocks(options.max_width):
            yield self._drawn([0, *block])
        for note in self.notes:
            yield Text(note, style="dim")

    def _blocks(self, width: int) -> list[list[int]]:
        blocks: list[list[int]] = []
        left = 0
        for i in range(1, len(self.heads)):
            widest = max((len(row[i]) for row in self.rows), default=0)
            if not widest:
                continue
            needed = GAP + max(len(self.heads[i]), widest)
            if needed > left:
                blocks, left = [*blocks, []], width - NAMES - GAP
            blocks[-1].append(i)
            left -= needed
        return blocks

    def _drawn(self, shown: Sequence[int]) -> Table:
        from rich import box, table
        from rich.text import Text

        drawn = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        drawn.add_column(self.heads[0], min_width=NAMES, overflow="fold")
        for i in shown[1:]:
            drawn.add_column(self.heads[i], justify="right", no_wrap=True)
        for number, row in enumerate(self.rows):
            # Text, not markup: a name such as methods=[gmp] is not a style.
            style = self.styles[number] if number < len(self.styles) else None
            drawn.add_row(*(Text(row[i]) for i in shown), style=style)
        return drawn


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as a GitHub-flavoured table."""
    lines = [
        heads,
        [":---", *["---:"] * (len(heads) - 1)],
        *([cell.replace("|", "\\|") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
