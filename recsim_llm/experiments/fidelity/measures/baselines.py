"""Simple models that every user model is compared with, fitted on the same training log. All fit in seconds.

A simulator that does not beat them adds nothing to what a few sums tell about people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from recsim_llm.agents.statistical.fitting import FitOptions, fit_biases
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.policies.classic.ease import EASE
from recsim_llm.policies.classic.item_knn import ItemKNN
from recsim_llm.types import Floats, Ints

SVD_FACTORS = 32
EASE_REG = 200.0
_SHRINKAGE = 5.0

Scorer = Callable[[Ints, Ints], Floats]
"""Maps (M,) users and (M,) items to (M,) scores, or stars."""


@dataclass(frozen=True)
class Baselines:
    """Scorers by name.

    Attributes:
        stars: Predict a rating, in stars.
        choices: Score what a person takes up; higher is more likely.
    """

    stars: dict[str, Scorer]
    choices: dict[str, Scorer]


def fit_baselines(train: Ratings, catalogue: Catalogue | None) -> Baselines:
    """Fit all baselines to the training log; genre baselines need a catalogue with genres, star baselines stars."""
    rated = bool((train.values > 0).all())
    return Baselines(_stars(train, catalogue) if rated else {}, _choices(train, catalogue))


def _stars(train: Ratings, catalogue: Catalogue | None) -> dict[str, Scorer]:
    mean, user_bias, item_bias = fit_biases(train, FitOptions())
    item_mean = _shrunken_mean(train.items, train.values, mean, train.num_items)
    user_mean = _shrunken_mean(train.users, train.values, mean, train.num_users)

    def bias(users: Ints, items: Ints) -> Floats:
        return mean + user_bias[users] + item_bias[items]

    residual = train.values - bias(train.users, train.items)
    stars: dict[str, Scorer] = {
        "constant": lambda users, items: np.full(len(users), mean),
        "item mean": lambda users, items: item_mean[items],
        "user mean": lambda users, items: user_mean[users],
        "bias model": bias,
        "svd": _svd_stars(train, residual, bias),
    }
    if catalogue is not None and catalogue.genres:
        stars["genre profile"] = _genre_stars(train, residual, catalogue, bias)
    return stars


def _choices(train: Ratings, catalogue: Catalogue | None) -> dict[str, Scorer]:
    popularity = np.bincount(train.items, minlength=train.num_items).astype(np.float64)
    once = np.unique(train.users * train.num_items + train.items)
    ones = np.ones(len(once), dtype=np.float32)
    shape = (train.num_users, train.num_items)
    seen = sp.csr_array((ones, (once // train.num_items, once % train.num_items)), shape=shape)
    item_mean = _shrunken_mean(train.items, train.values, float(train.values.mean()), train.num_items)
    choices: dict[str, Scorer] = {
        "popularity": lambda users, items: popularity[items],
        "item mean": lambda users, items: item_mean[items],
        "item-knn": _linear(seen, ItemKNN.learn_from(seen, seed=0)["similarity"]),
        "svd": _svd_choices(seen),
        "ease": _linear(seen, EASE.learn_from(seen, seed=0, reg=EASE_REG)["weights"]),
    }
    if catalogue is not None and catalogue.genres:
        choices["genre profile"] = _genre_profile(seen, catalogue)
    return choices


def _shrunken_mean(ids: Ints, values: np.ndarray, mean: float, size: int) -> Floats:
    sums = np.bincount(ids, weights=values - mean, minlength=size)
    result: Floats = mean + sums / (np.bincount(ids, minlength=size) + _SHRINKAGE)
    return result


def _linear(seen: sp.csr_array, weights: np.ndarray) -> Scorer:
    """Scores of an item-item model: the sum of the weights from the items that the person has rated."""

    def score(users: Ints, items: Ints) -> Floats:
        out = np.zeros(len(users))
        order = np.argsort(users, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(users[order])) + 1) if len(order) else []:
            user = users[rows[0]]
            mine = seen.indices[seen.indptr[user] : seen.indptr[user + 1]]
            out[rows] = weights[np.ix_(mine, items[rows])].sum(axis=0)
        return out

    return score


def _genre_profile(seen: sp.csr_array, catalogue: Catalogue) -> Scorer:
    """Cosine of an item's genres with the genres of the items that the person has rated."""
    genres = catalogue.genre_matrix.astype(np.float64)
    profile = seen @ genres
    lengths = np.linalg.norm(profile, axis=1)[:, None], np.linalg.norm(genres, axis=1)[:, None]
    profile, genres = (
        table / np.maximum(length, 1e-12) for table, length in zip((profile, genres), lengths, strict=True)
    )
    return lambda users, items: np.einsum("mg,mg->m", profile[users], genres[items])


def _unit(rows: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(rows, axis=1)[:, None]
    unit: Floats = rows / np.maximum(lengths, 1e-12)
    return unit


def _genre_stars(train: Ratings, residual: Floats, catalogue: Catalogue, bias: Scorer) -> Scorer:
    """The bias model, plus the person's shrunken mean residual for each of the item's genres, averaged."""
    genres = sp.csr_array(catalogue.genre_matrix.astype(np.float64))
    shape = (train.num_users, train.num_items)
    sums = (sp.csr_array((residual, (train.users, train.items)), shape=shape) @ genres).toarray()
    ones = sp.csr_array((np.ones(len(train)), (train.users, train.items)), shape=shape)
    counts = (ones @ genres).toarray()
    taste = sums / (counts + _SHRINKAGE)
    share = catalogue.genre_matrix / np.maximum(catalogue.genre_matrix.sum(axis=1, keepdims=True), 1)
    return lambda users, items: bias(users, items) + np.einsum("mg,mg->m", taste[users], share[items])


def _svd_stars(train: Ratings, residual: Floats, bias: Scorer) -> Scorer:
    matrix = sp.csr_array((residual, (train.users, train.items)), shape=(train.num_users, train.num_items))
    left, right = _factors(matrix)
    return lambda users, items: bias(users, items) + np.einsum("md,md->m", left[users], right[items])


def _svd_choices(seen: sp.csr_array) -> Scorer:
    left, right = _factors(sp.csr_array(seen.astype(np.float64)))
    return lambda users, items: np.einsum("md,md->m", left[users], right[items])


def _factors(matrix: sp.csr_array) -> tuple[Floats, Floats]:
    """Truncated SVD with zeros for missing entries (PureSVD, Cremonesi et al. 2010)."""
    rank = min(SVD_FACTORS, min(matrix.shape) - 1)
    left, values, right = (np.asarray(x, dtype=np.float64) for x in svds(matrix, k=rank, rng=np.random.default_rng(0)))
    return left * values, right.T
