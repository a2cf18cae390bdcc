"""What each person's log says of repetition: how alike they take items one after the other, and how they rate such.

Both are fitted to the training log alone, person by person, and drawn to what holds for all by empirical Bayes:

- *Tolerance*. The quantile `QuitRule.nearest` of the distances of each item to the items rated just before it. Who
  takes near items one after the other tolerates them: their threshold is lower. Only the difference to the mean person
  is taken, and added to the catalogue's threshold, so that the level stays the declared one.
- *Repetition*. The slope of stars less expected stars against nearness to the items rated just before, where the
  instrument is how much nearer these are than as many items drawn at random from the same person's log. People like
  more of what they like, and a plain slope takes that for an effect of order; the instrument has nothing to do with it.

What is said of a person must be seen twice: the variance between people is the covariance of what the earlier and the
later half of each log say, and noise is the rest. Where that covariance cannot be told from 0, all people have the
common value; where the common slope cannot be told from 0, there is no effect. Both decisions are at the 5 % level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from recsim_llm.agents.log_order import user_order
from recsim_llm.data.dataset import Ratings
from recsim_llm.data.likeness import Likeness, distance_quantiles, nearness
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Floats, Ints

MOST_BACK = 20
"""Of longer windows, so many of the latest items are looked at in the log."""
_SHUFFLES = 3
_BLOCK = 1 << 18  # rows whose distances are in memory at once
_FEWEST = 4  # rows, of which a line takes three
_LEAST_SPREAD = 0.01  # sum of squares of nearness below which a slope says nothing
_BETWEEN, _COMMON = 1.645, 1.96  # one-sided: a variance; two-sided: a mean


@dataclass(frozen=True, slots=True)
class Habits:
    """What is known of U people.

    Attributes:
        thresholds: (U,) distance below which two items are too much alike.
        slopes: (U,) stars that an item gains (negative: loses) per unit of nearness to the items before it.
        usual: (U,) mean nearness in the person's log, at which a rating is as expected.
        typical: Distance from which on items are not near at all (`data.likeness.nearness`).
        notes: What was found, by "tolerance" and "repetition": see `Spread.notes`.
    """

    thresholds: Floats
    slopes: Floats
    usual: Floats
    typical: float
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """How people differ in something that is estimated for each.

    Attributes:
        values: (U,) what holds of each, drawn to the mean; the mean where nothing is known.
        mean: Of all people, each weighted by what their log says.
        error: Standard error of the mean.
        variance: Between people; 0 where it cannot be told from noise.
        found: The covariance of both halves of the logs, which may be negative: what was found before that decision.
        z: `found` in its standard errors.
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
    """(U,) estimates, NaN where there is none, and their information: what their variance falls with."""

    values: Floats
    information: Floats


def fit_habits(log: Ratings, expected: Floats, likeness: Likeness, window: int, nearest: float) -> Habits:
    """Fit tolerances and slopes.

    Args:
        log: The training ratings; their order in time counts. Without times, or among equal ones, the order of rows
            counts, and what is found of order is noise.
        expected: (M,) stars that a model of the same people expects of each rating.
        likeness: Of the items.
        window: `QuitRule.window`.
        nearest: `QuitRule.nearest`; 0: no tolerances are fitted, and all thresholds are the common one.
    """
    order = user_order(log)
    rows = np.arange(len(log)) if order is None else order
    users, items = log.users[rows], log.items[rows]
    gaps = _gaps_back(users, items, likeness, min(window, MOST_BACK))
    later = _later_half(users, log.num_users)
    typical = float(distance_quantiles(likeness.vectors, 0.5))
    near = nearness(gaps.min(axis=1), typical)
    slopes = _repetition(users, items, log.values[rows] - expected[rows], near, gaps, later, likeness, typical, log)
    thresholds, tolerance = np.full(log.num_users, likeness.threshold), {}
    if nearest > 0:
        spread = _tolerance(users, gaps, later, nearest, log.num_users)
        limits = distance_quantiles(likeness.vectors, [nearest / 3, min(3 * nearest, (1 + nearest) / 2)])
        thresholds = np.clip(likeness.threshold + (spread.values - spread.mean), *limits)
        tolerance = {**spread.notes(), "lowest": float(thresholds.min()), "highest": float(thresholds.max())}
    compared = np.isfinite(gaps[:, 0])
    counts = np.bincount(users[compared], minlength=log.num_users)
    sums = np.bincount(users[compared], weights=near[compared], minlength=log.num_users)
    mean = sums.sum() / max(counts.sum(), 1)
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), mean)
    return Habits(thresholds, slopes.values, usual, typical, {"tolerance": tolerance, "repetition": slopes.notes()})


