"""A transcript: all events in order, verbatim, so that the current text begins with the whole previous text.

An engine with a prefix cache then reads only the new part of each prompt. Over budget, the older half is dropped at
once, so that this holds again until the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recsim_llm.agents.llm.memory.memory_budget import cut, size
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.types import Floats, Ints, Keys

MAX_EVENT_BYTES = 2_000


class TranscriptMemory:
    """Transcripts for a whole population (see `agents.llm.memory.memory_protocol.Memory`).

    Args:
        max_bytes: Most bytes of one agent's transcript, in UTF-8.
        max_event_bytes: Longest event; longer ones are cut between words.
    """

    def __init__(self, max_bytes: int = 6_000, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes, self._max_event_bytes = max_bytes, min(max_event_bytes, max_bytes)
        self._lives: dict[int, list[Event]] = {}
        self._dropped: dict[int, int] = {}

    @property
    def dropped(self) -> int:
        """Events dropped for lack of room, over all agents."""
        return sum(self._dropped.values())

    def forget(self, agents: Ints, keys: Keys | None = None) -> None:
        """See `Memory.forget`; nothing is drawn here, so keys are not used."""
        for agent in agents.tolist():
            self._lives[agent] = []
            self._dropped.pop(agent, None)

    def add(self, agents: Ints, events: Sequence[Event], hours: Floats) -> None:
        """See `Memory.add`."""
        for agent, event in zip(agents.tolist(), events, strict=True):
            life = self._lives[agent]
            life.append(event._replace(text=cut(event.text, self._max_event_bytes)))
            sizes = [size(past.text) for past in life]
            if sum(sizes) > self._max_bytes:
                kept = _latest(sizes, self._max_bytes // 2)
                self._dropped[agent] = self._dropped.get(agent, 0) + len(life) - kept
                del life[: len(life) - kept]

    def recall(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> list[list[Event]]:
        """See `Memory.recall`: the latest k, whatever the query."""
        return [self.transcript(agent)[-k:] if k > 0 else [] for agent in agents.tolist()]

    def transcript(self, agent: int) -> list[Event]:
        """Everything that an agent still has, from the beginning."""
        return list(self._lives[agent])

    def describe(self) -> dict[str, Any]:
        """See `Memory.describe`: there are no stages to count."""
        return {}


def _latest(sizes: Sequence[int], room: int) -> int:
    """How many of the last events fit into the room; at least the last."""
    kept = 1
    total = sizes[-1]
    for length in reversed(sizes[:-1]):
        total += length
        if total > room:
            break
        kept += 1
    return kept
