"""Trains tianshou's offline algorithms on logged steps. Needs torch and tianshou."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tianshou.algorithm import Algorithm
from tianshou.data import ReplayBuffer
from tianshou.utils.torch_utils import policy_within_training_step

from recsim_llm.errors import ConfigError
from recsim_llm.policies.rl.algorithms import make_bcq, make_cql, make_crr, make_sqn, seeded, served
from recsim_llm.policies.rl.item_vectors import ItemStart
from recsim_llm.policies.rl.offline_data import OfflineLog
from recsim_llm.policies.rl.settings import BCQSettings, CQLSettings, CRRSettings, OfflineSettings, SQNSettings
from recsim_llm.policies.rl.weights import packed_weights


def fit_network(
    name: str, start: ItemStart, settings: OfflineSettings, log: OfflineLog, seed: int
) -> dict[str, NDArray[Any]]:
    """Weights of the networks that a policy acts by.

    Args:
        name: Of the policy.
        start: What is known of items.
        settings: The policy's.
        log: Steps to learn from; none leaves the networks as they begin.
        seed: Of weights and samples.
    """
    with seeded(seed):
        algorithm = _make(name, start, settings)
        if len(log):
            replay = _replay(log, seed)
            with policy_within_training_step(algorithm.policy):
                for _ in range(settings.updates):
                    algorithm.update(replay, settings.batch_size)
    return packed_weights(served(algorithm))


def _make(name: str, start: ItemStart, settings: OfflineSettings) -> Algorithm[Any, Any]:
    if isinstance(settings, SQNSettings):
        return make_sqn(start, settings)
    if isinstance(settings, BCQSettings):
        return make_bcq(start, settings)
    if isinstance(settings, CQLSettings):
        return make_cql(start, settings)
    if isinstance(settings, CRRSettings):
        return make_crr(start, settings)
    raise ConfigError(f"'{name}' does not learn from logs.")


class LoggedReplay(ReplayBuffer):
    """tianshou's buffer with a generator that can be set."""

    def reseed(self, seed: int) -> None:
        """Set the generator of the samples that follow."""
        self._random_state = np.random.RandomState(seed % 2**32)


def _replay(log: OfflineLog, seed: int) -> ReplayBuffer:
    """All steps in the order of the log, so that the next of a step is its successor."""
    before, done = log.before, log.terminated | log.truncated
    replay: LoggedReplay = LoggedReplay.from_data(
        obs=log.rows[before], act=log.actions, rew=log.rewards.astype(np.float64), terminated=log.terminated,
        truncated=log.truncated, done=done, obs_next=log.rows[before + 1],
    )  # fmt: skip
    replay.reseed(seed)
    return replay
