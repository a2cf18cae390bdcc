"""What visitors were shown lately: a bounded number of impressions a session, kept as numbers of lines of text.

A line ("- Title: watched, rated 4 of 5") is written once for all visitors, a session holds 4 bytes an impression, and
the text of a memory is put together whenever a prompt needs it: about a microsecond, where keeping it would take 2 KB.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.llm.page_texts import page_line
from recsim_llm.agents.llm.rendered_texts import Rendered
from recsim_llm.types import EMPTY, Bools, Floats, Ints, State

Impression = tuple[int, float]


class VisitMemory:
    """The latest pages of each session.

    Args:
        lines: The line about an impression (item and stars, 0 where not watched).
        nothing: The memory of who has seen nothing yet.
        most: Impressions that a session remembers, in whole pages, at least one page; older pages are forgotten.
    """

    def __init__(self, lines: Mapping[Impression, str], nothing: str, most: int) -> None:
        self._nothing, self._most = nothing, most
        self._texts: list[str] = []
        self._impressions: list[Impression] = []
        self._numbers = Rendered[Impression, int](lambda key: self._number(key, lines[key]))
        self._headings = Rendered[int, int](lambda page: self._number((EMPTY, 0.0), page_line(page + 1)))
        self._seen = np.zeros(0, dtype=np.int64)
        # Of each session its pages, oldest first; of each page the number of its heading, then those of its lines.
        self._pages: NDArray[np.int32] = np.zeros((0, 0, 1), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def nbytes(self) -> int:
        """Bytes of all sessions; lines, which they share, not counted."""
        return self._pages.nbytes + self._seen.nbytes

    def forget(self, sessions: Ints) -> None:
        """These sessions have seen nothing; handles not met before are made."""
        missing = int(sessions.max(initial=-1)) + 1 - len(self)
        if missing > 0:
            self._seen = np.pad(self._seen, (0, missing))
            self._make_pages(len(self._seen), self._pages.shape[2] - 1)
        self._seen[sessions] = 0

    def add(self, sessions: Ints, pages: Ints, stars: Floats) -> None:
        """Remember (B, K) items and their stars; who has no room for a page forgets the oldest one.

        A page of another size than before makes everybody forget: a platform shows pages of one size.
        """
        if self._pages.shape[2] != pages.shape[1] + 1:
            self._seen[:] = 0
            self._make_pages(len(self), pages.shape[1])
        full = sessions[self._seen[sessions] == self._pages.shape[1]]
        self._pages[full, :-1, 1:] = self._pages[full, 1:, 1:]
        self._seen[full] -= 1
        self._pages[sessions, self._seen[sessions], 1:] = self._numbered(pages, stars)
        self._seen[sessions] += 1

    def texts(self, sessions: Ints) -> list[str]:
        """What each of these (B,) sessions tells of its pages."""
        line, nothing = self._texts.__getitem__, self._nothing
        seen = self._seen[sessions]
        ends = np.cumsum(seen * self._pages.shape[2]).tolist()
        kept = np.arange(self._pages.shape[1]) < seen[:, None]
        numbers = self._pages[sessions][kept].ravel().tolist()
        return [
            "".join(map(line, numbers[start:end])).removesuffix("\n") if end > start else nothing
            for start, end in zip([0, *ends], ends, strict=False)
        ]

    def state(self) -> State:
        """Everything `load` needs: impressions by session, newest at the end, EMPTY where there are fewer."""
        shape = (len(self), self._pages.shape[1], self._pages.shape[2] - 1)
        items, stars = np.full(shape, EMPTY, dtype=np.int32), np.zeros(shape, dtype=np.float32)
        kept, ending = self._kept()
        if kept.any():
            numbers = self._pages[kept, 1:]
            items[ending] = np.array([item for item, _ in self._impressions], dtype=np.int32)[numbers]
            stars[ending] = np.array([given for _, given in self._impressions], dtype=np.float32)[numbers]
        flat = (len(self), shape[1] * shape[2])
        return {
            "seen": self._seen * shape[2],
            "size": shape[2],
            "items": items.reshape(flat),
            "stars": stars.reshape(flat),
        }

    def load(self, state: State) -> None:
        """Restore what `state` returned."""
        size = int(state["size"])
        self._seen = state["seen"] // max(size, 1)
        self._make_pages(len(self._seen), size)
        kept, ending = self._kept()
        if kept.any():
            shape = (*ending.shape, size)
            items, stars = state["items"].reshape(shape)[ending], state["stars"].reshape(shape)[ending]
            self._pages[kept, 1:] = self._numbered(items, stars)

    def _make_pages(self, sessions: int, size: int) -> None:
        """Room for the pages of so many sessions; what is there is kept if it has the same size."""
        held = self._pages
        most = max(self._most // size, 1) if size else 0
        self._pages = np.zeros((sessions, most, size + 1), dtype=np.int32)
        self._pages[:, :, 0] = [self._headings[page] for page in range(most)]
        if held.shape[1:] == self._pages.shape[1:]:
            self._pages[: len(held)] = held

    def _numbered(self, pages: Ints, stars: NDArray[np.floating]) -> NDArray[np.int32]:
        """(B, K) numbers of the lines about these impressions."""
        # As float32, so that a saved memory reads as before.
        given = stars.astype(np.float32).ravel().tolist()
        numbers = [self._numbers[key] for key in zip(pages.ravel().tolist(), given, strict=True)]
        return np.array(numbers, dtype=np.int32).reshape(pages.shape)

    def _number(self, impression: Impression, text: str) -> int:
        self._impressions.append(impression)
        self._texts.append(text)
        return len(self._texts) - 1

    def _kept(self) -> tuple[Bools, Bools]:
        """(S, P) which pages are remembered, where they are kept and where a state has them: at the end."""
        places = np.arange(self._pages.shape[1])
        return places < self._seen[:, None], places >= len(places) - self._seen[:, None]
