"""What a page pays: five stars, nothing watched, three stars are 8; two watched items are 2; never a mean.

Every environment pays the same way, and no empty slot pays in any of them, even for people who claim to watch it.
"""

from __future__ import annotations

import numpy as np
import pytest
from small_world import GIVEN, TITLES, WANTED, Puppets, always, everybodys_wish, write_world

from recsim_llm.agents.long_term.long_term_users import LongTermUsers
from recsim_llm.agents.long_term.quit_rule import QuitRule
from recsim_llm.agents.society.graph import SocialGraph
from recsim_llm.agents.society.inhabitants import Action
from recsim_llm.agents.statistical.return_times import ReturnParameters
from recsim_llm.environments.cross_session import CrossSessionEnv
from recsim_llm.environments.long_term import LongTermEnv
from recsim_llm.environments.page import ItemEnv, PageEnv
from recsim_llm.environments.rewards import rating_reward, watch_reward
from recsim_llm.environments.sessions import PageRules, Sessions
from recsim_llm.environments.society import Society, SocietyRules
from recsim_llm.environments.society_env import SocietyEnv
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.environments.visits import VisitRules, VisitSessions
from recsim_llm.types import EMPTY, Responses

ONE = np.zeros(1, dtype=np.int64)
KEY = np.zeros(1, dtype=np.uint64)

# Item 0 gets five stars, item 1 is never watched, item 2 gets three; a hole and a dropped repetition stand between.
WATCH, STARS = [[1, 0, 1, 0, 0]], [[5, 4, 3, 4, 4]]
PAGE = np.array([[0, EMPTY, 1, EMPTY, 2]])
ALWAYS_BACK = ReturnParameters(base=20.0, days=1)


def test_five_stars_and_three_are_eight_and_two_items():
    page = Responses(np.array([[True, False, True]]), np.array([[5.0, 0.0, 3.0]]))
    assert rating_reward(page).tolist() == [8.0]
    assert watch_reward(page).tolist() == [2.0]


def puppets(reckless=True, count=1):
    return Puppets(WATCH * count, STARS * count, reckless=reckless, plans=always(*[Action.BROWSE] * count))


def page_rules(reward):
    return PageRules(page_size=5, max_pages=3, reward=reward)


def a_session(reward):
    return Sessions(1, puppets(), page_rules(reward))


def a_vector_row(reward):
    return Sessions(3, puppets(count=3), page_rules(reward))


def a_visit(reward):
    return VisitSessions(1, puppets(), page_rules(reward), VisitRules(2, ALWAYS_BACK))


def a_long_term_session(reward):
    # Everything shown is taken up there, so item 1 pays its four stars too: 12, and 3 items.
    rule = QuitRule(nearest=0.0, low_reward=0.0, ratings="expected", repetition="none")
    inner = puppets()
    return Sessions(1, LongTermUsers(inner, rule, np.eye(5), np.ones((5, 1), dtype=bool)), page_rules(reward))


@pytest.mark.parametrize(
    ("sessions", "stars", "items"),
    [(a_session, 8.0, 2), (a_vector_row, 8.0, 2), (a_visit, 8.0, 2), (a_long_term_session, 12.0, 3)],
)
def test_holes_pay_nothing_in_any_kind_of_session(sessions, stars, items):
    for reward, paid in (("rating", stars), ("watch", float(items))):
        made = sessions(reward)
        rows = np.arange(len(made.users))
        made.begin(rows, rows, np.zeros(len(rows), dtype=np.uint64))
        outcome = made.show(rows, np.tile(PAGE, (len(rows), 1)))
        assert outcome.rewards.tolist() == [paid] * len(rows)
        assert not outcome.responses.watched_BK[:, [1, 3]].any()
        assert not outcome.responses.ratings_BK[:, [1, 3]].any()


def test_holes_pay_nothing_in_a_society():
    import networkx as nx

    pair = SocialGraph(nx.empty_graph(2))
    # Whoever wakes browses; gaps of a thousandth of an hour wake everybody in the first round.
    rules = SocietyRules(rounds=1, gap_hours=(0.001,) * 3, page=PageRules(page_size=5, max_pages=1))
    society = Society(puppets(count=2), np.arange(2), np.full(2, 2), pair, None, rules)
    society.begin(np.uint64(0))
    society.open_round()
    assert society.waiting().tolist() == [0, 1]
    outcome = society.serve(np.arange(2), np.array([[0, 0, 1, 0, 2]] * 2))
    assert outcome.pages.tolist() == [[0, EMPTY, 1, EMPTY, 2]] * 2, "a repetition is dropped, and leaves a hole"
    assert outcome.rewards.tolist() == [8.0, 8.0]
    assert outcome.responses.watched_BK.sum() == 4


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return str(write_world(tmp_path_factory.mktemp("small")))


def test_the_one_title_pays_its_stars_in_every_environment(world):
    # Person 3 wants Salt, item 7, and gives it one star; person 1 wants item 2 and gives it three.
    assert (TITLES[WANTED[3]], GIVEN[3], GIVEN[1]) == ("Salt (2015)", 1.0, 3.0)
    arguments = {"dataset": world, "user_model": "dialogue", "llm": everybodys_wish()}
    page = np.array([7, 0, 2, 7])
    for make in (PageEnv, CrossSessionEnv):
        env = make(page_size=4, **arguments)
        for user, paid in ((3, 1.0), (1, 3.0), (0, 5.0), (2, 0.0)):
            _, info = env.reset(seed=0, options={"user": user})
            _, reward, _, _, info = env.step(page)
            assert (reward, info["watched"].sum()) == (paid, int(paid > 0))
            assert info["shown"].tolist() == [7, 0, 2, EMPTY]
    item = ItemEnv(**arguments)
    for shown, paid in ((7, 1.0), (0, 0.0), (2, 0.0)):
        item.reset(seed=0, options={"user": 3})
        assert item.step(np.array(shown))[1] == paid
    vector = PageVectorEnv(4, page_size=4, reward="watch", **arguments)
    vector.reset(seed=0, options={"user": np.arange(4)})
    assert vector.step(np.tile(page, (4, 1)))[1].tolist() == [1.0, 1.0, 0.0, 1.0]


def test_long_term_people_take_up_all_and_rate_as_they_would(world):
    # The person who wants Blue Moon gives it 5; of what is not wanted, the model's 0 says nothing: every level is
    # equally likely, 3 on average.
    rule = QuitRule(nearest=0.0, low_reward=0.0, ratings="expected", repetition="none")
    env = LongTermEnv(world, "dialogue", everybodys_wish(), rule=rule, page_size=2)
    env.reset(seed=0, options={"user": 0})
    _, reward, left, _, info = env.step(np.array([0, 1]))
    assert (reward, left, info["ratings"].tolist()) == (8.0, False, [5.0, 3.0])
    _, reward, _, _, info = env.step(np.array([0, 0]))
    assert (reward, info["watched"].tolist()) == (5.0, [True, False])


def test_a_society_of_readers_pays_what_its_visitors_give(world):
    env = SocietyEnv(world, "dialogue", everybodys_wish(), rounds=15, graph="homophily:2", page_size=8, max_pages=2)
    env.reset(seed=1)
    over, paid = False, []
    while not over:
        visitor = int(env.society.waiting()[0])
        _, reward, _, over, info = env.step(np.arange(8))
        paid.append((visitor, reward))
        assert info["user"] == visitor
    assert len(paid) >= 4
    assert all(reward == GIVEN[visitor] for visitor, reward in paid)
