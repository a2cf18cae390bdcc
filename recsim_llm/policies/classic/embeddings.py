"""A policy that ranks by dot products of given user and item vectors; it fits nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sparse_rows import Scores, interactions
from recsim_llm.types import Floats32, Observation
from recsim_llm.untrusted import read_arrays


class EmbeddingPolicy(RankingPolicy):
    """Serves embeddings trained elsewhere (matrix factorisation, LightGCN, a two-tower model).

    User vectors do not change with what users watch; users without a vector are shown popular items.
    """

    name = "embeddings"
    refits: ClassVar[bool] = False

    @classmethod
    def from_vectors(
        cls, user_vectors: ArrayLike, item_vectors: ArrayLike, log: Ratings, page_size: int, seed: int = 0
    ) -> Self:
        """Return a policy for vectors in memory.

        Args:
            user_vectors: (U, D), stored as float32.
            item_vectors: (N, D).
            log: Ratings whose items are not shown to their users again.
            page_size: K, 1..N.
            seed: Not used.

        Raises:
            ConfigError: Shapes do not match each other or the log, a number is not finite, or the page is too large.
        """
        known = interactions(log)
        return cls(page_size, seed, known, _checked("The vectors", user_vectors, item_vectors, known.shape))

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int, vectors: str | Path = "") -> Mapping[str, NDArray[Any]]:
        """Read the vectors from a file.

        Args:
            known: (U, N) interactions; only the shape is used.
            seed: Not used.
            vectors: An `.npz` file with arrays `user` (U, D) and `item` (N, D), in the order of the log's ids.

        Raises:
            ConfigError: No file is given, it cannot be read, lacks an array, or its vectors have the wrong shape.
        """
        if not str(vectors):
            raise ConfigError(f"Policy '{cls.name}' needs vectors=PATH, an .npz file with arrays 'user' and 'item'.")
        users, items = _read(Path(vectors))
        return _checked(str(vectors), users, items, known.shape)

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) dot products, in float32."""
        users, vectors = observation["user"][:, 0], self.fitted["user"]
        # One row at a time, because the bits of a matrix product depend on the number of rows.
        rows = [self._row(vectors[user]) if 0 <= user < len(vectors) else self.popularity for user in users.tolist()]
        return np.array(rows, dtype=np.float32).reshape(len(users), -1)

    def _row(self, vector: Floats32) -> Floats32:
        row: Floats32 = self.fitted["item"] @ vector
        return row


def _read(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        found = read_arrays(path)
    except (OSError, DataError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}). An .npz file with arrays 'user' (U, D) and 'item' (N, D) is needed."
        ) from error
    if not {"user", "item"} <= set(found):
        raise ConfigError(f"{path} lacks an array: 'user' (U, D) and 'item' (N, D) are needed.")
    return found["user"], found["item"]


def _checked(source: str, users: ArrayLike, items: ArrayLike, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Check the vectors and return them as float32.

    Raises:
        ConfigError: Shapes do not match each other or the (U, N) of the log, or a number is not finite.
    """
    try:
        user, item = (np.asarray(vectors, dtype=np.float32) for vectors in (users, items))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: not arrays of numbers ({error}).") from error
    if user.ndim != 2 or item.ndim != 2 or user.shape[1] != item.shape[1] or not user.shape[1]:
        raise ConfigError(f"{source}: need (U, D) and (N, D), not {user.shape} and {item.shape}.")
    if (len(user), len(item)) != shape:
        raise ConfigError(
            f"{source}: vectors of {len(user)} users and {len(item)} items; the log is about {shape[0]} and {shape[1]}."
        )
    if not (np.isfinite(user).all() and np.isfinite(item).all()):
        raise ConfigError(f"{source}: a number is NaN or infinite.")
    return {"user": user, "item": item}
