"""Initial item vectors from a matrix factorisation of the training ratings. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.data.likeness import taste_and_genres, unit
from recsim_llm.seeding import Stream, mix_one
from recsim_llm.types import Floats, Floats32

PRIOR = 5.0
"""Pseudo-ratings at the mean that shrink every mean."""

_REG, _ROUNDS = 12.0, 12


@dataclass(frozen=True, slots=True)
class ItemStart:
    """Item knowledge that a network starts with.

    Attributes:
        mean: Mean rating, stars.
        bias: (N,) stars above the mean.
        vectors: (N, D); a vector's product with the residual-weighted mean of rated vectors predicts a residual.
        likeness: (N, D') vectors whose distances measure similarity (`data.likeness`).
    """

    mean: float
    bias: Floats32
    vectors: Floats32
    likeness: Floats32


def item_start(log: Ratings, catalogue: Catalogue, size: int, seed: int, pretrained: bool) -> ItemStart:
    """Compute the initial vectors of N items.

    `vectors` are the item factors of a ridge matrix factorisation of the ratings less item and user means (alternating
    least squares), shrunk towards the items' genres where the catalogue has them, rotated and scaled (`_stretched`);
    `likeness` concatenates the directions of these factors and of the genres, as the quit rule compares them.

    Args:
        log: Training ratings.
        catalogue: The items.
        size: D.
        seed: Seed for random vectors.
        pretrained: If False, vectors are random and biases 0.
    """
    rng = np.random.default_rng(mix_one(seed, int(Stream.POLICY)))
    vectors = 0.1 * rng.standard_normal((log.num_items, size))
    mean = float(log.values.mean()) if len(log) else 0.0
    if not pretrained or not len(log):
        none = np.zeros(log.num_items, dtype=np.float32)
        return ItemStart(mean, none, vectors.astype(np.float32), vectors.astype(np.float32))
    item_bias, user_bias = _biases(log, mean)
    rest = log.values - mean - item_bias[log.items] - user_bias[log.users]
    prior = _genre_vectors(catalogue, size) + 0.1 * vectors
    factors = _factors(log, rest, prior)
    vectors = _stretched(factors, log)
    alike = taste_and_genres(factors, catalogue.genre_matrix, np.bincount(log.items, minlength=log.num_items))
    return ItemStart(mean, item_bias.astype(np.float32), vectors.astype(np.float32), alike.astype(np.float32))


def _biases(log: Ratings, mean: float) -> tuple[Floats, Floats]:
    item, user = np.zeros(log.num_items), np.zeros(log.num_users)
    for _ in range(3):
        item = _mean_by(log.items, log.values - mean - user[log.users], log.num_items)
        user = _mean_by(log.users, log.values - mean - item[log.items], log.num_users)
    return item, user


def _mean_by(which: np.ndarray, values: np.ndarray, count: int) -> Floats:
    means: Floats = np.bincount(which, values, count) / (np.bincount(which, minlength=count) + PRIOR)
    return means


def _genre_vectors(catalogue: Catalogue, size: int) -> Floats:
    """(N, D) genre directions of items, projected to D dimensions if there are more genres."""
    genres = unit(catalogue.genre_matrix.astype(np.float64))
    if genres.shape[1] > size:
        genres = genres @ np.linalg.svd(genres, full_matrices=False)[2][:size].T
    return np.pad(genres, ((0, 0), (0, size - genres.shape[1])))


def _factors(log: Ratings, rest: np.ndarray, prior: Floats) -> Floats:
    """(N, D) item factors, shrunk towards their prior; user factors are shrunk towards 0."""
    items = prior
    nobody = np.zeros((log.num_users, prior.shape[1]))
    for _ in range(_ROUNDS):
        users = _solve(log.users, log.items, rest, items, nobody)
        items = _solve(log.items, log.users, rest, users, prior)
    return items


def _solve(rows: np.ndarray, columns: np.ndarray, rest: np.ndarray, other: Floats, prior: Floats) -> Floats:
    """Ridge regression of each row's residuals on the other side's factors, centred at a prior."""
    order = np.argsort(rows, kind="stable")
    ends = np.cumsum(np.bincount(rows, minlength=len(prior)))
    out = prior.copy()
    for row, part in enumerate(np.split(order, ends[:-1])):
        design = other[columns[part]]  # (n, D) factors of the other side, for the n ratings of this row
        missing = design.T @ (rest[part] - design @ prior[row])
        out[row] += np.linalg.solve(design.T @ design + _REG * np.eye(prior.shape[1]), missing)
    return out


def _stretched(factors: Floats, log: Ratings) -> Floats:
    """Vectors E with E_i . sum_h r_h E_h / (n + prior) close to the ridge regression of n residuals r on the factors.

    Exact for a user with the mean number of ratings, spread over items as the log's are.
    """
    held = factors[log.items]  # (M, D) one row per rating
    values, turn = np.linalg.eigh(held.T @ held / len(log))
    usual = len(log) / max(1, len(np.unique(log.users)))
    # In the eigenbasis of the Gram matrix, ridge regression only scales each direction.
    stretched: Floats = (factors @ turn) * np.sqrt((usual + PRIOR) / (usual * np.maximum(values, 0.0) + _REG))
    return stretched
