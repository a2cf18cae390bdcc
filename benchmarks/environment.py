"""User-steps per second of the vector environment, beside the same users stepped one environment after another."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from benchmarks.table import Row
from benchmarks.world import ITEMS, folder, people, random_pages
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.environments.page import PageEnv
from recsim_llm.environments.vector import PageVectorEnv

PAGE = 10


def run(quick: bool) -> Iterator[Row]:
    """B = 1,024 and B = 10,000; the peer's cost per user does not depend on B, so it is measured once."""
    dataset, parameters = folder(), people()
    count = 64 if quick else 1024
    loop = SyncVectorEnv([lambda: PageEnv(dataset, StatisticalUsers(parameters))] * count)
    peer = steps_per_second(loop, 3 if quick else 4, repeats=2)
    loop.close()
    for batch, steps in ((1024, 10 if quick else 100), (10_000, 4 if quick else 20)):
        env = PageVectorEnv(batch, dataset, StatisticalUsers(parameters))
        ours = steps_per_second(env, steps, repeats=3)
        measure = f"environment, statistical users, B={batch:,}, K={PAGE}, N={ITEMS:,}"
        yield Row(measure, ours, "user-steps/s", "100,000/s, 20x", peer, f"SyncVectorEnv of {count:,} PageEnv")


def steps_per_second(env: VectorEnv, steps: int, repeats: int) -> float:
    """User-steps per second, best of a few repeats; steps that only reset a user take time but are not counted."""
    pages = random_pages(env.num_envs, PAGE)
    env.reset(seed=0)
    running = np.ones(env.num_envs, dtype=np.bool_)
    best = 0.0
    for repeat in range(repeats + 1):
        shown, start = 0, perf_counter()
        for i in range(steps):
            _, _, terminated, truncated, _ = env.step(pages[i % len(pages)])
            shown += int(running.sum())
            running = ~(terminated | truncated) | ~running
        rate = shown / (perf_counter() - start)
        # The first round fills caches and spreads users over the pages of a session.
        best = max(best, rate) if repeat else 0.0
    return best
