"""Policies that replay the output of other recommenders: a matrix of scores, or one list of items per user."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
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
        table = _table(path)
        by = "rank" if "rank" in table else "score"
        missing = [column for column in ("user_id", "item_id", by) if column not in table]
        if missing:
            raise ConfigError(f"{path} has no column {', '.join(missing)}: user_id, item_id, and rank or score.")
        if ids == "own":
            users = _positions(path, "user_id", table["user_id"], log.raw_users)
            items = _positions(path, "item_id", table["item_id"], catalogue.raw_ids)
        else:
            users = _ids(path, "user_id", table["user_id"], log.num_users)
            items = _ids(path, "item_id", table["item_id"], log.num_items)
        if len(np.unique(users * log.num_items + items)) < len(users):
            raise ConfigError(f"{path}: an item stands twice in one user's list. Keep its best row.")
        values = _numbers(path, by, table[by])
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
    where = _positions(path, name, _texts(given), own)
    if len(np.unique(where)) < len(own):
        raise ConfigError(f"{path}: {name} must hold each of the data set's {len(own)} ids once.")
    return np.argsort(where)


def _table(path: Path) -> dict[str, list[str]]:
    """Return the needed columns as text."""
    import pandas as pd  # imported here, because it takes half a second
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                check_parquet(path, file)
            frame = pd.read_parquet(path)
        else:
            # Given a path, pandas would unpack an archive.
            frame = pd.read_csv(io.BytesIO(read_bytes(path)), dtype=str, keep_default_na=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as a table ({error}). CSV with a header, or Parquet.") from error
    return {name: _texts(frame[name]) for name in ("user_id", "item_id", "rank", "score") if name in frame.columns}


def _texts(column: Any) -> list[str]:
    """Return values as text; whole numbers without a decimal point, as a column of floats would have one."""
    return [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in column.tolist()]


def _numbers(path: Path, name: str, texts: Sequence[str]) -> Floats:
    out = np.empty(len(texts))
    for row, text in enumerate(texts):
        try:
            out[row] = float(text)
        except ValueError:
            out[row] = np.nan
        if not np.isfinite(out[row]):
            raise ConfigError(f"{path}: {name} in row {row + 1} is {text!r}, not a number.")
    return out


def _positions(path: Path, name: str, texts: Sequence[str], own: Sequence[str]) -> Ints:
    """Return the position of each of the data set's own ids."""
    if not own:
        raise ConfigError(f"{path}: this log has no {name} of its own. Give positions, with ids=positions.")
    place = {raw: position for position, raw in enumerate(own)}
    wrong = next((row for row, text in enumerate(texts) if text not in place), None)
    if wrong is not None:
        raise ConfigError(
            f"{path}: {name} in row {wrong + 1} is {texts[wrong]!r}, which the data set does not have; its ids are "
            f"{', '.join(own[:3])}{', ...' if len(own) > 3 else ''}. For positions 0..{len(own) - 1}: ids=positions."
        )
    return np.array([place[text] for text in texts], dtype=np.int64)


def _ids(path: Path, name: str, texts: Sequence[str], count: int) -> Ints:
    values = _numbers(path, name, texts)
    wrong = np.flatnonzero((values != np.floor(values)) | (values < 0) | (values >= count))
    if len(wrong):
        raise ConfigError(f"{path}: {name} in row {wrong[0] + 1} is {texts[wrong[0]]}; positions are 0..{count - 1}.")
    return values.astype(np.int64)
