"""Rewards of a page, as pure functions of what users did. Declared by name; a function of your own works as well."""

from __future__ import annotations

from collections.abc import Callable

from recsim_llm.errors import ConfigError
from recsim_llm.types import Floats, Responses

RewardFunction = Callable[[Responses], Floats]


def rating_reward(responses: Responses) -> Floats:
    """(B,) sum of the stars of the watched items."""
    total: Floats = responses.ratings_BK.sum(axis=1)
    return total


def watch_reward(responses: Responses) -> Floats:
    """(B,) number of watched items."""
    count: Floats = responses.watched_BK.sum(axis=1).astype("float64")
    return count


REWARDS: dict[str, RewardFunction] = {"rating": rating_reward, "watch": watch_reward}


def reward_function(reward: str | RewardFunction) -> RewardFunction:
    """A reward by name, or the function itself.

    Raises:
        ConfigError: There is no reward of that name.
    """
    if callable(reward):
        return reward
    if reward not in REWARDS:
        raise ConfigError(
            f"There is no reward '{reward}'. Rewards: {', '.join(REWARDS)}; or pass a function of Responses."
        )
    return REWARDS[reward]
