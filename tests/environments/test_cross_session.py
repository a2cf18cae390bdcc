"""CrossSession-v0: vector equals scalar, the first visit is Page-v0's, and episodes keep their rules."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from recsim_llm.agents.fitted_sources import statistical_parameters
from recsim_llm.agents.long_term.long_term_population import make_long_term
from recsim_llm.agents.population import make_population
from recsim_llm.agents.society.inhabitants import Inhabitants
from recsim_llm.agents.statistical.return_times import ReturnParameters
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.environments.cross_session import CrossSessionEnv, CrossSessionVectorEnv
from recsim_llm.environments.page import PageEnv
from recsim_llm.errors import ConfigError, SessionEndedError
from recsim_llm.testing.scripted import hash_choice_llm

ALWAYS = ReturnParameters(base=20.0, pleasure=0.0)
NEVER = ReturnParameters(base=-40.0, pleasure=0.0)
TOLD = {"visit", "day", "gap", "visit_ended", "returned", "left", "satisfaction"}


def run(env, steps: int = 200, seed: int = 0, **options):
    """One episode of random pages: its steps as (reward, left, truncated, info)."""
    env.action_space.seed(seed)
    env.reset(seed=seed, options=options or None)
    rows = []
    for _ in range(steps):
        _, *row = env.step(env.action_space.sample())
        rows.append(row)
        if row[1] or row[2]:
            return rows
    raise AssertionError("the episode does not end")


@pytest.mark.parametrize("reward", ["rating", "return"])
def test_the_checker_is_content(reward):
    check_env(CrossSessionEnv(page_size=3, reward=reward), skip_render_check=True)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("reward", ["rating", "return"])
def test_vector_equals_single_environments(mode, reward):
    rules = {"page_size": 3, "max_pages": 4, "max_visits": 3, "history_length": 20, "reward": reward}
    one = SyncVectorEnv([lambda: CrossSessionEnv(**rules)] * 5, autoreset_mode=mode)
    many = CrossSessionVectorEnv(5, **rules, autoreset_mode=mode)
    assert one.single_observation_space == many.single_observation_space
    assert one.action_space == many.action_space
    (a, told), (b, ours) = one.reset(seed=1), many.reset(seed=1)
    one.action_space.seed(0)
    ended = visits = 0
    for _ in range(60):
        np.testing.assert_equal(a, b)
        same_info(told, ours, mode)
        action = one.action_space.sample()
        (a, *rest, told), (b, *others, ours) = one.step(action), many.step(action)
        for x, y in zip(rest, others, strict=True):
            np.testing.assert_array_equal(x, y)
        ended += int((rest[1] | rest[2]).sum())
        visits += int(ours["returned"].sum())
    assert ended > 5
    assert visits > 20


def same_info(told, ours, mode):
    """The same keys, and the same values wherever Gymnasium's masks say that there is one."""
    keys = {key for key in told if not key.startswith("_")} - {"final_obs", "final_info"}
    assert keys >= TOLD
    for key in keys:
        mask = told[f"_{key}"]
        np.testing.assert_array_equal(told[key][mask], ours[key][mask], err_msg=key)
        assert ours[f"_{key}"][mask].all()
    assert ("final_info" in told) == ("final_info" in ours)
    if "final_info" in told:
        mask = told["_final_info"]
        np.testing.assert_array_equal(mask, ours["_final_info"])
        for key in TOLD:
            np.testing.assert_array_equal(told["final_info"][key][mask], ours["final_info"][key][mask], err_msg=key)
        for x, y in zip(told["final_obs"], ours["final_obs"], strict=True):
            np.testing.assert_equal(x, y)


