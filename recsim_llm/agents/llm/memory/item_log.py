"""Log of the items that each session has met: bounded per session, one array, no row for sessions without items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsim_llm.types import EMPTY, Bools, Ints

MOST = 1000
"""Items that a session remembers; the oldest are forgotten first. A visit of a hundred pages of ten fits."""


class ItemLog:
    """Items met, by session.

    A session takes 8 bytes and, once it has met an item, 4 more for each item of the fullest session.

    Args:
        most: Items that a session remembers.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._row = np.zeros(0, dtype=np.int32)
        self._count = np.zeros(0, dtype=np.int32)
        self._items: NDArray[np.int32] = np.zeros((0, 0), dtype=np.int32)
        self._rows = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all sessions."""
        return self._row.nbytes + self._count.nbytes + self._items.nbytes

    def forget(self, sessions: Ints) -> None:
        """Clear these (B,) sessions; unknown handles are created."""
        missing = int(sessions.max(initial=-1)) + 1 - len(self._row)
        if missing > 0:
            self._row = np.pad(self._row, (0, missing), constant_values=EMPTY)
            self._count = np.pad(self._count, (0, missing))
        self._count[sessions] = 0
        rows = self._row[sessions]
        self._items[rows[rows != EMPTY]] = EMPTY

    def has(self, sessions: Ints, pages: Ints) -> Bools:
        """(B, K) whether these sessions have met these items; undefined for EMPTY slots."""
        met = np.zeros(pages.shape, dtype=np.bool_)
        known = np.flatnonzero(self._count[sessions])
        if len(known):
            met[known] = self._found(sessions[known], pages[known])
        return met

    def times(self, sessions: Ints, pages: Ints) -> Ints:
        """(B, K) how often these items occur among those the sessions remember; undefined for EMPTY slots."""
        times = np.zeros(pages.shape, dtype=np.int64)
        known = np.flatnonzero(self._count[sessions])
        if len(known):
            columns, slots = self._columns(sessions[known], pages[known])
            times[known] = sum(slots == column for column in columns).T
        return times

    def add(self, sessions: Ints, pages: Ints, new: Bools) -> None:
        """Add the items of (B, K) pages to these (B,) sessions where (B, K) `new` is True."""
        some = new.any(axis=1)
        sessions, pages, new = sessions[some], pages[some], new[some]
        self._make_room(sessions, int((self._count[sessions] + new.sum(axis=1)).max(initial=0)))
        # (B, K) ring-buffer columns; `_count` counts all items ever added.
        places = (self._count[sessions][:, None] + np.cumsum(new, axis=1) - 1) % self._most
        rows = np.broadcast_to(self._row[sessions][:, None], pages.shape)
        self._items[rows[new], places[new]] = pages[new]
        self._count[sessions] += new.sum(axis=1).astype(np.int32)

    def _found(self, sessions: Ints, pages: Ints) -> Bools:
        columns, slots = self._columns(sessions, pages)
        found = np.zeros(slots.shape, dtype=np.bool_)
        for column in columns:
            found |= slots == column
        return found.T

    def _columns(self, sessions: Ints, pages: Ints) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The items of sessions, (W, B), and their pages, (K, B), both transposed."""
        width = min(int(self._count[sessions].max()), self._most)
        # Column by column of transposed arrays: a comparison with three axes and `any` takes up to five times as long.
        return self._items[self._row[sessions], :width].T.copy(), pages.astype(np.int32).T.copy()

    def _make_room(self, sessions: Ints, columns: int) -> None:
        """Ensure a row and `columns` columns for each session; grows by more than needed, so amortised."""
        fresh = sessions[self._row[sessions] == EMPTY]
        self._row[fresh] = self._rows + np.arange(len(fresh))
        self._rows += len(fresh)
        held, wide = self._items.shape
        more_rows = max(self._rows - held, held // 2) if self._rows > held else 0
        more_columns = max(min(columns, self._most) - wide, min(wide // 4, self._most - wide)) if columns > wide else 0
        if more_rows or more_columns > 0:
            room = ((0, more_rows), (0, max(more_columns, 0)))
            self._items = np.pad(self._items, room, constant_values=EMPTY)
