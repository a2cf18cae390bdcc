"""Memory of recent pages: a bounded number of impressions per session, stored as numbers of text lines.

A line ("- Title: watched, rated 4 of 5") is rendered once for all visitors, and a session stores 4 bytes per
impression. The text of a memory is assembled for each prompt: about a microsecond, where storing it would take 2 KB.
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
        nothing: Memory text of a session that has seen nothing yet.
        most: Impressions that a session remembers, in whole pages, at least one page; older pages are forgotten.
    """

    def __init__(self, lines: Mapping[Impression, str], nothing: str, most: int) -> None:
        self._nothing, self._most = nothing, most
        self._texts: list[str] = []
        self._numbers = Rendered[Impression, int](lambda key: self._number(lines[key]))
        self._headings = Rendered[int, int](lambda page: self._number(page_line(page + 1)))
        self._seen = np.zeros(0, dtype=np.int64)
        # (sessions, pages, 1 + K) line numbers: pages oldest first; of each page its heading, then its K lines.
        self._pages: NDArray[np.int32] = np.zeros((0, 0, 1), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def nbytes(self) -> int:
        """Bytes of all sessions; lines, which they share, not counted."""
        return self._pages.nbytes + self._seen.nbytes

    def forget(self, sessions: Ints) -> None:
        """Clear these sessions; unknown handles are created."""
        missing = int(sessions.max(initial=-1)) + 1 - len(self)
        if missing > 0:
            self._seen = np.pad(self._seen, (0, missing))
            self._make_pages(len(self._seen), self._pages.shape[2] - 1)
        self._seen[sessions] = 0

    def add(self, sessions: Ints, pages: Ints, stars: Floats) -> None:
        """Append (B, K) items and their stars; a full session drops its oldest page.

        A change of page size clears all sessions: a platform shows pages of one size.
        """
        if self._pages.shape[2] != pages.shape[1] + 1:
            self._seen[:] = 0
            self._make_pages(len(self), pages.shape[1])
        full = sessions[self._seen[sessions] == self._pages.shape[1]]
        # Full sessions shift their pages by one; headings (column 0) stay.
        self._pages[full, :-1, 1:] = self._pages[full, 1:, 1:]
        self._seen[full] -= 1
        self._pages[sessions, self._seen[sessions], 1:] = self._numbered(pages, stars)
        self._seen[sessions] += 1

    def texts(self, sessions: Ints) -> list[str]:
        """The memory text of each of these (B,) sessions."""
        line, nothing = self._texts.__getitem__, self._nothing
        seen = self._seen[sessions]
        ends = np.cumsum(seen * self._pages.shape[2]).tolist()
        kept = np.arange(self._pages.shape[1]) < seen[:, None]
        # Lines of all pages in use, session after session; `ends` cuts them apart.
        numbers = self._pages[sessions][kept].ravel().tolist()
        return [
            "".join(map(line, numbers[start:end])).removesuffix("\n") if end > start else nothing
            for start, end in zip([0, *ends], ends, strict=False)
        ]

    def _make_pages(self, sessions: int, size: int) -> None:
        """Allocate pages for this many sessions; existing pages are preserved if they have the same size."""
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