def test_disabled_autoreset_leaves_an_ended_episode_until_it_is_reset():
    env = CrossSessionVectorEnv(4, page_size=2, max_pages=2, max_visits=2, autoreset_mode="disabled")
    env.reset(seed=0)
    env.action_space.seed(0)
    over = np.zeros(4, dtype=bool)
    while not over.all():
        before = env.sessions.visits[over].copy()
        *_, left, truncated, info = env.step(env.action_space.sample())
        assert not (left | truncated)[over].any()
        assert not info["visit_ended"][over].any()
        np.testing.assert_array_equal(env.sessions.visits[over], before)
        over |= left | truncated
    _, info = env.reset(options={"reset_mask": np.array([True, False, False, True])})
    assert info["_visit"].tolist() == [True, False, False, True]
    assert (~env.sessions.ended).tolist() == [True, False, False, True]
    assert env.sessions.visits[[0, 3]].tolist() == [0, 0]


def test_the_first_visit_is_that_of_the_page_environment():
    many, one = CrossSessionEnv(page_size=4), PageEnv(page_size=4)
    for seed in range(5):
        (a, _), (b, _) = many.reset(seed=seed), one.reset(seed=seed)
        np.testing.assert_equal(a, b)
        left = truncated = False
        many.action_space.seed(seed)
        while not (left or truncated):
            page = many.action_space.sample()
            _, reward, *_, told = many.step(page)
            _, expected, left, truncated, info = one.step(page)
            assert reward == expected
            assert {key: told[key] for key in ("left", "leave_probability")} == {
                key: info[key] for key in ("left", "leave_probability")
            }
        assert told["visit_ended"]
        assert told["visit"] == 0


@pytest.mark.parametrize("seed", range(8))
def test_an_episode_is_a_row_of_visits(seed):
    rows = run(CrossSessionEnv(page_size=2, max_visits=4, max_pages=3), seed=seed)
    visit = day = pages = 0
    for number, (_, left, truncated, info) in enumerate(rows):
        assert (info["visit"], info["day"]) == (visit, day)
        pages += 1
        assert info["visit_ended"] == (info["left"] or pages == 3)
        assert info["returned"] == (info["gap"] > 0)
        assert 0 <= info["gap"] <= 10
        assert left == (info["visit_ended"] and not info["returned"])
        assert truncated == (info["returned"] and visit == 3)
        assert (left or truncated) == (number == len(rows) - 1)
        if info["visit_ended"]:
            visit, day, pages = visit + 1, day + info["gap"], 0


def test_the_same_seed_is_the_same_run():
    rows = [repr(run(CrossSessionEnv(page_size=2), seed=3)) for _ in range(2)]
    assert rows[0] == rows[1]
    assert repr(run(CrossSessionEnv(page_size=2), seed=4)) != rows[0]


def test_who_always_returns_is_truncated_and_who_never_does_terminated():
    *_, (_, left, truncated, info) = run(CrossSessionEnv(page_size=2, max_visits=3, returning=ALWAYS))
    assert (left, truncated, info["visit"], info["day"]) == (False, True, 2, 2)
    *_, (_, left, truncated, info) = run(CrossSessionEnv(page_size=2, max_visits=3, returning=NEVER))
    assert (left, truncated, info["visit"]) == (True, False, 0)


@pytest.mark.parametrize("seed", range(6))
def test_the_reward_of_returning_is_minus_all_gaps_seen_or_missed(seed):
    returning = ReturnParameters(base=-2.0)
    rows = run(CrossSessionEnv(page_size=2, max_visits=4, returning=returning, reward="return"), seed=seed)
    gaps = [info["gap"] for *_, info in rows if info["returned"]]
    assert all(reward == 0 for reward, *_, info in rows if not info["visit_ended"])
    assert sum(reward for reward, *_ in rows) == -sum(gaps) - 11 * (4 - len(gaps))


def test_driving_people_away_is_never_worth_it():
    def total(returning):
        env = CrossSessionEnv(page_size=2, max_visits=5, returning=returning, reward="return")
        return sum(reward for reward, *_ in run(env))

    assert total(NEVER) < total(ReturnParameters(base=-3.0, pleasure=0.0, per_day=2.0)) < total(ALWAYS) == -5.0


