"""RecAgent's memory (Wang et al., TOIS; released code): sensory, short-term and long-term, with its own constants.

Events enter the sensory stage with an importance; unimportant ones are dropped at once. The short-term stage holds ten
memories; one that is often enhanced by similar ones moves to the long-term stage, where memories are merged by
reflection and forgotten with time. The kind writes the insights. Deviations: docs/agents/recagent.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from recsim_llm.agents.llm.memory.memory_budget import cut, size
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.checked import Count, NotNegative, Share
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats, Floats32, Ints, Keys

_ENHANCE, _FORGET = 0, 1  # purposes of draws


@dataclass(frozen=True, slots=True)
class ThreeStageOptions:
    """RecAgent's constants, as published in its code.

    Attributes:
        importance_weight: Importance (a score of 1..10, times 0.1) is multiplied by this.
        admission: What is admitted to the short-term stage is more important than this: a score of 7 or more.
        unscored: Kinds of events without a score: admitted whatever their importance.
        short_capacity: Memories of the short-term stage.
        newest_bonus: Added to the cosine with the newest short-term memory.
        enhancement: Least sigmoid(cosine) that can enhance; the sigmoid is then the probability. The published 0.7
            belongs to the published encoder; `agents.llm.recagent.recagent` finds an equally rare value for other
            encoders.
        promotion: Enhancements after which a memory moves to the long-term stage.
        decay: Decay of recency per hour.
        reflection: Summed importance of new long-term memories above which reflection is due.
        merging: Least sigmoid(cosine) with an insight for a source to be merged into it.
        forget_after: Hours since the last access before a memory can be forgotten.
        forget_power, forget_floor: Score of remembering = max(recency^power, floor) * (importance + recency) / 2.
        long_capacity: Most long-term memories, a limit added here; the oldest are dropped, and counted.
        max_bytes: Longest event text in UTF-8 bytes; longer ones are cut between words.
    """

    importance_weight: NotNegative = 0.9
    admission: NotNegative = 0.62
    unscored: tuple[str, ...] = ("heard", "insight")
    short_capacity: Count = 10
    newest_bonus: float = 0.1
    enhancement: Share = 0.7
    promotion: Count = 3
    decay: Share = 0.99
    reflection: NotNegative = 10.0
    merging: float = 0.72
    forget_after: NotNegative = 24.0
    forget_power: NotNegative = 1.5
    forget_floor: NotNegative = 0.01
    long_capacity: Count = 1000
    max_bytes: Count = 600


@dataclass(slots=True)
class StageCounts:
    """Counters of the stages, over all agents.

    Attributes:
        admitted: Memories that entered the short-term stage.
        promoted: Of these, those that moved to the long-term stage.
        insights: Insights stored, from promotions and from reflections.
        reflections: Reflections that ended with an insight.
        merged: Long-term memories that an insight of a reflection replaced.
        forgotten: Long-term memories forgotten.
    """

    admitted: int = 0
    promoted: int = 0
    insights: int = 0
    reflections: int = 0
    merged: int = 0
    forgotten: int = 0


@dataclass(slots=True)
class _Trace:
    """One memory; `vector` follows from the text."""

    serial: int
    event: Event
    hour: float
    accessed: float
    vector: Floats32
    enhancers: list[list[Any]] = field(default_factory=list)
    """[serial, text] of the memories that enhanced it; only in the short-term stage."""


@dataclass(slots=True)
class _ThreeStageLife:
    key: int
    short: list[_Trace] = field(default_factory=list)
    long: list[_Trace] = field(default_factory=list)
    promoted: list[list[str]] = field(default_factory=list)
    serial: int = 0
    draws: int = 0
    aggregate: float = 0.0
    dropped: int = 0


class ThreeStageMemory:
    """RecAgent's memory for a whole population (see `agents.llm.memory.memory_protocol.Memory`).

    Args:
        encoder: Text encoder, shared by all agents.
        options: The constants.

    Attributes:
        counts: Counters of the stages.
    """

    def __init__(self, encoder: TextEncoder, options: ThreeStageOptions | None = None) -> None:
        self._encoder, self.options = encoder, options or ThreeStageOptions()
        self.counts = StageCounts()
        self._lives: dict[int, _ThreeStageLife] = {}

    @property
    def dropped(self) -> int:
        """Long-term memories dropped for lack of room, over all agents; forgetting is not counted."""
        return sum(life.dropped for life in self._lives.values())

    @property
    def most_bytes(self) -> int:
        """Most bytes of vectors and texts of an agent."""
        o = self.options
        trace, chain = 4 * self._encoder.dim + o.max_bytes, (1 + o.promotion) * o.max_bytes
        short = (o.short_capacity + 1) * (trace + o.promotion * o.max_bytes)
        return short + o.long_capacity * (trace + chain)

    def nbytes(self, agent: int) -> int:
        """Bytes of vectors and texts of an agent."""
        life = self._lives[agent]
        texts = [text for chain in life.promoted for text in chain]
        for trace in (*life.short, *life.long):
            texts += [trace.event.text, *(text for _, text in trace.enhancers)]
        return sum(map(size, texts)) + 4 * self._encoder.dim * (len(life.short) + len(life.long))

    def forget(self, agents: Ints, keys: Keys | None = None) -> None:
        """See `Memory.forget`."""
        for agent, key in zip(agents.tolist(), [0] * len(agents) if keys is None else keys.tolist(), strict=True):
            self._lives[agent] = _ThreeStageLife(key)

    def add(self, agents: Ints, events: Sequence[Event], hours: Floats) -> None:
        """See `Memory.add`: an insight goes to the long-term stage, everything else through all three stages."""
        kept = [event._replace(text=cut(event.text, self.options.max_bytes)) for event in events]
        vectors = self._encoder.encode([event.text for event in kept])
        for agent, event, vector, hour in zip(agents.tolist(), kept, vectors, hours.tolist(), strict=True):
            life = self._lives[agent]
            if event.kind == "insight":
                self._store(life, self._trace(life, event, vector, hour), hour)
                self.counts.insights += 1
            elif event.kind in self.options.unscored or self._importance(event) > self.options.admission:
                trace = self._trace(life, event, vector, hour)
                self._enhance(life, trace, hour)
                life.short.append(trace)
                self.counts.admitted += 1
                self._discard(life)
            self._fade(life, hour)

    def recall(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> list[list[Event]]:
        """See `Memory.recall`: k of the long-term stage, as published; short-term ones fill up where it has fewer.

        Ranked by recency + importance + relevance; ties go to the later.
        """
        vectors = self._encoder.encode(queries)
        recalled = []
        for agent, vector, hour in zip(agents.tolist(), vectors, hours.tolist(), strict=True):
            life = self._lives[agent]
            best = self._best(life.long, vector, hour, k)
            best += self._best(life.short, vector, hour, k - len(best))
            recalled.append([trace.event for trace in sorted(best, key=lambda trace: trace.serial)])
        return recalled

    def rehearse(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> None:
        """Apply the effects of retrieval: long-term memories retrieved are accessed now, and enhance short-term ones.

        Args:
            agents: (B,) handles.
            queries: B texts.
            hours: (B,) now, in simulated hours.
            k: How many are retrieved.
        """
        vectors = self._encoder.encode(queries)
        for agent, vector, hour in zip(agents.tolist(), vectors, hours.tolist(), strict=True):
            life = self._lives[agent]
            for trace in self._best(life.long, vector, hour, k):
                trace.accessed = hour
                self._enhance(life, trace, hour)
            self._fade(life, hour)

    def short_term(self, agent: int) -> list[Event]:
        """The short-term memories of an agent, in the order they happened."""
        return [trace.event for trace in self._lives[agent].short]

    def long_term(self, agent: int, last: int | None = None) -> list[Event]:
        """The long-term memories of an agent, or the last of them, in the order they got there."""
        traces = self._lives[agent].long
        return [trace.event for trace in (traces if last is None else traces[-last:])]

    def take_promoted(self, agent: int) -> list[list[str]]:
        """Promoted memories that need an insight, each as its text and those that enhanced it; returned only once."""
        life = self._lives[agent]
        promoted, life.promoted = life.promoted, []
        return promoted

    def reflection_due(self, agent: int) -> bool:
        """Whether new long-term memories add up to enough importance for a reflection."""
        return self._lives[agent].aggregate > self.options.reflection

    def sources(self, agent: int, query: str, hour: float, k: int = 5) -> list[tuple[int, Event]]:
        """The long-term memories for a reflection on `query`, with the serial numbers that `conclude` takes."""
        vector = self._encoder.encode([query])[0]
        return [(trace.serial, trace.event) for trace in self._best(self._lives[agent].long, vector, hour, k)]

    def conclude(self, agent: int, insight: Event | None, serials: Sequence[int], hour: float) -> None:
        """End a reflection: store the insight; similar sources are merged into it and no longer recalled.

        Args:
            agent: Handle.
            insight: What was concluded, None for nothing; its importance does not count for the next reflection.
            serials: Its sources.
            hour: Now.
        """
        life = self._lives[agent]
        if insight is not None:
            event = insight._replace(text=cut(insight.text, self.options.max_bytes))
            vector = self._encoder.encode([event.text])[0]
            merged = {
                trace.serial
                for trace in life.long
                if trace.serial in serials and _sigmoid(_dot(trace.vector, vector)) >= self.options.merging
            }
            life.long = [trace for trace in life.long if trace.serial not in merged]
            self._store(life, self._trace(life, event, vector, hour), hour)
            self.counts.insights += 1
            self.counts.reflections += 1
            self.counts.merged += len(merged)
        life.aggregate = 0.0

    def describe(self) -> dict[str, Any]:
        """See `Memory.describe`: the threshold of enhancement, and what happened in the stages."""
        return {"enhancement": self.options.enhancement, **asdict(self.counts)}

    def _importance(self, event: Event) -> float:
        return self.options.importance_weight * event.importance

    def _trace(self, life: _ThreeStageLife, event: Event, vector: Floats32, hour: float) -> _Trace:
        life.serial += 1
        return _Trace(life.serial, event, hour, hour, vector)

    def _draw(self, life: _ThreeStageLife, purpose: int, serials: list[int]) -> Floats:
        life.draws += 1
        numbers = np.array(serials, dtype=np.int64)
        return uniforms(np.uint64(life.key), Stream.MEMORY, life.draws, purpose, numbers)

    def _enhance(self, life: _ThreeStageLife, reminder: _Trace, hour: float) -> None:
        """A new or retrieved memory enhances similar short-term ones; those enhanced often enough are promoted."""
        if not life.short:
            return
        draws = self._draw(life, _ENHANCE, [trace.serial for trace in life.short]).tolist()
        newest = life.short[-1]
        for trace, draw in zip(life.short, draws, strict=True):
            likeness = _dot(trace.vector, reminder.vector) + self.options.newest_bonus * (trace is newest)
            if _sigmoid(likeness) >= self.options.enhancement and draw < _sigmoid(likeness):
                trace.enhancers.append([reminder.serial, reminder.event.text])
        moved = [trace for trace in life.short if len(trace.enhancers) >= self.options.promotion]
        life.short = [trace for trace in life.short if len(trace.enhancers) < self.options.promotion]
        self.counts.promoted += len(moved)
        for trace in moved:
            life.promoted.append([trace.event.text, *(text for _, text in trace.enhancers)])
            trace.enhancers = []
            # Bounded, because some callers never take them.
            del life.promoted[: -self.options.long_capacity]
            self._store(life, trace, hour)

    def _discard(self, life: _ThreeStageLife) -> None:
        """Over capacity, drop the least important (ties: the least enhanced, then the oldest), but never the newest."""
        if len(life.short) <= self.options.short_capacity:
            return
        gone = min(life.short[:-1], key=lambda t: (t.event.importance, len(t.enhancers), t.serial))
        life.short.remove(gone)
        for trace in life.short:
            trace.enhancers = [e for e in trace.enhancers if e[0] != gone.serial]

    def _store(self, life: _ThreeStageLife, trace: _Trace, hour: float) -> None:
        trace.accessed = hour
        life.long.append(trace)
        life.aggregate += self._importance(trace.event)
        if len(life.long) > self.options.long_capacity:
            del life.long[0]
            life.dropped += 1

    def _fade(self, life: _ThreeStageLife, hour: float) -> None:
        """Forget long-term memories not accessed lately: each with probability its share of the summed losses."""
        if not life.long:
            return
        o = self.options
        hours = np.maximum(hour - np.array([trace.accessed for trace in life.long]), 0.0)
        recency = o.decay**hours
        importance = np.array([self._importance(trace.event) for trace in life.long])
        lost = 1.0 - np.maximum(recency**o.forget_power, o.forget_floor) * (importance + recency) / 2
        # The sum is 0 only where nothing can be forgotten anyway: all scores of remembering are 1.
        chance = np.where(hours > o.forget_after, lost / max(float(lost.sum()), 1e-12), 0.0)
        if not chance.any():
            return
        draws = self._draw(life, _FORGET, [trace.serial for trace in life.long])
        gone = draws < chance
        life.long = [trace for trace, go in zip(life.long, gone.tolist(), strict=True) if not go]
        self.counts.forgotten += int(gone.sum())

    def _best(self, traces: list[_Trace], query: Floats32, hour: float, k: int) -> list[_Trace]:
        if not traces or k < 1:
            return []
        likeness = np.einsum("nd,d->n", np.stack([trace.vector for trace in traces]), query).astype(np.float64)
        # For unit vectors the squared distance is 2 - 2 cos; the published relevance is 1 - distance / sqrt(2).
        relevance = 1.0 - np.sqrt(np.maximum(2.0 - 2.0 * likeness, 0.0) / 2.0)
        hours = np.maximum(hour - np.array([trace.accessed for trace in traces]), 0.0)
        importance = np.array([self._importance(trace.event) for trace in traces])
        scores = self.options.decay**hours + importance + relevance
        serials = np.array([trace.serial for trace in traces])
        best = np.lexsort((-serials, -scores))[:k].tolist()
        return sorted((traces[i] for i in best), key=lambda trace: trace.serial)


def _dot(a: Floats32, b: Floats32) -> float:
    return float(np.einsum("d,d->", a, b))


def _sigmoid(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-value)))
