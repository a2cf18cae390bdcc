"""Milliseconds of each policy to choose pages for 1,024 users. There is no peer: the work is one product."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from benchmarks.table import Row, best_seconds
from benchmarks.world import folder, people, random_pages
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.errors import MissingExtraError
from recsim_llm.policies import POLICIES, make_policy
from recsim_llm.types import Observation

USERS, PAGE = 1024, 10


def run(quick: bool) -> Iterator[Row | str]:
    """All registered policies, fitted on the invented log, acting on users in the middle of their visits."""
    env = PageVectorEnv(USERS, folder(), StatisticalUsers(people()))
    env.reset(seed=0)
    for pages in random_pages(USERS, PAGE, 3):
        observation = cast(Observation, env.step(pages)[0])
    for name in sorted(set(POLICIES) - {"embeddings"}, key=list(POLICIES).index):  # needs a file of vectors
        try:
            policy = make_policy(name, env.population.log, env.population.dataset.catalogue, PAGE)
        except MissingExtraError as missing:
            yield f"policy {name}: {missing}"
            continue
        best = best_seconds(lambda: policy.act(observation), 2 if quick else 5)  # noqa: B023 - called at once
        yield Row(f"policy.act of '{name}' for {USERS:,} users, K={PAGE}", 1e3 * best, "ms")
