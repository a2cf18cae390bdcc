"""Measures of predicted ratings, for any predictor: its mean, its distribution, and ratings drawn from it.

docs/certificate.md gives the definitions. All are sums over users (`measures.Measure`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsim_llm.experiments.fidelity.measures.measures import (
    Measure,
    divergence_bits,
    mean_of_rows,
    mean_of_users,
    per_user,
    ratio,
    split_half,
    within_user_auc,
)
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Floats, Ints

BINS = 10
_AUC_BINS = 256
_FEWEST = 5
"""Least number of ratings at which a person's own mean is measured."""
_TINY = 1e-12


@dataclass(frozen=True)
class Predictions:
    """Predicted ratings of held-out rows.

    Attributes:
        users: (M,) 0..U-1, numbered for the bootstrap.
        items: (M,) item ids, used for the draws only.
        levels: (M,) index of the true level.
        pmf: (M, R) predicted distribution; a point predictor puts all mass on the nearest level.
        mean: (M,) predicted mean, stars.
        rating_levels: (R,) stars.
        num_users: U.
        is_point: Whether only single numbers were predicted.
    """

    users: Ints
    items: Ints
    levels: Ints
    pmf: Floats
    mean: Floats
    rating_levels: Floats
    num_users: int
    is_point: bool = False

    @property
    def truth(self) -> Floats:
        """(M,) true stars."""
        return self.rating_levels[self.levels]

    @property
    def liked(self) -> Bools:
        """(R,) levels that count as liked: from four fifths of the best one (4 of 5 stars)."""
        liked: Bools = self.rating_levels >= 0.8 * self.rating_levels[-1]
        return liked

    def drawn(self, seed: int = 0) -> Ints:
        """(M,) levels drawn from the distributions, by a hash of (seed, user, item)."""
        luck = uniforms(seed, Stream.RATING, self.users, self.items)
        drawn: Ints = (luck[:, None] > self.pmf.cumsum(axis=1)[:, :-1]).sum(axis=1)
        return drawn


def point_predictions(
    users: Ints, items: Ints, levels: Ints, stars: Floats, rating_levels: Floats, num_users: int
) -> Predictions:
    """Predictions of single numbers, in stars."""
    middles = (rating_levels[1:] + rating_levels[:-1]) / 2
    pmf = np.eye(len(rating_levels))[np.searchsorted(middles, stars)]
    return Predictions(users, items, levels, pmf, stars, rating_levels, num_users, is_point=True)


def rating_measures(p: Predictions, histogram: Floats) -> dict[str, Measure]:
    """Every measure of rated rows, by name; log_loss only for distributions.

    Args:
        p: Predictions.
        histogram: (R,) distribution of the training ratings, the floor of the skill.
    """
    users, count = p.users, p.num_users
    scores = _rps(p.pmf, p.levels)
    trivial = _rps(np.tile(histogram, (len(users), 1)), p.levels)
    liked, chance = p.liked[p.levels].astype(np.float64), p.pmf[:, p.liked].sum(axis=1)
    error = p.mean - p.truth
    measures = {
        "rps": mean_of_rows(users, scores, count),
        "rps_skill": Measure(per_user(users, np.stack([trivial - scores, trivial], axis=1), count), ratio),
        "brier": mean_of_rows(users, (chance - liked) ** 2, count),
        "ece": calibration_error(users, chance, liked, count),
        "auc_like": _pooled_auc(users, chance, liked, count),
        "rmse_mean": _root(mean_of_rows(users, error**2, count)),
        "mae_mean": mean_of_rows(users, np.abs(error), count),
        "pairwise_order": mean_of_users(_pairwise_order(p)),
        **sample_measures(p),
    }
    if not p.is_point:
        log_loss = -np.log(np.maximum(p.pmf[np.arange(len(users)), p.levels], _TINY))
        measures["log_loss"] = mean_of_rows(users, log_loss, count)
    return measures


