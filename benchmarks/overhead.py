"""Cost of an LLM user-step outside the model: writing prompts, reading answers, memory, environment step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from math import log
from time import perf_counter

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from benchmarks.table import Row
from benchmarks.world import PreparedLLM, folder, llm_users, random_pages
from recsim_llm.agents.population import make_population
from recsim_llm.environments.page import PageEnv
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.errors import UncertifiedWarning

PAGE = 4


def run(quick: bool) -> Iterator[Row]:
    """B = 1,000 to 100,000, other kinds at 10,000; the peer's cost per user is independent of B: measured once."""
    count = 50 if quick else 250
    peer = peer_microseconds(count, 3 if quick else 20)
    sizes = {1000: 10, 4000: 3} if quick else {1000: 60, 10_000: 10, 100_000: 2}
    costs: dict[int, float] = {}
    for batch, steps in sizes.items():
        costs[batch] = our_microseconds("llm", batch, steps)
        yield Row(
            f"overhead of an LLM user-step, B={batch:,}, K={PAGE}, {2 * PAGE + 1} prompts",
            costs[batch],
            "us/user-step",
            "5 or less",
            peer,
            f"SyncVectorEnv of {count} PageEnv",
        )
    (few, cheap), *_, (many, dear) = costs.items()
    slope = 1 + log(dear / cheap) / log(many / few)
    yield Row(f"the same, growth of a step with B, {few:,} to {many:,}", slope, "power", "1.1 or less")
    for kind in ("agent4rec:genres", "recagent", "agentcf"):
        batch = 1000 if quick else 10_000
        cost = our_microseconds(kind, batch, 3)
        yield Row(f"overhead of a user-step, {kind}, B={batch:,}, K={PAGE}", cost, "us/user-step", "5 or less")


def our_microseconds(kind: str, batch: int, steps: int) -> float:
    """Microseconds per user-step in one vector environment."""
    llm = PreparedLLM()
    users = make_population(folder(), kind, llm).users
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncertifiedWarning)
        env = PageVectorEnv(batch, folder(), users, page_size=PAGE)
    return overhead_microseconds(env, llm, steps)


def peer_microseconds(count: int, steps: int) -> float:
    """The same users one environment after another: nine prompts per call instead of nine times B."""
    _, llm = llm_users()
    make = partial(PageEnv, folder(), "llm", llm, page_size=PAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncertifiedWarning)
        env = SyncVectorEnv([make] * count)
    return overhead_microseconds(env, llm, steps)


def overhead_microseconds(env: VectorEnv, llm: PreparedLLM, steps: int, rounds: int = 3) -> float:
    """Microseconds per user-step outside the model, best round; steps that only reset take time but are not counted."""
    pages = random_pages(env.num_envs, PAGE)
    env.reset(seed=0)
    running = np.ones(env.num_envs, dtype=np.bool_)
    best = np.inf
    for repeat in range(rounds + 1):
        shown, inside, start = 0, llm.usage.seconds, perf_counter()
        for i in range(steps):
            _, _, terminated, truncated, _ = env.step(pages[i % len(pages)])
            shown += int(running.sum())
            running = ~(terminated | truncated) | ~running
        spent = perf_counter() - start - (llm.usage.seconds - inside)
        # The first round renders personas and items, which are cached.
        best = min(best, spent / shown) if repeat else np.inf
    return 1e6 * float(best)
