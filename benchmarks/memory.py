"""Bytes per agent, idle and after 100 interactions, beside one Python object per agent, and one Ray actor."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Row
from benchmarks.world import ITEMS, PreparedLLM, folder, llm_users, people, random_pages
from recsim_llm.agents.fitted_sources import load_source, personas
from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.personas.persona import build_personas
from recsim_llm.agents.population import make_population, make_society
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.agents.user_model import UserModel
from recsim_llm.environments.society import Society, SocietyRules
from recsim_llm.environments.society_env import new_society
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.errors import UncertifiedWarning
from recsim_llm.language.encoders import CachedEncoder, HashEncoder
from recsim_llm.seeding import mix

PAGE, PAGES = 10, 10


def run(quick: bool) -> Iterator[Row | str]:
    """The slope between a small and a large population, so that memory shared by all agents does not count."""
    actor = _ray_actor(2 if quick else 8)
    yield from _idle((500, 1_500) if quick else (2_000, 10_000), actor)
    if actor is None:
        yield "memory of a Ray actor: ray is not installed (pip install 'recsim-llm[ray]')."
    few, many = (200, 600) if quick else (2_000, 12_000)
    peer, peer_is = slope(objects, 200, 1_000), "an object an agent, a dict an interaction"
    measure = f"agent after {PAGE * PAGES} interactions, environment included, "
    ours = slope(lambda n: visit(n, _staying_statistical_users()), few, many)
    yield Row(f"{measure}statistical users", ours, "bytes/agent", "4,096", peer, peer_is)
    few, many = (200, 600) if quick else (1_000, 3_000)
    ours = slope(lambda n: visit(n, llm_users(stay=True)[0]), few, many)
    yield Row(f"{measure}LLM users", ours, "bytes/agent", "4,096", peer, peer_is)
    ours = slope(lambda n: visit(n, _staying_agents()), few, many)
    yield Row(f"{measure}agent4rec", ours, "bytes/agent", "4,096", peer, peer_is)


def _idle(sizes: tuple[int, int], peer: float | None) -> Iterator[Row]:
    """People without any session, and people created in a society without links."""
    for count in sizes:
        personas(f"synthetic:0:{count}")
    peer_is = "a Ray actor an agent, empty" if peer else ""
    ours = slope(_people, *sizes)
    yield Row("idle agent of a population", ours, "bytes/agent", "1,024", peer, peer_is)
    ours += slope(_born, *sizes)
    yield Row("idle agent of a society, agent4rec, born and in the queue", ours, "bytes/agent", "1,024", peer, peer_is)


def _people(count: int) -> object:
    data, split = load_source(f"synthetic:0:{count}")
    return build_personas(data, split.train)


def _born(count: int) -> Society:
    population = make_society(f"synthetic:0:{count}", "agent4rec:genres", PreparedLLM(), "none")
    society = new_society(population, np.arange(count), SocietyRules())
    society.begin(mix(0))
    return society


def _ray_actor(actors: int) -> float | None:
    """Bytes of an actor with an empty agent; None if Ray is not installed."""
    try:
        import ray
    except ImportError:
        return None
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        actor: Any = ray.remote(num_cpus=0)(ObjectAgent)
        started = [actor.remote(user) for user in range(actors)]
        pids = ray.get([one.__ray_call__.remote(lambda _: os.getpid()) for one in started])
        return sum(_own_bytes(pid) for pid in pids) / actors
    finally:
        ray.shutdown()


def _own_bytes(pid: int) -> int:
    """Proportional set size of a process: shared memory is divided among the sharers."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def slope(make: Callable[[int], object], few: int, many: int) -> float:
    """Bytes per additional agent."""
    make(few)  # creates what is cached once (data set, rendered texts) before counting
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncertifiedWarning)
        env = PageVectorEnv(count, folder(), users, page_size=PAGE, max_pages=PAGES, autoreset_mode="disabled")
    env.reset(seed=0, options={"user": np.arange(count) % users.num_users})
    # A common draw per page for everybody would overstate the sharing of memory lines.
    for page in random_pages(count, PAGE, PAGES):
        env.step(page)
    assert env.sessions.pages_seen.min() == PAGES
    return env


def _staying_agents() -> UserModel:
    # An encoder's cache is shared and bounded (65,536 texts), but would count as the agents' memory until full.
    encoder = CachedEncoder(HashEncoder(), kept=500)
    users = make_population(folder(), "agent4rec:genres", PreparedLLM(), encoder).users
    assert isinstance(users, AgentUsers)
    users.kind.leaving = LeaveParameters(base=-100.0)
    return users


def _staying_statistical_users() -> StatisticalUsers:
    return StatisticalUsers(dataclasses.replace(people(), leave=LeaveParameters(base=-100.0)))


class ObjectAgent:
    """An agent's history as stored by simulators with one object per agent."""

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
