"""Every registered id passes the official checkers, with warnings as errors, and survives misuse with named errors."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import recsim_llm
from recsim_llm.environments.page import PageEnv
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.environments.wrappers import ActionMaskObservation
from recsim_llm.errors import ConfigError, InvalidActionError, RecsimError, SessionEndedError

IDS = sorted(id_ for id_ in gym.registry if id_.startswith("recsim_llm/"))


def test_ids_are_registered():
    assert {"recsim_llm/Page-v0", "recsim_llm/Item-v0"} <= set(IDS)
    assert recsim_llm.__version__


@pytest.mark.parametrize("id_", IDS)
def test_gymnasium_checker(id_):
    check_env(gym.make(id_).unwrapped)


@pytest.mark.parametrize("id_", IDS)
def test_sb3_checker(id_):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(gym.make(id_).unwrapped, warn=True)


@pytest.mark.parametrize("id_", IDS)
def test_spec_round_trips(id_):
    spec = gym.make(id_, max_pages=3).spec
    again = gym.envs.registration.EnvSpec.from_json(spec.to_json())
    assert gym.make(again).spec.kwargs["max_pages"] == 3


@pytest.mark.parametrize("id_", IDS)
def test_info_has_the_same_keys_and_no_clock(id_):
    env = gym.make(id_, max_pages=4)
    _, first = env.reset(seed=0)
    _, second = env.reset(seed=0)
    np.testing.assert_equal(first, second)
    *_, info = env.step(env.action_space.sample())
    assert set(info) == set(first)


def test_truncated_is_not_terminated():
    env = PageVectorEnv(200, max_pages=2, autoreset_mode="disabled")
    env.reset(seed=0)
    for _ in range(2):
        _, _, left, truncated, info = env.step(np.tile(np.arange(10), (200, 1)))
        assert not (left & truncated).any()
        np.testing.assert_array_equal(info["left"], left)
    assert left.any()
    assert truncated.any()


def test_action_masks_forbid_what_was_watched():
    env = PageEnv(page_size=10, max_pages=10)
    env.reset(seed=0, options={"user": 3})
    assert env.action_masks().all()
    *_, info = env.step(np.arange(10))
    watched = set(info["shown"][info["watched"]].tolist())
    assert watched
    mask = env.action_masks().reshape(10, 500)
    assert all(set(np.flatnonzero(~row).tolist()) == watched for row in mask)
    masks = tuple(row.astype(np.int8) for row in mask)
    env.action_space.seed(0)
    assert not watched & set(env.action_space.sample(mask=masks).tolist())


def test_masks_in_the_observation():
    env = ActionMaskObservation(gym.make("recsim_llm/Item-v0", max_pages=30))
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert obs["action_mask"].all()
    seen = set()
    for item in range(20):
        obs, _, left, cut, info = env.step(item)
        seen |= set(info["shown"][info["watched"]].tolist())
        np.testing.assert_array_equal(np.flatnonzero(obs["action_mask"] == 0), sorted(seen))
        if left or cut:
            break
    assert seen


def test_duplicates():
    twice = np.array([5, 5, 5, 8])
    drop = PageEnv(page_size=4)
    drop.reset(seed=0)
    *_, info = drop.step(twice)
    assert info["shown"].tolist() == [5, -1, -1, 8]
    assert not info["watched"][1:3].any()
    allow = PageEnv(page_size=4, duplicates="allow")
    allow.reset(seed=0)
    *_, info = allow.step(twice)
    assert info["shown"].tolist() == [5, 5, 5, 8]
    refuse = PageEnv(page_size=4, duplicates="raise")
    refuse.reset(seed=0)
    with pytest.raises(InvalidActionError, match="Item 5 stands twice"):
        refuse.step(twice)


def test_history_starts_with_the_log_and_grows():
    env = PageEnv(page_size=4, history_length=10)
    obs, _ = env.reset(seed=0, options={"user": 7})
    rows = env.population.log.by_user()[7][-10:]
    assert obs["history_items"].tolist() == env.population.log.items[rows].tolist()
    obs, _, _, _, info = env.step(np.array([4, 3, 2, 1]))
    assert obs["history_items"][-4:].tolist() == [4, 3, 2, 1]
    np.testing.assert_allclose(obs["history_ratings"][-4:], info["ratings"])
    assert obs["page"].tolist() == [1]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"page_size": 0}, "page_size"),
        ({"page_size": 501}, "larger than the catalogue"),
        ({"max_pages": 0}, "max_pages"),
        ({"duplicates": "maybe"}, "drop, raise, allow"),
        ({"reward": "joy"}, "rating, watch"),
        ({"user_model": "robot"}, "statistical, llm"),
        ({"user_model": "llm"}, "--llm"),
        ({"render_mode": "hologram"}, "ansi"),
    ],
)
def test_bad_arguments_are_named(kwargs, words):
    with pytest.raises(ConfigError, match=words):
        PageEnv(**kwargs)


@pytest.mark.parametrize("action", [[0, 1, 2], [0, 1, 2, 500], [0, 1, 2, -1]])
def test_bad_actions_are_named(action):
    env = PageEnv(page_size=4)
    env.reset(seed=0)
    with pytest.raises(InvalidActionError):
        env.step(np.array(action))


def test_misuse_is_named():
    env = PageEnv(page_size=4)
    with pytest.raises(SessionEndedError):
        env.step(np.arange(4))
    with pytest.raises(ConfigError, match="0..199"):
        env.reset(options={"user": 200})
    with pytest.raises(ConfigError, match=r"no option usr\. Did you mean 'user'"):
        env.reset(options={"usr": 1})
    vec = PageVectorEnv(3, page_size=4)
    with pytest.raises(SessionEndedError):
        vec.step(np.zeros((3, 4), dtype=int))
    for options in ({"reset_mask": np.zeros(3, dtype=bool)}, {"user": [1, 2]}):
        with pytest.raises(RecsimError):
            vec.reset(options=options)
    with pytest.raises(ConfigError):
        vec.reset(seed=[1, 2])


def test_rendering_shows_the_page():
    env = gym.make("recsim_llm/Page-v0", page_size=4, render_mode="ansi")
    env.reset(seed=0, options={"user": 3})
    assert "arrived" in env.render()
    env.step(np.array([1, 2, 3, 3]))
    text = env.render()
    catalogue = env.unwrapped.population.dataset.catalogue
    assert all(catalogue[i].label in text for i in (1, 2, 3))
    assert "(empty)" in text
    pixels = gym.make("recsim_llm/Page-v0", page_size=7, render_mode="rgb_array")
    pixels.reset(seed=0)
    before = pixels.render()
    pixels.step(np.arange(7))
    after = pixels.render()
    assert after.dtype == np.uint8
    assert after.shape == before.shape
    assert (after != before).any()
