"""Agreement between two orders of recommenders, with intervals over people; independent of who made the orders.

U people, S recommenders. A value table is (U, S): how well each recommender serves each person, NaN if unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from recsim_llm.experiments.fidelity.measures.measures import Measure
from recsim_llm.types import Bools, Floats

_TIE = 1e-9
"""Means that differ by less count as equal: the difference is rounding, not preference."""


class RankingEstimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def shown_weights(scores_UN: Floats, candidates_UN: Bools, slot_weights: Floats) -> Floats:
    """(U, N) expected weight of each item if a recommender fills slots with its best-scored candidates.

    Equal scores are in random order: each gets the mean weight of the slots that they share, so that the order of ids
    has no effect (McSherry and Najork, ECIR 2008).

    Args:
        scores_UN: Higher is shown first.
        candidates_UN: Whether the item may be shown.
        slot_weights: (K,) weights of the slots, from the top; further slots weigh 0.
    """
    ranked = np.where(candidates_UN, scores_UN, -np.inf)
    order = np.argsort(-ranked, axis=1, kind="stable")
    in_order = np.take_along_axis(ranked, order, axis=1)
    first, last = _runs(in_order)
    width = ranked.shape[1]
    # total[i] is the weight of the first i slots: a run of ties gets its span of weight, divided by its length.
    total = np.zeros(width + 1)
    total[1:] = np.cumsum(np.pad(slot_weights, (0, max(width - len(slot_weights), 0)))[:width])
    weights = np.empty(ranked.shape)
    np.put_along_axis(weights, order, (total[last + 1] - total[first]) / (last + 1 - first), axis=1)
    return np.where(candidates_UN, weights, 0.0)


def _runs(in_order: Floats) -> tuple[np.ndarray, np.ndarray]:
    """(U, N) first and last position of the run of equal values around each position."""
    places = np.arange(in_order.shape[1])
    # new marks the first, end the last position of each run.
    new = np.ones(in_order.shape, dtype=np.bool_)
    new[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    end = np.ones(in_order.shape, dtype=np.bool_)
    end[:, :-1] = new[:, 1:]
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(end, places, places[-1])[:, ::-1], axis=1)[:, ::-1]
    return first, last


def mean_shown(weights_UN: Floats, values_UN: Floats) -> Floats:
    """(U,) mean value of the shown items; NaN for people to whom nothing can be shown."""
    total = weights_UN.sum(axis=1)
    sums = (weights_UN * np.where(weights_UN > 0, values_UN, 0.0)).sum(axis=1)
    out: Floats = np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0)
    return out


def ndcg(weights_UN: Floats, gains_UN: Floats, slot_weights: Floats) -> Floats:
    """(U,) normalised discounted cumulative gain (Jarvelin and Kekalainen 2002); NaN for people without any gain.

    Args:
        weights_UN: From `shown_weights` with the same slot weights.
        gains_UN: Gain of each item.
        slot_weights: (K,) discounts.
    """
    slots = min(len(slot_weights), gains_UN.shape[1])
    best = -np.sort(-gains_UN, axis=1)[:, :slots] @ slot_weights[:slots]
    gained = (weights_UN * gains_UN).sum(axis=1)
    out: Floats = np.divide(gained, best, out=np.full(len(best), np.nan), where=best > 0)
    return out


def tau_b(a: Floats, b: Floats) -> Floats:
    """Kendall's tau-b of (..., S) values, ties as in Kendall (1945); 0 if all values of either side are equal."""
    x, y = _signs(a), _signs(b)
    # (...,) concordant minus discordant pairs.
    together = (x * y).sum(axis=-1)
    spread = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    tau: Floats = np.divide(together, spread, out=np.zeros(together.shape), where=spread > 0)
    return tau


def _signs(values: Floats) -> Floats:
    """(..., S (S - 1) / 2) sign of the difference of each pair: 1, 0 or -1."""
    left, right = np.triu_indices(values.shape[-1], k=1)
    difference = values[..., left] - values[..., right]
    signs: Floats = np.where(np.abs(difference) > _TIE, np.sign(difference), 0.0)
    return signs


