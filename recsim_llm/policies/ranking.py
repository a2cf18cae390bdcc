"""What all rankers share: excluding what a user knows, the K best items, and one file for what was fitted.

A ranker scores the whole catalogue for each user; `RankingPolicy.act` makes pages of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.types import Bools, Floats32, Ints, Observation

_FORMAT = 1
_BLOCK_CELLS = 4_000_000  # scores in memory at once: 16 MB of float32


class RankingPolicy:
    """A policy that shows the best-scored items that the user does not know yet. Subclasses fit and score.

    Items that the user rated in the log, or was shown in this session, come last: they only fill a page that would be
    short otherwise. Ties go to the lower id. No item stands twice on a page.

    Attributes:
        name: Registered name.
        page_size: K.
        seed: Seed of the policy's own randomness.
        known: (U, N) 1 where a user has rated an item in the log.
        fitted: What was learned, by name: the arrays that make up the file.
    """

    name: ClassVar[str]

    def __init__(self, page_size: int, seed: int, known: sp.csr_array, fitted: Mapping[str, NDArray[Any]]) -> None:
        if not 1 <= page_size <= known.shape[1]:
            raise ConfigError(f"page_size must be within 1..{known.shape[1]} (the catalogue), not {page_size}.")
        self.page_size, self.seed, self.known, self.fitted = page_size, seed, known, dict(fitted)

    @classmethod
    def fit(cls, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, **options: Any) -> Self:
        """Learn from the training ratings; options are those of `learn_from`.

        Raises:
            ConfigError: An unknown option, or a page larger than the catalogue.
        """
        known = interactions(log)
        try:
            fitted = cls.learn_from(known, seed=seed, **options)
        except TypeError as error:
            raise ConfigError(f"Policy '{cls.name}': {error}.") from error
        return cls(page_size, seed, known, fitted)

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """What to learn from (U, N) interactions."""
        raise NotImplementedError

    def scores(self, observation: Observation, taste: sp.csr_array) -> NDArray[np.floating[Any]]:
        """(B, N) scores, higher is better.

        Args:
            observation: Of B users.
            taste: (B, N) 1 for items that the user rated in the log or watched in this session.
        """
        raise NotImplementedError

    def act(self, observation: Observation) -> Ints:
        """The K best items for each user: (B, K) ids."""
        size = max(1, _BLOCK_CELLS // self.known.shape[1])
        total = len(observation["user"])
        blocks = [self._act(_rows(observation, slice(i, i + size))) for i in range(0, total, size)]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.page_size), dtype=np.int64)

    def _act(self, observation: Observation) -> Ints:
        logged = logged_rows(self.known, observation["user"][:, 0])
        real = observation["history_mask"] > 0
        watched = history_rows(observation, real & (observation["history_ratings"] > 0), self.known.shape[1])
        shown = history_rows(observation, real, self.known.shape[1])
        taste = _ones(logged + watched)
        return best_items(self.scores(observation, taste), (logged + shown).toarray() > 0, self.page_size)

    def save(self, path: Path) -> None:
        """Write everything needed to act to one `.npz` file, without pickles."""
        meta = {"format": _FORMAT, "policy": self.name, "page_size": self.page_size, "seed": self.seed}
        known = {"indptr": self.known.indptr, "indices": self.known.indices, "shape": self.known.shape}
        arrays: dict[str, Any] = {f"meta_{k}": np.array(v) for k, v in meta.items()}
        arrays |= {f"known_{k}": np.asarray(v) for k, v in known.items()}
        arrays |= {f"fitted_{k}": v for k, v in self.fitted.items()}
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RecordingError: The file is damaged, of another policy, or of another version.
        """
        data = read_file(path)
        if str(data["meta_policy"]) != cls.name:
            raise RecordingError(f"{path} holds a policy '{data['meta_policy']}', not '{cls.name}'.")
        indices, indptr = data["known_indices"], data["known_indptr"]
        known = sp.csr_array(
            (np.ones(len(indices), dtype=np.float32), indices, indptr), shape=tuple(data["known_shape"].tolist())
        )
        fitted = {k.removeprefix("fitted_"): v for k, v in data.items() if k.startswith("fitted_")}
        return cls(int(data["meta_page_size"]), int(data["meta_seed"]), known, fitted)


def read_file(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a policy file.

    Raises:
        RecordingError: The file is damaged or of another version.
    """
    try:
        # Opened here, because numpy leaves a file open that it cannot read.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
        if int(data["meta_format"]) == _FORMAT:
            return data
        problem = f"format {data['meta_format']}, this version reads {_FORMAT}"
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        problem = str(error)
    raise RecordingError(f"{path} is not a policy file ({problem}). Fit the policy again.")


def interactions(log: Ratings) -> sp.csr_array:
    """(U, N) 1 where a user has rated an item."""
    return _ones(log.matrix())


def logged_rows(known: sp.csr_array, users: Ints) -> sp.csr_array:
    """(B, N) rows of `known`; users that it does not know have empty rows."""
    inside = (users >= 0) & (users < known.shape[0])
    rows = known[np.where(inside, users, 0)]
    return rows if inside.all() else sp.csr_array(sp.diags_array(inside.astype(np.float32)) @ rows)


def history_rows(observation: Observation, chosen: Bools, num_items: int) -> sp.csr_array:
    """(B, N) 1 for the chosen entries of the histories."""
    users, columns = np.nonzero(chosen)
    items = observation["history_items"][users, columns]
    shape = (len(chosen), num_items)
    return _ones(sp.csr_array((np.ones(len(items), dtype=np.float32), (users, items)), shape=shape))


def best_items(scores: NDArray[np.floating[Any]], last: Bools, count: int) -> Ints:
    """(B, count) best items, best first; those marked in `last` come after all others; ties go to the lower id.

    Args:
        scores: (B, N), any finite numbers.
        last: (B, N).
        count: At most N.
    """
    bits = np.ascontiguousarray(scores, dtype=np.float32).view(np.int32).astype(np.int64)
    # Orders like the float: below zero, bits grow with the magnitude.
    ordered = np.where(bits < 0, -(1 << 31) - bits, bits)
    num_items = scores.shape[1]
    keys = (ordered + (1 << 31)) * num_items + (num_items - 1 - np.arange(num_items))
    keys = np.where(last, keys - ((1 << 33) * num_items), keys)
    top = np.argpartition(-keys, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1)
    best: Ints = np.take_along_axis(top, order, axis=1).astype(np.int64)
    return best


def _ones(matrix: Any) -> sp.csr_array:
    """The same cells, each 1."""
    out = sp.csr_array(matrix)
    out.sum_duplicates()
    out.eliminate_zeros()
    out.data = np.ones(len(out.data), dtype=np.float32)
    return out


def _rows(observation: Observation, rows: slice) -> Observation:
    return {
        "user": observation["user"][rows],
        "page": observation["page"][rows],
        "history_items": observation["history_items"][rows],
        "history_ratings": observation["history_ratings"][rows],
        "history_mask": observation["history_mask"][rows],
    }


def sparse_times(rows: sp.csr_array, weights: NDArray[np.floating[Any]]) -> Floats32:
    """(B, N) product; unlike a dense product, a row's bits do not depend on how many rows there are."""
    product: Floats32 = np.asarray(rows @ weights, dtype=np.float32)
    return product
