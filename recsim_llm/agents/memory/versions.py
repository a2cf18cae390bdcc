"""AgentCF's memory: one text that is rewritten again and again, with all earlier versions kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsim_llm.agents.memory.budget import cut
from recsim_llm.agents.memory.encoder import TextEncoder
from recsim_llm.agents.memory.protocol import Event
from recsim_llm.types import Floats, Ints, Keys, State

MAX_VERSION_BYTES = 2000


class VersionMemory:
    """Versions of a text for each agent (see `agents.memory.protocol.Memory`).

    Args:
        encoder: One for all agents.
        max_bytes: Longest version in UTF-8 bytes; longer ones are cut between words.
    """

    def __init__(self, encoder: TextEncoder, max_bytes: int = MAX_VERSION_BYTES) -> None:
        self._encoder, self._max_bytes = encoder, max_bytes
        self._versions: dict[int, list[Event]] = {}

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
            self._versions[agent].append(event._replace(text=cut(event.text, self._max_bytes)))

    def recall(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> list[list[Event]]:
        """See `Memory.recall`: the versions nearest to the query; of equals, the later."""
        vectors = self._encoder.encode(queries)
        return [
            self._nearest(self._versions[agent], vector, k)
            for agent, vector in zip(agents.tolist(), vectors, strict=True)
        ]

    def state(self) -> State:
        """See `Memory.state`."""
        return {
            "agents": list(self._versions),
            "versions": [[list(event) for event in versions] for versions in self._versions.values()],
        }

    def load(self, state: State) -> None:
        """See `Memory.load`."""
        rows = zip(state["agents"], state["versions"], strict=True)
        self._versions = {agent: [Event(*event) for event in versions] for agent, versions in rows}

    def _nearest(self, versions: list[Event], query: np.ndarray, k: int) -> list[Event]:
        if not versions or k < 1:
            return []
        scores = self._encoder.encode([event.text for event in versions]) @ query
        best = np.lexsort((-np.arange(len(versions)), -scores))[:k]
        return [versions[i] for i in sorted(best.tolist())]
