"""Rows of a benchmark: measured here, beside a peer's way of doing the same work, printed as one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Row:
    """One measure.

    Attributes:
        measure: What is measured, with its sizes.
        ours: Our figure.
        unit: Of both figures; where it ends in "/s" more is better, elsewhere less.
        aim: Our target, in words.
        peer: The peer's figure in the same run, or None.
        peer_is: The peer's method.
    """

    measure: str
    ours: float
    unit: str
    aim: str = ""
    peer: float | None = None
    peer_is: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is."""
        if self.peer is None:
            return None
        return self.ours / self.peer if self.unit.endswith("/s") else self.peer / self.ours


Benchmark: TypeAlias = Callable[[bool], Iterator[Row | str]]
"""A benchmark: a function of `quick` that yields rows as they are measured, and sentences about skipped parts."""

_HEAD = ("measure", "ours", "peer", "ratio", "unit", "aim", "peer is")


def show(rows: Sequence[Row]) -> str:
    """An aligned table."""
    lines = [_HEAD] + [
        (r.measure, number(r.ours), number(r.peer), number(r.ratio, "x"), r.unit, r.aim or "-", r.peer_is or "-")
        for r in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def number(value: float | None, suffix: str = "") -> str:
    """Format a figure with three significant digits.

    >>> number(123_456.7), number(1.23456, "x"), number(None)
    ('123,457', '1.23x', '-')
    """
    if value is None:
        return "-"
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + suffix


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Least wall time of a few repeats, the one least disturbed by other load."""
    return min(seconds(work) for _ in range(repeats))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
