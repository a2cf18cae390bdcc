"""Trains RLlib's PPO on simulated people, all in one batch per step; with a language model, all share its engines.

    python examples/train_rllib.py                                     # statistical people: a minute
    python examples/train_rllib.py --user-model agent4rec:genres --llm transformers:smollm2-135m --replicas 1
    python examples/train_rllib.py --user-model dialogue --llm vllm:MODEL --replicas 4 --gpus-per-replica 1

Needs: pip install 'recsim-llm[rllib]'. docs/rllib.md explains it.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import gymnasium as gym
import numpy as np
import ray
from gymnasium import spaces
from gymnasium.wrappers.vector import TransformObservation
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env

from recsim_llm.language import RayLLM

ENGINES = "recsim-llm-people"


def stars_by_item(observation: dict[str, np.ndarray], num_items: int) -> np.ndarray:
    """(B, N) history features per item: stars / 5, -0.2 if it was shown and not watched, else 0."""
    batch, items = observation["history_mask"].nonzero()
    ids = observation["history_items"][batch, items]
    stars = observation["history_ratings"][batch, items]
    told = np.zeros((len(observation["user"]), num_items), dtype=np.float32)
    told[batch, ids] = np.where(stars > 0, stars / 5, -0.2)
    return told


def people(config: dict[str, Any]) -> gym.vector.VectorEnv:
    """The environments of one env runner: one `PageVectorEnv`, one batched call of the language model per step."""
    # With the module prefix, as each env runner is a process that has not imported it.
    env = gym.make_vec("recsim_llm:recsim_llm/Item-v0", vectorization_mode="vector_entry_point", **config)
    num_items = int(env.single_action_space.n)
    seen = spaces.Box(-0.2, 1.0, (num_items,), np.float32)
    return TransformObservation(
        env, lambda observation: stars_by_item(observation, num_items), single_observation_space=seen
    )


def configure(options: argparse.Namespace) -> PPOConfig:
    """PPO with one small network, and environments that are stepped in one batch."""
    llm = {"llm": f"ray:{ENGINES}"} if options.llm else {}
    batch = options.pages * options.envs * max(1, options.env_runners)
    register_env("people", lambda context: people(dict(context)))
    return (
        PPOConfig()
        .environment("people", env_config={"user_model": options.user_model, "max_pages": options.pages, **llm})
        .env_runners(
            num_env_runners=options.env_runners,
            num_envs_per_env_runner=options.envs,
            gym_env_vectorize_mode="vector_entry_point",
            rollout_fragment_length=options.pages,
        )
        .training(
            train_batch_size_per_learner=batch,
            minibatch_size=min(256, batch),
            num_epochs=8,
            lr=1e-3,
            entropy_coeff=0.003,
            gamma=0.9,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64], fcnet_activation="relu"))
        .debugging(seed=options.seed)
    )


def train(options: argparse.Namespace) -> list[float]:
    """Train; returns the mean return of a visit at each iteration."""
    engines = None
    if options.ray == "local" and not ray.is_initialized():
        # One core for each engine, each env runner and the learner, even on a machine with fewer.
        ray.init("local", num_cpus=options.replicas + options.env_runners + 1, include_dashboard=False)
    if options.llm:
        engines = RayLLM(
            options.llm,
            options.ray,
            replicas=options.replicas,
            gpus_per_replica=options.gpus_per_replica,
            cpus_per_replica=1,
            name=ENGINES,
        )
    returns = []
    try:
        algorithm = configure(options).build_algo()
        for iteration in range(options.iterations):
            result = algorithm.train()["env_runners"]
            returns.append(float(result["episode_return_mean"]))
            print(
                f"{iteration + 1:>3}  stars a visit {returns[-1]:.2f}  pages {result['episode_len_mean']:.2f}",
                flush=True,
            )
        algorithm.stop()
    finally:
        if engines is not None:
            engines.close()
    return returns


def parse(args: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user-model", default="statistical")
    parser.add_argument("--llm", default="", help="of LLM people; its engines run on Ray and are shared")
    parser.add_argument("--ray", default="local", help="local, auto, or a cluster's address")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--gpus-per-replica", type=float, default=0.0)
    parser.add_argument("--env-runners", type=int, default=0, help="processes beside this one; 0: in this one")
    parser.add_argument("--envs", type=int, default=256, help="people at once, in each env runner")
    parser.add_argument("--pages", type=int, default=10, help="most pages of a visit")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(args)


if __name__ == "__main__":
    train(parse())
