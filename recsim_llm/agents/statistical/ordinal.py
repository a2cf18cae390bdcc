"""Ordered-logit regression: P(level <= k) = sigmoid(edge_k - features . weights), by maximum likelihood.

`fit_ordinal` learns the edges as thresholds[k] - slope * offset; `fit_weights` is given them row by row. The loss is
the proportional-odds model's (McCullagh 1980); with b and a the upper and lower edge of a row's level,

    log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b)),

which neither overflows nor cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
from scipy.special import expit

from recsim_llm.errors import DataError
from recsim_llm.types import Bools, Floats, Ints

_NARROWEST, _WIDEST = -7.0, 3.0  # logs of the gap between two thresholds, log-odds
_FARTHEST = 30.0  # log-odds


@dataclass(frozen=True)
class OrdinalFit:
    """A fitted ordered logit.

    Attributes:
        thresholds: (R-1,) ascending, log-odds.
        weights: (D,) log-odds per unit of a feature; positive ones favour higher levels.
        slope: Log-odds per unit of the offset.
    """

    thresholds: Floats
    weights: Floats
    slope: float = 0.0


def fit_ordinal(
    features: Floats,
    offset: Floats,
    level: Ints,
    num_levels: int,
    ridge: float = 1.0,
    nonnegative: bool = False,
) -> OrdinalFit:
    """Fit thresholds, weights and the slope of the offset.

    One pseudo-observation, spread evenly over all levels, keeps levels possible that do not occur in these rows.

    Args:
        features: (M, D), of about unit spread; D may be 0.
        offset: (M,) a score whose slope is learnt without a penalty; all zeros for none.
        level: (M,) 0..R-1.
        num_levels: R, at least 2.
        ridge: Penalty, in rows: ridge / 2 times the squared length of the weights.
        nonnegative: Whether weights and slope must not be negative.

    Raises:
        DataError: There are no rows.
    """
    if not len(level):
        raise DataError("An ordered logit needs at least one row to be fitted to; there is none.")
    edges, size = num_levels - 1, features.shape[1]
    columns = np.column_stack([offset, features])
    # The slope of a constant offset is not identified, so it is penalised towards 0.
    penalty = np.concatenate([[0.0 if np.ptp(offset) > 0 else 1.0], np.full(size, ridge)])

    def loss(x: Floats) -> tuple[float, Floats]:
        thresholds, weights = _thresholds(x[:edges]), x[edges:]
        value, by_lower, by_upper = _row_losses(*_bounds(thresholds, columns @ weights, level))
        prior, prior_gradient = _prior(thresholds)
        # Threshold k is the upper edge of level k and the lower edge of level k + 1.
        by_threshold = np.bincount(level, by_upper, num_levels)[:-1] + np.bincount(level, by_lower, num_levels)[1:]
        by_weight = -columns.T @ (by_lower + by_upper) + penalty * weights
        total = value.sum() + prior + 0.5 * float(penalty @ weights**2)
        by_start = _through_gaps(by_threshold + prior_gradient, x[:edges])
        return total / len(level), np.concatenate([by_start, by_weight]) / len(level)

    low = 0.0 if nonnegative else None
    bounds: list[tuple[float | None, float | None]] = [(-_FARTHEST, _FARTHEST)]
    bounds += [(_NARROWEST, _WIDEST)] * (edges - 1) + [(low, None)] * (size + 1)
    start = np.concatenate([_start(level, num_levels), np.zeros(size + 1)])
    x = _minimise(loss, start, bounds)
    return OrdinalFit(_thresholds(x[:edges]), x[edges + 1 :], float(x[edges]))


def fit_weights(
    features: Floats, edges: Floats, level: Ints, ridge: float | Floats = 1.0, nonnegative: bool | Bools = True
) -> Floats:
    """(D,) weights where the edges of every row are given: P(level <= k) = sigmoid(edges[k] - features . weights).

    Args:
        features: (M, D).
        edges: (M, R-1) log-odds of the cumulative distribution without the features.
        level: (M,) 0..R-1.
        ridge: Penalty, in rows, on the squared weights; one for all, or (D,).
        nonnegative: Whether weights must not be negative; one for all, or (D,).
    """
    # (M, R+1) with infinite ends: level k lies between columns k and k + 1.
    padded = np.pad(edges, ((0, 0), (1, 1)), constant_values=((0, 0), (-np.inf, np.inf)))
    rows = np.arange(len(level))
    lower, upper = padded[rows, level], padded[rows, level + 1]
    size, count = features.shape[1], max(len(level), 1)
    if not size:
        return np.zeros(0)
    penalty = np.broadcast_to(np.asarray(ridge, dtype=np.float64), size)

    def loss(w: Floats) -> tuple[float, Floats]:
        shift = features @ w
        value, by_lower, by_upper = _row_losses(lower - shift, upper - shift)
        gradient = -features.T @ (by_lower + by_upper) + penalty * w
        return (value.sum() + 0.5 * float(penalty @ w**2)) / count, gradient / count

    lows = [0.0 if bounded else None for bounded in np.broadcast_to(nonnegative, size).tolist()]
    return _minimise(loss, np.zeros(size), [(low, None) for low in lows])


def ordinal_pmf(fit: OrdinalFit, features: Floats, offset: Floats | float = 0.0) -> Floats:
    """(..., R) distribution over the levels.

    Args:
        fit: The model.
        features: (..., D).
        offset: (...) or one number for all.
    """
    # A sum, because the last bits of a matrix product may depend on the number of rows.
    shift = (features * fit.weights).sum(axis=-1) + fit.slope * offset
    edges = fit.thresholds - shift[..., None]
    return _from_tails(expit(edges), expit(-edges))


def shifted(pmf: Floats, shift: Floats) -> Floats:
    """Distributions with their cumulative log-odds shifted; positive means higher levels, 0 changes no bit.

    For an ordered logit this is exactly a shift of its score, computed from the distribution alone. Odds are multiplied
    instead of adding log-odds, so that what is impossible stays so, and nothing overflows.

    Args:
        pmf: (..., R).
        shift: (...) log-odds.
    """
    # (..., R-1) lower and upper tails; the shift multiplies their odds.
    below = np.cumsum(pmf, axis=-1)[..., :-1]
    above = np.cumsum(pmf[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    factor = np.exp(-shift)[..., None]
    total = below * factor + above
    moved = _from_tails(below * factor / total, above / total)
    return np.where((shift != 0.0)[..., None], moved, pmf)


def raised(chance: Floats, shift: Floats) -> Floats:
    """(...) probabilities with their log-odds shifted; 0 changes no bit, and 0 and 1 stay what they are."""
    up = chance * np.exp(shift)
    return np.where(shift != 0.0, up / (up + (1.0 - chance)), chance)


def row_log_loss(pmf: Floats, level: Ints) -> Floats:
    """(M,) -log of the probability of the observed level, nats."""
    loss: Floats = -np.log(np.maximum(pmf[np.arange(len(level)), level], 1e-12))
    return loss


def _minimise(
    loss: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: list[tuple[float | None, float | None]]
) -> Floats:
    found = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8}
    )
    x: Floats = found.x
    return x


def _from_tails(below: Floats, above: Floats) -> Floats:
    """(..., R) distribution from its (..., R-1) lower and upper tails; differences are those of the smaller tail."""
    zero, one = np.zeros((*below.shape[:-1], 1)), np.ones((*below.shape[:-1], 1))
    lower = np.concatenate([below, one], axis=-1)
    from_below = np.diff(lower, axis=-1, prepend=0.0)
    from_above = -np.diff(np.concatenate([one, above, zero], axis=-1), axis=-1)
    pmf = np.maximum(np.where(lower < 0.5, from_below, from_above), 0.0)
    normal: Floats = pmf / pmf.sum(axis=-1, keepdims=True)
    return normal


def _thresholds(x: Floats) -> Floats:
    """From the first threshold and logs of the gaps."""
    ascending: Floats = np.cumsum(np.concatenate([x[:1], np.exp(x[1:])]))
    return ascending


def _through_gaps(by_threshold: Floats, x: Floats) -> Floats:
    """Gradient by first threshold and logs of gaps from the gradient by thresholds."""
    # A gap moves all later thresholds, so it collects their gradients.
    from_here = np.cumsum(by_threshold[::-1])[::-1]
    return np.concatenate([from_here[:1], from_here[1:] * np.exp(x[1:])])


def _start(level: Ints, num_levels: int) -> Floats:
    """Thresholds of the smoothed histogram."""
    share = np.cumsum(np.bincount(level, minlength=num_levels) + 1.0 / num_levels)[:-1] / (len(level) + 1.0)
    edges = np.log(share) - np.log1p(-share)
    return np.concatenate([edges[:1], np.clip(np.log(np.diff(edges)), _NARROWEST, _WIDEST)])


def _bounds(thresholds: Floats, shift: Floats, level: Ints) -> tuple[Floats, Floats]:
    padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
    return padded[level] - shift, padded[level + 1] - shift


def _prior(thresholds: Floats) -> tuple[float, Floats]:
    """Loss of one row spread over all levels, at features and offset 0; and its gradient by thresholds."""
    count = len(thresholds) + 1
    value, by_lower, by_upper = _row_losses(*_bounds(thresholds, np.zeros(count), np.arange(count)))
    gradient: Floats = (by_upper[:-1] + by_lower[1:]) / count
    return float(value.mean()), gradient


def _row_losses(lower: Floats, upper: Floats) -> tuple[Floats, Floats, Floats]:
    """(M,) -log(sigmoid(upper) - sigmoid(lower)), and its derivatives by lower and upper edge."""
    gap = np.maximum(upper - lower, 1e-9)  # infinite at the ends
    value = np.logaddexp(0.0, -upper) + np.logaddexp(0.0, lower) - np.log(-np.expm1(-gap))
    with np.errstate(over="ignore"):
        inverse = 1.0 / np.expm1(gap)
    return value, expit(lower) + inverse, -expit(-upper) - inverse
