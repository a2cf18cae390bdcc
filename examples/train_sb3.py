"""Stable-Baselines3's DQN on LongTerm-v0, with item vectors in front of its network.

    python examples/train_sb3.py                       # invented people
    python examples/train_sb3.py --dataset ml-100k --steps 200000

Needs: pip install stable-baselines3. Its default features would read item ids as numbers; `History` looks vectors up.
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

import recsim_llm  # noqa: F401 - registers the environments

SIZE, RECENT = 32, 4


class History(BaseFeaturesExtractor):
    """(B, 2 D) what the person likes, items weighted by stars, and the mean of what was shown last."""

    def __init__(self, space: gym.spaces.Dict) -> None:
        super().__init__(space, 2 * SIZE)
        self.items = nn.Embedding(int(space["history_items"].high.max()) + 2, SIZE, padding_idx=0)

    def forward(self, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        """Features of a batch."""
        vectors = self.items(observation["history_items"].long() + 1)
        stars = observation["history_ratings"]
        taste = (vectors * ((stars - 3.0) * (stars > 0))[..., None]).mean(dim=1)
        return torch.cat([taste, vectors[:, -RECENT:].mean(dim=1)], dim=1)


def train(options: argparse.Namespace) -> tuple[float, float]:
    """Train; returns mean reward a session before and after."""
    env = Monitor(gym.make("recsim_llm/LongTerm-v0", dataset=options.dataset, max_pages=options.pages))
    model = DQN(
        "MultiInputPolicy",
        env,
        policy_kwargs={"features_extractor_class": History, "net_arch": [128, 128]},
        buffer_size=50_000,
        learning_starts=min(1_000, options.steps // 4),
        train_freq=8,
        gradient_steps=4,
        target_update_interval=500,
        gamma=0.9,
        exploration_fraction=0.3,
        seed=options.seed,
    )
    before, _ = evaluate_policy(model, env, n_eval_episodes=options.sessions)
    model.learn(options.steps, progress_bar=False)
    after, _ = evaluate_policy(model, env, n_eval_episodes=options.sessions)
    print(f"reward a session: {before:.2f} before, {after:.2f} after {options.steps:,} steps")
    return float(before), float(after)


def parser() -> argparse.ArgumentParser:
    """The options."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--dataset", default="synthetic")
    out.add_argument("--steps", type=int, default=30_000)
    out.add_argument("--pages", type=int, default=30)
    out.add_argument("--sessions", type=int, default=50)
    out.add_argument("--seed", type=int, default=0)
    return out


if __name__ == "__main__":
    train(parser().parse_args())
