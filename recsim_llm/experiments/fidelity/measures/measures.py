"""Measures as sums over users, so that a bootstrap over users is one matrix product; independent of the quantity.

Users are the independent draws: rows of one user are correlated. Intervals are 95 % percentile-bootstrap intervals
(Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3), shifted so that the median of the
bootstrap equals the value: the bootstrap of a distance is biased upwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsim_llm.types import Floats, Ints

RESAMPLES = 1_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that depends on users only through sums over them.

    Attributes:
        sums: (U, S) contribution of each user.
        combine: Maps (..., S) totals to (...) values.
    """

    sums: Floats
    combine: Callable[[Floats], Floats]

    @property
    def value(self) -> float:
        """The value over all users; NaN if nobody contributes."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(self.combine(self.sums.sum(axis=0)))

    def interval(self, resamples: Floats) -> tuple[float, float]:
        """Ends of the 95 % interval; NaN with fewer than two contributing users.

        Args:
            resamples: (T, U) how often each user is drawn, from `draw_resamples`.
        """
        if (np.abs(self.sums).sum(axis=1) > 0).sum() < 2:
            return float("nan"), float("nan")
        with np.errstate(invalid="ignore", divide="ignore"):
            # (T, U) @ (U, S) -> (T, S) totals of the bootstrap samples -> (T,) values.
            values = self.combine(resamples @ self.sums)
        known = values[np.isfinite(values)]
        if not len(known):
            return float("nan"), float("nan")
        # Distances (ECE, divergences) grow with resampling noise: subtract the median's surplus.
        surplus = np.median(known) - self.value
        low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - surplus
        return float(max(low, min(known.min(), 0.0))), float(high)


def draw_resamples(num_users: int, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """(T, U) how often each of U users is drawn in each of T bootstrap samples of U users."""
    rng = np.random.default_rng(seed)
    weights: Floats = rng.multinomial(num_users, np.full(num_users, 1.0 / num_users), size=resamples).astype(np.float64)
    return weights


def per_user(users: Ints, columns: Floats, num_users: int) -> Floats:
    """(U, S) sums of (M, S) columns over the rows of each user."""
    columns = columns[:, None] if columns.ndim == 1 else columns  # an empty (0, S) array keeps its columns
    out = np.zeros((num_users, columns.shape[1]))
    for column in range(columns.shape[1]):
        out[:, column] = np.bincount(users, weights=columns[:, column], minlength=num_users)
    return out


def mean_of_rows(users: Ints, values: Floats, num_users: int) -> Measure:
    """The mean over rows."""
    return Measure(per_user(users, np.stack([values, np.ones(len(users))], axis=1), num_users), ratio)


def mean_of_users(values: Floats) -> Measure:
    """The mean over users of (U,) values; users with NaN are ignored."""
    known = np.isfinite(values)
    return Measure(np.stack([np.where(known, values, 0.0), known.astype(np.float64)], axis=1), ratio)


def ratio(totals: Floats) -> Floats:
    """First column divided by the second."""
    result: Floats = totals[..., 0] / totals[..., 1]
    return result


def divergence_bits(a: Floats, b: Floats) -> Floats:
    """Jensen-Shannon divergence, bits, of histograms along the last axis (Lin 1991); they need not be normalised."""
    p, q = a / a.sum(axis=-1, keepdims=True), b / b.sum(axis=-1, keepdims=True)
    middle = (p + q) / 2
    return (_relative_bits(p, middle) + _relative_bits(q, middle)) / 2


def _relative_bits(p: Floats, q: Floats) -> Floats:
    ratios = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    result: Floats = (p * np.log2(np.where(p > 0, ratios, 1.0))).sum(axis=-1)
    return result


def split_half(sums: Floats, distance: Callable[[Floats, Floats], Floats], seed: int = 0, draws: int = 100) -> float:
    """Human ceiling: the mean distance between two random halves of the users; NaN for one user.

    Args:
        sums: (U, S) histograms of users.
        distance: Distance between two (T, S) arrays, row by row.
        seed: Seed of the halves.
        draws: T.
    """
    if len(sums) < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    # (T, U) 0/1 membership of the first half; each row is a random half of the users.
    halves = (rng.random((draws, len(sums))).argsort(axis=1) < len(sums) // 2).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nanmean(distance(halves @ sums, (1.0 - halves) @ sums)))


def within_user_auc(users: Ints, scores: Floats, labels: Floats, num_users: int) -> Floats:
    """(U,) area under the ROC curve within each user, ties half; NaN for users without both labels.

    Args:
        users: (M,) ids 0..U-1.
        scores: (M,) higher is more likely positive.
        labels: (M,) 1 or 0.
        num_users: U.
    """
    order = np.lexsort((scores, users))
    u, s, y = users[order], scores[order], labels[order]
    first = np.searchsorted(u, np.arange(num_users))
    # Mid-ranks within runs of equal (user, score).
    new = np.ones(len(u), dtype=np.bool_)
    new[1:] = (u[1:] != u[:-1]) | (s[1:] != s[:-1])
    run = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(u)))
    # Ranks from 1 within each user; ties share their mean rank.
    ranks = (starts + (sizes + 1) / 2)[run] - first[u]
    positives = np.bincount(u, weights=y, minlength=num_users)
    negatives = np.bincount(u, minlength=num_users) - positives
    # Mann-Whitney U: pairs in which the positive ranks above the negative.
    above = np.bincount(u, weights=ranks * y, minlength=num_users) - positives * (positives + 1) / 2
    pairs = positives * negatives
    auc: Floats = np.full(num_users, np.nan)
    return np.divide(above, pairs, out=auc, where=pairs > 0)
