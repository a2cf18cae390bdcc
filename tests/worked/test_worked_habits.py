"""People who differ in the long-term setting, with the numbers worked out by hand; and what knowing them is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_world import LEVELS, Puppets

from recsim_llm.agents.long_term.habits import Habits
from recsim_llm.agents.long_term.long_term_population import make_long_term
from recsim_llm.agents.long_term.long_term_users import LongTermUsers
from recsim_llm.agents.long_term.quit_rule import QuitRule
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.data.rating_levels import moved
from recsim_llm.environments.sessions import PageRules
from recsim_llm.experiments.bounds import make_fixed_list, make_oracle
from recsim_llm.experiments.simulation.rollout import choose_visitors, rollout
from recsim_llm.policies.bounds.oracle import Oracle
from recsim_llm.types import EMPTY, Responses

PLACES = np.array([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])[:, None]
GENRES = np.ones((6, 1), dtype=bool)
TWO = np.arange(2)
NAME = "synthetic:0:400"


def two_people(stars=5.0, slopes=(0.0, 0.0), thresholds=(2.0, 4.0), **rule):
    habits = Habits(np.array(thresholds), np.array(slopes), np.array([0.2, 0.2]), 10.0, {})
    users = LongTermUsers(
        Puppets(np.zeros((2, 6)), np.full((2, 6), stars)), QuitRule(low_reward=0.0, **rule), PLACES, GENRES, habits
    )
    users.reset(TWO, TWO, TWO.astype(np.uint64))
    return users


def leave(users, item):
    loved = np.full((2, 1), 5.0)
    return users.observe(TWO, np.full((2, 1), item), Responses(loved > 0, loved)).tolist()


def test_two_people_and_the_same_two_items():
    """Places 0 and 3 are 3 apart: too near for a threshold of 4, not for one of 2."""
    users = two_people()
    assert leave(users, 0) == [0.0, 0.0]
    assert leave(users, 2) == [0.0, 1.0]
    common = two_people(tolerance="common", nearest=0.3)  # everybody's is 4 here
    leave(common, 0)
    assert leave(common, 2) == [1.0, 1.0]
    # Handles are places; who sits there is what counts.
    users.reset(TWO, TWO[::-1], TWO.astype(np.uint64))
    leave(users, 0)
    assert leave(users, 2) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("slope", "item", "five", "four"),
    [
        (-1.0, 2, 0.5, 0.5),  # place 3 after 0: nearness 1 - 3/10, 0.5 above the usual 0.2: half a star
        (-2.0, 2, 0.0, 1.0),  # a whole star
        (-4.0, 2, 0.0, 1.0),  # as far as one level takes it
        (-1.0, 5, 1.0, 0.0),  # place 15: nearness 0, 0.2 below the usual; five stars cannot be more
        (1.0, 5, 0.8, 0.2),  # who likes repetition gives 0.2 less
        (1.0, 2, 1.0, 0.0),
    ],
)
def test_what_repetition_does_to_five_stars(slope, item, five, four):
    users = two_people(slopes=(0.0, slope), nearest=0.0)
    pages = np.full((2, 1), item)
    assert users.react(TWO, pages).rating_BKR[:, 0, 4].tolist() == [1.0, 1.0], "nothing was shown before"
    leave(users, 0)
    found = users.react(TWO, pages).rating_BKR[:, 0]
    assert found[0].tolist() == [0, 0, 0, 0, 1], "the other person does not mind"
    assert found[1, 3:].tolist() == pytest.approx([four, five])
    without = two_people(slopes=(0.0, slope), nearest=0.0, repetition="none")
    leave(without, 0)
    assert without.react(TWO, pages).rating_BKR[1, 0, 4] == 1.0


def test_moved_means_move_by_just_so_much():
    rng = np.random.default_rng(0)
    chances, stars = rng.dirichlet(np.ones(5), 1_000), rng.uniform(-0.3, 0.3, 1_000)
    out = moved(chances, stars, LEVELS)
    can = (chances[:, 1:].sum(axis=1) > 0.3) & (chances[:, :-1].sum(axis=1) > 0.3)
    assert np.allclose((out @ LEVELS - chances @ LEVELS)[can], stars[can])
    assert out.min() >= 0 and np.allclose(out.sum(axis=1), 1)  # noqa: PT018
    halves = moved(np.array([[0.5, 0.5, 0.0]]), np.array([0.6]), np.array([1.0, 2.0, 5.0]))
    # Up: half by one star, half by three, 2 in the mean; 0.6 of it are 0.3 of each.
    assert halves.tolist() == [pytest.approx([0.35, 0.5, 0.15])]


def world(alike=False, bias=None, vectors=None, thresholds=None, rule="window?repetition=none"):
    """The people of an invented world; all of one taste if they are alike, and with other items and thresholds."""
    population = make_long_term(NAME, rule=rule)
    users, inner = population.users, population.users.inner
    assert isinstance(inner, StatisticalUsers)
    p = inner.parameters
    if alike:
        p = replace(p, user_factors=np.zeros_like(p.user_factors), user_bias=np.zeros_like(p.user_bias))
    p = p if bias is None else replace(p, item_bias=bias)
    habits = replace(
        users.habits, thresholds=np.full(400, users.likeness.threshold) if thresholds is None else thresholds
    )
    vectors = users.likeness.vectors if vectors is None else vectors
    return replace(population, users=LongTermUsers(StatisticalUsers(p), users.rule, vectors, users.genres, habits))


def personal(population, people=100):
    """Mean and standard error of oracle less fixed list, R with the last turn, over paired people."""
    visitors, earned = choose_visitors(400, 400, 0), []
    rules = PageRules(page_size=1, max_pages=30)
    for policy in (make_oracle(population, 1, 30), make_fixed_list(population, visitors[people:], 1, 30)):
        mine = np.zeros(people)
        for step in rollout(NAME, population.users, policy, visitors[:people], rules, 0, people):
            np.add.at(mine, step.session, step.reward)
        earned.append(mine)
    gap = earned[0] - earned[1]
    return gap.mean(), gap.std() / np.sqrt(people)


def test_where_tastes_differ_knowing_people_wins():
    mean, error = personal(world())
    assert mean > 10
    assert mean > 4 * error


def test_where_tolerances_alone_differ_knowing_people_wins():
    """Of ten kinds of items one is good. Half of the people mind no kind twice, half mind it within four turns.

    A list for all shows the good kind every fifth turn, 6 times in 30, or the others leave. Who minds nothing could see
    it 30 times: they miss 24 times what a good item has above an ordinary one.
    """
    kinds = np.eye(10)[np.arange(500) % 10]
    bias = np.where(np.arange(500) % 10 == 0, 1.3, 0.0)
    thresholds = np.where(np.arange(400) % 2 == 0, 0.0, 1.0)
    population = world(True, bias, kinds, thresholds, "window?repetition=none&low_reward=0")
    stars = make_oracle(population, 1, 30).fitted["ratings"][0]
    mind_nothing = (choose_visitors(400, 100, 0) % 2 == 0).mean()
    mean, error = personal(population)
    assert mean == pytest.approx(mind_nothing * 24 * (stars[0] - stars[1]), abs=4 * error)
    assert mean > 10
    assert mean > 4 * error


def test_where_everybody_is_the_same_knowing_people_wins_nothing():
    mean, _ = personal(world(alike=True))
    assert mean == pytest.approx(0.0, abs=1e-9)


def test_an_oracle_of_older_runs_acts_as_it_did():
    """It had one threshold, put off by a million what was too alike or too low, and never showed what is known."""
    log = make_long_term("synthetic").log
    ratings = np.full((200, 500), 3.0, dtype=np.float32)
    ratings[:, 4], ratings[:, 5], ratings[0, 6] = 5.0, 4.0, 1.0
    vectors = np.arange(500.0)[:, None]
    truth = {"ratings": ratings, "vectors": vectors, "genres": np.zeros((500, 1), dtype=bool)}
    numbers = {"threshold": 1.5, "window": 4, "repeats": -1, "low_reward": 2.0}
    oracle = Oracle.knowing({**truth, **{k: np.array(v) for k, v in numbers.items()}}, log, 1)
    observation = {
        "user": np.zeros((1, 1), dtype=np.int64), "page": np.ones((1, 1), dtype=np.int64),
        "history_items": np.array([[EMPTY, 4]]), "history_ratings": np.array([[0.0, 5.0]]),
        "history_mask": np.array([[0, 1]]),
    }  # fmt: skip
    scores = oracle.scores(observation, None)[0]
    assert scores[[2, 3, 4, 5, 6]].tolist() == [3.0, 3.0 - 1e6, 5.0 - 1e6, 4.0 - 1e6, 1.0 - 1e6]
    assert oracle.excluded(np.array([[True]])).all()
