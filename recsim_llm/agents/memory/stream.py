"""The memory stream: everything is kept until there is no room, and what matters now is found by its vector.

Agent4Rec's memory is this with relevance alone; recency and importance, as in Generative Agents (Park et al., UIST
2023), are weights that are 0 by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.memory.budget import cut
from recsim_llm.agents.memory.encoder import TextEncoder
from recsim_llm.agents.memory.protocol import Event
from recsim_llm.types import Floats, Floats32, Ints, Keys, State

KINDS = ("fact", "feeling", "insight", "heard")
MAX_EVENT_BYTES = 600
_ROW = np.dtype([("text", np.int32), ("kind", np.int8), ("importance", np.float32), ("hour", np.float64)])
_FIRST_ROOM = 8


@dataclass(frozen=True, slots=True)
class StreamWeights:
    """Score of a memory = relevance * cosine + recency * decay^hours + importance * importance.

    Attributes:
        relevance, recency, importance: Weights.
        decay: Of recency, an hour; 0.99 as in RecAgent.
    """

    relevance: float = 1.0
    recency: float = 0.0
    importance: float = 0.0
    decay: float = 0.99


class _Life:
    """One agent's memories: a ring of rows with their vectors; grows by doubling up to the capacity."""

    __slots__ = ("count", "dropped", "rows", "start", "vectors")

    def __init__(self, dim: int) -> None:
        self.rows: NDArray[Any] = np.zeros(0, dtype=_ROW)
        self.vectors: Floats32 = np.zeros((0, dim), dtype=np.float32)
        self.start = self.count = self.dropped = 0

    def add(self, row: tuple[int, int, float, float], vector: Floats32, capacity: int) -> None:
        if self.count == len(self.rows) < capacity:
            more = min(max(_FIRST_ROOM, len(self.rows)), capacity - len(self.rows))
            self.rows = np.concatenate([self.rows, np.zeros(more, dtype=_ROW)])
            self.vectors = np.concatenate([self.vectors, np.zeros((more, self.vectors.shape[1]), dtype=np.float32)])
        place = (self.start + self.count) % len(self.rows)
        self.rows[place], self.vectors[place] = row, vector
        if self.count < len(self.rows):
            self.count += 1
        else:
            self.start = (self.start + 1) % len(self.rows)
            self.dropped += 1

    def ages(self) -> Ints:
        """(count,) place of each row of the ring in the order of happening."""
        size = max(len(self.rows), 1)
        return (np.arange(self.count) - self.start) % size


class StreamMemory:
    """A memory stream for a whole population (see `agents.memory.protocol.Memory`).

    Vectors are arrays, 4 * D bytes an event, and 17 bytes more; texts are kept once, however many agents hold them.

    Args:
        encoder: One for all agents.
        capacity: Most events an agent; the oldest are dropped, and counted.
        max_bytes: Longest event text in UTF-8 bytes; longer ones are cut between words.
        weights: What makes a memory matter.
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
        self._lives: dict[int, _Life] = {}
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}

    @property
    def dropped(self) -> int:
        """Events dropped for want of room, over all agents."""
        return sum(life.dropped for life in self._lives.values())

    def nbytes(self, agent: int) -> int:
        """Bytes of an agent's own arrays; texts, which agents share, not counted."""
        life = self._lives[agent]
        return life.rows.nbytes + life.vectors.nbytes

    def forget(self, agents: Ints, keys: Keys | None = None) -> None:
        """See `Memory.forget`; nothing is drawn here, so keys are not used."""
        for agent in agents.tolist():
            self._lives[agent] = _Life(self._encoder.dim)

    def add(self, agents: Ints, events: Sequence[Event], hours: Floats) -> None:
        """See `Memory.add`."""
        texts = [cut(event.text, self._max_bytes) for event in events]
        vectors = self._encoder.encode(texts)
        rows = zip(agents.tolist(), events, texts, vectors, hours.tolist(), strict=True)
        for agent, event, text, vector, hour in rows:
            number = self._numbers.setdefault(text, len(self._texts))
            if number == len(self._texts):
                self._texts.append(text)
            row = (number, KINDS.index(event.kind), event.importance, hour)
            self._lives[agent].add(row, vector, self._capacity)

    def recall(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> list[list[Event]]:
        """See `Memory.recall`; of equals the later one counts more."""
        vectors = self._encoder.encode(queries)
        rows = zip(agents.tolist(), vectors, hours.tolist(), strict=True)
        return [self._best(self._lives[agent], vector, hour, k) for agent, vector, hour in rows]

    def state(self) -> State:
        """See `Memory.state`."""
        lives = list(self._lives.values())
        rows = np.concatenate([np.zeros(0, dtype=_ROW), *(life.rows for life in lives)])
        no_vectors = np.zeros((0, self._encoder.dim), dtype=np.float32)
        return {
            "agents": list(self._lives),
            "sizes": [len(life.rows) for life in lives],
            "starts": [life.start for life in lives],
            "counts": [life.count for life in lives],
            "dropped": [life.dropped for life in lives],
            "vectors": np.concatenate([no_vectors, *(life.vectors for life in lives)]),
            "texts": list(self._texts),
        } | {f"row_{name}": rows[name].copy() for name in _ROW.names or ()}

    def load(self, state: State) -> None:
        """See `Memory.load`."""
        self._texts = list(state["texts"])
        self._numbers = {text: number for number, text in enumerate(self._texts)}
        rows = np.zeros(len(state["row_text"]), dtype=_ROW)
        for name in _ROW.names or ():
            rows[name] = state[f"row_{name}"]
        self._lives, end = {}, 0
        columns = (state[name] for name in ("agents", "sizes", "starts", "counts", "dropped"))
        for agent, size, start, count, dropped in zip(*columns, strict=True):
            life = self._lives[agent] = _Life(self._encoder.dim)
            life.rows, life.vectors = rows[end : end + size].copy(), state["vectors"][end : end + size].copy()
            life.start, life.count, life.dropped = start, count, dropped
            end += size

    def _best(self, life: _Life, query: Floats32, hour: float, k: int) -> list[Event]:
        if life.count == 0 or k < 1:
            return []
        scores = self._scores(life, query, hour)
        ages = life.ages()
        # Partitioning finds the k-th best in linear time; only it and what beats it are sorted.
        bar = np.partition(scores, -k)[-k] if k < life.count else scores.min()
        near = np.flatnonzero(scores >= bar)
        best = near[np.lexsort((-ages[near], -scores[near]))[:k]]
        return [self._event(life.rows[i]) for i in best[np.argsort(ages[best])].tolist()]

    def _scores(self, life: _Life, query: Floats32, hour: float) -> Floats32:
        w, n = self._weights, life.count
        # Not `@`: BLAS sums a row differently at different places, so equal texts would not tie; nor is it faster.
        scores: Floats32 = np.einsum("nd,d->n", life.vectors[:n], query * np.float32(w.relevance))
        if w.recency:
            hours = np.maximum(hour - life.rows["hour"][:n], 0.0)
            scores += (w.recency * w.decay**hours).astype(np.float32)
        if w.importance:
            scores += np.float32(w.importance) * life.rows["importance"][:n]
        return scores

    def _event(self, row: Any) -> Event:
        return Event(self._texts[int(row["text"])], float(row["importance"]), KINDS[int(row["kind"])])
