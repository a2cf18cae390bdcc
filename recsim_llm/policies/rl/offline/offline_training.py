"""Training of tianshou's offline algorithms on logged steps. Needs torch and tianshou."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tianshou.algorithm import Algorithm
from tianshou.data import ReplayBuffer
from tianshou.utils.torch_utils import policy_within_training_step
from torch.nn import functional

from recsim_llm.errors import ConfigError, UnconvergedWarning
from recsim_llm.policies.rl.algorithms import make_bcq, make_cql, make_crr, make_sqn, seeded, served
from recsim_llm.policies.rl.item_vectors import ItemStart
from recsim_llm.policies.rl.networks.weights import packed_weights
from recsim_llm.policies.rl.offline.offline_data import OfflineLog
from recsim_llm.policies.rl.settings import BCQSettings, CQLSettings, CRRSettings, OfflineSettings, SQNSettings
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools

_STEPS = 2_048
"""Logged steps scored per batch."""


def fit_network(
    name: str, start: ItemStart, settings: OfflineSettings, log: OfflineLog, seed: int
) -> dict[str, NDArray[Any]]:
    """Train a policy's networks and return their weights.

    SQN trains until convergence (`_until_converged`), the others for `updates` updates.

    Args:
        name: Name of the policy.
        start: Initial item vectors.
        settings: Settings of the policy.
        log: Logged steps; an empty log leaves the networks untrained.
        seed: Seed for initial weights and samples.
    """
    with seeded(seed):
        algorithm = _make(name, start, settings)
        if len(log) and isinstance(settings, SQNSettings):
            return _until_converged(algorithm, settings, log, seed)
        if len(log):
            _train(algorithm, _replay(log, seed), settings, settings.updates)
    return packed_weights(served(algorithm))


def _train(algorithm: Algorithm[Any, Any], replay: ReplayBuffer, settings: OfflineSettings, updates: int) -> None:
    with policy_within_training_step(algorithm.policy):
        for _ in range(updates):
            algorithm.update(replay, settings.batch_size)


def _until_converged(
    algorithm: Algorithm[Any, Any], settings: SQNSettings, log: OfflineLog, seed: int
) -> dict[str, NDArray[Any]]:
    """Train with early stopping; return weights at the lowest supervised loss of held-out users, and the loss curve.

    Training ends when `patience` checks in a row found no lower loss. Warns if `updates` was reached first, or if no
    check found a lower loss than before training.

    Returns:
        `packed_weights`, and `held_out_loss` (C, 2): updates so far, and nats per step.
    """
    apart = _held_out(log, settings.held_out, seed)
    steps = np.repeat(apart, log.lengths)
    replay = _replay(log, seed, ~steps)
    curve = [(0, supervised_loss(algorithm, log, steps))]
    best = packed_weights(served(algorithm))
    done = since = 0
    while done < settings.updates and since < settings.patience:
        more = min(settings.check_every, settings.updates - done)
        _train(algorithm, replay, settings, more)
        done += more
        loss = supervised_loss(algorithm, log, steps)
        if loss < min(before for _, before in curve):
            best, since = packed_weights(served(algorithm)), 0
        else:
            since += 1
        curve.append((done, loss))
    if since < settings.patience:
        warnings.warn(
            f"sqn made all of its {settings.updates:,} updates before it converged (supervised loss of people apart: "
            f"{curve[-1][1]:.3f} nats): give more updates.",
            UnconvergedWarning,
            stacklevel=2,
        )
    elif curve[0][1] <= min(loss for _, loss in curve):
        warnings.warn(
            f"sqn learned nothing that people apart confirm (supervised loss {curve[0][1]:.3f} nats at first, never "
            "lower later): what is served is the network as it began. The log may be too small, or its order chance.",
            UnconvergedWarning,
            stacklevel=2,
        )
    return {**best, "held_out_loss": np.array(curve)}


def _held_out(log: OfflineLog, share: float, seed: int) -> Bools:
    """(E,) held-out episodes: users chosen by hash, at least one, and never all of several.

    A single user is both trained on and held out.
    """
    people, who = np.unique(log.users, return_inverse=True)
    order = np.argsort(uniforms(seed, int(Stream.POLICY), people), kind="stable")
    count = min(max(1, round(share * len(people))), len(people) - 1)
    chosen: Bools = np.isin(who, order[:count])
    return chosen


def supervised_loss(algorithm: Algorithm[Any, Any], log: OfflineLog, which: Bools) -> float:
    """Return the mean cross-entropy of the logged items under the supervised head, in nats.

    Args:
        algorithm: SQN or BCQ.
        log: Logged steps.
        which: (M,) mask of steps; all steps if no entry is True.
    """
    steps = np.flatnonzero(which) if which.any() else np.arange(len(log))
    rows, items = log.rows[log.before[steps]], torch.from_numpy(log.actions[steps].astype(np.int64))
    total = 0.0
    with torch.no_grad():
        for part in np.split(np.arange(len(steps)), range(_STEPS, len(steps), _STEPS)):
            scores = algorithm.policy.imitator(rows[part])[0]
            total += float(functional.cross_entropy(scores, items[part], reduction="sum"))
    return total / len(steps)


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
    """tianshou's buffer with a seedable generator."""

    def reseed(self, seed: int) -> None:
        """Set the generator of the samples that follow."""
        self._random_state = np.random.RandomState(seed % 2**32)


def _replay(log: OfflineLog, seed: int, which: Bools | None = None) -> ReplayBuffer:
    """Return a buffer of all steps, or of some episodes, in log order, so that the next entry is the next step."""
    kept = np.arange(len(log)) if which is None or not which.any() else np.flatnonzero(which)
    before, terminated, truncated = log.before[kept], log.terminated[kept], log.truncated[kept]
    replay: LoggedReplay = LoggedReplay.from_data(
        obs=log.rows[before], act=log.actions[kept], rew=log.rewards[kept].astype(np.float64), terminated=terminated,
        truncated=truncated, done=terminated | truncated, obs_next=log.rows[before + 1],
    )  # fmt: skip
    replay.reseed(seed)
    return replay
