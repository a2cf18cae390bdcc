"""Online learners on tianshou's algorithms: off-policy with a replay buffer, on-policy in rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tianshou.algorithm import Algorithm, TrainingStats
from tianshou.data import Batch
from tianshou.utils.torch_utils import policy_within_training_step

from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.policies.rl.algorithms import ReplayBuffer, choose, make_a2c, make_dqn, make_ppo
from recsim_llm.policies.rl.item_vectors import ItemStart
from recsim_llm.policies.rl.loop import Moved
from recsim_llm.policies.rl.settings import A2CSettings, DQNSettings, NetSettings, PPOSettings
from recsim_llm.types import Floats, Floats32, Ints
from recsim_llm.untrusted import read_arrays, read_tensors

REPLAY = "replay.npz"
"""Checkpoint file of an off-policy learner's replay buffer, as plain arrays."""


class OffPolicyLearner:
    """An off-policy learner: replay buffer, epsilon-greedy exploration, updates from samples.

    Args:
        algorithm: tianshou's.
        settings: Its settings.
        num_envs: B.
        total: Steps of the whole training, for the exploration schedule.
    """

    def __init__(self, algorithm: Algorithm[Any, Any], settings: DQNSettings, num_envs: int, total: int) -> None:
        self.algorithm, self.settings, self.total = algorithm, settings, total
        self.replay = ReplayBuffer(max(settings.buffer_size, num_envs), num_envs)

    def begin(self, seed: int) -> None:
        """See `loop.OnlineLearner`."""
        self.replay.reseed(seed)

    def act(self, rows: Floats32, luck: Floats, step: int) -> Ints:
        """See `loop.OnlineLearner`: the best item, or with probability epsilon one that the history does not hold."""
        with torch.no_grad():
            scores = self.algorithm.policy.model(rows)[0]
        best = scores.argmax(dim=1).numpy()
        allowed = (scores > scores.max(dim=1, keepdim=True).values - 90.0).double()
        other = choose(torch.log(allowed + 1e-12), luck[:, 1])
        return np.where(luck[:, 0] < self.epsilon(step), other, best).astype(np.int64)

    def epsilon(self, step: int) -> float:
        """Share of random items; decreases linearly from 1."""
        done = min(1.0, step / max(1.0, self.settings.explore * self.total))
        return 1.0 + done * (self.settings.epsilon - 1.0)

    def learn(self, rows: Floats32, actions: Ints, moved: Moved, step: int) -> dict[str, float]:
        """See `loop.OnlineLearner`."""
        self.replay.add(_batch(rows, actions, moved))
        if step < self.settings.warm_up:
            return {}
        rate = self.settings.updates_per_step
        count = int(step * rate) - int((step - len(rows)) * rate)
        with policy_within_training_step(self.algorithm.policy):
            stats = [self.algorithm.update(self.replay, self.settings.batch_size) for _ in range(count)]
        return losses(stats[-1]) if stats else {}

    def save(self, folder: Path) -> None:
        """Write networks, optimiser and replay buffer."""
        save_algorithm(self.algorithm, folder)
        np.savez(folder / REPLAY, **self.replay.as_arrays())  # type: ignore[arg-type]  # as in `policies.policy_files`

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            RecordingError: The checkpoint is missing or damaged.
        """
        load_algorithm(self.algorithm, folder)
        try:
            self.replay.take(read_arrays(folder / REPLAY))
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(folder, error) from error


class OnPolicyLearner:
    """An on-policy learner: collects a round of all users, updates, and discards it.

    Args:
        algorithm: tianshou's A2C or PPO.
        settings: Its settings.
        num_envs: B.
    """

    def __init__(self, algorithm: Algorithm[Any, Any], settings: A2CSettings, num_envs: int) -> None:
        self.algorithm, self.settings = algorithm, settings
        self.replay = ReplayBuffer(settings.round_length * num_envs, num_envs)
        self.repeats = settings.repeats if isinstance(settings, PPOSettings) else 1

    def begin(self, seed: int) -> None:
        """See `loop.OnlineLearner`."""
        self.replay.reset()

    def act(self, rows: Floats32, luck: Floats, step: int) -> Ints:
        """See `loop.OnlineLearner`: items drawn from the actor's distribution."""
        with torch.no_grad():
            return choose(self.algorithm.policy.actor(rows)[0], luck[:, 0])

    def learn(self, rows: Floats32, actions: Ints, moved: Moved, step: int) -> dict[str, float]:
        """See `loop.OnlineLearner`."""
        self.replay.add(_batch(rows, actions, moved))
        if len(self.replay) < self.settings.round_length * len(rows):
            return {}
        with policy_within_training_step(self.algorithm.policy):
            stats = self.algorithm.update(self.replay, self.settings.batch_size, self.repeats)
        self.replay.reset(keep_statistics=True)
        return losses(stats)

    def save(self, folder: Path) -> None:
        """Write networks and optimiser; no steps are stored between rounds."""
        save_algorithm(self.algorithm, folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            RecordingError: The checkpoint is missing or damaged.
        """
        load_algorithm(self.algorithm, folder)


def save_algorithm(algorithm: Algorithm[Any, Any], folder: Path) -> None:
    """Write networks and optimisers to a folder in torch's weights-only format, which holds no pickled code."""
    folder.mkdir(parents=True, exist_ok=True)
    extra = {name: getattr(algorithm, name) for name in ("_iter",) if hasattr(algorithm, name)}
    scale = algorithm.ret_rms if hasattr(algorithm, "ret_rms") else None
    if scale is not None:
        extra |= {"mean": float(scale.mean), "var": float(scale.var), "count": float(scale.count)}
    torch.save({"algorithm": algorithm.state_dict(), "extra": extra}, folder / "algorithm.pt")


def load_algorithm(algorithm: Algorithm[Any, Any], folder: Path) -> None:
    """Read what `save_algorithm` wrote.

    Raises:
        RecordingError: It is missing or damaged.
    """
    try:
        held = read_tensors(folder / "algorithm.pt")
        algorithm.load_state_dict(held["algorithm"])
        extra = held["extra"]
        if "_iter" in extra:
            algorithm._iter = int(extra["_iter"])
        if "mean" in extra:
            algorithm.ret_rms.mean, algorithm.ret_rms.var = float(extra["mean"]), float(extra["var"])
            algorithm.ret_rms.count = float(extra["count"])
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> RecordingError:
    return RecordingError(
        f"{folder} is no checkpoint of this version, or damaged ({error}). Train anew, under another --out."
    )


def losses(stats: TrainingStats) -> dict[str, float]:
    """Return the losses of an update, by name."""
    return {name: float(value) for name, value in stats.get_loss_stats_dict().items()}


def _batch(rows: Floats32, actions: Ints, moved: Moved) -> Batch:
    return Batch(
        obs=rows, act=actions, rew=moved.rewards, terminated=moved.terminated, truncated=moved.truncated,
        obs_next=moved.following,
    )  # fmt: skip


ResumableLearner = OffPolicyLearner | OnPolicyLearner


def make_learner(name: str, start: ItemStart, settings: NetSettings, num_envs: int, total: int) -> ResumableLearner:
    """Return the learner for "dqn", "a2c" or "ppo".

    Args:
        name: Name of the algorithm.
        start: Initial item vectors.
        settings: Settings of the algorithm.
        num_envs: B.
        total: Steps of the whole training.
    """
    if isinstance(settings, DQNSettings):
        return OffPolicyLearner(make_dqn(start, settings), settings, num_envs, total)
    if isinstance(settings, PPOSettings):
        return OnPolicyLearner(make_ppo(start, settings), settings, num_envs)
    if isinstance(settings, A2CSettings):
        return OnPolicyLearner(make_a2c(start, settings), settings, num_envs)
    raise ConfigError(f"'{name}' does not learn by acting.")
