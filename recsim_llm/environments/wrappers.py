"""Gymnasium wrappers that change the observations of our environments."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from recsim_llm.environments.page import Obs, PageEnv


class ActionMaskObservation(gym.ObservationWrapper[Obs, np.ndarray, Obs]):
    """Adds the key `action_mask` to observations: int8, flat, as `PageEnv.action_masks`.

    For libraries that read masks from the observation (RLlib's models); libraries that call `action_masks()` do not
    need it.

    Args:
        env: A page or item environment, wrapped or not.
    """

    def __init__(self, env: gym.Env[Obs, np.ndarray]) -> None:
        super().__init__(env)
        inner = cast(spaces.Dict, env.observation_space)
        size = len(self._masks())
        mask = spaces.Box(0, 1, (size,), np.int8)
        self.observation_space = cast(spaces.Space[Obs], spaces.Dict({**inner.spaces, "action_mask": mask}))

    def observation(self, observation: Obs) -> Obs:
        """Return the observation with the mask."""
        return {**observation, "action_mask": self._masks().astype(np.int8)}

    def _masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return cast(PageEnv, self.env.unwrapped).action_masks()