def shrink(whole: Estimates, earlier: Estimates, later: Estimates) -> Spread:
    """Draw each person's estimate to the mean of all, by how much people differ beyond noise.

    Args:
        whole: From each person's whole log.
        earlier: From its earlier half.
        later: From its later half, which shares no rating with the earlier: their noise is independent.
    """
    both = ~np.isnan(earlier.values + later.values)
    a, b = _centred(earlier, both), _centred(later, both)
    weight = np.sqrt(earlier.information[both] * later.information[both])
    products = weight * a * b
    found = float(products.sum() / max(weight.sum(), 1e-12))
    z = float(products.sum() / max(np.sqrt((products**2).sum()), 1e-12))
    variance = found if z > _BETWEEN else 0.0
    joint = earlier.information[both] * later.information[both] / (earlier.information + later.information)[both]
    noise = float((joint * (a - b) ** 2).mean()) if both.any() else 0.0
    half_way = noise / variance if variance > 0 else np.inf
    known = ~np.isnan(whole.values)
    value, information = whole.values[known], whole.information[known]
    weights = information / (variance * information + noise) if variance > 0 else information
    mean = float((weights * value).sum() / max(weights.sum(), 1e-12))
    error = float(np.sqrt((weights**2 * (value - mean) ** 2).sum()) / max(weights.sum(), 1e-12))
    values = np.full(len(whole.values), mean)
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
        for rows in np.array_split(same, max(1, -(-len(same) // _BLOCK))):
            apart = likeness.vectors[items[rows]] - likeness.vectors[items[rows - lag]]
            gaps[rows, lag - 1] = np.sqrt(np.einsum("md,md->m", apart, apart))
    return gaps


def _later_half(users: Ints, num_users: int) -> Bools:
    """(M,) whether a row is in the later half of its person's log; rows are in order."""
    counts = np.bincount(users, minlength=num_users)
    place = np.arange(len(users)) - (np.cumsum(counts) - counts)[users]
    return np.asarray(2 * place >= counts[users])


def _tolerance(users: Ints, gaps: Floats, later: Bools, nearest: float, num_users: int) -> Spread:
    within = gaps.copy()
    for lag in range(1, gaps.shape[1] + 1):
        crossing = later[lag:] & ~later[:-lag]
        within[lag:][crossing, lag - 1] = np.inf  # a pair from both halves belongs to neither
    halves = [np.where(part[:, None], within, np.inf) for part in (~later, later)]
    return shrink(*(_quantiles(users, part, nearest, num_users) for part in (gaps, *halves)))


def _quantiles(users: Ints, gaps: Floats, quantile: float, num_users: int) -> Estimates:
    """Each person's quantile of finite distances, linear between ranks; information is the number of compared items."""
    finite = np.isfinite(gaps)
    owners, values = np.repeat(users, finite.sum(axis=1)), gaps[finite]
    order = np.lexsort((values, owners))
    values, counts = values[order], np.bincount(owners, minlength=num_users)
    some = counts > 0
    start, rank = (np.cumsum(counts) - counts)[some], quantile * (counts[some] - 1)
    low, high = values[start + np.floor(rank).astype(int)], values[start + np.ceil(rank).astype(int)]
    out = np.full(num_users, np.nan)
    out[some] = low + (rank - np.floor(rank)) * (high - low)
    return Estimates(out, np.bincount(users[finite.any(axis=1)], minlength=num_users).astype(np.float64))


def _repetition(
    users: Ints,
    items: Ints,
    residual: Floats,
    near: Floats,
    gaps: Floats,
    later: Bools,
    likeness: Likeness,
    typical: float,
    log: Ratings,
) -> Spread:
    usual = _shuffled_nearness(users, items, likeness, gaps.shape[1], typical)
    compared = np.isfinite(gaps[:, 0])
    parts = compared, compared & ~later, compared & later
    fits = [_slopes(users[p], near[p], usual[p], residual[p], log.num_users) for p in parts]
    spread = shrink(*fits)
    if spread.variance > 0 or abs(spread.mean) > _COMMON * spread.error:
        return spread
    return replace(spread, values=np.zeros(log.num_users))


def _shuffled_nearness(users: Ints, items: Ints, likeness: Likeness, back: int, typical: float) -> Floats:
    """(M,) mean nearness of each item to the items before it when each person's log is shuffled, by hash."""
    total = np.zeros(len(users))
    for number in range(_SHUFFLES):
        luck = uniforms(number, Stream.HISTORY, users, items)
        order = np.lexsort((luck, users))
        gaps = _gaps_back(users[order], items[order], likeness, back).min(axis=1)
        total[order] += nearness(gaps, typical) / _SHUFFLES
    return total


def _slopes(users: Ints, near: Floats, usual: Floats, residual: Floats, num_users: int) -> Estimates:
    """Each person's slope of the residual in `near`; the instrument is `near` less `usual`.

    In a log whose order does not matter both have the same mean for each item, so their difference has nothing to do
    with what a person thinks of the item. Information is the inverse of the slope's variance for a residual of 1 star.
    """

    def total(values: Floats) -> Floats:
        return np.asarray(np.bincount(users, weights=values, minlength=num_users), dtype=np.float64)

    counts = np.bincount(users, minlength=num_users)
    x, w, e = (v - (total(v) / np.maximum(counts, 1))[users] for v in (near, near - usual, residual))
    moved_by, spread = total(w * x), total(w * w)
    known = (counts >= _FEWEST) & (moved_by > _LEAST_SPREAD)
    slopes = np.where(known, total(w * e) / np.where(known, moved_by, 1.0), np.nan)
    return Estimates(slopes, np.where(known, moved_by**2 / np.maximum(spread, 1e-12), 0.0))
