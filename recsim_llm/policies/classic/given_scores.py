"""Policies that replay the output of other recommenders: a matrix of scores, or one list of items per user."""

from __future__ import annotations

import io
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
from recsim_llm.types import Floats, Ints, Observation
from recsim_llm.untrusted import check_parquet, read_arrays, read_bytes


class GivenScores(RankingPolicy):
    """Ranks by a fixed matrix of scores; unknown users are shown popular items.

    `fitted` holds: scores (U, N).
    """

    name = "scores"
    refits: ClassVar[bool] = False

    @classmethod
    def from_scores(cls, scores: ArrayLike, log: Ratings, page_size: int) -> Self:
        """Return a policy for scores in memory.

        Args:
            scores: (U, N), higher is better, stored as float32.
            log: Ratings whose items are not shown to their users again.
            page_size: K, 1..N.

        Raises:
            ConfigError: The shape is not that of the log, or a number is not finite.
        """
        known = interactions(log)
        return cls(page_size, 0, known, {"scores": _matrix("The scores", scores, known.shape)})

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int, file: str | Path = "") -> Mapping[str, NDArray[Any]]:
        """Read the scores.

        Args:
            known: (U, N) interactions; only the shape counts.
            seed: Not used.
            file: An `.npz` file with an array `scores` (U, N), in the order of the log's ids.

        Raises:
            ConfigError: No file is given, it cannot be read, or the array is missing or has the wrong shape.
        """
        path = _path(cls.name, file, "an .npz file with an array 'scores' (U, N)")
        try:
            found = read_arrays(path)
        except (OSError, DataError) as error:
            raise ConfigError(f"{path} cannot be read ({error}). It must be an .npz file with 'scores'.") from error
        if "scores" not in found:
            raise ConfigError(f"{path} has no array 'scores' (U, N): np.savez(path, scores=matrix) writes one.")
        return {"scores": _matrix(str(path), found["scores"], known.shape)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) rows of the matrix."""
        scores, users = self.fitted["scores"], observation["user"][:, 0].tolist()
        rows = [scores[user] if 0 <= user < len(scores) else self.popularity for user in users]
        return np.array(rows, dtype=np.float32).reshape(len(users), -1)


class GivenLists(RankingPolicy):
    """Shows each user's list from its start; popular items after its end and to users without a list.

    `fitted` holds: users, items (L,) rows of all lists, and places (L,) positions in the list from 0.
    """

    name = "topn"
    refits: ClassVar[bool] = False

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int, file: str | Path = "") -> Mapping[str, NDArray[Any]]:
        """Read the lists.

        Args:
            known: (U, N) interactions; only the shape counts.
            seed: Not used.
            file: A CSV file with a header, or a Parquet file (.parquet): columns user_id and item_id, which are ids of
                the log (0..U-1, 0..N-1), and rank (lower is better) or score (higher is better). Ties go to the lower
                id.

        Raises:
            ConfigError: No file is given, it cannot be read, a column is missing, an id is not in the log, a list
                holds an item twice, or a rank or score is not finite.
        """
        path = _path(cls.name, file, "a CSV or Parquet file with columns user_id, item_id and rank or score")
        table = _table(path)
        by = "rank" if "rank" in table else "score"
        missing = [column for column in ("user_id", "item_id", by) if column not in table]
        if missing:
            raise ConfigError(f"{path} has no column {', '.join(missing)}: user_id, item_id, and rank or score.")
        users, items = (_ids(path, c, table[c], n) for c, n in zip(("user_id", "item_id"), known.shape, strict=True))
        if len(np.unique(users * known.shape[1] + items)) < len(users):
            raise ConfigError(f"{path}: an item stands twice in one user's list. Keep its best row.")
        order = np.lexsort((items, table[by] if by == "rank" else -table[by], users))
        users, items = users[order], items[order]
        places = np.arange(len(users)) - np.searchsorted(users, users)
        return {"users": users, "items": items, "places": places}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) N minus the position for items of the list, at least 1; a popularity share below 1 for all others."""
        rows = [self._row(user) for user in observation["user"][:, 0].tolist()]
        return np.array(rows, dtype=np.float32).reshape(len(rows), -1)

    def _row(self, user: int) -> Floats:
        row: Floats = self.popularity / (self.popularity.max() + 1)
        first, last = np.searchsorted(self.fitted["users"], [user, user + 1])
        row[self.fitted["items"][first:last]] = len(row) - self.fitted["places"][first:last]
        return row


def _path(name: str, file: str | Path, what: str) -> Path:
    if not str(file):
        raise ConfigError(f"Policy '{name}' needs file=PATH, {what}.")
    return Path(file)


def _matrix(source: str, scores: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        matrix = np.asarray(scores, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: not an array of numbers ({error}).") from error
    if matrix.shape != shape:
        raise ConfigError(f"{source}: the shape is {matrix.shape}; the log has {shape[0]} users, {shape[1]} items.")
    if not np.isfinite(matrix).all():
        raise ConfigError(f"{source}: a score is NaN or infinite.")
    return matrix


def _table(path: Path) -> dict[str, Floats]:
    """Return the needed columns as numbers."""
    import pandas as pd  # imported here, because it takes half a second
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                check_parquet(path, file)
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(io.BytesIO(read_bytes(path)))  # given a path, pandas would unpack an archive
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as a table ({error}). CSV with a header, or Parquet.") from error
    table = {}
    for name in {"user_id", "item_id", "rank", "score"} & set(frame.columns):
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise ConfigError(f"{path}: {name} in row {wrong[0] + 1} is {frame[name].iloc[wrong[0]]!r}, not a number.")
        table[name] = values
    return table


def _ids(path: Path, name: str, values: Floats, count: int) -> Ints:
    wrong = np.flatnonzero((values != np.floor(values)) | (values < 0) | (values >= count))
    if len(wrong):
        raise ConfigError(
            f"{path}: {name} in row {wrong[0] + 1} is {values[wrong[0]]:g}; the log's ids are 0..{count - 1}, the "
            "positions in Ratings, not the ids of the source."
        )
    return values.astype(np.int64)
