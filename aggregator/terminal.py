"""Plain tables for a terminal: columns as wide as their widest cell, Chinese counted as two."""

import unicodedata
from collections.abc import Sequence


def width(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Return lines of aligned cells; columns named in `right` are flush right."""
    lines = [head, *rows]
    widths = [max(width(line[i]) for line in lines) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for name, cell, wide in zip(head, cells, widths, strict=True):
            space = " " * (wide - width(cell))
            padded.append(space + cell if name in right else cell + space)
        return "  ".join(padded).rstrip()

    return "\n".join(line(cells) for cells in lines)
