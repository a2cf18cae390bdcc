"""Workers that share a queue of requests: more of them while answers come quickly, fewer where they wait in line."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from recsim_llm.errors import LLMError

_BRISK_S = 1.0
_BRISK = 1.5


class Job(Protocol):
    """Anything of a kind: jobs of one kind take about as long."""

    @property
    def kind(self) -> str:
        """Its name."""
        ...


T = TypeVar("T", bound=Job)


class Crew:
    """How many requests are in flight.

    While jobs wait, one more after an answer within a second, or within half as long again as the quickest of its kind,
    so that their number doubles in each round trip; one less after an answer that took `slow_s`: what waits there waits
    in the server's queue, and may run into the time limit.

    Args:
        size: To begin with, and kept from one call to the next.
        least, most: Bounds of the size.
        slow_s: In seconds.
    """

    def __init__(self, size: int, least: int, most: int, slow_s: float) -> None:
        self.size, self._least, self._most, self._slow_s = size, least, most, slow_s
        self._quickest_s: dict[str, float] = {}

    async def work(self, jobs: Iterable[T], do: Callable[[T], Awaitable[None]]) -> None:
        """Do all jobs, beginning them in order.

        Raises:
            LLMError: The first that a job raises; it ends the others.
        """
        queue, loop = deque(jobs), asyncio.get_running_loop()

        async def work() -> None:
            while queue:
                job, started = queue.popleft(), loop.time()
                await do(job)
                change = self._after(job.kind, loop.time() - started, bool(queue))
                if change > 0:
                    group.create_task(work())
                elif change < 0:
                    return

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.size):
                    group.create_task(work())
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            if not isinstance(first, LLMError):
                raise
            raise first from first.__cause__

    def _after(self, kind: str, seconds: float, waiting: bool) -> int:
        quickest = self._quickest_s[kind] = min(seconds, self._quickest_s.get(kind, seconds))
        brisk = seconds < max(_BRISK_S, _BRISK * quickest)
        slow = seconds > self._slow_s
        change = (waiting and brisk and not slow and self.size < self._most) - (slow and self.size > self._least)
        self.size += change
        return change
