"""Training: environment steps per second of A2C and DQN on our batch, and on gymnasium's SyncVectorEnv."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import recsim_llm  # noqa: F401 - registers the environments
from benchmarks.table import Row
from recsim_llm.agents.long_term.long_term_population import make_long_term
from recsim_llm.environments.long_term import LongTermEnv, LongTermVectorEnv
from recsim_llm.errors import MissingExtraError
from recsim_llm.experiments.training.train_world import TrainingWorld
from recsim_llm.policies.rl.loop import Moved, train_segment
from recsim_llm.policies.rl.networks.states import pack
from recsim_llm.policies.rl.online import A2C, DQN
from recsim_llm.policies.rl.rl_policy import need_tianshou, start_of
from recsim_llm.types import Floats32, Ints


class SingleEnvironments:
    """The same sessions by SyncVectorEnv, one environment after the other (see `loop.World`)."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        makers = [LongTermEnv for _ in range(num_envs)]
        self._env = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)

    def begin(self, segment: int) -> Floats32:
        """See `loop.World`."""
        return pack(self._env.reset(seed=segment)[0], 1)

    def step(self, actions: Ints) -> Moved:
        """See `loop.World`."""
        observed, rewards, left, cut, info = self._env.step(actions)
        rows = pack(observed, 1)
        following = rows.copy()
        if "final_obs" in info:
            for i in np.flatnonzero(left | cut):
                final = info["final_obs"][i]
                following[i] = pack({name: value[None] for name, value in final.items()}, 1)[0]
        return Moved(following, rows, rewards, left, cut)


class Timed:
    """A world whose steps are timed."""

    def __init__(self, world: Any) -> None:
        self.world, self.num_envs, self.seconds = world, world.num_envs, 0.0

    def begin(self, segment: int) -> Floats32:
        """See `loop.World`."""
        rows: Floats32 = self.world.begin(segment)
        return rows

    def step(self, actions: Ints) -> Moved:
        """See `loop.World`."""
        started = time.perf_counter()
        moved: Moved = self.world.step(actions)
        self.seconds += time.perf_counter() - started
        return moved


def run(quick: bool) -> Iterator[Row | str]:
    """Steps per second of training, and of the environment within it."""
    try:
        need_tianshou("The benchmark of training")
    except MissingExtraError as error:
        yield str(error)
        return
    num_envs, steps = 100, (1_000 if quick else 10_000)
    people = np.arange(make_long_term().users.num_users)
    for name in ("a2c", "dqn"):
        ours = Timed(TrainingWorld(LongTermVectorEnv(num_envs, autoreset_mode="disabled"), people, 0))
        theirs = Timed(SingleEnvironments(num_envs))
        all_ours, all_theirs = (_train(name, world, steps) for world in (ours, theirs))
        what = f"{name}, {num_envs} environments"
        peer = "the same on SyncVectorEnv of LongTermEnv"
        yield Row(f"{what}: training steps", steps / all_ours, "steps/s", "", steps / all_theirs, peer)
        rate = steps / ours.seconds
        yield Row(f"{what}: of the environment alone", rate, "steps/s", "10x", steps / theirs.seconds, peer)
        share, other = 100 * ours.seconds / all_ours, 100 * theirs.seconds / all_theirs
        yield Row(f"{what}: share of the environment", share, "% of time", "", other, peer)


def _train(name: str, world: Timed, steps: int) -> float:
    """Seconds of a training, after a warm-up in which numba compiles."""
    from recsim_llm.policies.rl.algorithms import seeded
    from recsim_llm.policies.rl.learners import make_learner

    settings = {"a2c": A2C, "dqn": DQN}[name].settings({})
    home = make_long_term()
    with warnings.catch_warnings(), seeded(0):
        warnings.simplefilter("ignore")
        start = start_of(home.log, home.dataset.catalogue, settings, 0)
        learner = make_learner(name, start, settings, world.num_envs, 2 * steps)
        train_segment(learner, world, 0, range(0, 2_000, world.num_envs), 0)
        world.seconds, started = 0.0, time.perf_counter()
        train_segment(learner, world, 1, range(2_000, 2_000 + steps, world.num_envs), 0)
    return time.perf_counter() - started
