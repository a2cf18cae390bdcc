"""Stable-Baselines3's PPO on LongTerm-v0, with the networks of our own policies behind it.

    python examples/train_sb3.py                       # invented people: a minute
    python examples/train_sb3.py --dataset ml-100k --steps 200000
    python examples/train_sb3.py --raw                 # SB3's own networks: they read item ids as numbers

Needs: pip install 'recsim-llm[sb3]'.
"""

from __future__ import annotations

import argparse

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

import recsim_llm  # noqa: F401 - registers the environments
from recsim_llm.policies.rl.sb3 import HistoryPolicy, networks


def people(options: argparse.Namespace, seed: int) -> VecEnv:
    """A batch of people; equal seeds give the same order of people."""
    settings = {"dataset": options.dataset, "max_pages": options.pages}
    return make_vec_env("recsim_llm/LongTerm-v0", options.envs, seed=seed, env_kwargs=settings)


def measured(model: PPO, options: argparse.Namespace) -> float:
    """Mean reward per session, of items drawn as in training, with the same people and random draws at each call."""
    set_random_seed(options.seed + 1_000)
    others = people(options, options.seed + 1_000)
    return float(evaluate_policy(model, others, n_eval_episodes=options.sessions, deterministic=False)[0])


def train(options: argparse.Namespace) -> tuple[float, float]:
    """Train; returns the mean reward per session before and after."""
    env = people(options, options.seed)
    home = env.get_attr("population", indices=0)[0]
    model = PPO(
        "MultiInputPolicy" if options.raw else HistoryPolicy,
        env,
        policy_kwargs={} if options.raw else networks(home.log, home.dataset.catalogue),
        n_steps=32,
        batch_size=256,
        n_epochs=4,
        gamma=0.9,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    before = measured(model, options)
    model.learn(options.steps, progress_bar=False)
    after = measured(model, options)
    print(f"reward a session: {before:.2f} before, {after:.2f} after {options.steps:,} steps")
    return before, after


def parser() -> argparse.ArgumentParser:
    """The options."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--dataset", default="synthetic")
    out.add_argument("--steps", type=int, default=30_000)
    out.add_argument("--envs", type=int, default=16)
    out.add_argument("--pages", type=int, default=30)
    out.add_argument("--sessions", type=int, default=50)
    out.add_argument("--learning-rate", type=float, default=3e-3)
    out.add_argument("--raw", action="store_true", help="SB3's own networks on the raw observation")
    out.add_argument("--seed", type=int, default=0)
    return out


if __name__ == "__main__":
    train(parser().parse_args())
