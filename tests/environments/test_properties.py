"""Properties of the environments: vector = scalar, same seed = same run, order and size of a batch do not matter."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.agents.fitted_sources import statistical_parameters
from recsim_llm.agents.statistical.statistical_users import scores, watch_probability
from recsim_llm.environments.page import ItemEnv, PageEnv
from recsim_llm.environments.vector import ItemVectorEnv, PageVectorEnv

RULES = {"page_size": 4, "max_pages": 5, "history_length": 12}


def assert_equal(a, b, where=""):
    if isinstance(a, dict):
        assert set(a) == set(b), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y, where)
    else:
        np.testing.assert_array_equal(a, b, err_msg=where)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("kind", ["page", "item"])
def test_vector_equals_single_environments(mode, kind):
    B = 7
    if kind == "page":
        one = SyncVectorEnv([lambda: PageEnv(**RULES)] * B, autoreset_mode=mode)
        many: VectorEnv = PageVectorEnv(B, **RULES, autoreset_mode=mode)
    else:
        one = SyncVectorEnv([lambda: ItemEnv(max_pages=6)] * B, autoreset_mode=mode)
        many = ItemVectorEnv(B, max_pages=6, autoreset_mode=mode)
    assert one.single_observation_space == many.single_observation_space
    assert one.action_space == many.action_space
    for expected, got in zip(one.reset(seed=3), many.reset(seed=3), strict=True):
        assert_equal(expected, got, "reset")
    one.action_space.seed(0)
    ends = 0
    for step in range(40):
        action = one.action_space.sample()
        expected, got = one.step(action), many.step(action)
        ends += int((expected[2] | expected[3]).sum())
        for name, x, y in zip(("obs", "reward", "terminated", "truncated", "info"), expected, got, strict=True):
            assert_equal(x, y, f"step {step} {name}")
    assert ends > B


def test_disabled_autoreset_equals_single_environments():
    B = 6
    many = PageVectorEnv(B, **RULES, autoreset_mode="disabled")
    singles = [PageEnv(**RULES) for _ in range(B)]
    many.reset(seed=5)
    for i, env in enumerate(singles):
        env.reset(seed=5 + i)
    rng = np.random.default_rng(0)
    running = np.ones(B, dtype=bool)
    resets = 0
    for _ in range(30):
        pages = np.stack([rng.choice(500, 4, replace=False) for _ in range(B)])
        obs, reward, left, truncated, _ = many.step(pages)
        for i in np.flatnonzero(running):
            o, r, t, c, _ = singles[i].step(pages[i])
            assert_equal(o, {k: v[i] for k, v in obs.items()})
            assert (r, t, c) == (reward[i], left[i], truncated[i])
        assert not reward[~running].any(), "an ended session stays as it is"
        running &= ~(left | truncated)
        if running.sum() < 2:
            mask = ~running
            many.reset(options={"reset_mask": mask})
            for i in np.flatnonzero(mask):
                singles[i].reset()
            running[:] = True
            resets += 1
    assert resets >= 2


def rollout(users, seed, pages_of, rules=RULES):
    """One session of each user: {user: list of (items, watched, ratings, left, truncated)}."""
    env = PageVectorEnv(len(users), **rules, autoreset_mode="disabled")
    env.reset(seed=[seed] * len(users), options={"user": users})
    story = {u: [] for u in users}
    for number in range(rules["max_pages"]):
        env.step(np.array([pages_of(u, number) for u in users]))
        o = env.last
        for i, u in enumerate(o.users.tolist()):
            r = o.responses
            story[u].append(
                (o.pages[i].tolist(), r.watched_BK[i].tolist(), r.ratings_BK[i].tolist(), o.leave[i], o.left[i])
            )
    return story


def some_page(user, number):
    return np.random.default_rng([user, number]).choice(500, 4, replace=False)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(12)), seed=st.integers(0, 2**32))
def test_order_of_users_changes_nothing(order, seed):
    users = [3 * u for u in range(12)]
    assert rollout(users, seed, some_page) == rollout([users[i] for i in order], seed, some_page)


@settings(max_examples=10, deadline=None)
@given(size=st.integers(1, 12), seed=st.integers(0, 2**32))
def test_batch_size_changes_nothing(size, seed):
    users = list(range(0, 24, 2))
    together = rollout(users, seed, some_page)
    apart = {}
    for start in range(0, len(users), size):
        apart |= rollout(users[start : start + size], seed, some_page)
    assert together == apart


def test_seeds_matter():
    users = list(range(20))
    assert rollout(users, 1, some_page) != rollout(users, 2, some_page)


def test_same_item_same_luck_under_two_policies():
    """Common random numbers: a first-page item gets the same answer whatever else is on the page, in any slot."""
    users = list(range(100))
    first = rollout(users, 9, lambda u, n: [7, 1, 2, 3])
    second = rollout(users, 9, lambda u, n: [11, 12, 13, 7])
    for u in users:
        assert first[u][0][1][0] == second[u][0][1][3]
        assert first[u][0][2][0] == second[u][0][2][3]


def mean_reward(choose, sessions=600):
    env = PageVectorEnv(sessions, page_size=5, max_pages=10, autoreset_mode="disabled")
    obs, _ = env.reset(seed=0)
    total = np.zeros(sessions)
    while not env.sessions.ended.all():
        obs, reward, *_ = env.step(choose(env, obs))
        total += reward
    return total


def test_random_below_popularity_below_oracle():
    parameters = statistical_parameters("synthetic")
    rng = np.random.default_rng(0)

    def best(values, env):
        values = np.where(env.sessions.action_mask(), values, -np.inf)
        shown = env.sessions._items
        for row, items in enumerate(shown):
            values[row, items[items >= 0]] = -np.inf
        return np.argsort(-values, axis=1)[:, :5]

    def random(env, obs):
        return rng.integers(0, 500, (env.num_envs, 5))

    def popular(env, obs):
        counts = np.bincount(env.population.log.items, minlength=500).astype(float)
        return best(np.tile(counts, (env.num_envs, 1)), env)

    def oracle(env, obs):
        users = obs["user"][:, 0]
        items = np.tile(np.arange(500), (env.num_envs, 1))
        taste = scores(parameters, users, items)
        return best(watch_probability(parameters, users, items, taste) * taste, env)

    rewards = {policy.__name__: mean_reward(policy) for policy in (random, popular, oracle)}
    for low, high in (("random", "popular"), ("popular", "oracle")):
        gap = rewards[high] - rewards[low]
        assert gap.mean() > 3 * gap.std() / np.sqrt(len(gap)), (low, high, gap.mean())


def test_make_and_make_vec():
    env = gym.make("recsim_llm/Page-v0", page_size=3)
    obs, info = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    vec = gym.make_vec("recsim_llm/Item-v0", num_envs=3, vectorization_mode="vector_entry_point")
    obs, info = vec.reset(seed=0)
    assert vec.observation_space.contains(obs)
    vec.step(vec.action_space.sample())
    assert vec.spec is not None
    assert vec.spec.kwargs["num_envs"] == 3
