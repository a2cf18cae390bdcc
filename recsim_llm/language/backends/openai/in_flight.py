"""Workers that share a queue of requests: more while answers come quickly, fewer once requests queue at the server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from recsim_llm.errors import LLMError

_BRISK_S = 1.0
_BRISK = 1.5


class Job(Protocol):
    """A unit of work; jobs of one kind take about equally long."""

    @property
    def kind(self) -> str:
        """Name of the kind."""
        ...


T = TypeVar("T", bound=Job)


class Crew:
    """Runs jobs in parallel and adapts how many requests are in flight.

    While jobs wait, the size grows by one after an answer within a second, or within 1.5 times the quickest of its
    kind, so that it doubles in each round trip. It shrinks by one after an answer that took `slow_s`: such a request
    waits in the server's queue and may run into the time limit.

    Args:
        size: Initial number of requests in flight; the adapted number carries over to the next call.
        least, most: Bounds of the size.
        slow_s: Latency from which an answer counts as slow, in seconds.
    """

    def __init__(self, size: int, least: int, most: int, slow_s: float) -> None:
        self.size, self._least, self._most, self._slow_s = size, least, most, slow_s
        self._quickest_s: dict[str, float] = {}

    async def work(self, jobs: Iterable[T], do: Callable[[T], Awaitable[None]]) -> None:
        """Run all jobs, started in order.

        Raises:
            LLMError: The first error of a job; it cancels the others.
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
