"""Logged visits for lessons: what people were shown and watched, and after which page they left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsim_llm.data.dataset import Impressions
from recsim_llm.types import EMPTY, Bools, Ints

_PAGES = 6  # most pages of a visit in a lesson: agents remember no more of most visits


@dataclass(frozen=True, slots=True)
class LoggedVisit:
    """The first pages of a visit.

    Attributes:
        items: (P, K) items shown; EMPTY where the log has none.
        watched: (P, K) whether each was watched.
        left: 1 if the person left after these pages, 0 if not, None if the log does not say.
    """

    items: Ints
    watched: Bools
    left: int | None


class Visits:
    """The visits of a log, by person; every draw depends only on the person's own visits.

    Args:
        log: The impressions to learn from.
    """

    def __init__(self, log: Impressions) -> None:
        self._log = log
        self._width = int(log.slots.max()) + 1 if len(log) else 0
        order = np.lexsort((log.slots, log.pages, log.sessions, log.users))
        users, starts = np.unique(log.users[order], return_index=True)
        self._rows = dict(zip(users.tolist(), np.split(order, starts[1:]), strict=True))

    def draw(self, rng: np.random.Generator, user: int) -> LoggedVisit | None:
        """Draw a visit up to one of its pages, each of the person's pages equally likely; None without visits."""
        log, rows = self._log, self._rows.get(user)
        if rows is None:
            return None
        rows = rows[log.pages[rows] < _PAGES]
        ends = np.unique(np.stack([log.sessions[rows], log.pages[rows]], axis=1), axis=0)
        if not len(ends):
            return None
        session, last = ends[rng.integers(len(ends))]
        of_session = self._rows[user][log.sessions[self._rows[user]] == session]
        seen = of_session[log.pages[of_session] <= last]
        items = np.full((last + 1, self._width), EMPTY, dtype=np.int64)
        watched = np.zeros(items.shape, dtype=np.bool_)
        items[log.pages[seen], log.slots[seen]] = log.items[seen]
        watched[log.pages[seen], log.slots[seen]] = log.watched[seen]
        ended = last == log.pages[of_session].max()
        left = int(log.left[seen[log.pages[seen] == last]].any()) if ended else 0
        unknown = not log.has_exits or (ended and not left)
        return LoggedVisit(items, watched, None if unknown else left)

    def shown(self, rng: np.random.Generator, user: int, told: Ints, count: int) -> list[tuple[int, int]]:
        """Draw items shown to a person, each with 0 if watched, else 1, at the watch rate of the log.

        Args:
            rng: Generator of the draw.
            user: The person.
            told: Items that must not be asked about, because the text before mentions them.
            count: Most items to draw.
        """
        rows = self._rows.get(user, np.zeros(0, dtype=np.int64))
        items, watched = self._log.items[rows], self._log.watched[rows]
        free = ~np.isin(items, told)
        # Told items were watched: leaving them out would make the rest look less attractive than it was.
        share = (free & watched).sum() / watched.sum() if watched.any() else 1.0
        kept = free & (watched | (rng.random(len(rows)) < share))
        found, first = np.unique(items[kept], return_index=True)
        chosen = rng.permutation(len(found))[:count]
        missed = ~watched[kept][first]
        return [(int(found[i]), int(missed[i])) for i in chosen]
