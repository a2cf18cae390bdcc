"""Measures of a run, each with an interval over users. Pure functions of recorded steps.

A measure is first computed per user (a mean or a ratio over all that this user saw), then averaged over users, so that
those who stay long do not count more. Intervals are 95 % percentile-bootstrap intervals over users (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3): users, not pages, are the independent draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from recsim_llm.errors import ConfigError
from recsim_llm.runs.run_tables import Totals, totals_of
from recsim_llm.runs.steps import StepBatch
from recsim_llm.types import Floats, Ints

RESAMPLES = 2_000
LEVEL = 0.95
LARGE = 100_000
_CHUNK = 1 << 20
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over users.

    Attributes:
        value: The mean; NaN if no user has a value.
        low, high: Ends of its 95 % interval; NaN with fewer than two users.
        n: Number of users in the mean.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f}" if np.isnan(self.low) else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Ratio, or NaN if the denominator is 0: such a user has no value, rather than a value of 0."""
    ratios: Floats = np.full(len(numerator), np.nan)
    return np.divide(numerator, denominator, out=ratios, where=denominator > 0)


METRICS: dict[str, Callable[[Totals], Floats]] = {
    "watch_rate": lambda t: _ratio(t.watched, t.shown),
    "mean_rating": lambda t: _ratio(t.stars, t.rated),
    "session_length": lambda t: t.pages / t.sessions,
    "reward": lambda t: t.reward / t.sessions,
}
"""Measures by name, each computing (U,) values of users.

watch_rate: share of the items shown to the user that were watched. mean_rating: mean stars of the items that the user
watched; users who watched none have no value. session_length: pages per session. reward: sum of rewards per session.
"""


def per_user(steps: StepBatch, metric: str) -> tuple[Ints, Floats]:
    """Compute a measure for each user.

    Args:
        steps: Steps of one run, in any order.
        metric: A name in `METRICS`.

    Returns:
        (U,) user ids, ascending, and (U,) values, NaN if the user has none.

    Raises:
        ConfigError: There is no such measure.
    """
    totals = totals_of(steps)
    return totals.users, _metric(metric)(totals)


def summarise(steps: StepBatch, seed: int = 0) -> dict[str, Estimate]:
    """Every measure of `METRICS`, and the counts "users", "sessions" and "pages" (exact: low = high = value).

    Users who watched nothing are left out of mean_rating, so its `n` is smaller than the number of users by that many.

    Args:
        steps: Steps of one run, in any order.
        seed: Seed of the bootstrap.
    """
    return summarise_totals(totals_of(steps), seed)


def summarise_totals(totals: Totals, seed: int = 0) -> dict[str, Estimate]:
    """`summarise`, from precomputed sums."""
    people = len(totals.users)
    counts = {"users": people, "sessions": int(totals.sessions.sum()), "pages": int(totals.pages.sum())}
    estimates = {name: Estimate(count, count, count, people) for name, count in counts.items()}
    return estimates | {name: estimate(metric(totals), seed) for name, metric in METRICS.items()}


def paired_difference(a: StepBatch, b: StepBatch, metric: str, seed: int = 0) -> Estimate:
    """How much larger a measure is in run b than in run a: mean over users of b's value minus a's.

    Args:
        a: The run to compare with.
        b: The other run, over some of the same users.
        metric: A name in `METRICS`.
        seed: Seed of the bootstrap.

    Raises:
        ConfigError: There is no such measure, or no user has a value in both runs.
    """
    return paired_totals(totals_of(a), totals_of(b), metric, seed)


def paired_totals(a: Totals, b: Totals, metric: str, seed: int = 0) -> Estimate:
    """`paired_difference`, from precomputed sums.

    Raises:
        ConfigError: There is no such measure, or no user has a value in both runs.
    """
    _, in_a, in_b = np.intersect1d(a.users, b.users, assume_unique=True, return_indices=True)
    result = estimate(_metric(metric)(b)[in_b] - _metric(metric)(a)[in_a], seed)
    if result.n == 0:
        raise ConfigError(f"No user has a {metric} in both runs, so the runs cannot be compared in pairs.")
    return result


def estimate(values: Floats, seed: int = 0) -> Estimate:
    """Mean of the users' values with its percentile-bootstrap interval.

    Above `LARGE` users the interval is the normal one, mean +- 1.96 standard errors, to which the bootstrap's converges
    (it would draw billions of users).

    Args:
        values: (U,) one value per user; NaN is left out.
        seed: Seed of the resampling.
    """
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        return Estimate(float(values[0]) if n else _NAN, _NAN, _NAN, n)
    if n > LARGE:
        half = float(ndtri(0.5 + LEVEL / 2) * values.std(ddof=1) / np.sqrt(n))
        mean = float(values.mean())
        return Estimate(mean, mean - half, mean + half, n)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(_resampled_means(values, seed), [tail, 100 - tail])
    return Estimate(float(values.mean()), float(low), float(high), n)


def _resampled_means(values: Floats, seed: int) -> Floats:
    """(RESAMPLES,) means of draws with replacement, in chunks of resamples to bound the memory."""
    rng, n = np.random.default_rng(seed), len(values)
    size = max(_CHUNK // n, 1)
    chunks = [min(size, RESAMPLES - start) for start in range(0, RESAMPLES, size)]
    return np.concatenate([values[rng.integers(0, n, (rows, n), dtype=np.int32)].mean(axis=1) for rows in chunks])


def _metric(name: str) -> Callable[[Totals], Floats]:
    if name not in METRICS:
        raise ConfigError(f"There is no measure '{name}'. Measures: {', '.join(METRICS)}.")
    return METRICS[name]


def table(rows: Sequence[tuple[str, Mapping[str, Estimate]]]) -> str:
    """A plain text table, one row per policy, with a note on users who watched nothing.

    Args:
        rows: (name, what `summarise` returned).
    """
    header = ["policy", "users", "sessions", "pages", *(name.replace("_", " ") for name in METRICS)]
    lines = [header]
    for name, summary in rows:
        counts = [f"{summary[count].value:,.0f}" for count in ("users", "sessions", "pages")]
        lines.append([name, *counts, *(str(summary[metric]) for metric in METRICS)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    return "\n".join([*text, *_notes(rows)])


def _notes(rows: Sequence[tuple[str, Mapping[str, Estimate]]]) -> list[str]:
    left_out = [(name, s["users"].n - s["mean_rating"].n, s["users"].n) for name, s in rows]
    notes = [
        f"{name}: {missing:,} of {users:,} users watched nothing and are left out of its mean rating."
        for name, missing, users in left_out
        if missing
    ]
    return ["Means over users, with 95 % bootstrap intervals.", *notes]