def sample_measures(p: Predictions) -> dict[str, Measure]:
    """Measures of ratings drawn from the predictions."""
    drawn = p.drawn()
    stars, count = p.rating_levels, p.num_users
    # (M, 2R) one-hot drawn and true levels -> (U, 2R): two histograms per user.
    both = per_user(p.users, np.concatenate([np.eye(len(stars))[drawn], np.eye(len(stars))[p.levels]], axis=1), count)
    return {
        "sampled_rmse": _root(mean_of_rows(p.users, (stars[drawn] - p.truth) ** 2, count)),
        "rating_jsd_bits": Measure(both, lambda t: divergence_bits(*_halves(t))),
        "rating_emd": Measure(both, lambda t: _earth_mover(*_halves(t), stars)),
        "rating_sd_ratio": Measure(both, lambda t: _deviation(_halves(t)[0], stars) / _deviation(_halves(t)[1], stars)),
        "between_user_variance_ratio": _between_users(p),
        "constant_raters": mean_of_users(_constant(p.users, drawn, count)),
    }


def human_ceilings(p: Predictions) -> dict[str, float]:
    """Human ceilings: real people against real people, by split halves of the users."""
    real = per_user(p.users, np.eye(len(p.rating_levels))[p.levels], p.num_users)
    return {
        "rating_jsd_bits": split_half(real, divergence_bits),
        "rating_emd": split_half(real, lambda a, b: _earth_mover(a, b, p.rating_levels)),
        "constant_raters": mean_of_users(_constant(p.users, p.levels, p.num_users)).value,
        "rating_sd_ratio": 1.0,
        "between_user_variance_ratio": 1.0,
    }


def reliability(p: Predictions) -> dict[str, list[float | None]]:
    """The reliability curve of P(liked): mean prediction, observed share and share of rows in 10 equal-width bins."""
    chance, liked = p.pmf[:, p.liked].sum(axis=1), p.liked[p.levels]
    bins = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
    n = np.bincount(bins, minlength=BINS)
    predicted, observed = (np.bincount(bins, weights=column, minlength=BINS) for column in (chance, liked))
    return {
        "predicted": [float(a / b) if b else None for a, b in zip(predicted, n, strict=True)],
        "observed": [float(a / b) if b else None for a, b in zip(observed, n, strict=True)],
        "share": (n / max(len(chance), 1)).tolist(),
    }


def histograms(p: Predictions) -> dict[str, list[float]]:
    """Shares of the levels in drawn and in real ratings."""
    size, total = len(p.rating_levels), max(len(p.users), 1)
    return {
        "levels": p.rating_levels.tolist(),
        "simulated": (np.bincount(p.drawn(), minlength=size) / total).tolist(),
        "real": (np.bincount(p.levels, minlength=size) / total).tolist(),
    }


def user_means(p: Predictions) -> dict[str, list[float]]:
    """Mean stars of each person with at least 5 rows, drawn and real."""
    n = np.bincount(p.users, minlength=p.num_users)
    known = n >= _FEWEST
    series = {"simulated": p.rating_levels[p.drawn()], "real": p.truth}
    return {
        name: (np.bincount(p.users, weights=values, minlength=p.num_users)[known] / n[known]).tolist()
        for name, values in series.items()
    }


def calibration_error(users: Ints, chance: Floats, happened: Floats, num_users: int) -> Measure:
    """ECE: mean over rows of |predicted - observed| in 10 equal-width bins (Naeini et al. 2015)."""
    bins = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
    # (M, 3 BINS) columns: rows, predicted and observed mass of each bin.
    place = np.eye(BINS)[bins]
    columns = np.concatenate([place, place * chance[:, None], place * happened[:, None]], axis=1)

    def combine(totals: Floats) -> Floats:
        n, predicted, observed = np.split(totals, 3, axis=-1)
        error: Floats = np.abs(predicted - observed).sum(axis=-1) / n.sum(axis=-1)
        return error

    return Measure(per_user(users, columns, num_users), combine)


def _rps(pmf: Floats, levels: Ints) -> Floats:
    """(M,) ranked probability score (Epstein 1969): squared error of the CDF, summed over thresholds."""
    # (M, R - 1): the CDF of the true level at each threshold.
    happened = np.arange(pmf.shape[1] - 1) >= levels[:, None]
    scores: Floats = ((pmf.cumsum(axis=1)[:, :-1] - happened) ** 2).sum(axis=1)
    return scores


def _root(measure: Measure) -> Measure:
    return Measure(measure.sums, lambda totals: np.sqrt(measure.combine(totals)))


