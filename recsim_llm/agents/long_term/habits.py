"""Habits of repetition per person: how similar the items are that follow each other, and how those are rated.

Both are fitted to the training log alone, person by person, and shrunk to the population by empirical Bayes:

- *Tolerance*. The quantile `QuitRule.nearest` of the distances of each item to the items rated just before it. People
  who take near items in succession tolerate them and have a lower threshold. Only the difference from the mean person
  is used; it is added to the catalogue's threshold, so that the level stays the declared one.
- *Repetition*. The slope of (stars - expected stars) on nearness to the items rated just before, by an instrumental
  variable: how much nearer these are than as many items drawn at random from the same person's log. People like more
  of what they like, and an ordinary slope mistakes that for an effect of order; the instrument is free of it.

The variance between people is estimated as the covariance of the estimates from the earlier and the later half of each
log; the rest is noise. Where that covariance is not significant, all people have the common value; where the common
slope is not significant, there is no effect. Both tests are at the 5 % level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from recsim_llm.agents.personas.log_order import user_order
from recsim_llm.data.dataset import Ratings
from recsim_llm.data.likeness import Likeness, distance_quantiles, nearness
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Floats, Ints

MOST_BACK = 20
"""Most preceding items that are compared in the log; longer windows are cut to the latest of them."""
_SHUFFLES = 3
_ROWS = 1 << 20  # ratings per block of whole people
_BLOCK = 1 << 18  # rows whose vectors are in memory at once
_FEWEST = 4  # rows, of which a line takes three
_LEAST_SPREAD = 0.01  # sum of products (instrument, nearness) below which a slope is undefined
_BETWEEN, _COMMON = 1.645, 1.96  # one-sided: a variance; two-sided: a mean


@dataclass(frozen=True, slots=True)
class Habits:
    """Estimated habits of U people.

    Attributes:
        thresholds: (U,) distance below which two items are too similar.
        slopes: (U,) stars that an item gains (negative: loses) per unit of nearness to the items before it.
        usual: (U,) mean nearness in the person's log, at which a rating is as expected.
        typical: Distance from which on items are not near at all (`data.likeness.nearness`).
        notes: Results of the fit, by "tolerance" and "repetition": see `Spread.notes`.
    """

    thresholds: Floats
    slopes: Floats
    usual: Floats
    typical: float
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity estimated for each person, and how people differ in it.

    Attributes:
        values: (U,) estimate of each person, shrunk to the mean; the mean itself where there is no estimate.
        mean: Mean of all people, weighted by the information in their logs.
        error: Standard error of the mean.
        variance: Between people; 0 where it cannot be told from noise.
        found: The covariance of both halves of the logs before that decision; may be negative.
        z: `found` divided by its standard error.
        half_way: Information at which a person's own value counts as much as the mean; infinite without variance.
        own: How many people have a value of their own.
    """

    values: Floats
    mean: float
    error: float
    variance: float
    found: float
    z: float
    half_way: float
    own: int

    def notes(self) -> dict[str, float | int]:
        """The numbers, for a manifest or a certificate; standard deviations rather than variances."""
        return {
            "mean": self.mean,
            "standard error": self.error,
            "sd between people": float(np.sqrt(self.variance)),
            "covariance of halves": self.found,
            "z of the covariance": self.z,
            "people with their own": self.own,
        }


class Estimates(NamedTuple):
    """(U,) estimates, NaN where undefined, and their information: noise variance is inversely proportional to it."""

    values: Floats
    information: Floats


class _Seen(NamedTuple):
    """Estimates of tolerance and repetition for a block of people: from the whole and from both halves of each log."""

    quantiles: tuple[Estimates, ...]
    slopes: tuple[Estimates, ...]
    counts: Ints
    nearness: Floats


