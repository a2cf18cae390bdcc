"""Fits statistical users to a training log, in seconds on one core. Reads nothing but training ratings.

Tastes: shrunken biases, then factors of the residuals by alternating ridge regression whose penalty grows with the
number of ratings (ALS-WR, Zhou et al. 2008). Ratings: thresholds and spread of the ordered logit by maximum likelihood
on a tenth of the training ratings that the tastes were fitted without. Watching: logs hold no exposures, so "was rated"
against uniformly drawn unrated items stands in for "was watched"; a logistic model over the user's activity, the log
of an implicit-feedback ALS score and the taste score, fitted on the same held-out tenth. Popularity is no separate
term: the ALS score carries it, and with such a term people would prefer a popular item to one of their taste (on
ML-100K, AUC against popularity-matched items 0.808 with the term, 0.831 without). The *level* of watching is not
identified by such logs: it is declared by `FitOptions.watch_rate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.sparse as sp
from scipy.special import expit

from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, log_affinity
from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import DataError
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How statistical users are fitted.

    Attributes:
        embedding_size: Factors of the taste model, D.
        reg: Ridge penalty on factors, per rating.
        epochs: Rounds of alternating regression.
        user_shrinkage, item_shrinkage: Ratings that pull a bias half-way to zero.
        watch_embedding_size: Factors of the watch model, D2.
        watch_reg: Ridge penalty on the watch factors.
        watch_alpha: Extra weight of a rated cell.
        watch_rate: Declared mean probability of watching a uniformly drawn item, (0, 1).
        held_out: Share of the training ratings held out to fit thresholds and the watch model, (0, 1).
        seed: Seed of the held-out draw and of the starting factors.
    """

    embedding_size: int = 16
    reg: float = 0.15
    epochs: int = 12
    user_shrinkage: float = 5.0
    item_shrinkage: float = 5.0
    watch_embedding_size: int = 32
    watch_reg: float = 20.0
    watch_alpha: float = 1.0
    watch_rate: float = 0.2
    held_out: float = 0.1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Tastes:
    mean: float
    user_bias: Floats
    item_bias: Floats
    user_factors: Floats
    item_factors: Floats

    def __call__(self, users: Ints, items: Ints) -> Floats:
        product: Floats = np.einsum("md,md->m", self.user_factors[users], self.item_factors[items])
        return self.mean + self.user_bias[users] + self.item_bias[items] + product


def fit_statistical(
    train: Ratings, activity: Ints, rating_levels: tuple[float, ...], options: FitOptions | None = None
) -> StatisticalParameters:
    """Fit statistical users.

    Args:
        train: Training ratings.
        activity: (U,) trait levels 1..3, for patience (`agents.personas.persona.traits`).
        rating_levels: (R,) stars that can be given, at least 2.
        options: Sizes and penalties.

    Raises:
        DataError: Fewer than two rating levels occur in the log.
    """
    options = options or FitOptions()
    if len(np.unique(train.values)) < 2:
        raise DataError("Statistical users need ratings of at least two different levels; all ratings are equal.")
    held = uniforms(options.seed, Stream.DATA, train.users, train.items) < options.held_out
    part, rest = train.take(~held), train.take(held)
    tastes = fit_tastes(part, options)
    thresholds, scale = fit_thresholds(tastes(rest.users, rest.items), rest.values, np.array(rating_levels))
    weights = _fit_watch(part, rest, tastes, options)
    return _assemble(train, fit_tastes(train, options), thresholds, scale, weights, activity, rating_levels, options)


def _assemble(
    train: Ratings,
    tastes: _Tastes,
    thresholds: Floats,
    scale: float,
    weights: Floats,
    activity: Ints,
    rating_levels: tuple[float, ...],
    options: FitOptions,
) -> StatisticalParameters:
    users, items = _watch_factors(train, options)
    watch_user = weights[1] * _log_activity(train)
    level = _watch_level(tastes, watch_user, users, items, weights, options)
    return StatisticalParameters(
        mean=tastes.mean,
        user_bias=tastes.user_bias,
        item_bias=tastes.item_bias,
        user_factors=tastes.user_factors,
        item_factors=tastes.item_factors,
        thresholds=thresholds,
        scale=scale,
        watch_user=watch_user + level,
        watch_item=np.zeros(train.num_items),
        watch_user_factors=users,
        watch_item_factors=items,
        watch_affinity=float(weights[2]),
        watch_slope=float(weights[3]),
        activity=activity,
        rating_levels=np.array(rating_levels),
    )