def regret(truth: Floats, judged: Floats) -> Floats:
    """(...) true value of the truly best minus that of the one judged best (the mean of those judged equally good)."""
    picked = judged > judged.max(axis=-1, keepdims=True) - _TIE
    value = (truth * picked).sum(axis=-1) / picked.sum(axis=-1)
    result: Floats = truth.max(axis=-1) - value
    return result


def regret_share(truth: Floats, judged: Floats) -> Floats:
    """(...) regret as a share of the distance from the truly best to the truly worst."""
    spread = truth.max(axis=-1) - truth.min(axis=-1)
    share: Floats = np.divide(regret(truth, judged), spread, out=np.zeros(spread.shape), where=spread > _TIE)
    return share


def pairs_right(truth: Floats, judged: Floats, pairs: Bools) -> Floats:
    """(...) share of the (S (S - 1) / 2) marked pairs in the true order; ties count half; NaN without marked pairs."""
    agreement = _signs(truth)[..., pairs] * _signs(judged)[..., pairs]
    if not agreement.shape[-1]:
        return np.full(agreement.shape[:-1], np.nan)
    right: Floats = (0.5 * (1.0 + agreement)).mean(axis=-1)
    return right


def clear_pairs(values_US: Floats, resamples: Floats, margin: float) -> Bools:
    """(S (S - 1) / 2) pairs whose means differ by more than a margin, with the whole 95 % interval on one side of 0.

    Args:
        values_US: (U, S).
        resamples: (T, U) from `measures.draw_resamples`.
        margin: Margin, in the unit of the values.
    """
    left, right = np.triu_indices(values_US.shape[1], k=1)
    # (S,) means of all people, and (T, S) means of the bootstrap samples.
    means, draws = _means(_columns(values_US).sum(axis=0)), _means(resamples @ _columns(values_US))
    low, high = np.quantile(draws[:, left] - draws[:, right], [0.025, 0.975], axis=0)
    clear: Bools = (np.abs(means[left] - means[right]) > margin) & ((low > 0) | (high < 0))
    return clear


def estimate(tables: Sequence[Floats], combine: Callable[..., Floats], resamples: Floats) -> RankingEstimate:
    """A function of the mean values of recommenders in several tables, with its interval over people.

    Args:
        tables: (U, S) each; people are drawn for all tables together.
        combine: Maps (..., S) means of each table to (...) values.
        resamples: (T, U) from `measures.draw_resamples`.
    """
    # (U, 2 S tables): one resampling of people serves all tables.
    sums = np.concatenate([_columns(table) for table in tables], axis=1)
    measure = Measure(sums, lambda totals: combine(*map(_means, np.split(totals, len(tables), axis=-1))))
    return RankingEstimate(measure.value, *measure.interval(resamples))


def mean_of(means: Floats) -> Floats:
    """(...) mean of the single recommender of a (U, 1) table."""
    return means[..., 0]


def half_tau(values_US: Floats, seed: int, draws: int = 100) -> float:
    """Mean tau-b between the orders of two random halves of the people: how well one half predicts the other."""
    rng = np.random.default_rng(seed)
    halves = (rng.random((draws, len(values_US))).argsort(axis=1) < len(values_US) // 2).astype(np.float64)
    columns = _columns(values_US)
    return float(np.nanmean(tau_b(_means(halves @ columns), _means((1.0 - halves) @ columns))))


def _columns(values_US: Floats) -> Floats:
    """(U, 2 S) columns: values with 0 for unknown ones, then 0/1 counts of known values."""
    known = np.isfinite(values_US)
    return np.concatenate([np.where(known, values_US, 0.0), known.astype(np.float64)], axis=1)


def _means(totals: Floats) -> Floats:
    sums, counts = np.split(totals, 2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = sums / counts
    return means
