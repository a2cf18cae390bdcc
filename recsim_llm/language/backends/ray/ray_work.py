"""Scheduler of chunks over engine copies: homes, work stealing, second copies of slow chunks. Does not use Ray."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from zlib import crc32

from recsim_llm.types import Prompt

_HOME_CHARACTERS = 200
"""Characters of a context that choose its home: the persona. The memory, which changes, comes later in the text."""
_SLOW = 3.0
_SLOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A chunk that was sent and is not answered.

    Attributes:
        replica: The copy it was sent to.
        chunk: Number of the chunk.
        at: Time it was sent, by the clock of `Work`.
    """

    replica: int
    chunk: int
    at: float


class Work:
    """The chunks of one `generate` call: which are waiting, sent, or done.

    Args:
        prompts: The prompts of the call.
        replicas: Number of engine copies.
        chunk_size: Most prompts per chunk.
        clock: Returns the current time in seconds.

    Attributes:
        chunks: Positions of the prompts of each chunk.
        open: Numbers of the chunks without an answer.
        sent: Sent chunks, by the caller's reference to the request.
    """

    def __init__(
        self, prompts: Sequence[Prompt], replicas: int, chunk_size: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.chunks: list[list[int]] = []
        self.sent: dict[Any, Sent] = {}
        self._queues: list[deque[int]] = [deque() for _ in range(replicas)]
        self._clock, self._took, self._doubled = clock, list[float](), set[int]()
        for queue, places in zip(self._queues, _homes(prompts, replicas), strict=True):
            for start in range(0, len(places), chunk_size):
                queue.append(len(self.chunks))
                self.chunks.append(places[start : start + chunk_size])
        self.open = set(range(len(self.chunks)))

    def busy(self, replica: int) -> int:
        """Number of unanswered chunks of a copy."""
        return sum(sent.replica == replica for sent in self.sent.values())

    def take(self, replica: int) -> int | None:
        """The chunk to send to this copy next: its own, another copy's, or a slow one; None if there is none."""
        longest = self._queues[replica] or max(self._queues, key=len)
        if longest:
            # Its own queue from the front, another's from the back, which its owner would reach last.
            return longest.popleft() if longest is self._queues[replica] else longest.pop()
        return None if self.busy(replica) else self._slow(replica)

    def send(self, reference: Any, replica: int, chunk: int) -> None:
        """Record that a chunk was sent."""
        self.sent[reference] = Sent(replica, chunk, self._clock())

    def receive(self, reference: Any) -> Sent:
        """Record that an answer arrived."""
        return self.sent.pop(reference)

    def finish(self, sent: Sent) -> None:
        """Mark the chunk as done."""
        self.open.discard(sent.chunk)
        self._took.append(self._clock() - sent.at)

    def _slow(self, replica: int) -> int | None:
        if not self._took:
            return None
        latest = self._clock() - max(_SLOW_S, _SLOW * median(self._took))
        waiting = [
            sent
            for sent in self.sent.values()
            if sent.chunk in self.open and sent.chunk not in self._doubled and sent.replica != replica
        ]
        oldest = min(waiting, key=lambda sent: sent.at, default=None)
        if oldest is None or oldest.at > latest:
            return None
        self._doubled.add(oldest.chunk)
        return oldest.chunk


def _homes(prompts: Sequence[Prompt], replicas: int) -> list[list[int]]:
    """Positions of the prompts per home copy."""
    homes: list[list[int]] = [[] for _ in range(replicas)]
    if replicas == 1:
        return [list(range(len(prompts)))]
    known: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        text = prompt.context or prompt.question
        # By identity first: prompts about one agent share one string.
        home = known.get(id(text))
        if home is None:
            digest = crc32(text[:_HOME_CHARACTERS].encode("utf-8", "surrogatepass"))
            home = known[id(text)] = homes[digest % replicas]
        home.append(place)
    return homes
