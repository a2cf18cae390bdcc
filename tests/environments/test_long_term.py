"""LongTerm-v0: the vector environment equals single ones, and its bounds are bounds."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from recsim_llm.agents.long_term.long_term_population import make_long_term
from recsim_llm.environments.long_term import LongTermEnv, LongTermVectorEnv
from recsim_llm.environments.sessions import PageRules
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.bounds import make_fixed_list, make_oracle
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.rollout import choose_visitors, rollout
from recsim_llm.policies import make_policy


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("page_size", [1, 3])
def test_vector_equals_single_environments(mode, page_size):
    rules = {"page_size": page_size, "max_pages": 9, "history_length": 20}
    one = SyncVectorEnv([lambda: LongTermEnv(**rules)] * 5, autoreset_mode=mode)
    many = LongTermVectorEnv(5, **rules, autoreset_mode=mode)
    assert one.action_space == many.action_space
    (a, _), (b, _) = one.reset(seed=1), many.reset(seed=1)
    one.action_space.seed(0)
    ended = 0
    for _ in range(40):
        np.testing.assert_equal(a, b)
        action = one.action_space.sample()
        (a, *rest), (b, *others) = one.step(action), many.step(action)
        for x, y in zip(rest[:3], others[:3], strict=True):
            np.testing.assert_array_equal(x, y)
        ended += int((rest[1] | rest[2]).sum())
    assert ended > 5


def test_the_same_item_again_ends_the_session():
    env = gym.make("recsim_llm/LongTerm-v0", rule="window?low_reward=0")
    env.reset(seed=0)
    _, reward, left, *_ = env.step(7)
    assert not left
    assert 1.0 <= reward <= 5.0
    *_, left, truncated, info = env.step(7)
    assert left
    assert not truncated
    assert info["leave_probability"] == 1.0


@pytest.mark.parametrize(("first", "leaves"), [("true", True), ("false", False)])
def test_whether_the_first_item_can_make_a_person_leave(first, leaves):
    rule = f"window?ratings=expected&first_item={first}"
    population = make_long_term("synthetic", rule=rule)
    stars = make_oracle(population, 1, 30).fitted["ratings"]
    user, item = np.unravel_index(stars.argmin(), stars.shape)
    assert stars[user, item] < 2
    env = gym.make("recsim_llm/LongTerm-v0", rule=rule)
    env.reset(seed=0, options={"user": int(user)})
    assert env.step(int(item))[2] is leaves


@pytest.mark.parametrize(
    "rule", ["window?ratings=expected", "window?nearest=0&repeats=1&window=6&ratings=expected", "window"]
)
def test_the_oracle_is_an_upper_bound(rule):
    rules = PageRules(page_size=1, max_pages=15)
    earned = {}
    for name in ("random", "popularity", "ease", "oracle"):
        population = make_long_term("synthetic", rule=rule)
        catalogue = population.dataset.catalogue
        policy = (
            make_oracle(population, 1, 15)
            if name == "oracle"
            else make_policy(name, population.log, catalogue, page_size=1)
        )
        visitors = choose_visitors(200, 60, seed=0)
        steps = list(rollout("synthetic", population.users, policy, visitors, rules, 0, 60))
        earned[name] = sum(step.reward.sum() for step in steps) / 60
        if name == "oracle" and "expected" in rule:
            assert not any(step.left.any() for step in steps), "who knows all need not let anybody leave"
    assert earned["oracle"] > 1.5 * max(earned["random"], earned["popularity"], earned["ease"])


def test_one_list_for_everybody_is_good_and_the_oracle_is_better():
    """The setting's limit, which is why every study has this row: it pays variety first, and a list has that too."""
    rules, earned = PageRules(page_size=1, max_pages=30), {}
    visitors = choose_visitors(200, 200, seed=0)
    for name in ("fixed-list", "oracle"):
        population = make_long_term("synthetic")
        policy = (
            make_oracle(population, 1, 30) if name == "oracle" else make_fixed_list(population, visitors[60:], 1, 30)
        )
        steps = list(rollout("synthetic", population.users, policy, visitors[:60], rules, 0, 60))
        earned[name] = sum(step.reward.sum() for step in steps) / 60
        if name == "fixed-list":
            assert all(len(np.unique(step.items)) == 1 for step in steps), "everybody is shown the same"
            assert len({int(step.items[0, 0]) for step in steps}) == 30, "and nothing twice"
    assert earned["oracle"] > 1.1 * earned["fixed-list"] > 0.5 * earned["oracle"]


def test_the_fixed_list_is_the_best_on_average():
    """Where nobody leaves, the list is the items by their mean stars."""
    population = make_long_term("synthetic", rule="window?nearest=0&low_reward=0")
    stars = make_oracle(population, 1, 30).fitted["ratings"][:50]
    order = make_fixed_list(population, np.arange(50), 1, 5).fitted["order"]
    assert order.tolist() == np.argsort(-stars.mean(axis=0), kind="stable")[:5].tolist()
    with pytest.raises(ConfigError, match="name fewer --users"):
        make_fixed_list(population, np.arange(0), 1, 5)


def test_language_model_users_live_in_it():
    env = LongTermVectorEnv(4, user_model="agent4rec", llm="uniform", max_pages=3, rule="window?ratings=expected")
    env.reset(seed=0)
    _, reward, *_ = env.step(np.array([1, 2, 3, 4]))
    assert (reward == 3.0).all(), "a model that finds everything equally likely gives three stars"


@pytest.mark.parametrize("make", [LongTermEnv, lambda **rules: LongTermVectorEnv(1, **rules)])
def test_nothing_shown_in_a_session_is_forgotten(make):
    """With a cap of 70 and 50 impressions, what was shown 51 turns ago would count as new and be shown again."""
    env = make(max_pages=70, rule="window?nearest=0&low_reward=0")
    env.reset(seed=0)
    action = (lambda i: np.array([i])) if isinstance(env, LongTermVectorEnv) else int
    for item in range(69):
        observation, *_ = env.step(action(item))
    history = np.atleast_2d(observation["history_items"])[0]
    assert history[-69:].tolist() == list(range(69))
    assert make(max_pages=70, history_length=20).reset(seed=0)[0]["history_items"].shape[-1] == 20
    assert SimulationConfig(quit="window", pages=70, page_size=1).rules.history_length == 70
    assert SimulationConfig(pages=5, page_size=10).rules.history_length == 50
