"""Known bounds of a population: what a policy can earn at most if it knows the people, greedily."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.long_term_users import LongTermUsers, nearest_level
from recsim_llm.agents.population import Population
from recsim_llm.agents.statistical import StatisticalUsers, rating_distribution, scores, watch_probability
from recsim_llm.errors import ConfigError
from recsim_llm.policies.oracle import Oracle
from recsim_llm.types import Floats

_BLOCK = 256


def make_oracle(population: Population, page_size: int) -> Oracle:
    """The policy that knows what these people would rate and when they would leave.

    In the long-term setting the score of an item is its expected rating, rounded first where the rule rounds
    (`QuitRule.ratings`), and the expected rating itself decides between equals. Elsewhere it is the expected stars of
    showing it: probability of watching times expected rating.

    Raises:
        ConfigError: The people are not statistical users, whose tastes are known.
    """
    users = population.users
    inner = users.inner if isinstance(users, LongTermUsers) else users
    if not isinstance(inner, StatisticalUsers):
        raise ConfigError("The policy 'oracle' must know people's tastes: it works with --user-model statistical.")
    blocks = range(0, inner.num_users, _BLOCK)
    ratings = np.concatenate([_stars(users, inner, start) for start in blocks]).astype(np.float32)
    return Oracle.knowing({"ratings": ratings, **_rule(population)}, population.log, page_size)


def _stars(users: Any, inner: StatisticalUsers, start: int) -> Floats:
    people = np.arange(start, min(start + _BLOCK, inner.num_users))
    items = np.broadcast_to(np.arange(inner.num_items), (len(people), inner.num_items))
    taste = scores(inner.parameters, people, items)
    chances, levels = rating_distribution(inner.parameters, taste), inner.rating_levels
    expected: Floats = chances @ levels
    if not isinstance(users, LongTermUsers):
        return expected * watch_probability(inner.parameters, people, items, taste)
    if users.rule.ratings == "sampled":
        return expected
    rounded: Floats = nearest_level(chances, levels) @ levels
    return rounded + 1e-3 * expected


def _rule(population: Population) -> dict[str, NDArray[Any]]:
    users, genres = population.users, population.dataset.catalogue.genre_matrix
    if not isinstance(users, LongTermUsers):
        none = {"threshold": 0.0, "window": 1, "repeats": -1, "low_reward": 0.0}
        vectors = np.zeros((len(genres), 1))
    else:
        rule, vectors = users.rule, users.vectors
        repeats = -1 if rule.repeats is None else rule.repeats
        none = {
            "threshold": users.threshold,
            "window": rule.window,
            "repeats": repeats,
            "low_reward": rule.low_reward,
        }
    return {"vectors": vectors, "genres": genres, **{name: np.array(value) for name, value in none.items()}}
