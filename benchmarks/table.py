"""Rows of a benchmark: measured here, beside a peer's way of doing the same work, printed as one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measure.

    Attributes:
        measure: What is measured, with its sizes.
        ours: Our figure.
        peer: The peer's figure in the same run, or None.
        unit: Of both.
        peer_is: Whose way of doing it the peer's figure is.
        aim: What we aim at, in words.
    """

    measure: str
    ours: float
    unit: str
    aim: str
    peer: float | None = None
    peer_is: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is; for times and bytes, less is better."""
        if self.peer is None:
            return None
        return self.ours / self.peer if self.unit.endswith("/s") else self.peer / self.ours


def show(rows: Sequence[Row]) -> str:
    """An aligned table."""
    head = ("measure", "ours", "peer", "ratio", "unit", "aim", "peer is")
    lines = [head] + [
        (r.measure, number(r.ours), number(r.peer), number(r.ratio, "x"), r.unit, r.aim, r.peer_is) for r in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def number(value: float | None, suffix: str = "") -> str:
    """A figure with three digits that mean something."""
    if value is None:
        return "-"
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + suffix


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Least wall time of a few repeats: the one the rest of the machine disturbed least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
