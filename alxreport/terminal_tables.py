"""A table in a terminal's width: which columns stay, and how broad each of them is."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from alxreport.screens import LEVEL_WORDS, Cell, Column, Level, Table
from alxreport.terminal_text import STYLES, WORST_FIRST, Pen

GAP = 2
# A long column gives room down to the first before columns go, to the second after that.
READABLE, NARROWEST = 20, 6
MORE = "and {:,} more (alxreport monitor --json lists all)"


def table_lines(pen: Pen, table: Table, most: int) -> list[Text]:
    """Return a table with its title and at most so many rows, or why it has none."""
    title = pen.text(table.title, "bold")
    if not table.rows:
        return pen.wrap(Text.assemble(title, "  ", pen.text(table.empty, "dim")), pen.width)
    title = Text.assemble(title, pen.tally(_worst(row) for row in table.rows))
    rows = table.rows[: max(most, 1)]
    columns = [_painted(pen, place, column, rows) for place, column in enumerate(table.columns)]
    widths = _widths(table.columns, [max(t.cell_len for t in c) for c in columns], pen.width)
    if len(widths) < len(columns):
        title.append(f"  ({len(widths)} of {len(columns)} columns fit)", "dim")
    lines = pen.wrap(title, pen.width)
    for number in range(len(rows) + 1):
        cells = [
            pen.fit(columns[place][number], width, right=table.columns[place].right)
            for place, width in widths.items()
        ]
        lines.append(Text(" " * GAP).join(cells))
    if len(rows) < len(table.rows):
        more = f"{pen.signs['dots']} {MORE.format(len(table.rows) - len(rows))}"
        lines += pen.wrap(Text(more, "dim"), pen.width)
    return lines


def _worst(row: Sequence[Cell]) -> Level:
    levels = {cell.level for cell in row}
    return next((level for level in WORST_FIRST if level in levels), "plain")


def _painted(pen: Pen, place: int, column: Column, rows: Sequence[Sequence[Cell]]) -> list[Text]:
    """Return a column's texts, the title first; all leave room for a sign if one has it."""
    cells = [row[place] if place < len(row) else Cell("") for row in rows]
    signed = any(cell.level in LEVEL_WORDS for cell in cells)
    indent = " " * 2 if signed and not column.right else ""
    texts = [Text.assemble(indent, pen.text(column.title, "dim"))]
    for cell in cells:
        sign = f"{pen.signs[cell.level]} " if cell.level in LEVEL_WORDS else indent
        texts.append(
            Text.assemble((sign, STYLES[cell.level]), pen.text(cell.text, STYLES[cell.level]))
        )
    return texts


def _widths(columns: Sequence[Column], natural: Sequence[int], room: int) -> dict[int, int]:
    """Return the columns that stay, by place, with their widths.

    Long texts are shortened first, as far as they stay readable; then columns go, the highest rank
    first; then everything else is shortened; and columns without a single cell go from the right.
    """
    widths = {
        place: min(wanted, READABLE if columns[place].long else room)
        for place, wanted in enumerate(natural)
    }

    def beyond() -> int:
        return sum(widths.values()) + GAP * (len(widths) - 1) - room

    for rank in sorted({columns[place].rank for place in widths} - {0}, reverse=True):
        # Equals go together: the created without the deleted would tell half a story.
        if beyond() > 0 and any(columns[place].rank < rank for place in widths):
            widths = {place: width for place, width in widths.items() if columns[place].rank < rank}
    while beyond() > 0:
        long = [place for place in widths if columns[place].long and widths[place] > NARROWEST]
        broadest = max(long or widths, key=lambda place: (widths[place], place))
        if widths[broadest] > 1:
            widths[broadest] -= 1
        else:
            del widths[max(widths)]
    for place, width in widths.items():
        if columns[place].long:
            widths[place] = width + min(natural[place] - width, -beyond())
    return widths