def fit_biases(train: Ratings, options: FitOptions) -> tuple[float, Floats, Floats]:
    """Global mean, then shrunken item biases, then shrunken user biases of the residuals (Koren 2010, section 2.1)."""
    mean = float(train.values.mean(dtype=np.float64))
    residual = train.values.astype(np.float64) - mean
    # A bias is sum / (count + shrinkage): few ratings leave it near 0.
    item_counts = np.bincount(train.items, minlength=train.num_items)
    item_sums = np.bincount(train.items, weights=residual, minlength=train.num_items)
    item_bias = item_sums / (item_counts + options.item_shrinkage)
    residual -= item_bias[train.items]
    user_counts = np.bincount(train.users, minlength=train.num_users)
    user_sums = np.bincount(train.users, weights=residual, minlength=train.num_users)
    return mean, user_sums / (user_counts + options.user_shrinkage), item_bias


def fit_tastes(train: Ratings, options: FitOptions) -> _Tastes:
    """Biases, then factors of the residuals by ALS-WR; items and users without ratings keep zero factors."""
    mean, user_bias, item_bias = fit_biases(train, options)
    residual = train.values - mean - user_bias[train.users] - item_bias[train.items]
    shape = (train.num_users, train.num_items)
    # (U, N) sparse residuals and their transpose, because each half-step solves row by row.
    by_user = sp.csr_array((residual, (train.users, train.items)), shape=shape)
    by_item = sp.csr_array(by_user.T)
    rng = np.random.default_rng(options.seed)
    item_factors = rng.normal(0.0, 0.1, (train.num_items, options.embedding_size))
    user_factors = np.zeros((train.num_users, options.embedding_size))
    for _ in range(options.epochs):
        user_factors = _ridge(by_user, item_factors, options.reg)
        item_factors = _ridge(by_item, user_factors, options.reg)
    return _Tastes(mean, user_bias, item_bias, user_factors, item_factors)


def _ridge(residuals: sp.csr_array, factors: Floats, reg: float) -> Floats:
    """Rows w minimising |r - F w|^2 + reg * n |w|^2 over the n stored residuals of each row."""
    out = np.zeros((residuals.shape[0], factors.shape[1]))
    eye = np.eye(factors.shape[1])
    for row in np.flatnonzero(np.diff(residuals.indptr)):
        start, end = residuals.indptr[row], residuals.indptr[row + 1]
        chosen = factors[residuals.indices[start:end]]
        # chosen (n, D), gram (D, D): the penalty grows with the n ratings of the row (ALS-WR).
        gram = chosen.T @ chosen + reg * (end - start) * eye
        out[row] = np.linalg.solve(gram, chosen.T @ residuals.data[start:end])
    return out


def fit_thresholds(taste: Floats, stars: np.ndarray, rating_levels: Floats) -> tuple[Floats, float]:
    """Thresholds (R-1,) and scale of the ordered logit, by maximum likelihood.

    Args:
        taste: (M,) predicted scores, stars.
        stars: (M,) true ratings.
        rating_levels: (R,) levels.
    """
    level = np.searchsorted(rating_levels, stars)
    rows = np.arange(len(level))

    def unpack(x: Floats) -> tuple[Floats, float]:
        # First threshold, logs of the R-2 gaps, log scale: ascending and positive without bounds.
        return np.cumsum(np.concatenate([x[:1], np.exp(x[1:-1])])), float(np.exp(x[-1]))

    def loss(x: Floats) -> float:
        thresholds, scale = unpack(x)
        # (M, R-1); padded to (M, R+1) with 0 and 1, neighbours differ by a level's probability.
        cdf = expit((thresholds - taste[:, None]) / scale)
        padded = np.pad(cdf, ((0, 0), (1, 1)), constant_values=((0, 0), (0.0, 1.0)))
        pmf = padded[rows, level + 1] - padded[rows, level]
        return float(-np.log(np.maximum(pmf, 1e-12)).mean())

    middles = (rating_levels[1:] + rating_levels[:-1]) / 2
    start = np.concatenate([middles[:1], np.log(np.diff(middles)), [np.log(0.5)]])
    return unpack(scipy.optimize.minimize(loss, start, method="L-BFGS-B").x)


def _log_activity(log: Ratings) -> Floats:
    """(U,) log number of ratings; people without ratings get the average number.

    An active person's implicit-feedback scores are higher for all items alike; this term corrects for that.
    """
    counts = np.bincount(log.users, minlength=log.num_users)
    activity: Floats = np.log(np.where(counts > 0, counts, counts[counts > 0].mean()))
    return activity