def fit_habits(
    log: Ratings, expected: Callable[[Ints, Ints], Floats], likeness: Likeness, window: int, nearest: float
) -> Habits:
    """Fit tolerances and slopes.

    Args:
        log: The training ratings; their order in time counts. Without times, or among equal ones, the order of rows
            counts, and estimated effects of order are noise.
        expected: Stars that a model of the same people expects of (M,) people for (M,) items.
        likeness: Distances between the items.
        window: `QuitRule.window`.
        nearest: `QuitRule.nearest`; 0: no tolerances are fitted, and all thresholds are the common one.
    """
    typical = float(distance_quantiles(likeness.vectors, 0.5))
    look = _Look(likeness, min(window, MOST_BACK), nearest, typical)
    order = user_order(log)
    seen = [
        look(users, first, log.items[rows], log.values[rows] - expected(users + first, log.items[rows]), count)
        for rows, users, first, count in _blocks(log, np.arange(len(log)) if order is None else order)
    ]
    # Parts 0, 1, 2: whole logs, earlier halves, later halves.
    slopes = _told_from_none(shrink(*(_joined([one.slopes[part] for one in seen]) for part in range(3))))
    thresholds, tolerance = np.full(log.num_users, likeness.threshold), {}
    if nearest > 0:
        spread = shrink(*(_joined([one.quantiles[part] for one in seen]) for part in range(3)))
        # Personal thresholds stay between the distances at a third and at most three times the declared quantile.
        limits = distance_quantiles(likeness.vectors, [nearest / 3, min(3 * nearest, (1 + nearest) / 2)])
        thresholds = np.clip(likeness.threshold + (spread.values - spread.mean), *limits)
        tolerance = {**spread.notes(), "lowest": float(thresholds.min()), "highest": float(thresholds.max())}
    counts, sums = np.concatenate([one.counts for one in seen]), np.concatenate([one.nearness for one in seen])
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / max(counts.sum(), 1))
    return Habits(thresholds, slopes.values, usual, typical, {"tolerance": tolerance, "repetition": slopes.notes()})


