"""Bytes an agent takes after 100 interactions, beside one Python object an agent with a list of dictionaries."""

from __future__ import annotations

import dataclasses
import gc
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.table import Row
from benchmarks.world import ITEMS, folder, llm_users, people, random_pages
from recsim_llm.agents.leaving import LeaveParameters
from recsim_llm.agents.statistical import StatisticalUsers
from recsim_llm.agents.user_model import UserModel
from recsim_llm.environments.vector import PageVectorEnv

PAGE, PAGES = 10, 10


def run(quick: bool) -> Iterator[Row]:
    """The slope between a small and a large population, so that what all agents share does not count."""
    few, many = (200, 600) if quick else (2_000, 12_000)
    peer, peer_is = slope(objects, 200, 1_000), "an object an agent, a dict an interaction"
    measure = f"agent after {PAGE * PAGES} interactions, environment included, "
    ours = slope(lambda n: visit(n, _staying_statistical_users()), few, many)
    yield Row(f"{measure}statistical users", ours, "bytes/agent", "4,096", peer, peer_is)
    few, many = (200, 600) if quick else (1_000, 3_000)
    ours = slope(lambda n: visit(n, llm_users(stay=True)[0]), few, many)
    yield Row(f"{measure}LLM users", ours, "bytes/agent", "4,096", peer, peer_is)


def slope(make: Callable[[int], object], few: int, many: int) -> float:
    """Bytes for each agent more."""
    make(few)  # what is made once and kept (data set, rendered texts) is there before anything is counted
    return (held(make, many) - held(make, few)) / (many - few)


def held(make: Callable[[int], object], count: int) -> int:
    """Bytes that `make(count)` leaves allocated as long as its result lives."""
    gc.collect()
    tracemalloc.start()
    try:
        made = make(count)
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        del made
        return size
    finally:
        tracemalloc.stop()


def visit(count: int, users: UserModel) -> PageVectorEnv:
    """An environment whose sessions have all seen ten pages of ten items."""
    env = PageVectorEnv(count, folder(), users, page_size=PAGE, max_pages=PAGES, autoreset_mode="disabled")
    env.reset(seed=0, options={"user": np.arange(count) % users.num_users})
    # One draw a page for everybody would let lines of memory be shared more than they are.
    for page in random_pages(count, PAGE, PAGES):
        env.step(page)
    assert env.sessions.pages_seen.min() == PAGES
    return env


def _staying_statistical_users() -> StatisticalUsers:
    return StatisticalUsers(dataclasses.replace(people(), leave=LeaveParameters(base=-100.0)))


class ObjectAgent:
    """How simulators that hold an agent as an object keep what it saw."""

    def __init__(self, user: int) -> None:
        self.user = user
        self.satisfaction = 0.5
        self.memory: list[dict[str, object]] = []


def objects(count: int) -> list[ObjectAgent]:
    """Agents with as many interactions; titles are shared."""
    rng = np.random.default_rng(0)
    titles = [f"Item {i}" for i in range(ITEMS)]
    agents = [ObjectAgent(user) for user in range(count)]
    for agent in agents:
        for index, item in enumerate(rng.integers(0, ITEMS, PAGE * PAGES).tolist()):
            watched = index % 4 == 0
            stars = float(rng.integers(1, 6)) if watched else 0.0
            agent.memory.append(
                {"page": index // PAGE, "item": item, "title": titles[item], "watched": watched, "rating": stars}
            )
    return agents
