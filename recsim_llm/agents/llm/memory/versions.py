"""AgentCF's memory: one text per agent that is rewritten over time, with its earlier versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsim_llm.agents.llm.memory.memory_budget import cut, size
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.types import Floats, Ints, Keys

MAX_VERSION_BYTES = 2000


class VersionMemory:
    """Versions of a text for each agent (see `agents.llm.memory.memory_protocol.Memory`).

    Args:
        encoder: Text encoder, shared by all agents.
        max_bytes: Longest version in UTF-8 bytes; longer ones are cut between words.
        capacity: Most versions per agent, a limit added here; the oldest are dropped, and counted.

    Attributes:
        dropped: Versions dropped for lack of room, over all agents.
    """

    def __init__(self, encoder: TextEncoder, max_bytes: int = MAX_VERSION_BYTES, capacity: int = 1000) -> None:
        self._encoder, self._max_bytes, self._capacity = encoder, max_bytes, capacity
        self._versions: dict[int, list[Event]] = {}
        self.dropped = 0

    @property
    def most_bytes(self) -> int:
        """Most bytes of the texts of an agent."""
        return self._capacity * self._max_bytes

    def nbytes(self, agent: int) -> int:
        """Bytes of the texts of an agent."""
        return sum(size(version.text) for version in self._versions[agent])

    def current(self, agents: Ints) -> list[str]:
        """The latest version of each agent, "" where there is none."""
        found = (self._versions[agent] for agent in agents.tolist())
        return [versions[-1].text if versions else "" for versions in found]

    def forget(self, agents: Ints, keys: Keys | None = None) -> None:
        """See `Memory.forget`."""
        self._versions |= {agent: [] for agent in agents.tolist()}

    def add(self, agents: Ints, events: Sequence[Event], hours: Floats) -> None:
        """See `Memory.add`: each event is a new version."""
        for agent, event in zip(agents.tolist(), events, strict=True):
            versions = self._versions[agent]
            versions.append(event._replace(text=cut(event.text, self._max_bytes)))
            if len(versions) > self._capacity:
                del versions[0]
                self.dropped += 1

    def recall(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> list[list[Event]]:
        """See `Memory.recall`: the versions nearest to the query; ties go to the later."""
        vectors = self._encoder.encode(queries)
        return [
            self._nearest(self._versions[agent], vector, k)
            for agent, vector in zip(agents.tolist(), vectors, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """See `Memory.describe`: there are no stages to count."""
        return {}

    def _nearest(self, versions: list[Event], query: np.ndarray, k: int) -> list[Event]:
        if not versions or k < 1:
            return []
        scores = self._encoder.encode([event.text for event in versions]) @ query
        best = np.lexsort((-np.arange(len(versions)), -scores))[:k]
        return [versions[i] for i in sorted(best.tolist())]
