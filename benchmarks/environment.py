"""User-steps a second of the vector environment, beside the same users stepped one environment after another."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import SyncVectorEnv

from benchmarks.table import Row, best_seconds
from recsim_llm.agents.statistical import StatisticalParameters, StatisticalUsers
from recsim_llm.environments.page import PageEnv
from recsim_llm.environments.vector import PageVectorEnv

USERS, ITEMS, PAGE, FACTORS = 943, 1682, 10, 16


def people(users: int = USERS, items: int = ITEMS) -> StatisticalParameters:
    """Statistical users of the shape of ML-100K, 16 + 32 factors; what they like does not matter here."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 0.3, shape)

    return StatisticalParameters(
        mean=3.5, user_bias=draw(users), item_bias=draw(items), user_factors=draw(users, FACTORS),
        item_factors=draw(items, FACTORS), thresholds=np.array([1.5, 2.5, 3.5, 4.5]), scale=0.5,
        watch_user=draw(users) - 1.0, watch_item=draw(items), watch_user_factors=abs(draw(users, 32)),
        watch_item_factors=abs(draw(items, 32)), watch_slope=0.1, watch_affinity=1.0,
        activity=rng.integers(1, 4, users), rating_levels=np.arange(1.0, 6.0),
    )  # fmt: skip


def steps_per_second(env: PageVectorEnv | SyncVectorEnv, steps: int) -> float:
    """User-steps a second with pages drawn beforehand."""
    rng = np.random.default_rng(0)
    pages = [rng.integers(0, ITEMS, (env.num_envs, PAGE)) for _ in range(8)]
    env.reset(seed=0)
    env.step(pages[0])

    def work() -> None:
        for i in range(steps):
            env.step(pages[i % 8])

    return steps * env.num_envs / best_seconds(work)


def run() -> list[Row]:
    """All rows."""
    parameters = people()
    world = _world()
    rows = []
    for batch, steps in ((1024, 50), (10_000, 8)):
        ours = steps_per_second(PageVectorEnv(batch, world, StatisticalUsers(parameters)), steps)
        loop = SyncVectorEnv([lambda: PageEnv(world, StatisticalUsers(parameters))] * min(batch, 256))
        peer = steps_per_second(loop, 4)
        rows.append(
            Row(f"user-steps, statistical users, B={batch}, K={PAGE}, N={ITEMS}", ours, "user-steps/s",
                "100,000/s and 20x", peer, "SyncVectorEnv, one user after another")
        )  # fmt: skip
    return rows


def _world() -> str:
    return "synthetic"
