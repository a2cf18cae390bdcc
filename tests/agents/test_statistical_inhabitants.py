"""Statistical people in a society: contracts, plain words, and word of mouth as declared."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.agents.inhabitants import Message
from recsim_llm.agents.population import make_society
from recsim_llm.agents.sources import personas, statistical_parameters
from recsim_llm.agents.statistical_inhabitants import SocialHabits, StatisticalInhabitants
from recsim_llm.data import load_dataset
from recsim_llm.errors import ConfigError
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
