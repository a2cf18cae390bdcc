"""Policies that replay the output of other recommenders: a matrix of scores, or one list of items per user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.data.tables import Table, numbers, read_parquet, read_text, text
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sparse_rows import Scores, interactions
from recsim_llm.types import Floats, Ints, Observation
from recsim_llm.untrusted import read_arrays, read_bytes


class GivenScores(RankingPolicy):
    """Ranks by a fixed matrix of scores; unknown users are shown popular items.

    `fitted` holds: scores (U, N).
    """

    name = "scores"
    refits: ClassVar[bool] = False
    reads_log: ClassVar[bool] = True

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
    def learn_from_log(
        cls, log: Ratings, catalogue: Catalogue, seed: int, file: str | Path = ""
    ) -> Mapping[str, NDArray[Any]]:
        """Read the scores.

        Args:
            log: Only its users count.
            catalogue: Only the items' ids count.
            seed: Not used.
            file: An `.npz` file with an array `scores` (U, N), and arrays `user_ids` (U,) and `item_ids` (N,), the
                data set's own ids of rows and columns; without these, in the data set's order.

        Raises:
            ConfigError: No file is given, it cannot be read, the array is missing or has the wrong shape, or ids are
                unknown, missing or there twice.
        """
        path = _path(cls.name, file, "an .npz file with an array 'scores' (U, N)")
        try:
            found = read_arrays(path)
        except (OSError, DataError) as error:
            raise ConfigError(f"{path} cannot be read ({error}). It must be an .npz file with 'scores'.") from error
        if "scores" not in found:
            raise ConfigError(f"{path} has no array 'scores' (U, N): np.savez(path, scores=matrix) writes one.")
        scores = _matrix(str(path), found["scores"], (log.num_users, log.num_items))
        for axis, (name, own) in enumerate((("user_ids", log.raw_users), ("item_ids", catalogue.raw_ids))):
            if name in found:
                scores = np.take(scores, _order(path, name, found[name], own), axis=axis)
        return {"scores": scores}

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
    reads_log: ClassVar[bool] = True

    @classmethod
    def learn_from_log(
        cls,
        log: Ratings,
        catalogue: Catalogue,
        seed: int,
        file: str | Path = "",
        ids: Literal["own", "positions"] = "own",
    ) -> Mapping[str, NDArray[Any]]:
        """Read the lists.

        Args:
            log: Only its users count.
            catalogue: Only the items' ids count.
            seed: Not used.
            file: A CSV file with a header, or a Parquet file (.parquet): columns user_id, item_id, and rank (lower is
                better) or score (higher is better). Ties go to the item that is first in the catalogue.
            ids: own: ids are the data set's own, as in its files. positions: 0..U-1 and 0..N-1, as in `Ratings`.

        Raises:
            ConfigError: No file is given, it cannot be read, a column is missing, an id is unknown, a list holds an
                item twice, or a rank or score is not finite.
        """
        path = _path(cls.name, file, "a CSV or Parquet file with columns user_id, item_id and rank or score")
        try:
            table = read_parquet(path) if path.suffix == ".parquet" else read_text(str(path), read_bytes(path))
            by = "rank" if "rank" in table else "score"
            missing = [column for column in ("user_id", "item_id", by) if column not in table]
            if missing:
                raise DataError(f"{path} has no column {', '.join(missing)}: user_id, item_id, and rank or score.")
            users = _positions(table, "user_id", log.raw_users if ids == "own" else range(log.num_users))
            items = _positions(table, "item_id", catalogue.raw_ids if ids == "own" else range(log.num_items))
            values = numbers(table, by)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error}). It must be a CSV or Parquet file.") from error
        except DataError as error:
            raise ConfigError(str(error)) from error
        if len(np.unique(users * log.num_items + items)) < len(users):
            raise ConfigError(f"{path}: an item stands twice in one user's list. Keep its best row.")
        order = np.lexsort((items, values if by == "rank" else -values, users))
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


def _order(path: Path, name: str, given: NDArray[Any], own: Sequence[str]) -> Ints:
    """Return (M,) the row, or column, of the file for each of the M ids of the data set."""
    row = {str(raw): place for place, raw in enumerate(given.ravel().tolist())}
    if given.shape != (len(own),) or row.keys() != set(own):
        raise ConfigError(
            f"{path}: {name} must hold each of the data set's {len(own)} ids once, such as {', '.join(own[:3])}."
        )
    return np.array([row[raw] for raw in own], dtype=np.int64)


def _positions(table: Table, name: str, ids: Sequence[str] | range) -> Ints:
    """Return (M,) the position of each row's id among the data set's own ids; of a range, the number itself."""
    if isinstance(ids, range):
        given = numbers(table, name)
        wrong = np.flatnonzero((given != np.floor(given)) | (given < 0) | (given >= len(ids)))
        if len(wrong):
            table.fail(
                int(wrong[0]), name, f"{given[wrong[0]]:g}", "is no position", f"Positions are 0..{len(ids) - 1}."
            )
        return given.astype(np.int64)
    if not ids:
        raise DataError(f"{table.source}: this log has no {name} of its own. Give positions, with ids=positions.")
    words = text(table, name)
    found = pc.index_in(words, pa.array(ids, pa.string()))
    missing = np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))
    if len(missing):
        row, last = int(missing[0]), len(ids) - 1
        known = (
            f"Its ids are {', '.join(ids[:3])}{', ...' if last > 2 else ''}; for positions 0..{last}: ids=positions."
        )
        table.fail(row, name, words[row].as_py(), "is not in the data set", known)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
