"""Statistical people in a society: contracts, plain words, and word of mouth as declared."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import personas, statistical_parameters
from recsim_llm.agents.population import make_society
from recsim_llm.agents.society.inhabitants import Message
from recsim_llm.agents.society.statistical_inhabitants import SocialHabits, StatisticalInhabitants
from recsim_llm.agents.statistical.statistical_users import rating_distribution, scores
from recsim_llm.data import load_dataset
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.testing.inhabitants_contract import InhabitantsContract
from recsim_llm.testing.user_model_contract import UserModelContract
from recsim_llm.types import Responses


def people(**habits):
    catalogue = load_dataset("synthetic").catalogue
    return StatisticalInhabitants(
        statistical_parameters("synthetic"), catalogue, personas("synthetic"), SocialHabits(**habits)
    )


class TestUsers(UserModelContract):
    def make(self):
        return people()


class TestInhabitants(InhabitantsContract):
    def inhabitants(self):
        return people()


def odds(p):
    return p / (1 - p)


def test_word_of_mouth_multiplies_the_odds_as_declared():
    users, page = np.array([1]), np.array([[3, 4]])
    each = people(word_of_mouth=0.5, most_words=2)
    each.reset(users, users, np.zeros(1, dtype=np.uint64))
    before = each.react(users, page).watch_BK[0]
    for count, shift in ((1, 0.5), (2, 1.0), (3, 1.0)):
        each.hear(users, [Message(9, "", 3, 5.0)], np.zeros(1))
        after = each.react(users, page).watch_BK[0]
        assert np.isclose(odds(after[0]) / odds(before[0]), np.exp(shift)), count
        assert after[1] == before[1]
    each.hear(users, [Message(9, "", 4, 1.0)], np.zeros(1))
    assert np.isclose(odds(each.react(users, page).watch_BK[0, 1]) / odds(before[1]), np.exp(-0.5))


def test_ones_own_words_and_words_about_nothing_move_nobody():
    users, page = np.array([1]), np.array([[3, 4]])
    each = people()
    each.reset(users, users, np.zeros(1, dtype=np.uint64))
    before = each.react(users, page).watch_BK
    each.hear(np.array([1, 1]), [Message(1, "mine", 3, 5.0), Message(9, "hello")], np.zeros(2))
    np.testing.assert_array_equal(each.react(users, page).watch_BK, before)


def test_people_talk_about_what_they_liked_best_of_what_they_watched_last():
    users = np.array([1])
    each = people()
    each.reset(users, users, np.zeros(1, dtype=np.uint64))
    assert "not watched" in each.post(users, np.zeros(1))[0].text
    stars = np.array([[2.0, 0.0, 5.0]])
    each.observe(users, np.array([[7, 8, 9]]), Responses(stars > 0, stars))
    post = each.post(users, np.zeros(1))[0]
    assert (post.item, post.stars) == (9, 5.0)
    assert load_dataset("synthetic").catalogue[9].label in post.text


def test_searches_go_through_liked_genres():
    user = next(p.user for p in personas("synthetic") if len(p.likes) > 1)
    users = np.array([user])
    each = people()
    each.reset(users, users, np.zeros(1, dtype=np.uint64))
    queries = [each.search_query(users, np.zeros(1))[0] for _ in range(2)]
    assert queries == list(personas("synthetic")[user].likes[:2])


def test_habits_must_be_probabilities():
    with pytest.raises(ConfigError, match="at most 1"):
        SocialHabits(browse=0.9, search=0.2)


def test_users_who_live_for_one_visit_make_no_society():
    with pytest.raises(ConfigError, match="one visit only"):
        make_society("synthetic", "llm", "uniform")


def shown(each, users, page):
    each.observe(users, page, Responses(np.zeros(page.shape, dtype=bool), np.zeros(page.shape)))


def test_each_earlier_page_with_an_item_moves_watching_by_the_exposure():
    users, page = np.array([1]), np.array([[3, 4]])
    each = people(exposure=0.2, most_exposures=2)
    each.reset(users, users, np.zeros(1, dtype=np.uint64))
    before = each.react(users, page).watch_BK[0]
    for times, shift in ((1, 0.2), (2, 0.4), (3, 0.4)):  # two pages count, at most
        shown(each, users, np.array([[3, 9]]))
        after = each.react(users, page).watch_BK[0]
        assert np.isclose(odds(after[0]) / odds(before[0]), np.exp(shift)), times
        assert after[1] == before[1]
    each.visit(users, np.zeros(1))
    assert each.react(users, page).watch_BK[0, 0] == after[0], "not of this visit alone"


def test_conformity_moves_taste_towards_the_mean_that_was_heard():
    users, page = np.array([1]), np.array([[3, 4]])
    each, plain = people(conformity=0.25), people()
    for one in (each, plain):
        one.reset(users, users, np.zeros(1, dtype=np.uint64))
        one.hear(np.array([1, 1]), [Message(9, "", 3, 5.0), Message(8, "", 3, 2.0)], np.zeros(2))
    parameters = statistical_parameters("synthetic")
    taste = scores(parameters, users, page)
    moved = taste + [[0.25 * (3.5 - taste[0, 0]), 0.0]]  # a quarter of the way to (5 + 2) / 2
    np.testing.assert_allclose(each.react(users, page).rating_BKR, rating_distribution(parameters, moved))
    np.testing.assert_array_equal(each.react(users, page).watch_BK, plain.react(users, page).watch_BK)


def test_people_search_what_was_praised_most_until_they_have_watched_it():
    user = np.array([1])
    each = people(seek=1.0)
    each.reset(user, user, np.zeros(1, dtype=np.uint64))
    said = [Message(9, "", 3, 4.0), Message(9, "", 4, 5.0), Message(8, "", 4, 4.0), Message(8, "", 5, 1.0)]
    each.hear(np.repeat(user, 4), said, np.zeros(4))
    catalogue = load_dataset("synthetic").catalogue
    assert each.search_query(user, np.zeros(1)) == [catalogue[4].title]
    each.observe(user, np.array([[4]]), Responses(np.array([[True]]), np.array([[2.0]])))
    assert each.search_query(user, np.zeros(1)) == [catalogue[3].title]
    each.observe(user, np.array([[3]]), Responses(np.array([[True]]), np.array([[2.0]])))
    likes = personas("synthetic")[1].likes or catalogue.genres
    assert each.search_query(user, np.zeros(1)) == [likes[2 % len(likes)]], "item 5 was not praised"


def test_seeking_has_its_probability():
    users = np.arange(200)
    each = people(seek=0.3)
    each.reset(users, users, users.astype(np.uint64) * 7919)
    each.hear(users, [Message(-1, "", 3, 5.0)] * 200, np.zeros(200))
    title = load_dataset("synthetic").catalogue[3].title
    share = np.mean([query == title for _ in range(5) for query in each.search_query(users, np.zeros(200))])
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 1000)


@pytest.mark.parametrize(
    ("option", "value"),
    [("word_of_mouth", -0.1), ("word_of_mouth", 11.0), ("seek", 1.5), ("conformity", 2.0), ("exposure", 6.0),
     ("exposure", float("nan")), ("most_words", 0)],
)  # fmt: skip
def test_effects_have_ranges(option, value):
    with pytest.raises(ConfigError, match=option):
        SocialHabits(**{option: value})


def test_habits_are_those_of_statistical_people():
    habits = SocialHabits(word_of_mouth=2.0)
    assert make_society("synthetic", graph="none", habits=habits).users.habits is habits
    with pytest.raises(ConfigError, match="take 'statistical' or 'hybrid' users"):
        make_society("synthetic", "recagent", "uniform", "none", habits=habits)
    with pytest.raises(ConfigError, match=r"--word-of-mouth 2: only statistical and hybrid people in a society"):
        SimulationConfig(word_of_mouth=2.0).check()
    with pytest.raises(ConfigError, match="--seek 0: only statistical and hybrid"):
        SimulationConfig(seek=0.0, rounds=3, user_model="recagent").check()
    SimulationConfig(seek=0.0, rounds=3).check()
