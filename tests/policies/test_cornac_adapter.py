"""Cornac behind the policy seam: tables of scores equal the model's, next-item models see the history."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from worlds import make_catalogue, make_log, make_observation

from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies import POLICIES, make_policy
from recsim_llm.policies.classic.cornac_adapter import CornacPolicy
from recsim_llm.policies.classic.ease import EASE
from recsim_llm.testing.policy_contract import ITEMS, USERS, PolicyContract, catalogue, observe, two_tastes_log

cornac = pytest.importorskip("cornac")


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "cornac", CornacPolicy)


class TestCornac(PolicyContract):
    name = "cornac"
    options = {"model": "BPR"}


class TestCornacOfRatings(PolicyContract):
    name = "cornac"
    options = {"model": "MF"}


class PlusOne(cornac.models.NextItemRecommender):
    """The next item is the last one plus 1."""

    def score(self, user_idx, history_items, **kwargs):
        scores = np.zeros(self.num_items)
        if history_items:
            scores[self.iid_map[(self.item_ids[history_items[-1]] + 1) % self.num_items]] = 1
        return scores


def fitted_ease(log, **options):
    rows = [(u, i, 1.0) for u, i in zip(log.users.tolist(), log.items.tolist(), strict=True)]
    return cornac.models.EASE(posB=False, verbose=False, **options).fit(cornac.data.Dataset.from_uir(rows))


def test_a_fitted_model_ranks_as_it_does_by_itself():
    """Cornac's EASE is ours, though it numbers people and items its own way."""
    log, users = two_tastes_log(), observe(np.arange(USERS))
    theirs = CornacPolicy.from_model(fitted_ease(log, lamb=50), log, 5)
    ours = EASE.fit(log, catalogue(), 5, reg=50.0)
    np.testing.assert_allclose(theirs.scores(users, theirs.liked), ours.scores(users, ours.liked), atol=1e-5)


def test_strangers_and_items_without_ratings():
    log = make_log([(0, 1, 5.0), (0, 2, 4.0), (2, 1, 3.0), (2, 3, 5.0)], 4, 6)
    policy = CornacPolicy.from_model(fitted_ease(log), log, 6)
    pages = policy.act(make_observation([0, 1, 9], [[], [], []])).tolist()
    assert pages[0][0] == 3, "the only item left that the model knows"
    assert pages[1] == pages[2] == [1, 2, 3, 0, 4, 5], "popularity"


def test_next_item_models_see_the_history(tmp_path):
    log = make_log([(u, i, 5.0) for u in range(3) for i in range(6)], 3, 6)
    rows = [(u, i, place) for u in range(3) for place, i in enumerate((4, 2, 0, 1, 3, 5))]
    model = PlusOne("plus one").fit(cornac.data.SequentialDataset.build(rows, fmt="SIT"))
    policy = CornacPolicy.from_model(model, log.take(log.users < 0), 1)
    assert policy.act(make_observation([7, 7], [[(0, 5.0), (3, 5.0)], [(3, 5.0), (0, 5.0)]])).tolist() == [[4], [1]]
    with pytest.raises(ConfigError, match="pickles"):
        policy.save(tmp_path / "policy.npz")


def test_other_ids_are_refused():
    log = two_tastes_log()
    named = [(f"u{u}", f"i{i}", 1.0) for u, i in zip(log.users.tolist(), log.items.tolist(), strict=True)]
    model = cornac.models.EASE(verbose=False).fit(cornac.data.Dataset.from_uir(named))
    with pytest.raises(ConfigError, match="integer ids"):
        CornacPolicy.from_model(model, log, 5)


@pytest.mark.parametrize("model", ["NoSuchModel", "SASRec", "__name__"])
def test_models_that_cannot_be_made_by_name_are_refused(model):
    with pytest.raises(ConfigError, match=model):
        make_policy("cornac", two_tastes_log(), catalogue(), 5, model=model)


def test_fitting_without_the_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cornac", None)
    with pytest.raises(MissingExtraError, match="cornac"):
        make_policy("cornac", two_tastes_log(), catalogue(), 5)


def test_stars_are_what_is_fitted():
    log = two_tastes_log()
    flat = log.take(np.arange(len(log)))
    flat.values[:] = 3.0
    table, other = (
        make_policy("cornac", ratings, make_catalogue(ITEMS), 5, model="MF").fitted["table"] for ratings in (log, flat)
    )
    assert not np.allclose(table, other)