def _watch_factors(log: Ratings, options: FitOptions) -> tuple[Floats, Floats]:
    """Factors of who rated what, by weighted ridge regression on all cells (Hu, Koren and Volinsky 2008).

    A rated cell has target 1 and weight 1 + `watch_alpha`, any other target 0 and weight 1.
    """
    seen = sp.csr_array(log.matrix().astype(bool).astype(np.float64))
    seen_by_item = sp.csr_array(seen.T)
    rng = np.random.default_rng(options.seed)
    items = rng.normal(0.0, 0.1, (log.num_items, options.watch_embedding_size))
    for _ in range(options.epochs):
        users = _weighted_ridge(seen, items, options)
        items = _weighted_ridge(seen_by_item, users, options)
    rated = np.diff(seen.indptr) > 0
    users[~rated] = users[rated].mean(axis=0)  # people without ratings get the mean factors
    return users, items


def _weighted_ridge(seen: sp.csr_array, factors: Floats, options: FitOptions) -> Floats:
    out = np.zeros((seen.shape[0], factors.shape[1]))
    everything = factors.T @ factors + options.watch_reg * np.eye(factors.shape[1])
    for row in np.flatnonzero(np.diff(seen.indptr)):
        chosen = factors[seen.indices[seen.indptr[row] : seen.indptr[row + 1]]]
        # All cells share F'F; rated cells add only their extra weight.
        gram = everything + options.watch_alpha * (chosen.T @ chosen)
        out[row] = np.linalg.solve(gram, (1.0 + options.watch_alpha) * chosen.sum(axis=0))
    return out


def _fit_watch(part: Ratings, rest: Ratings, tastes: _Tastes, options: FitOptions) -> Floats:
    """Weights (1, log activity, log ALS, s - mean) of held-out interactions against uniform unrated items."""
    # Each held-out rating (label 1) is followed by a uniformly drawn item for the same user (label 0).
    users, items = np.repeat(rest.users, 2), np.repeat(rest.items, 2)
    label = np.tile([1.0, 0.0], len(rest))
    negative = label == 0.0
    draw = uniforms(options.seed + 1, Stream.DATA, users[negative], items[negative])
    items[negative] = (draw * part.num_items).astype(np.int64)
    # Dropped: pairs of the fitted part, and drawn items that are held-out ratings.
    known = _rated(part, users, items) | (negative & _rated(rest, users, items))
    keep = ~known
    features = _watch_features(part, users[keep], items[keep], tastes, options)
    return logistic(features, label[keep])


def _rated(log: Ratings, users: Ints, items: Ints) -> Bools:
    return np.isin(users * log.num_items + items, log.users * log.num_items + log.items)


def _watch_features(part: Ratings, users: Ints, items: Ints, tastes: _Tastes, options: FitOptions) -> Floats:
    user_factors, item_factors = _watch_factors(part, options)
    affinity = log_affinity(np.einsum("md,md->m", user_factors[users], item_factors[items]))
    columns = [np.ones(len(users)), _log_activity(part)[users], affinity, tastes(users, items) - tastes.mean]
    return np.stack(columns, axis=1)


def logistic(features: Floats, label: Floats, ridge: float = 1e-3, iterations: int = 25) -> Floats:
    """(D,) weights of a logistic regression, by Newton's method; the ridge keeps separable toy logs finite.

    Args:
        features: (M, D), a column of ones included where an intercept is wanted.
        label: (M,) 1 or 0.
        ridge: Penalty per row.
        iterations: Steps at most.
    """
    weights = np.zeros(features.shape[1])
    penalty = ridge * np.eye(len(weights))
    for _ in range(iterations):
        p = expit(features @ weights)
        gradient = features.T @ (label - p) / len(label) - ridge * weights
        hessian = (features * (p * (1 - p))[:, None]).T @ features / len(label) + penalty
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def _watch_level(
    tastes: _Tastes,
    watch_user: Floats,
    user_factors: Floats,
    item_factors: Floats,
    weights: Floats,
    options: FitOptions,
) -> float:
    """Intercept at which uniformly drawn (user, item) pairs are watched with the declared mean probability."""
    # 20,000 uniform pairs stand for all U * N.
    draws = uniforms(options.seed + 2, Stream.DATA, np.arange(20_000)[:, None], np.arange(2))
    users = (draws[:, 0] * len(user_factors)).astype(np.int64)
    items = (draws[:, 1] * len(item_factors)).astype(np.int64)
    affinity = log_affinity(np.einsum("md,md->m", user_factors[users], item_factors[items]))
    logit = watch_user[users] + weights[2] * affinity + weights[3] * (tastes(users, items) - tastes.mean)
    return float(scipy.optimize.brentq(lambda c: expit(logit + c).mean() - options.watch_rate, -30.0, 30.0))
