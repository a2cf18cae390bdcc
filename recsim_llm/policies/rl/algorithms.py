"""Builds tianshou's algorithms from our networks. Needs torch and tianshou."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray
from tianshou.algorithm import A2C, DQN, PPO, Algorithm, DiscreteBCQ, DiscreteCQL
from tianshou.algorithm.imitation.discrete_bcq import DiscreteBCQPolicy
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.modelfree.qrdqn import QRDQNPolicy
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, VectorReplayBuffer
from torch import nn

from recsim_llm.policies.rl.item_vectors import ItemStart
from recsim_llm.policies.rl.networks.nets import Scorer, Value, as_tensor
from recsim_llm.policies.rl.offline.crr_update import DetachedCRR
from recsim_llm.policies.rl.settings import (
    A2CSettings,
    BCQSettings,
    CQLSettings,
    CRRSettings,
    DQNSettings,
    NetSettings,
    PPOSettings,
    SQNSettings,
)
from recsim_llm.types import Ints

_HELD = {
    "obs": np.float32, "act": np.int64, "rew": np.float64, "terminated": np.bool_, "truncated": np.bool_,
    "obs_next": np.float32, "done": np.bool_,
}  # fmt: skip
"""Fields that a buffer stores per step, and their types."""

_PLACES = {
    "_insertion_idx": (np.int64, -1), "_size": (np.int64, 0), "_ep_start_idx": (np.int64, -1),
    "_ep_len": (np.int64, 2**62), "_ep_return": (np.float64, 0),
}  # fmt: skip
"""Write positions of a sub-buffer: types, and how far above its size a value may be."""


class ReplayBuffer(VectorReplayBuffer):
    """tianshou's buffer for B environments, with one seedable generator and uniform sampling of transitions."""

    def reseed(self, seed: int) -> None:
        """Set the generator of the samples that follow."""
        self._random_state = np.random.RandomState(seed % 2**32)

    def sample_indices(self, batch_size: int | None) -> NDArray[Any]:
        """Return indices of a sample, with replacement; all indices in order for 0 or None."""
        if not batch_size:
            return np.asarray(super().sample_indices(batch_size))
        lengths = np.asarray(self._lengths)
        ends = np.cumsum(lengths)
        place = self._random_state.randint(ends[-1], size=batch_size)
        which = np.searchsorted(ends, place, side="right")
        indices: Ints = np.asarray(self._offset)[which] + place - (ends - lengths)[which]
        return indices

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all but the generator: the (M, ...) stored steps and the write positions of B environments."""
        places = {name: np.array([getattr(each, name) for each in self.buffers]) for name in _PLACES}
        last = np.array([each.last_index[0] for each in self.buffers])
        return {**{name: np.asarray(self._meta[name]) for name in self._meta.get_keys()}, **places, "last_index": last}

    def take(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `as_arrays` returned; this buffer must have the same size and number of environments.

        Raises:
            ValueError: An array is missing, of another type or shape, or points outside the buffer.
        """
        held = {name: arrays[name] for name in _HELD if name in arrays}
        if held and set(held) != set(_HELD):
            raise ValueError(f"what is remembered lacks {', '.join(sorted(set(_HELD) - set(held)))}")
        for name, array in held.items():
            shape = (self.maxsize, *held["obs"].shape[1:2]) if name.startswith("obs") else (self.maxsize,)
            if array.dtype != _HELD[name] or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {np.dtype(_HELD[name])} {shape}")
        sizes = np.array([each.maxsize for each in self.buffers])
        for name, (kind, most) in {**_PLACES, "last_index": (np.int64, -1)}.items():
            # tianshou's compiled code does not check index bounds.
            array = arrays[name]
            same = array.dtype == kind and array.shape == sizes.shape
            if not same or (kind is np.int64 and ((array < 0) | (array > sizes + most)).any()):
                raise ValueError(f"{name} is damaged")
        if arrays["_size"].any() and not held:
            raise ValueError("nothing is remembered")
        if held:
            self.set_batch(Batch(**{name: array.copy() for name, array in held.items()}))
        for number, each in enumerate(self.buffers):
            for name in _PLACES:
                setattr(each, name, arrays[name][number].item())
            each.last_index = arrays["last_index"][number : number + 1].copy()
        self.last_index = self._offset + arrays["last_index"]
        self._lengths = arrays["_size"].copy()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of NumPy and torch, from which tianshou draws, and restore them afterwards."""
    before = np.random.get_state()  # noqa: NPY002 - tianshou shuffles with it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def make_dqn(start: ItemStart, settings: DQNSettings) -> Algorithm[Any, Any]:
    """Double DQN with n-step returns."""
    policy = DiscreteQLearningPolicy(model=Scorer(start, settings), action_space=_items(start))
    return DQN(
        policy=policy, optim=_adam(settings), gamma=settings.gamma, n_step_return_horizon=settings.n_step,
        target_update_freq=settings.target_update, is_double=True, huber_loss_delta=1.0,
    )  # fmt: skip


def make_a2c(start: ItemStart, settings: A2CSettings) -> Algorithm[Any, Any]:
    """A2C with one optimiser for actor and critic, which have separate trackers."""
    return A2C(
        policy=_actor(start, settings), critic=Value(start, settings), optim=_adam(settings),
        vf_coef=settings.value_weight, ent_coef=settings.entropy_weight, max_grad_norm=settings.max_grad_norm,
        gae_lambda=settings.gae_lambda, gamma=settings.gamma, max_batchsize=1 << 12, return_scaling=True,
    )  # fmt: skip


def make_ppo(start: ItemStart, settings: PPOSettings) -> Algorithm[Any, Any]:
    """PPO: A2C with clipped probability ratios."""
    return PPO(
        policy=_actor(start, settings), critic=Value(start, settings), optim=_adam(settings),
        vf_coef=settings.value_weight, ent_coef=settings.entropy_weight, max_grad_norm=settings.max_grad_norm,
        gae_lambda=settings.gae_lambda, gamma=settings.gamma, max_batchsize=1 << 12, return_scaling=True,
        eps_clip=settings.clip, advantage_normalization=True,
    )  # fmt: skip


def make_bcq(start: ItemStart, settings: BCQSettings) -> Algorithm[Any, Any]:
    """Discrete BCQ; Q-network and imitator have separate trackers."""
    return _batch_constrained(start, settings, settings.threshold, settings.penalty, shared=False)


def make_sqn(start: ItemStart, settings: SQNSettings) -> Algorithm[Any, Any]:
    """SQN: two heads on one tracker, one for the next item and one for its Q-value, with summed losses.

    These are the losses of discrete BCQ with no item excluded and no penalty.
    """
    return _batch_constrained(start, settings, threshold=0.0, penalty=0.0, shared=True)


def _batch_constrained(
    start: ItemStart, settings: BCQSettings | SQNSettings, threshold: float, penalty: float, shared: bool
) -> Algorithm[Any, Any]:
    worth = Scorer(start, settings)
    imitator = Scorer(start, settings, worth.tracker if shared else None)
    policy = DiscreteBCQPolicy(
        model=worth, imitator=imitator, target_update_freq=settings.target_update,
        unlikely_action_threshold=threshold, action_space=_items(start),
    )  # fmt: skip
    return DiscreteBCQ(
        policy=policy, optim=_adam(settings), gamma=settings.gamma, n_step_return_horizon=settings.n_step,
        target_update_freq=settings.target_update, imitation_logits_penalty=penalty,
    )  # fmt: skip


def make_cql(start: ItemStart, settings: CQLSettings) -> Algorithm[Any, Any]:
    """Discrete CQL on quantile regression DQN."""
    policy = QRDQNPolicy(model=Scorer(start, settings, quantiles=settings.quantiles), action_space=_items(start))
    return DiscreteCQL(
        policy=policy, optim=_adam(settings), min_q_weight=settings.min_q_weight, gamma=settings.gamma,
        num_quantiles=settings.quantiles, n_step_return_horizon=settings.n_step,
        target_update_freq=settings.target_update,
    )  # fmt: skip


def make_crr(start: ItemStart, settings: CRRSettings) -> Algorithm[Any, Any]:
    """Discrete CRR with exponential weights."""
    return DetachedCRR(
        policy=_actor(start, settings), critic=_Critic(Scorer(start, settings)), optim=_adam(settings),
        gamma=settings.gamma, beta=settings.beta, min_q_weight=settings.min_q_weight,
        ratio_upper_bound=settings.most, target_update_freq=settings.target_update,
    )  # fmt: skip


class _Critic(nn.Module):
    """A scorer with the interface of tianshou's critics: returns scores only, without masking items of the history.

    With masking, logged steps that repeat an item would have advantages near a hundred, whose exponential overflows.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, obs: Any) -> torch.Tensor:
        return self.scorer.scores(as_tensor(obs))


def served(algorithm: Algorithm[Any, Any]) -> dict[str, nn.Module]:
    """Return the networks that the policy acts with: "main", and "imitator" if there is one."""
    policy = algorithm.policy
    main = policy.actor if hasattr(policy, "actor") else policy.model
    return {"main": main, "imitator": policy.imitator} if hasattr(policy, "imitator") else {"main": main}


def _actor(start: ItemStart, settings: NetSettings) -> DiscreteActorPolicy:
    return DiscreteActorPolicy(actor=Scorer(start, settings), action_space=_items(start), deterministic_eval=True)


def _items(start: ItemStart) -> Discrete:
    return Discrete(len(start.bias))


def _adam(settings: NetSettings) -> AdamOptimizerFactory:
    return AdamOptimizerFactory(lr=settings.learning_rate)


def choose(scores: torch.Tensor, luck: NDArray[np.float64]) -> Ints:
    """Draw (B,) items from the softmax of (B, N) scores, with (B,) uniform numbers."""
    shares = torch.softmax(scores.double(), dim=1).cumsum(dim=1).numpy()
    places = (luck[:, None] * shares[:, -1:] >= shares).sum(axis=1)
    return np.asarray(np.minimum(places, shares.shape[1] - 1), dtype=np.int64)
