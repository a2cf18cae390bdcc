"""Sparse rows of the user-item matrix: logged ratings, and the entries that a history adds."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.types import Bools, Floats, Floats32, Ints, Observation

Scores = NDArray[np.floating[Any]]


def interactions(log: Ratings, min_rating: float = 0.0) -> sp.csr_array:
    """(U, N) 1 where a user has rated an item with at least `min_rating` stars."""
    return ones(log.take(log.values >= min_rating).matrix())


def logged_rows(known: sp.csr_array, users: Ints) -> sp.csr_array:
    """(B, N) rows of `known`; empty rows for unknown users."""
    inside = (users >= 0) & (users < known.shape[0])
    if not inside.any():
        return sp.csr_array(np.zeros((len(users), known.shape[1]), dtype=np.float32))
    rows = known[np.where(inside, users, 0)]
    return rows if inside.all() else sp.csr_array(sp.diags_array(inside.astype(np.float32)) @ rows)


def history_rows(observation: Observation, chosen: Bools, num_items: int) -> sp.csr_array:
    """(B, N) 1 for the chosen entries of the histories.

    Raises:
        ConfigError: A chosen entry is not an item of the catalogue.
    """
    users, columns = np.nonzero(chosen)
    items = observation["history_items"][users, columns]
    if items.size and not 0 <= items.min() <= items.max() < num_items:
        raise ConfigError(f"A history holds an item outside the policy's catalogue, whose ids are 0..{num_items - 1}.")
    shape = (len(chosen), num_items)
    return ones(sp.csr_array((np.ones(len(items), dtype=np.float32), (users, items)), shape=shape))


def ones(matrix: Any) -> sp.csr_array:
    """Return the matrix with all non-zero cells set to 1; items ascending within a row."""
    out = sp.csr_array(matrix)
    out.sum_duplicates()
    out.eliminate_zeros()
    out.data = np.ones(len(out.data), dtype=np.float32)
    return out


def sparse_times(rows: sp.csr_array, weights: NDArray[np.floating[Any]]) -> Floats32:
    """(B, N) product; unlike a dense product, a row's bits do not depend on the number of rows."""
    product: Floats32 = np.asarray(rows @ weights, dtype=np.float32)
    return product


def or_popular(scores: Scores, taste: sp.csr_array, popularity: Floats) -> Scores:
    """(B, N) scores, with (N,) popularity for users without any taste, whose scores would all be equal."""
    nothing = np.diff(taste.indptr) == 0
    return np.where(nothing[:, None], popularity, scores) if nothing.any() else scores


def some_users(observation: Observation, rows: Ints | slice) -> Observation:
    """Return the observation of some of its users."""
    return {
        "user": observation["user"][rows],
        "page": observation["page"][rows],
        "history_items": observation["history_items"][rows],
        "history_ratings": observation["history_ratings"][rows],
        "history_mask": observation["history_mask"][rows],
    }