def _pooled_auc(users: Ints, scores: Floats, labels: Floats, num_users: int) -> Measure:
    """AUC over all rows, from counts in 256 bins of equal size (exact up to ties within a bin)."""
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _AUC_BINS + 1)[1:-1])) if len(scores) else np.zeros(0)
    place = np.searchsorted(edges, scores, side="right")
    width = len(edges) + 1
    # (U * 2 * width,) counts per user, label and bin.
    flat = np.bincount((users * 2 + labels.astype(np.int64)) * width + place, minlength=num_users * 2 * width)

    def combine(totals: Floats) -> Floats:
        negatives, positives = _halves(totals)
        # Negatives below each bin, plus half of those in it: ties count half.
        below = negatives.cumsum(axis=-1) - negatives / 2
        auc: Floats = (positives * below).sum(axis=-1) / (positives.sum(axis=-1) * negatives.sum(axis=-1))
        return auc

    return Measure(flat.reshape(num_users, 2 * width).astype(np.float64), combine)


def _pairwise_order(p: Predictions) -> Floats:
    """(U,) share of a person's pairs of unequal true ratings that the predicted means order correctly, ties half."""
    right, pairs = np.zeros(p.num_users), np.zeros(p.num_users)
    for cut in range(1, len(p.rating_levels)):
        # Pairs of this level with any lower one: an AUC over the rows at or below the level.
        rows = p.levels <= cut
        top = (p.levels[rows] == cut).astype(np.float64)
        auc = within_user_auc(p.users[rows], p.mean[rows], top, p.num_users)
        high = np.bincount(p.users[rows], weights=top, minlength=p.num_users)
        count = high * (np.bincount(p.users[rows], minlength=p.num_users) - high)
        right += np.where(count > 0, np.nan_to_num(auc) * count, 0.0)
        pairs += count
    order: Floats = np.full(p.num_users, np.nan)
    return np.divide(right, pairs, out=order, where=pairs > 0)


def _halves(totals: Floats) -> tuple[Floats, Floats]:
    left, right = np.split(totals, 2, axis=-1)
    return left, right


def _earth_mover(a: Floats, b: Floats, stars: Floats) -> Floats:
    """Earth mover's distance between two histograms over levels, in stars."""
    # (..., R - 1): the difference of the CDFs between neighbouring levels.
    gap = (a / a.sum(axis=-1, keepdims=True) - b / b.sum(axis=-1, keepdims=True)).cumsum(axis=-1)[..., :-1]
    distance: Floats = (np.abs(gap) * np.diff(stars)).sum(axis=-1)
    return distance


def _deviation(histogram: Floats, stars: Floats) -> Floats:
    share = histogram / histogram.sum(axis=-1, keepdims=True)
    mean = (share * stars).sum(axis=-1)
    deviation: Floats = np.sqrt(np.maximum((share * stars**2).sum(axis=-1) - mean**2, 0.0))
    return deviation


def _between_users(p: Predictions) -> Measure:
    """Ratio of the variances over users of the mean drawn and the mean real rating; users with at least 5 rows.

    The expectation over draws is exact: E[mean^2] = (mean of means)^2 + sum of variances / n^2.
    """
    n = np.bincount(p.users, minlength=p.num_users).astype(np.float64)
    known = n >= _FEWEST
    expected = p.pmf @ p.rating_levels
    spread = p.pmf @ p.rating_levels**2 - expected**2
    size = np.maximum(n, 1.0)
    mean, noise, real = (
        np.bincount(p.users, weights=column, minlength=p.num_users) / divisor
        for column, divisor in ((expected, size), (spread, size**2), (p.truth, size))
    )
    # (U, 5): count and the first two moments of the simulated and of the real mean.
    columns = np.stack([np.ones_like(n), mean, mean**2 + noise, real, real**2], axis=1)

    def combine(totals: Floats) -> Floats:
        count = totals[..., 0]
        simulated = totals[..., 2] / count - (totals[..., 1] / count) ** 2
        true = totals[..., 4] / count - (totals[..., 3] / count) ** 2
        result: Floats = simulated / true
        return result

    return Measure(np.where(known[:, None], columns, 0.0), combine)


def _constant(users: Ints, levels: Ints, num_users: int) -> Floats:
    """(U,) 1 if a person gives the same rating in all of at least 5 rows, else 0; NaN with fewer rows."""
    n = np.bincount(users, minlength=num_users)
    low, high = np.full(num_users, np.iinfo(np.int64).max), np.full(num_users, -1)
    np.minimum.at(low, users, levels)
    np.maximum.at(high, users, levels)
    return np.where(n >= _FEWEST, (low == high).astype(np.float64), np.nan)