def test_pleased_people_come_back_more_often():
    """The items with the highest true ratings, beside the lowest, for the same people with the same luck."""
    parameters = statistical_parameters("synthetic")
    taste = parameters.item_bias + parameters.user_factors @ parameters.item_factors.T
    order = taste.argsort(axis=1)
    kept = []
    for best in (True, False):
        env = CrossSessionVectorEnv(60, max_visits=4, max_pages=3, page_size=5, autoreset_mode="disabled")
        env.reset(seed=0)
        returns = np.zeros(60)
        while not env.sessions.ended.all():
            users, page = env.sessions.users, env.sessions.pages_seen
            places = (page % 3)[:, None] * 5 + np.arange(5)
            columns = order.shape[1] - 1 - places if best else places
            *_, info = env.step(order[users[:, None], columns])
            returns += info["returned"]
        kept.append(returns.mean())
    assert kept[0] > kept[1] + 1.0


def test_the_history_goes_on_and_what_was_watched_is_remembered():
    users = StatisticalUsers(statistical_parameters("synthetic"))
    env = CrossSessionEnv(user_model=users, page_size=2, max_pages=1, max_visits=3, returning=ALWAYS)
    seen = 0
    for seed in range(30):
        env.reset(seed=seed)
        *_, first = env.step(np.array([1, 2]))
        assert first["visit_ended"]
        observation, _, _, _, second = env.step(np.array([1, 2]))
        assert observation["history_items"][-4:].tolist() == [1, 2, 1, 2]
        watched = first["watched"]
        seen += int(watched.sum())
        factor = np.where(watched, users.parameters.rewatch, 1.0)
        np.testing.assert_allclose(second["watch_probability"], first["watch_probability"] * factor)
    assert seen > 0


def test_language_model_agents_live_on():
    population = make_population("synthetic", "agent4rec", hash_choice_llm(0))
    assert isinstance(population.users, Inhabitants)
    env = CrossSessionEnv(user_model=population.users, page_size=2, max_pages=1, max_visits=2, returning=ALWAYS)
    rows = run(env)
    assert [row[3]["visit"] for row in rows] == [0, 1]
    assert population.users.agent(0).hour >= 24.0


def test_users_of_one_visit_are_refused():
    with pytest.raises(ConfigError, match="live for one visit only"):
        CrossSessionEnv(user_model=make_long_term("synthetic").users)


@pytest.mark.parametrize("wrong", [{"max_visits": 0}, {"returning": "never"}, {"reward": "stars"}])
@pytest.mark.parametrize("make", [CrossSessionEnv, CrossSessionVectorEnv])
def test_impossible_arguments(make, wrong):
    with pytest.raises(ConfigError):
        make(**wrong)


def test_an_ended_episode_takes_no_page():
    env = CrossSessionEnv(page_size=1, max_pages=1, returning=NEVER)
    run(env)
    with pytest.raises(SessionEndedError):
        env.step(env.action_space.sample())


def test_a_limit_of_steps_counts_the_pages_of_all_visits():
    env = CrossSessionVectorEnv(3, page_size=1, max_pages=2, returning=ALWAYS, max_episode_steps=5)
    limited = SyncVectorEnv(
        [lambda: gym.wrappers.TimeLimit(CrossSessionEnv(page_size=1, max_pages=2, returning=ALWAYS), 5)] * 3
    )
    env.reset(seed=0)
    limited.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(5):
        page = env.action_space.sample()
        *_, left, truncated, _ = env.step(page)
        *_, expected_left, expected, _ = limited.step(page)
        np.testing.assert_array_equal(left, expected_left)
        np.testing.assert_array_equal(truncated, expected)
    assert truncated.all()


def test_a_fitted_return_model():
    fitted = CrossSessionEnv(returning="fitted").sessions.visit_rules.returning
    assert fitted != ReturnParameters()
    assert fitted.days == 10


PAGE = Path(__file__).parents[2] / "docs" / "long_term_levels.md"


@pytest.mark.skipif(not PAGE.exists(), reason="tests run outside the repository")
@pytest.mark.filterwarnings("default")
def test_the_examples_of_the_docs_run(capsys):
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL):
        exec(compile(code, PAGE.name, "exec"), {})
    said = capsys.readouterr().out
    assert "then away for" in said
    assert "returns of 200 people" in said
