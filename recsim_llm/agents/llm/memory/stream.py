"""The memory stream: stores all events up to a capacity, and recalls those that matter now by vector similarity.

Agent4Rec's memory is this with relevance alone; recency and importance, as in Generative Agents (Park et al., UIST
2023), are weights that are 0 by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.llm.memory.memory_budget import cut
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.shared_texts import SharedTexts
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.types import Floats, Floats32, Ints, Keys

KINDS = ("fact", "feeling", "insight", "heard")
MAX_EVENT_BYTES = 600
_ROW = np.dtype([("text", np.int32), ("kind", np.int8), ("importance", np.float32), ("hour", np.float64)])
_FIRST_ROOM = 8


@dataclass(frozen=True, slots=True)
class StreamWeights:
    """Score of a memory = relevance * cosine + recency * decay^hours + importance * importance.

    Attributes:
        relevance, recency, importance: Weights.
        decay: Decay of recency per hour; 0.99 as in RecAgent.
    """

    relevance: float = 1.0
    recency: float = 0.0
    importance: float = 0.0
    decay: float = 0.99


class _StreamLife:
    """One agent's memories: a ring of rows with their vectors; grows by doubling up to the capacity."""

    __slots__ = ("count", "dropped", "rows", "start", "vectors")

    def __init__(self, dim: int) -> None:
        self.rows: NDArray[Any] = np.zeros(0, dtype=_ROW)
        self.vectors: Floats32 = np.zeros((0, dim), dtype=np.float32)
        self.start = self.count = self.dropped = 0

    def add(self, row: tuple[int, int, float, float], vector: Floats32, capacity: int) -> list[int]:
        """Store a row; return the number of the text dropped for it, if any."""
        if self.count == len(self.rows) < capacity:
            more = min(max(_FIRST_ROOM, len(self.rows)), capacity - len(self.rows))
            self.rows = np.concatenate([self.rows, np.zeros(more, dtype=_ROW)])
            self.vectors = np.concatenate([self.vectors, np.zeros((more, self.vectors.shape[1]), dtype=np.float32)])
        place = (self.start + self.count) % len(self.rows)
        gone = self.rows["text"][place : place + 1].tolist() if self.count == len(self.rows) else []
        self.rows[place], self.vectors[place] = row, vector
        if not gone:
            self.count += 1
        else:
            self.start = (self.start + 1) % len(self.rows)
            self.dropped += 1
        return gone

    def ages(self) -> Ints:
        """(count,) rank of each row of the ring in order of time, from 0."""
        size = max(len(self.rows), 1)
        return (np.arange(self.count) - self.start) % size


class StreamMemory:
    """A memory stream for a whole population (see `agents.llm.memory.memory_protocol.Memory`).

    An event takes 4 * D bytes for its vector and 17 more; an agent without memories takes none. A text is stored once,
    however many agents share it, until the last of them drops it.

    Args:
        encoder: Text encoder, shared by all agents.
        capacity: Most events per agent; the oldest are dropped, and counted.
        max_bytes: Longest event text in UTF-8 bytes; longer ones are cut between words.
        weights: Weights of the score.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        capacity: int = 1000,
        max_bytes: int = MAX_EVENT_BYTES,
        weights: StreamWeights | None = None,
    ) -> None:
        self._encoder, self._capacity, self._max_bytes = encoder, capacity, max_bytes
        self._weights = weights or StreamWeights()
        self._lives: dict[int, _StreamLife] = {}
        self._texts = SharedTexts()

    @property
    def dropped(self) -> int:
        """Events dropped for lack of room, over all agents."""
        return sum(life.dropped for life in self._lives.values())

    @property
    def most_bytes(self) -> int:
        """Most bytes of an agent's memory, texts counted as if they were its own."""
        return self._capacity * (_ROW.itemsize + 4 * self._encoder.dim + self._max_bytes)

    def nbytes(self, agent: int) -> int:
        """Bytes of an agent's own arrays; texts, which agents share, not counted."""
        life = self._lives.get(agent)
        return life.rows.nbytes + life.vectors.nbytes if life else 0

    def forget(self, agents: Ints, keys: Keys | None = None) -> None:
        """See `Memory.forget`; nothing is drawn here, so keys are not used."""
        for agent in agents.tolist():
            life = self._lives.pop(agent, None)
            if life is not None:
                self._texts.release(life.rows["text"][: life.count].tolist())

    def add(self, agents: Ints, events: Sequence[Event], hours: Floats) -> None:
        """See `Memory.add`."""
        texts = [cut(event.text, self._max_bytes) for event in events]
        vectors = self._encoder.encode(texts)
        rows = zip(agents.tolist(), events, texts, vectors, hours.tolist(), strict=True)
        for agent, event, text, vector, hour in rows:
            life = self._lives.get(agent)
            if life is None:
                life = self._lives[agent] = _StreamLife(self._encoder.dim)
            row = (self._texts.hold(text), KINDS.index(event.kind), event.importance, hour)
            self._texts.release(life.add(row, vector, self._capacity))

    def recall(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> list[list[Event]]:
        """See `Memory.recall`; ties go to the later event."""
        vectors = self._encoder.encode(queries)
        rows = zip(agents.tolist(), vectors, hours.tolist(), strict=True)
        return [self._best(self._lives.get(agent), vector, hour, k) for agent, vector, hour in rows]

    def describe(self) -> dict[str, Any]:
        """See `Memory.describe`: there are no stages to count."""
        return {}

    def _best(self, life: _StreamLife | None, query: Floats32, hour: float, k: int) -> list[Event]:
        if life is None or k < 1:
            return []
        ages = life.ages()
        if life.count <= k:  # return all, whatever their scores
            return self._events(life.rows[np.argsort(ages)])
        scores = self._scores(life, query, hour)
        # Partitioning finds the k-th best in linear time; only it and what beats it are sorted.
        near = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        best = near[np.lexsort((-ages[near], -scores[near]))[:k]]
        return self._events(life.rows[best[np.argsort(ages[best])]])

    def _scores(self, life: _StreamLife, query: Floats32, hour: float) -> Floats32:
        w, n = self._weights, life.count
        # Not `@`: BLAS sums a row differently at different places, so equal texts would not tie; nor is it faster.
        scores: Floats32 = np.einsum("nd,d->n", life.vectors[:n], query * np.float32(w.relevance))
        if w.recency:
            hours = np.maximum(hour - life.rows["hour"][:n], 0.0)
            scores += (w.recency * w.decay**hours).astype(np.float32)
        if w.importance:
            scores += np.float32(w.importance) * life.rows["importance"][:n]
        return scores

    def _events(self, rows: NDArray[Any]) -> list[Event]:
        texts = self._texts
        return [Event(texts[text], importance, KINDS[kind]) for text, kind, importance, _ in rows.tolist()]
