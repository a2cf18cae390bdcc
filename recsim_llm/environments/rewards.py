"""Page rewards as pure functions of the users' responses: named ones, or your own function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsim_llm.checked import near, shown
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
    """Return a reward function by name, or the given function itself.

    Raises:
        ConfigError: There is no reward of that name.
    """
    if callable(reward):
        return reward if reward in REWARDS.values() else OwnReward(reward)
    if not isinstance(reward, str) or reward not in REWARDS:
        raise ConfigError(
            f"reward must be one of {', '.join(REWARDS)}, or a function of Responses, not {shown(reward)}."
            f"{near(str(reward), REWARDS)}"
        )
    return REWARDS[reward]


@dataclass(frozen=True, slots=True)
class OwnReward:
    """A user-defined reward function with checked values: a NaN would silently spoil any learner.

    Attributes:
        function: The function.
    """

    function: RewardFunction

    def __call__(self, responses: Responses) -> Floats:
        """(B,) finite rewards.

        Raises:
            ConfigError: The function returned anything else.
        """
        given, wanted = self.function(responses), (len(responses.watched_BK),)
        try:
            values = np.asarray(given)
        except ValueError:  # rows of different lengths
            values = np.asarray(None)
        if values.shape == wanted and values.dtype.kind in "iuf" and np.isfinite(values).all():
            return values.astype(np.float64)
        what = f"{values.dtype} of shape {values.shape}: {shown(given)}"
        raise ConfigError(
            f"A reward function must return one finite number a session, an array of shape {wanted}; "
            f"'{getattr(self.function, '__name__', self.function)}' returned {what}."
        )
