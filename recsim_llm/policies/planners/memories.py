"""Bounded vector memories of planners: situation vectors with a text, an item or a number each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsim_llm.errors import ConfigError
from recsim_llm.types import EMPTY, Floats32, Ints


class MemoryEntry(NamedTuple):
    """One entry of a memory.

    Attributes:
        vector: (D,) unit vector of the situation.
        text: A lesson; "" in memories of numbers.
        item: The item that was shown; EMPTY in other memories.
        value: An advantage or a value.
    """

    vector: Floats32
    text: str = ""
    item: int = EMPTY
    value: float = 0.0


class VectorMemory:
    """Entries retrieved by the vector of their situation; the oldest are dropped when it is full.

    Args:
        limit: Maximum number of entries, at least 1.

    Raises:
        ConfigError: limit is below 1.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ConfigError(f"A memory holds at least 1 entry, not {limit}.")
        self.limit = limit
        self.entries: list[MemoryEntry] = []
        self._vectors: Floats32 | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entries: Sequence[MemoryEntry]) -> None:
        """Append entries, oldest first."""
        if entries:
            self.entries = [*self.entries, *entries][-self.limit :]
            self._vectors = None

    def nearest(self, vector: Floats32, count: int, within: float) -> list[MemoryEntry]:
        """Return at most `count` entries within a cosine distance, nearest first; ties go to the newer entry.

        Args:
            vector: (D,) unit vector; a zero vector is near nothing.
            count: At least 0.
            within: Largest cosine distance, 0..2.
        """
        if not self.entries or not vector.any():
            return []
        if self._vectors is None:
            self._vectors = np.stack([entry.vector for entry in self.entries])
        # Rounded, so that equal situations have distance 0 and equal distances tie exactly.
        gaps: NDArray[np.float64] = np.round(1.0 - self._vectors.astype(np.float64) @ vector.astype(np.float64), 6)
        newest_first: Ints = np.arange(len(gaps))[::-1]
        order = newest_first[np.argsort(gaps[::-1], kind="stable")]
        return [self.entries[place] for place in order[:count].tolist() if gaps[place] <= within]

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the entries as plain arrays for a file."""
        dim = len(self.entries[0].vector) if self.entries else 0
        vectors = np.array([entry.vector for entry in self.entries], dtype=np.float32).reshape(len(self), dim)
        return {
            f"{name}_vectors": vectors,
            f"{name}_texts": np.array([entry.text for entry in self.entries], dtype=np.str_),
            f"{name}_items": np.array([entry.item for entry in self.entries], dtype=np.int64),
            f"{name}_values": np.array([entry.value for entry in self.entries], dtype=np.float64),
        }

    def take(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add the entries that `arrays` returned; adds nothing if the file has no such memory."""
        if f"{name}_vectors" not in arrays:
            return
        columns = (arrays[f"{name}_{part}"] for part in ("vectors", "texts", "items", "values"))
        rows = zip(*columns, strict=True)
        self.add([MemoryEntry(vector, str(text), int(item), float(value)) for vector, text, item, value in rows])