def _blocks(log: Ratings, order: Ints) -> Iterator[tuple[Ints, Ints, int, int]]:
    """Blocks of about a million ratings: rows in order, their users counted from `first`, `first`, number of users."""
    ends = np.cumsum(np.bincount(log.users, minlength=log.num_users))
    starts = np.flatnonzero(np.diff(ends // _ROWS, prepend=-1))
    for first, last in zip(starts.tolist(), [*starts[1:].tolist(), log.num_users], strict=True):
        rows = order[ends[first - 1] if first else 0 : ends[last - 1]]
        yield rows, log.users[rows] - first, first, last - first


def _joined(parts: Sequence[Estimates]) -> Estimates:
    return Estimates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _told_from_none(slopes: Spread) -> Spread:
    if slopes.variance > 0 or abs(slopes.mean) > _COMMON * slopes.error:
        return slopes
    return replace(slopes, values=np.zeros_like(slopes.values))


def shrink(whole: Estimates, earlier: Estimates, later: Estimates) -> Spread:
    """Shrink each person's estimate to the mean of all, by how much people differ beyond noise.

    Args:
        whole: Estimates from each person's whole log.
        earlier: Estimates from its earlier half.
        later: Estimates from its later half, which shares no rating with the earlier: their noise is independent.
    """
    # The noise of the halves is independent, so their covariance holds only differences between people.
    both = ~np.isnan(earlier.values + later.values)
    a, b = _centred(earlier, both), _centred(later, both)
    weight = np.sqrt(earlier.information[both] * later.information[both])
    products = weight * a * b
    found = float(products.sum() / max(weight.sum(), 1e-12))
    z = float(products.sum() / max(np.sqrt((products**2).sum()), 1e-12))
    variance = found if z > _BETWEEN else 0.0
    # a - b has variance noise * (1 / i_a + 1 / i_b), so this mean estimates the noise at information 1.
    joint = earlier.information[both] * later.information[both] / (earlier.information + later.information)[both]
    noise = float((joint * (a - b) ** 2).mean()) if both.any() else 0.0
    half_way = noise / variance if variance > 0 else np.inf
    known = ~np.isnan(whole.values)
    value, information = whole.values[known], whole.information[known]
    weights = information / (variance * information + noise) if variance > 0 else information
    mean = float((weights * value).sum() / max(weights.sum(), 1e-12))
    error = float(np.sqrt((weights**2 * (value - mean) ** 2).sum()) / max(weights.sum(), 1e-12))
    values = np.full(len(whole.values), mean)
    # Empirical Bayes: the weight of the own value is variance / (variance + noise / information).
    values[known] += information / (information + half_way) * (value - mean)
    own = int(known.sum()) if variance > 0 else 0
    return Spread(values, mean, error, variance, found, z, half_way, own)


def _centred(half: Estimates, chosen: Bools) -> Floats:
    value, weight = half.values[chosen], half.information[chosen]
    centred: Floats = value - (weight * value).sum() / max(weight.sum(), 1e-12)
    return centred


def _gaps_back(users: Ints, items: Ints, likeness: Likeness, back: int) -> Floats:
    """(M, W) distances to the items 1..W rows before, of the same person; infinite where there is none."""
    gaps = np.full((len(users), back), np.inf)
    for lag in range(1, back + 1):
        same = np.flatnonzero(users[lag:] == users[:-lag]) + lag
        # In blocks, because the (rows, D) differences of a whole log may not fit into memory.
        for rows in np.array_split(same, max(1, -(-len(same) // _BLOCK))):
            apart = likeness.vectors[items[rows]] - likeness.vectors[items[rows - lag]]
            gaps[rows, lag - 1] = np.sqrt(np.einsum("md,md->m", apart, apart))
    return gaps


def _later_half(users: Ints, num_users: int) -> Bools:
    """(M,) whether a row is in the later half of its person's log; rows are in order."""
    counts = np.bincount(users, minlength=num_users)
    place = np.arange(len(users)) - (np.cumsum(counts) - counts)[users]
    return np.asarray(2 * place >= counts[users])


@dataclass(frozen=True, slots=True)
class _Look:
    """Estimator for one block of logs: rows person by person and in order, people counted from `first`."""

    likeness: Likeness
    back: int
    nearest: float
    typical: float

    def __call__(self, users: Ints, first: int, items: Ints, residual: Floats, num_users: int) -> _Seen:
        gaps, later = _gaps_back(users, items, self.likeness, self.back), _later_half(users, num_users)
        near, usual = nearness(gaps.min(axis=1), self.typical), self._shuffled(users, first, items)
        compared = np.isfinite(gaps[:, 0])
        rows = compared, compared & ~later, compared & later
        slopes = tuple(_slopes(users[r], near[r], usual[r], residual[r], num_users) for r in rows)
        counts = np.bincount(users[compared], minlength=num_users)
        total = np.bincount(users[compared], weights=near[compared], minlength=num_users).astype(np.float64)
        return _Seen(self._quantiles(users, gaps, later, num_users) if self.nearest else (), slopes, counts, total)

    def _quantiles(self, users: Ints, gaps: Floats, later: Bools, num_users: int) -> tuple[Estimates, ...]:
        within = gaps.copy()
        for lag in range(1, gaps.shape[1] + 1):
            crossing = later[lag:] & ~later[:-lag]
            within[lag:][crossing, lag - 1] = np.inf  # a pair from both halves belongs to neither
        halves = [np.where(part[:, None], within, np.inf) for part in (~later, later)]
        return tuple(_quantiles(users, part, self.nearest, num_users) for part in (gaps, *halves))

    def _shuffled(self, users: Ints, first: int, items: Ints) -> Floats:
        """(M,) mean nearness of each item to the items before it when each person's log is shuffled, by hash."""
        total = np.zeros(len(users))
        for number in range(_SHUFFLES):
            order = np.lexsort((uniforms(number, Stream.HISTORY, users + first, items), users))
            gaps = _gaps_back(users[order], items[order], self.likeness, self.back).min(axis=1)
            total[order] += nearness(gaps, self.typical) / _SHUFFLES
        return total


def _quantiles(users: Ints, gaps: Floats, quantile: float, num_users: int) -> Estimates:
    """Each person's quantile of finite distances, linear between ranks; information is the number of compared items."""
    finite = np.isfinite(gaps)
    owners, values = np.repeat(users, finite.sum(axis=1)), gaps[finite]
    # All finite distances in one array, sorted within each person.
    order = np.lexsort((values, owners))
    values, counts = values[order], np.bincount(owners, minlength=num_users)
    some = counts > 0
    start, rank = (np.cumsum(counts) - counts)[some], quantile * (counts[some] - 1)
    low, high = values[start + np.floor(rank).astype(int)], values[start + np.ceil(rank).astype(int)]
    out = np.full(num_users, np.nan)
    out[some] = low + (rank - np.floor(rank)) * (high - low)
    return Estimates(out, np.bincount(users[finite.any(axis=1)], minlength=num_users).astype(np.float64))


def _slopes(users: Ints, near: Floats, usual: Floats, residual: Floats, num_users: int) -> Estimates:
    """Each person's slope of the residual in `near`; the instrument is `near` minus `usual`.

    In a log whose order does not matter both have the same mean for each item, so their difference is independent of
    what a person thinks of the item. Information is the inverse of the slope's variance for a residual of 1 star.
    """

    def total(values: Floats) -> Floats:
        return np.asarray(np.bincount(users, weights=values, minlength=num_users), dtype=np.float64)

    counts = np.bincount(users, minlength=num_users)
    # Centred per person; the instrumental-variable slope is sum(w * e) / sum(w * x).
    x, w, e = (v - (total(v) / np.maximum(counts, 1))[users] for v in (near, near - usual, residual))
    moved_by, spread = total(w * x), total(w * w)
    known = (counts >= _FEWEST) & (moved_by > _LEAST_SPREAD)
    slopes = np.where(known, total(w * e) / np.where(known, moved_by, 1.0), np.nan)
    return Estimates(slopes, np.where(known, moved_by**2 / np.maximum(spread, 1e-12), 0.0))
