"""PPO in one file, in the style of CleanRL: a batch of simulated people steps in one call, and nothing is hidden.

    python examples/train_cleanrl.py                       # LongTerm-v0, invented people: three minutes
    python examples/train_cleanrl.py --dataset ml-100k --steps 500000

Needs: pip install torch. People leave when an item is too much like one of the last four, so a policy must vary.
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

import recsim_llm  # noqa: F401 - registers the environments


class ActorCritic(nn.Module):
    """State: what the person likes (items by stars) and what was shown last; actions are scored by their vectors."""

    def __init__(self, num_items: int, size: int = 32, recent: int = 4) -> None:
        super().__init__()
        self.recent = recent
        self.items = nn.Embedding(num_items + 1, size, padding_idx=0)  # 0 is padding, so item i is row i + 1
        self.body = nn.Sequential(nn.Linear(2 * size, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh())
        self.actor, self.critic = nn.Linear(128, size), nn.Linear(128, 1)

    def forward(self, items: Tensor, stars: Tensor) -> tuple[torch.distributions.Categorical, Tensor]:
        """Distribution over items, and values, for (B, H) histories."""
        vectors = self.items(items + 1)
        liked = (stars - 3.0) * (stars > 0)
        taste = (vectors * liked[..., None]).mean(dim=1)
        hidden = self.body(torch.cat([taste, vectors[:, -self.recent :].mean(dim=1)], dim=1))
        logits = self.actor(hidden) @ self.items.weight[1:].T
        # Items of the history are masked; the first column receives the padding and is cut off.
        known = torch.zeros(len(items), logits.shape[1] + 1).scatter(1, items + 1, 1.0)[:, 1:].bool()
        return torch.distributions.Categorical(logits=logits.masked_fill(known, -1e8)), self.critic(hidden)[:, 0]


def tensors(observation: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Items and stars of the histories."""
    return torch.from_numpy(observation["history_items"]), torch.from_numpy(observation["history_ratings"])


def train(options: argparse.Namespace) -> list[float]:
    """Train; returns the mean reward of the sessions that ended, one number per update."""
    torch.manual_seed(options.seed)
    env = gym.make_vec(
        "recsim_llm/LongTerm-v0", options.envs, vectorization_mode="vector_entry_point", dataset=options.dataset
    )
    agent = ActorCritic(int(env.single_action_space.n))
    optimizer = torch.optim.Adam(agent.parameters(), lr=options.learning_rate, eps=1e-5)
    observation, _ = env.reset(seed=options.seed)
    ended, earned, curve = np.zeros(options.envs, dtype=bool), np.zeros(options.envs), []
    for _ in range(max(1, options.steps // (options.envs * options.rollout))):
        rows, finished = [], []
        for _ in range(options.rollout):
            items, stars = tensors(observation)
            with torch.no_grad():
                choice, value = agent(items, stars)
                action = choice.sample()
            observation, reward, left, truncated, _ = env.step(action.numpy())
            # Next-step autoreset: the step after an end only begins a new session and is not data.
            rows.append((items, stars, action, choice.log_prob(action), value, reward, left, truncated, ~ended))
            earned += reward
            finished += earned[left | truncated].tolist()
            earned[left | truncated] = 0.0
            ended = left | truncated
        curve.append(float(np.mean(finished)) if finished else float("nan"))
        with torch.no_grad():
            last = agent(*tensors(observation))[1]
        update(agent, optimizer, rows, last, options)
        print(f"{(len(curve)) * options.envs * options.rollout:>9,} steps  reward a session {curve[-1]:7.2f}")
    return curve


def advantages(rows: list[tuple], last: Tensor, gamma: float, trace: float) -> Tensor:
    """(T, B) generalised advantage estimates; sessions cut off at the page limit are bootstrapped, exits are not."""
    out, next_value, next_gain = [], last, torch.zeros_like(last)
    for _, _, _, _, value, reward, left, truncated, _ in reversed(rows):
        on = torch.from_numpy(~left).float()
        gain = torch.from_numpy(reward).float() / 5 + gamma * next_value * on - value
        next_gain = gain + gamma * trace * next_gain * on * torch.from_numpy(~truncated).float()
        out.append(next_gain)
        next_value = value
    return torch.stack(out[::-1])


def update(agent: ActorCritic, optimizer: torch.optim.Optimizer, rows: list[tuple], last: Tensor, options) -> None:
    """Four epochs of PPO over one rollout."""
    items, stars, actions, old, values = (torch.stack([row[i] for row in rows]).flatten(0, 1) for i in range(5))
    gains = advantages(rows, last, options.gamma, 0.95).flatten()
    used = torch.from_numpy(np.stack([row[8] for row in rows])).flatten()
    returns, where = gains + values, torch.nonzero(used)[:, 0]
    for _ in range(4):
        for part in where[torch.randperm(len(where))].split(512):
            choice, value = agent(items[part], stars[part])
            ratio = (choice.log_prob(actions[part]) - old[part]).exp()
            gain = (gains[part] - gains[part].mean()) / (gains[part].std() + 1e-8)
            policy_loss = -torch.min(ratio * gain, ratio.clamp(0.8, 1.2) * gain).mean()
            loss = policy_loss + 0.5 * (value - returns[part]).square().mean() - 0.003 * choice.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def parser() -> argparse.ArgumentParser:
    """The options."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--dataset", default="synthetic")
    out.add_argument("--steps", type=int, default=200_000)
    out.add_argument("--envs", type=int, default=64)
    out.add_argument("--rollout", type=int, default=16)
    out.add_argument("--gamma", type=float, default=0.95)
    out.add_argument("--learning-rate", type=float, default=2e-3)
    out.add_argument("--seed", type=int, default=0)
    return out


if __name__ == "__main__":
    train(parser().parse_args())
