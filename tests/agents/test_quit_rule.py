"""The window rule against a slow reference, and people in the long-term setting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.agents.long_term.long_term_population import make_long_term, rule_line, rule_of, rule_of_older
from recsim_llm.agents.long_term.long_term_users import LongTermUsers
from recsim_llm.agents.long_term.quit_rule import QuitRule
from recsim_llm.agents.named_users import played_by_llm
from recsim_llm.agents.user_model import Description
from recsim_llm.data.likeness import Likeness
from recsim_llm.data.rating_levels import nearest_level
from recsim_llm.errors import ConfigError
from recsim_llm.testing.user_model_contract import UserModelContract
from recsim_llm.types import EMPTY, Reaction, Responses

N = 12
LEVELS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
RNG = np.random.default_rng(0)
PUBLISHED = QuitRule(ratings="expected", tolerance="common", repetition="none")
VECTORS, GENRES = RNG.normal(size=(N, 2)), RNG.random((N, 3)) < 0.4


class FixedUsers:
    """People whose expected rating of item i by user u is given, who would leave with probability 0.25."""

    num_users, num_items, rating_levels = 9, N, LEVELS

    def reset(self, sessions, users, keys):
        self.users = dict(zip(sessions.tolist(), users.tolist(), strict=True))

    def react(self, sessions, pages):
        probs = np.full((*pages.shape, 5), 0.2)
        return Reaction(np.full(pages.shape, 0.5), probs)

    def observe(self, sessions, pages, responses):
        return np.full(len(sessions), 0.25)

    def describe(self):
        return Description()


def slow_quits(rule: QuitRule, threshold: float, turns: list[list[int]], stars: list[list[float]]) -> list[bool]:
    """Item by item, as one would explain it."""
    shown: list[int] = []
    out = []
    for page, given_stars in zip(turns, stars, strict=True):
        items = [i for i in page if i != EMPTY]
        window = shown[-rule.window :]
        alike = 0
        for item in items:
            near = rule.nearest > 0 and any(np.linalg.norm(VECTORS[item] - VECTORS[w]) < threshold for w in window)
            crowded = rule.repeats is not None and any(
                sum(bool(GENRES[w][g]) for w in window) > rule.repeats for g in range(3) if GENRES[item][g]
            )
            alike += near or crowded
        leaves = bool(items) and alike >= rule.share * len(items)
        best = max(given_stars)
        if best < rule.low_reward and (window or rule.first_item):
            leaves = True
        out.append(leaves)
        shown += items
    return out


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_window_is_that_of_a_slow_reference(data):
    K = data.draw(st.integers(1, 3))
    rule = QuitRule(
        window=data.draw(st.integers(1, 5)),
        nearest=data.draw(st.sampled_from([0.0, 0.1, 0.4])),
        repeats=data.draw(st.sampled_from([None, 0, 1])),
        low_reward=data.draw(st.sampled_from([0.0, 2.0, 4.0])),
        first_item=data.draw(st.booleans()),
        share=data.draw(st.sampled_from([0.3, 0.5, 1.0])),
        tolerance="common",
        repetition="none",
    )
    turns = data.draw(st.lists(st.lists(st.integers(EMPTY, N - 1), min_size=K, max_size=K), min_size=1, max_size=9))
    stars = [[0.0 if i == EMPTY else data.draw(st.sampled_from(LEVELS.tolist())) for i in page] for page in turns]
    users = LongTermUsers(FixedUsers(), rule, VECTORS, GENRES)
    one = np.array([3])
    users.reset(one, np.array([0]), one.astype(np.uint64))
    got = []
    for page, given_stars in zip(turns, stars, strict=True):
        pages, ratings = np.array([page]), np.array([given_stars])
        got.append(bool(users.observe(one, pages, Responses(ratings > 0, ratings))[0] == 1.0))
    assert got == slow_quits(rule, users.likeness.threshold, turns, stars)


def test_everything_shown_is_taken_up_and_ratings_are_sure():
    users = LongTermUsers(FixedUsers(), PUBLISHED, VECTORS, GENRES)
    users.reset(np.arange(2), np.arange(2), np.zeros(2, dtype=np.uint64))
    reaction = users.react(np.arange(2), np.array([[1, EMPTY], [2, 3]]))
    assert reaction.watch_BK.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert (reaction.rating_BKR.max(axis=-1) == 1.0).all()
    assert (reaction.rating_BKR @ LEVELS == 3.0).all()
    sampled = LongTermUsers(FixedUsers(), dataclasses.replace(PUBLISHED, ratings="sampled"), VECTORS, GENRES)
    sampled.reset(np.arange(2), np.arange(2), np.zeros(2, dtype=np.uint64))
    assert (sampled.react(np.arange(1), np.array([[1]])).rating_BKR == 0.2).all()


def test_the_nearest_level():
    chances = np.zeros((1, 3, 5))
    chances[0, 0, [3, 4]] = 0.4, 0.6
    chances[0, 1, [0, 1]] = 0.5  # 1.5 stars: a tie goes to the lower level
    chances[0, 2, 4] = 1.0
    assert (nearest_level(chances, LEVELS) @ LEVELS).tolist() == [[5.0, 1.0, 5.0]]


def test_own_leaving_counts_where_the_rule_says_so():
    for hazard, expected in ((False, 0.0), (True, 0.25)):
        users = LongTermUsers(FixedUsers(), dataclasses.replace(PUBLISHED, hazard=hazard, nearest=0.0), VECTORS, GENRES)
        users.reset(np.array([0]), np.array([0]), np.zeros(1, dtype=np.uint64))
        ratings = np.array([[5.0]])
        assert users.observe(np.array([0]), np.array([[1]]), Responses(ratings > 0, ratings))[0] == expected


def test_the_threshold_is_the_quantile_of_all_pairs():
    vectors = np.random.default_rng(1).normal(size=(300, 4))
    pairs = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)[np.triu_indices(300, 1)]
    for quantile in (0.05, 0.3, 0.9):
        assert (pairs < Likeness.nearest(vectors, quantile).threshold).mean() == pytest.approx(quantile, abs=0.005)
    assert Likeness.nearest(vectors, 0.0).threshold == 0.0


def test_rules_from_text():
    assert rule_of("window?window=7&nearest=0.28") == QuitRule(window=7, nearest=0.28)
    assert rule_of(QuitRule(window=2)) == QuitRule(window=2)
    assert rule_of(rule_line("window?window=7&repeats=null")) == QuitRule(window=7)
    for wrong in ("bored", "window:3", "window?size=3", "window?window=0", "window?nearest=1", "window?ratings=often"):
        with pytest.raises(ConfigError):
            rule_of(wrong)


def test_rules_that_older_versions_recorded_mean_what_they_meant():
    assert rule_of(rule_of_older("window")) == PUBLISHED
    older = dataclasses.replace(PUBLISHED, window=7, ratings="sampled")
    assert rule_of(rule_of_older("window?ratings=sampled&window=7")) == older
    assert rule_of(rule_of_older(rule_line("window?window=7"))) == QuitRule(window=7)


def test_what_is_not_known_of_people_is_not_made_up():
    for rule in (QuitRule(), dataclasses.replace(PUBLISHED, tolerance="own")):
        with pytest.raises(ConfigError, match="tolerance=common"):
            LongTermUsers(FixedUsers(), rule, VECTORS, GENRES)
    LongTermUsers(FixedUsers(), dataclasses.replace(PUBLISHED, tolerance="own", nearest=0.0), VECTORS, GENRES)


def test_users_and_vectors_of_another_catalogue_are_refused():
    with pytest.raises(ConfigError, match="12 items"):
        LongTermUsers(FixedUsers(), PUBLISHED, VECTORS[:5], GENRES)


def test_language_model_users_are_found_beneath_the_rule():
    population = make_long_term("synthetic", "llm", "uniform")
    assert type(played_by_llm(population.users)).__name__ == "LLMUsers"
    assert population.notes["quit_rule"] == dataclasses.asdict(QuitRule())
    assert population.notes["habits"]["fitted to"] == "the log of invented people"


class TestLongTermUsers(UserModelContract):
    def make(self):
        return make_long_term("synthetic").users


class TestLongTermAgents(UserModelContract):
    def make(self):
        return make_long_term("synthetic", "agent4rec", "uniform").users
