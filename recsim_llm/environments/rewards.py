"""Page rewards as pure functions of the users' responses: named ones, or your own function, given or named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsim_llm import plugins
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

    Args:
        reward: A key of `REWARDS`, `module:function`, an entry point of the group `recsim_llm.rewards`, or a function.

    Raises:
        ConfigError: There is no reward of that name, or the named module cannot be imported.
    """
    if callable(reward):
        return reward if reward in REWARDS.values() else OwnReward(reward)
    if isinstance(reward, str):
        found = REWARDS.get(reward) or plugins.load_plugin(reward, plugins.REWARDS, "a reward function")
        if callable(found):
            return found if reward in REWARDS else OwnReward(found)
    known = [*REWARDS, *plugins.plugin_names(plugins.REWARDS)]
    raise ConfigError(
        f"reward must be one of {', '.join(known)}, module:function, or a function of Responses, not {shown(reward)}."
        f"{near(str(reward), known)}"
    )


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
            ConfigError: The function returned anything else, or raised; the message names it.
        """
        wanted = (len(responses.watched_BK),)
        with plugins.running_plugin(f"The reward function '{self._name}'"):
            given = self.function(responses)
        try:
            values = np.asarray(given)
        except ValueError:  # rows of different lengths
            values = np.asarray(None)
        if values.shape == wanted and values.dtype.kind in "iuf" and np.isfinite(values).all():
            return values.astype(np.float64)
        what = f"{values.dtype} of shape {values.shape}: {shown(given)}"
        raise ConfigError(
            f"A reward function must return one finite number a session, an array of shape {wanted}; "
            f"'{self._name}' returned {what}."
        )

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", str(self.function))
