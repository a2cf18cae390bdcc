"""Contract tests for memories: subclass `MemoryContract` and override `make`."""

from __future__ import annotations

import numpy as np

from recsim_llm.agents.llm.memory.memory_protocol import Event, Memory
from recsim_llm.types import Ints

_TEXTS = (
    "Watched Aliens and gave it 5 of 5.",
    "Watched Babe and gave it 2 of 5.",
    "person 3 said: Brazil is worth seeing.",
    "I felt satisfied with the site.",
    "Did not watch Casper; Nixon.",
    "Crème brûlée 東京 🎬 \udc80 film",
)


class MemoryContract:
    """Inherit and override `make`; class names of tests begin with Test."""

    max_bytes = 4000
    """Largest size of a recalled text in bytes."""

    def make(self) -> Memory:
        """An empty memory; two calls give equal ones."""
        raise NotImplementedError

    def lived(self, agents: Ints, texts: tuple[str, ...] = _TEXTS) -> Memory:
        """Return a memory in which agent a experienced `texts`, beginning with the a-th."""
        memory = self.make()
        memory.forget(agents, np.arange(len(agents), dtype=np.uint64) * 0 + agents.astype(np.uint64))
        for hour in range(len(texts)):
            events = [Event(texts[(hour + a) % len(texts)], 0.9) for a in agents.tolist()]
            memory.add(agents, events, np.full(len(agents), float(hour)))
        return memory

    def _recall(self, memory: Memory, agents: Ints, k: int = 3, query: str = "What about Aliens?") -> list[list[Event]]:
        return memory.recall(agents, [query] * len(agents), np.full(len(agents), 10.0), k)

    def test_recalling_changes_nothing(self) -> None:
        """Two recalls give the same answer, and the memory continues as if it was never asked."""
        agents = np.arange(3)
        asked, unasked = self.lived(agents), self.lived(agents)
        assert self._recall(asked, agents) == self._recall(asked, agents)
        for each in (asked, unasked):
            each.add(agents, [Event("Watched Dracula and gave it 4 of 5.", 0.8)] * 3, np.full(3, 11.0))
        assert self._recall(asked, agents, 5) == self._recall(unasked, agents, 5)

    def test_no_more_than_asked_for_and_what_was_lived(self) -> None:
        """At most k events, all of them this agent's own."""
        agents = np.arange(2)
        memory = self.lived(agents)
        for k in (0, 1, 2, 100):
            for events in self._recall(memory, agents, k):
                assert len(events) <= k
                assert all(len(e.text.encode("utf-8", "surrogatepass")) <= self.max_bytes for e in events)

    def test_memories_come_in_the_order_they_happened(self) -> None:
        """Recalled events are in order of time, whatever their importance, and all of them were experienced."""
        agents = np.arange(2)
        for agent, events in zip(agents.tolist(), self._recall(self.lived(agents), agents, 6), strict=True):
            lived = [_TEXTS[(hour + agent) % len(_TEXTS)] for hour in range(len(_TEXTS))]
            places = [lived.index(event.text) for event in events]
            assert places == sorted(places)
            assert places

    def test_neither_batch_nor_order_matters(self) -> None:
        """An agent alone remembers the same as in a batch."""
        agents = np.array([4, 0, 2])
        together = self._recall(self.lived(agents), agents)
        for agent, events in zip(agents.tolist(), together, strict=True):
            alone = np.array([agent])
            assert self._recall(self.lived(alone), alone)[0] == events

    def test_forgetting_is_complete(self) -> None:
        """After `forget` an agent has no memories; others keep theirs."""
        agents = np.arange(2)
        memory = self.lived(agents)
        kept = self._recall(memory, np.array([1]))
        memory.forget(np.array([0]))
        assert self._recall(memory, np.array([0])) == [[]]
        assert self._recall(memory, np.array([1])) == kept

    def test_a_long_text_is_cut(self) -> None:
        """Recalled texts are bounded, however long an event is."""
        agents = np.arange(1)
        memory = self.lived(agents, ("word 東京 " * 5000,))
        for event in self._recall(memory, agents)[0]:
            assert len(event.text.encode("utf-8", "surrogatepass")) <= self.max_bytes

    def test_nobody_is_a_batch(self) -> None:
        """An empty batch gives an empty result, not an error."""
        memory = self.make()
        memory.forget(np.zeros(0, dtype=np.int64))
        memory.add(np.zeros(0, dtype=np.int64), [], np.zeros(0))
        assert self._recall(memory, np.zeros(0, dtype=np.int64)) == []
