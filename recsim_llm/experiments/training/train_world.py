"""Worlds for training policies: sessions of people in one batch, or the exit rule alone; no learning algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsim_llm.agents.population import Population
from recsim_llm.agents.user_model import UserModel
from recsim_llm.environments.sessions import PageRules
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.experiments.simulation.rollout import rollout
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.policies.rl.loop import Moved
from recsim_llm.policies.rl.networks.states import pack
from recsim_llm.seeding import Stream, mix, mix_one, uniforms
from recsim_llm.types import Bools, Floats32, Ints, Responses


class TrainingWorld:
    """B concurrent sessions of people drawn repeatedly, by hash, from the training people (see `loop.World`).

    Args:
        env: Environment with autoreset "disabled": this class restarts ended sessions with a person of its choice.
        people: (P,) ids of the training people.
        seed: Seed of the order of visitors.
    """

    def __init__(self, env: PageVectorEnv, people: Ints, seed: int) -> None:
        self.env, self.people, self.seed = env, people, seed
        self.num_envs = env.num_envs
        self._visits, self._segment = 0, 0

    @property
    def population(self) -> Population:
        """The population of the environment."""
        return self.env.population

    def begin(self, segment: int) -> Floats32:
        """See `loop.World`."""
        self._visits, self._segment = 0, segment
        seeds: list[int | None] = [mix_one(self.seed, segment, i) >> 1 for i in range(self.num_envs)]
        return self._pack(self.env.reset(seed=seeds, options={"user": self._visitors()})[0])

    def step(self, actions: Ints) -> Moved:
        """See `loop.World`."""
        observed, rewards, left, cut, _ = self.env.step(actions)
        following = self._pack(observed)
        ended = left | cut
        rows = following
        if ended.any():
            options = {"user": self._visitors(), "reset_mask": ended}
            rows = self._pack(self.env.reset(options=options)[0])
        return Moved(following, rows, rewards, left, cut)

    def _visitors(self) -> Ints:
        self._visits += 1
        luck = uniforms(self.seed, int(Stream.USER), self._segment, self._visits, np.arange(self.num_envs))
        return self.people[(luck * len(self.people)).astype(np.int64)]

    def _pack(self, observed: dict[str, Any]) -> Floats32:
        return pack(observed, 1)


class TaskExits:
    """The exit rule of a task for people whose ratings alone are imagined (see `imagined.Exits`).

    Args:
        users: A separate population in the long-term setting, which observes the imagined people's items and ratings.
        seed: Seed of the people's own hazard, if the rule has one.
    """

    def __init__(self, users: UserModel, seed: int) -> None:
        self._users, self._seed, self._steps = users, seed, 0

    def begin(self, where: Bools, users: Ints) -> None:
        """See `Exits.begin`."""
        sessions = np.flatnonzero(where)
        if len(sessions):
            keys = mix(self._seed, self._steps, sessions)
            self._users.reset(sessions, users[sessions], keys)

    def leave(self, items: Ints, stars: Floats32) -> Bools:
        """See `Exits.leave`."""
        self._steps += 1
        sessions, pages = np.arange(len(items)), items[:, None]
        given = stars[:, None].astype(np.float64)
        chance = self._users.observe(sessions, pages, Responses(np.ones_like(pages, dtype=np.bool_), given))
        return np.asarray(uniforms(self._seed, int(Stream.LEAVE), self._steps, sessions) < chance)


def evaluate(
    dataset: str, users: UserModel, policy: Policy, visitors: Ints, rules: PageRules, seed: int
) -> tuple[float, float]:
    """Mean reward and mean length of one session per visitor; the leaving step counts."""
    reward = pages = 0.0
    for batch in rollout(dataset, users, policy, visitors, rules, seed, len(visitors)):
        reward, pages = reward + float(batch.reward.sum()), pages + len(batch.reward)
    return reward / len(visitors), pages / len(visitors)
