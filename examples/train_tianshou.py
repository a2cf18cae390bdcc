"""tianshou's double DQN on LongTerm-v0: its own collector, buffer and trainer, and a network that looks items up.

    python examples/train_tianshou.py                       # invented people
    python examples/train_tianshou.py --dataset ml-100k --steps 200000

Needs: pip install tianshou. `recsim-llm train --policy dqn` has better features, and steps all people in one batch.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from torch import Tensor, nn

import recsim_llm  # noqa: F401 - registers the environments

SIZE, RECENT = 32, 4


class QNet(nn.Module):
    """(B, N) values: a query, built from taste and the last items shown, times item vectors."""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, SIZE, padding_idx=0)
        self.body = nn.Sequential(nn.Linear(2 * SIZE, 128), nn.ReLU(), nn.Linear(128, SIZE + 1))

    def forward(self, obs: Any, state: Any = None, info: Any = None) -> tuple[Tensor, Any]:
        """Values, and the state that tianshou passes on."""
        items = torch.as_tensor(obs["history_items"], dtype=torch.int64)
        stars = torch.as_tensor(obs["history_ratings"], dtype=torch.float32)
        vectors = self.items(items + 1)
        taste = (vectors * ((stars - 3.0) * (stars > 0))[..., None]).mean(dim=1)
        query = self.body(torch.cat([taste, vectors[:, -RECENT:].mean(dim=1)], dim=1))
        return query[:, :SIZE] @ self.items.weight[1:].T + query[:, SIZE:], state


def train(options: argparse.Namespace) -> tuple[float, float]:
    """Train; returns mean reward per session before and after."""
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002 - tianshou explores with it

    def people(count: int) -> DummyVectorEnv:
        make = lambda: gym.make("recsim_llm/LongTerm-v0", dataset=options.dataset, max_pages=options.pages)  # noqa: E731
        return DummyVectorEnv([make] * count)

    training, testing = people(options.envs), people(options.envs)
    training.seed(options.seed)
    testing.seed(options.seed + 10_000)
    items = gym.make("recsim_llm/LongTerm-v0", dataset=options.dataset).action_space
    policy = DiscreteQLearningPolicy(model=QNet(int(items.n)), action_space=items, eps_training=0.1)
    algorithm = DQN(
        policy=policy, optim=AdamOptimizerFactory(lr=1e-3), gamma=0.9, n_step_return_horizon=3, target_update_freq=200
    )
    buffer = VectorReplayBuffer(50_000, options.envs)
    collector = Collector[Any](algorithm, training, buffer, exploration_noise=True)
    tester = Collector[Any](algorithm, testing)
    before = tester.collect(n_episode=options.sessions, reset_before_collect=True).returns_stat.mean
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=options.steps,
            collection_step_num_env_steps=options.envs * 10,
            update_step_num_gradient_steps_per_sample=0.25,
            batch_size=64,
            verbose=False,
            show_progress=False,
        )
    )
    after = tester.collect(n_episode=options.sessions, reset_before_collect=True).returns_stat.mean
    print(f"reward a session: {before:.2f} before, {after:.2f} after {options.steps:,} steps")
    return float(before), float(after)


def parser() -> argparse.ArgumentParser:
    """The options."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--dataset", default="synthetic")
    out.add_argument("--steps", type=int, default=50_000)
    out.add_argument("--envs", type=int, default=16)
    out.add_argument("--pages", type=int, default=30)
    out.add_argument("--sessions", type=int, default=48)
    out.add_argument("--seed", type=int, default=0)
    return out


if __name__ == "__main__":
    train(parser().parse_args())
