"""Known bounds of a population: what a greedy policy earns that knows the people, and what one list earns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.long_term_users import LongTermUsers, nearest_level
from recsim_llm.agents.population import Population
from recsim_llm.agents.statistical import StatisticalUsers, rating_distribution, scores, watch_probability
from recsim_llm.data.likeness import Likeness
from recsim_llm.errors import ConfigError
from recsim_llm.policies.fixed_list import FixedList
from recsim_llm.policies.oracle import Oracle, crowded
from recsim_llm.types import Floats, Floats32, Ints

_BLOCK = 256
_NEVER = 1e6


def make_oracle(population: Population, page_size: int) -> Oracle:
    """The policy that knows what these people would rate and when they would leave.

    In the long-term setting the score of an item is its expected rating, rounded first where the rule rounds
    (`QuitRule.ratings`), and the expected rating itself decides between equals. Elsewhere it is the expected stars of
    showing it: probability of watching times expected rating.

    Raises:
        ConfigError: The people are not statistical users, whose tastes are known.
    """
    inner = _known_people(population, Oracle.name)
    ratings = _all_stars(population, inner, np.arange(inner.num_users))
    return Oracle.knowing({"ratings": ratings, **_rule(population)}, population.log, page_size)


def make_fixed_list(population: Population, people: Ints, page_size: int, turns: int) -> FixedList:
    """One list for everybody, searched like the oracle's pages: greedily, with the tastes of other people known.

    The next item is the one of the highest mean over `people` of stars, less the stars that those would still give
    whom it makes leave, among items that are not too much like the last of the list.

    Args:
        population: In the long-term setting or not.
        people: (P,) whom the list is searched on, who are to be others than the visitors.
        page_size: K.
        turns: Pages of a session.

    Raises:
        ConfigError: There is nobody to search on, or the people are not statistical users.
    """
    inner = _known_people(population, FixedList.name)
    if not len(people):
        raise ConfigError("The policy 'fixed-list' is searched on people who do not visit: name fewer --users.")
    stars = np.concatenate(
        [_stars(population.users, inner, block) for block in np.array_split(people, -(-len(people) // _BLOCK))]
    )
    rule = _rule(population)
    mean, leaving = stars.mean(axis=0), (stars < rule["low_reward"]).mean(axis=0)
    likeness, window = Likeness(rule["vectors"], float(rule["threshold"])), int(rule["window"])
    order: list[int] = []
    for place in range(min(turns * page_size, len(mean))):
        left = turns - place // page_size
        worth = mean - leaving * left * mean.mean()
        latest = np.array(order[-window:], dtype=np.int64)
        alike = likeness.like_any(latest) | crowded(rule["genres"], int(rule["repeats"]), latest)
        worth[alike] -= _NEVER
        worth[order] = -np.inf
        order.append(int(worth.argmax()))
    return FixedList.of(np.array(order), population.log, page_size)


def _known_people(population: Population, policy: str) -> StatisticalUsers:
    users = population.users
    inner = users.inner if isinstance(users, LongTermUsers) else users
    if not isinstance(inner, StatisticalUsers):
        raise ConfigError(f"The policy '{policy}' must know people's tastes: it works with --user-model statistical.")
    return inner


def _all_stars(population: Population, inner: StatisticalUsers, people: Ints) -> Floats32:
    """(P, N) expected stars of these people, as `make_oracle` scores items."""
    blocks = np.split(people, range(_BLOCK, len(people), _BLOCK))
    return np.concatenate([_stars(population.users, inner, block) for block in blocks]).astype(np.float32)


def _stars(users: Any, inner: StatisticalUsers, people: Ints) -> Floats:
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
        vectors: NDArray[Any] = np.zeros((len(genres), 1))
    else:
        rule, vectors = users.rule, users.likeness.vectors
        repeats = -1 if rule.repeats is None else rule.repeats
        none = {
            "threshold": users.likeness.threshold,
            "window": rule.window,
            "repeats": repeats,
            "low_reward": rule.low_reward,
        }
    return {"vectors": vectors, "genres": genres, **{name: np.array(value) for name, value in none.items()}}
