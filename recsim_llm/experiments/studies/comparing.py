"""Means with standard errors over seeds and people, and paired tests over the same people and random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsim_llm.types import Floats, Ints

DRAWS = 10_000

Values = Mapping[tuple[int, int], float]
"""Values by (seed, user)."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its standard error.

    Attributes:
        value: The mean over seeds of means over people; NaN without values.
        error: Standard error; NaN with fewer than two values.
        n: Number of values.
    """

    value: float
    error: float
    n: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.2f}" if np.isnan(self.error) else f"{self.value:.2f} ± {self.error:.2f}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One policy against the best, over the (seed, person) pairs that both have.

    Attributes:
        difference: Mean of the best's value minus this one's, with its standard error.
        p: Two-sided p-value of the sign-flip permutation test.
        adjusted: p after Holm's correction over all policies of the table.
    """

    difference: Mean
    p: float
    adjusted: float


def mean_over(values: Values) -> Mean:
    """Mean and standard error over seeds and people.

    People are nested in seeds. With S seeds of means m_s over n people in all, the squared error is the larger of the
    mean squares between and within seeds, divided by n: the one-way random-effects analysis (Searle, Casella and
    McCulloch, "Variance Components", 1992, chapter 3), where a chance agreement of few seeds cannot make the error
    smaller than people alone would. NaN values are left out.
    """
    seeds = np.array([seed for (seed, _), value in values.items() if not np.isnan(value)])
    x = np.array([value for value in values.values() if not np.isnan(value)])
    if len(x) < 2:
        return Mean(float(x[0]) if len(x) else float("nan"), float("nan"), len(x))
    groups = [x[seeds == seed] for seed in np.unique(seeds)]
    means, sizes = np.array([g.mean() for g in groups]), np.array([len(g) for g in groups])
    grand = float(means.mean())
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / max(len(x) - len(groups), 1)
    between = float((sizes * (means - x.mean()) ** 2).sum()) / (len(groups) - 1) if len(groups) > 1 else 0.0
    return Mean(grand, float(np.sqrt(max(between, within) / len(x))), len(x))


def best_of(table: Mapping[str, Values]) -> str:
    """The policy with the highest mean, among those with the most values, so that few values do not win by chance."""
    most = max(len(values) for values in table.values())
    return max((name for name in table if len(table[name]) == most), key=lambda name: mean_over(table[name]).value)


def against_best(table: Mapping[str, Values], best: str, seed: int = 0) -> dict[str, Pair]:
    """Compare every policy with the best, in pairs of the same seed and person.

    The test flips signs of the differences (Fisher's randomisation test; Good, "Permutation, Parametric and Bootstrap
    Tests of Hypotheses", 2005, section 3.1), with 10,000 draws. It is about these trained policies: another training
    seed may give another policy, which the standard error covers and the test does not.

    Args:
        table: Values by policy.
        best: The policy to compare with.
        seed: Seed of the draws.
    """
    found: dict[str, tuple[Mean, float]] = {}
    for name, values in table.items():
        if name == best:
            continue
        both = {pair: table[best][pair] - values[pair] for pair in values if pair in table[best]}
        gaps = np.array([gap for gap in both.values() if not np.isnan(gap)])
        found[name] = (mean_over(both), sign_flip(gaps, seed))
    adjusted = holm([p for _, p in found.values()])
    return {name: Pair(gap, p, a) for (name, (gap, p)), a in zip(found.items(), adjusted, strict=True)}


def sign_flip(gaps: Floats, seed: int = 0) -> float:
    """Two-sided p-value of a mean of 0 under random signs; 1 without values.

    The observed mean counts as a draw, so that no p-value is 0 (Phipson and Smyth, 2010).
    """
    if not len(gaps):
        return 1.0
    rng = np.random.default_rng(seed)
    observed, extreme = abs(gaps.sum()), 0
    for _ in range(DRAWS // 1_000):
        signs = rng.integers(0, 2, (1_000, len(gaps)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ gaps) >= observed - 1e-12).sum())
    return (extreme + 1) / (DRAWS + 1)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics, 1979), in the order given."""
    order: Ints = np.argsort(np.asarray(p), kind="stable")
    adjusted, so_far = [0.0] * len(p), 0.0
    for rank, place in enumerate(order.tolist()):
        so_far = max(so_far, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = so_far
    return adjusted
