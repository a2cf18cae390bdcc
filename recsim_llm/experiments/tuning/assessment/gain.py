"""The gain of a model over others, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

from recsim_llm.experiments.fidelity.measures.measures import Measure, draw_resamples

FEWEST = 100
"""Least number of answers for an increment over this many features to be meaningful."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Gain of a model over others: nats per answer, its 95 % interval over people, and p of the permutation test."""

    nats: float
    low: float
    high: float
    p: float


def gain_of(measure: Measure, people: int, p: float = float("nan")) -> Gain:
    """Return the gain over `people` people, with p if it was tested."""
    return Gain(measure.value, *measure.interval(draw_resamples(people)), p)
