"""What an LLM user-step costs besides the model: prompts written, answers read, memory kept, environment stepped."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from time import perf_counter

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from benchmarks.table import Row
from benchmarks.world import PreparedLLM, folder, llm_users, random_pages
from recsim_llm.environments.page import PageEnv
from recsim_llm.environments.vector import PageVectorEnv

PAGE = 4


def run(quick: bool) -> Iterator[Row]:
    """B = 1,000 and B = 10,000; the peer's cost a user does not depend on B, so it is measured once."""
    count = 50 if quick else 250
    peer = peer_microseconds(count, 3 if quick else 20)
    for batch, steps in ((1000, 10 if quick else 60), (10_000, 3 if quick else 10)):
        yield Row(
            f"overhead of an LLM user-step, B={batch:,}, K={PAGE}, {2 * PAGE + 1} prompts",
            our_microseconds(batch, steps),
            "us/user-step",
            "50 or less",
            peer,
            f"SyncVectorEnv of {count} PageEnv",
        )


def our_microseconds(batch: int, steps: int) -> float:
    """Microseconds a user-step in one vector environment."""
    users, llm = llm_users()
    return overhead_microseconds(PageVectorEnv(batch, folder(), users, page_size=PAGE), llm, steps)


def peer_microseconds(count: int, steps: int) -> float:
    """The same users one environment after another: nine prompts a call instead of nine times B."""
    _, llm = llm_users()
    make = partial(PageEnv, folder(), "llm", llm, page_size=PAGE)
    return overhead_microseconds(SyncVectorEnv([make] * count), llm, steps)


def overhead_microseconds(env: VectorEnv, llm: PreparedLLM, steps: int, rounds: int = 3) -> float:
    """Microseconds a user-step outside the model, best round; steps that only reset are paid for, not counted."""
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
        # The first round renders personas and items, which are kept.
        best = min(best, spent / shown) if repeat else np.inf
    return 1e6 * float(best)
