"""What a model adds to others, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

from recsim_llm.experiments.fidelity.measures.measures import Measure, draw_resamples

FEWEST = 100
"""Answers without which an increment over so many features says nothing."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What a model adds to others: nats an answer, its 95 % interval over people, and p of the permutations."""

    nats: float
    low: float
    high: float
    p: float


def gain_of(measure: Measure, people: int, p: float = float("nan")) -> Gain:
    """A gain of `people` people, with p where it was tested."""
    return Gain(measure.value, *measure.interval(draw_resamples(people)), p)
