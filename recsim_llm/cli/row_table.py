"""Rows as a table of plain text."""

from __future__ import annotations

from collections.abc import Sequence


def print_rows(rows: Sequence[dict[str, object]]) -> None:
    """Print rows under their columns, each as wide as its longest cell."""
    columns = list(rows[0])
    text = [[str(row[c]) for c in columns] for row in rows]
    widths = [max(len(c), *(len(line[i]) for line in text)) for i, c in enumerate(columns)]
    for line in [columns, *text]:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())
