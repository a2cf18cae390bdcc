"""How many requests are in flight: grows with quick answers, shrinks with slow ones."""

import asyncio
from types import SimpleNamespace

import pytest

from recsim_llm.errors import LLMError
from recsim_llm.language.backends.openai.in_flight import Crew


def run(crew, count, seconds, kinds=("a",)):
    """The most jobs that were under way at once, and the order in which they began."""
    live, most, order = 0, 0, []

    async def do(job):
        nonlocal live, most
        order.append(job.number)
        live += 1
        most = max(most, live)
        await asyncio.sleep(seconds(live))
        live -= 1

    jobs = [SimpleNamespace(kind=kinds[i % len(kinds)], number=i) for i in range(count)]
    asyncio.run(crew.work(jobs, do))
    return most, order


def test_every_job_is_done_once_and_begun_in_order():
    _, order = run(Crew(4, 1, 16, 10.0), 100, lambda live: 0.0)
    assert order == list(range(100))


def test_quick_answers_make_it_grow_to_its_bound():
    crew = Crew(2, 1, 20, 10.0)
    most, _ = run(crew, 200, lambda live: 0.002)
    assert most == crew.size == 20


def test_slow_answers_make_it_shrink_to_its_bound():
    crew = Crew(8, 2, 20, 0.005)
    run(crew, 60, lambda live: 0.01)
    assert crew.size == 2


def test_it_does_not_grow_where_nothing_waits():
    crew = Crew(8, 1, 20, 10.0)
    for _ in range(50):
        run(crew, 1, lambda live: 0.0)
    assert crew.size == 8


def test_the_first_failure_ends_the_others():
    begun = []

    async def do(job):
        begun.append(job.number)
        if job.number == 1:
            raise LLMError("no")
        await asyncio.sleep(10)

    jobs = [SimpleNamespace(kind="a", number=i) for i in range(9)]
    with pytest.raises(LLMError, match="no"):
        asyncio.run(Crew(3, 1, 3, 10.0).work(jobs, do))
    assert begun == [0, 1, 2]


def test_a_mistake_of_ours_is_not_hidden():
    async def do(job):
        raise KeyError("bug")

    with pytest.raises(ExceptionGroup):
        asyncio.run(Crew(1, 1, 1, 10.0).work([SimpleNamespace(kind="a")], do))
