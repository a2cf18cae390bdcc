"""What an LLM user-step costs besides the model: prompts written, answers read, memory kept, environment stepped."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from benchmarks.table import Row, best_seconds
from benchmarks.world import PreparedLLM, folder, llm_users, random_pages
from recsim_llm.agents import page_agent
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.llm.converse import Turn

PAGE = 4
THREADS = 100


def run(quick: bool) -> Iterator[Row]:
    """B = 1,000 and B = 10,000, nine prompts a user-step."""
    peer = threaded_microseconds(100 if quick else 500)
    for batch, steps in ((1000, 10 if quick else 60), (10_000, 3 if quick else 12)):
        yield Row(
            f"overhead of an LLM user-step, B={batch:,}, K={PAGE}, {2 * PAGE + 1} prompts",
            overhead_microseconds(batch, steps),
            "us/user-step",
            "50 or less",
            peer,
            f"a task an agent on {THREADS} threads, a call a prompt (no environment)",
        )


def overhead_microseconds(batch: int, steps: int, rounds: int = 3) -> float:
    """Microseconds a user-step outside the model, best round; steps that only reset are paid for, not counted."""
    users, llm = llm_users()
    env = PageVectorEnv(batch, folder(), users, page_size=PAGE)
    pages = random_pages(batch, PAGE)
    env.reset(seed=0)
    best = np.inf
    for repeat in range(rounds + 1):
        shown, inside, start = 0, llm.usage.seconds, perf_counter()
        for i in range(steps):
            env.step(pages[i % len(pages)])
            assert env.last is not None
            shown += len(env.last.sessions)
        spent = perf_counter() - start - (llm.usage.seconds - inside)
        # The first round renders personas and items, which are kept.
        best = min(best, spent / shown) if repeat else np.inf
    return 1e6 * float(best)


def threaded_microseconds(agents: int) -> float:
    """The same prompts and answers, each agent a task in a thread pool that calls the model once a prompt."""
    users, llm = llm_users()
    sessions, page = np.arange(agents), random_pages(agents, PAGE, 1)[0].tolist()
    users.reset(sessions, sessions % users.num_users, np.zeros(agents, dtype=np.uint64))

    def agent(session: int) -> None:
        context = users.texts.context(session % users.num_users, (), (), PAGE)
        _talk(page_agent.react(context, page[session], users.texts, users.counts), llm)
        _talk(page_agent.leave(context, users.texts, users.counts), llm)

    with ThreadPoolExecutor(THREADS) as pool:
        return 1e6 * best_seconds(lambda: list(pool.map(agent, range(agents)))) / agents


def _talk(turn: Turn[object], llm: PreparedLLM) -> object:
    prompts = next(turn)
    while True:
        try:
            prompts = turn.send([llm.generate([prompt])[0] for prompt in prompts])
        except StopIteration as stop:
            return stop.value
