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
from recsim_llm.types import Floats, Ints

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
        self._numbers = Rendered[Impression, int](lambda key: self._number(lines[key]))
        self._headings = Rendered[int, int](lambda page: self._number(page_line(page + 1)))
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

    def _make_pages(self, sessions: int, size: int) -> None:
        """Room for the pages of so many sessions; what is there is kept if it has the same size."""
        held = self._pages
        most = max(self._most // size, 1) if size else 0
        self._pages = np.zeros((sessions, most, size + 1), dtype=np.int32)
        self._pages[:, :, 0] = [self._headings[page] for page in range(most)]
        if held.shape[1:] == self._pages.shape[1:]:
            self._pages[: len(held)] = held

    def _numbered(self, pages: Ints, stars: Floats) -> NDArray[np.int32]:
        """(B, K) numbers of the lines about these impressions."""
        impressions = zip(pages.ravel().tolist(), stars.ravel().tolist(), strict=True)
        return np.array([self._numbers[one] for one in impressions], dtype=np.int32).reshape(pages.shape)

    def _number(self, text: str) -> int:
        self._texts.append(text)
        return len(self._texts) - 1
