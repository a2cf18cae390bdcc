"""Stable-Baselines3 trains on the environments as they are. Slow, because a network has to learn something."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import recsim_llm  # noqa: F401 - registers the environments

sb3 = pytest.importorskip("stable_baselines3")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_ppo_trains_on_pages():
    env = gym.make("recsim_llm/Page-v0", page_size=3, max_pages=4)
    model = sb3.PPO("MultiInputPolicy", env, n_steps=128, batch_size=64, n_epochs=2, seed=0)
    before = [p.detach().clone() for p in model.policy.parameters()]
    model.learn(total_timesteps=384)
    assert model.num_timesteps >= 384
    assert any((a != b).any() for a, b in zip(before, model.policy.parameters(), strict=True))
    action, _ = model.predict(env.reset(seed=0)[0])
    assert env.action_space.contains(np.asarray(action))


def test_dqn_trains_on_items():
    env = gym.make("recsim_llm/Item-v0", max_pages=20)
    model = sb3.DQN("MultiInputPolicy", env, learning_starts=50, buffer_size=1000, seed=0)
    model.learn(total_timesteps=300)
    assert model.num_timesteps >= 300
    action, _ = model.predict(env.reset(seed=0)[0])
    assert env.action_space.contains(int(action))


def test_a_learner_finds_what_its_user_likes():
    """One user, ten items, reward is watching: DQN must beat random clicks, or the reward carries no signal."""

    class TenItems(gym.ActionWrapper):
        def __init__(self, env):
            super().__init__(env)
            self.action_space = gym.spaces.Discrete(10)

        def action(self, action):
            return int(action)

        def reset(self, **kwargs):
            return self.env.reset(seed=kwargs.get("seed"), options={"user": 3})

    def features(env):
        return gym.wrappers.TransformObservation(
            gym.wrappers.FilterObservation(env, ["page"]),
            lambda o: {"page": np.minimum(o["page"], 1).astype(np.float32)},
            gym.spaces.Dict({"page": gym.spaces.Box(0, 1, (1,), np.float32)}),
        )

    env = features(TenItems(gym.make("recsim_llm/Item-v0", max_pages=1, reward="watch")))
    inner = env.unwrapped
    chances = inner.population.users
    chances.reset(np.array([5]), np.array([3]), np.zeros(1, dtype=np.uint64))
    truth = chances.react(np.array([5]), np.arange(10)[None]).watch_BK[0]
    model = sb3.DQN(
        "MultiInputPolicy", env, learning_starts=200, buffer_size=3000, learning_rate=5e-3, train_freq=1,
        exploration_fraction=0.8, target_update_interval=100, gamma=0.0, seed=0,
    )  # fmt: skip
    model.learn(total_timesteps=2500)
    chosen = int(model.predict(env.reset(seed=1)[0], deterministic=True)[0])
    assert truth[chosen] > truth.mean()
