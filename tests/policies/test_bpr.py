"""BPR: the library's item vectors, served by the mean of what was liked."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies import POLICIES, make_policy
from recsim_llm.policies.classic.bpr import BPR
from recsim_llm.testing.policy_contract import ITEMS, USERS, PolicyContract, catalogue, observe, two_tastes_log

pytest.importorskip("implicit")

SMALL = {"embedding_size": 8, "epochs": 60, "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "bpr", BPR)


class TestBPR(PolicyContract):
    name = "bpr"
    options = SMALL


def make(**options):
    return make_policy("bpr", two_tastes_log(), catalogue(), 5, **{**SMALL, **options})


def test_scores_equal_a_slow_reference():
    policy = make()
    vectors, bias = policy.fitted["item_factors"], policy.fitted["bias"]
    scores = policy.scores(observe(np.arange(USERS)), policy.liked)
    for user in (0, 17):
        liked = two_tastes_log().items[two_tastes_log().users == user]
        mean = np.mean([vectors[i] for i in liked], axis=0)
        np.testing.assert_allclose(scores[user], [mean @ vectors[j] + bias[j] for j in range(ITEMS)], rtol=1e-4)


def test_people_are_shown_their_group():
    users = np.arange(USERS)
    assert (make().act(observe(users)) // 30 == (users % 2)[:, None]).mean() > 0.9


def test_what_a_stranger_watches_is_folded_in():
    shown = np.array([[1, 2, 3, 4], [31, 32, 33, 34]])
    strangers = np.array([USERS, USERS])
    groups = make().act(observe(strangers, shown, np.full_like(shown, 5))) // 30
    assert (groups == np.array([[0], [1]])).mean() > 0.9
    unwatched = make().act(observe(strangers, shown, np.zeros_like(shown)))
    np.testing.assert_array_equal(unwatched[0] // ITEMS, np.zeros(5))
    popular = make_policy("popularity", two_tastes_log(), catalogue(), 5)
    np.testing.assert_array_equal(unwatched, popular.act(observe(strangers, shown, np.zeros_like(shown))))


def test_fitting_without_the_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.bpr", None)
    with pytest.raises(MissingExtraError, match="cf"):
        make()


def test_seeds_differ():
    assert not np.array_equal(make(seed=1).fitted["item_factors"], make(seed=2).fitted["item_factors"])


@pytest.mark.parametrize(
    "option", [{"embedding_size": 0}, {"reg": -1.0}, {"learning_rate": 0}, {"epochs": 0}, {"epochs": "many"}]
)
def test_values_that_cannot_work_are_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        make(**option)
