"""All policies keep the contract; each one's formula against a slow reference; who personalises and who does not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.errors import ConfigError
from recsim_llm.policies import POLICIES, make_policy
from recsim_llm.policies.feedback import Feedback, Learner
from recsim_llm.policies.ranking import best_items, interactions
from recsim_llm.testing.policy_contract import ITEMS, USERS, PolicyContract, catalogue, observe, two_tastes_log


class TestRandom(PolicyContract):
    name = "random"


class TestPopularity(PolicyContract):
    name = "popularity"


class TestLivePopularity(PolicyContract):
    name = "live-popularity"


class TestEASE(PolicyContract):
    name = "ease"


class TestItemKNN(PolicyContract):
    name = "item-knn"


class TestALS(PolicyContract):
    name = "als"
    options = {"reg": 1.0, "embedding_size": 8}  # the default penalty is for hundreds of users


class TestEmbeddings(PolicyContract):
    name = "embeddings"

    @pytest.fixture(autouse=True)
    def _vectors(self, tmp_path):
        rng = np.random.default_rng(7)
        path = tmp_path / "vectors.npz"
        np.savez(path, user=rng.normal(size=(USERS, 8)), item=rng.normal(size=(ITEMS, 8)))
        self.options = {"vectors": path}


def make(name, **options):
    return make_policy(name, two_tastes_log(), catalogue(), 5, **options)


def test_every_policy_has_a_contract():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    kept = set(re.findall(r"Contract\):\n(?:    \"\"\".*\n+)?    name(?:, policy)? = \"(.+?)\"", tests))
    # These are not fitted: they are told the truth of one population (tests/environments/test_long_term.py).
    assert set(POLICIES) - kept == {"oracle", "fixed-list"}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_best_items_equal_a_sort(seed, count, ties):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(6, 12)).astype(np.float32)
    if ties:
        scores = np.round(scores)
        scores[0] = -0.0
    last = rng.random((6, 12)) < 0.3
    expected = [sorted(range(12), key=lambda i: (bool(last[b, i]), -float(scores[b, i]), i))[:count] for b in range(6)]
    assert best_items(scores, last, count).tolist() == expected


def test_ease_equals_a_slow_reference():
    """Steck's closed form is the ridge regression of each item on the others, with a zero diagonal."""
    x = interactions(two_tastes_log()).toarray().astype(float)
    weights = make("ease", reg=30.0).fitted["weights"]
    for j in (0, 17, 59):
        others = np.delete(np.arange(ITEMS), j)
        a = x[:, others]
        solution = np.linalg.solve(a.T @ a + 30.0 * np.eye(len(others)), a.T @ x[:, j])
        np.testing.assert_allclose(weights[others, j], solution, atol=1e-6)
        assert weights[j, j] == 0


def test_item_knn_equals_a_slow_reference():
    x = interactions(two_tastes_log()).toarray()
    similarity = make("item-knn", neighbours=7, shrinkage=3.0).fitted["similarity"]
    for j in (2, 31):
        cosine = np.array(
            [
                0.0 if i == j else (x[:, i] * x[:, j]).sum() / (np.sqrt(x[:, i].sum() * x[:, j].sum()) + 3.0)
                for i in range(ITEMS)
            ]
        )
        least = np.sort(cosine)[-7]
        np.testing.assert_allclose(similarity[:, j], np.where(cosine >= least, cosine, 0.0), rtol=1e-6)


def test_popularity_shows_the_most_rated_unknown_items():
    log = two_tastes_log()
    counts = np.bincount(log.items, minlength=ITEMS)
    stranger = make("popularity").act(observe(np.array([USERS])))[0]
    assert counts[stranger].tolist() == sorted(counts, reverse=True)[:5]


def test_live_popularity_grows_with_watches():
    live, frozen = make("live-popularity"), make("popularity")
    assert isinstance(live, Learner)
    assert not isinstance(frozen, Learner)
    stranger = observe(np.array([USERS]))
    least = int(np.argmin(live.fitted["counts"]))
    pages = np.full((100, 2), least)
    pages[:, 1] = (least + 1) % ITEMS
    watched = np.array([[True, False]] * 100)
    live.learn(Feedback(np.arange(100), pages, watched, watched * 4.0, np.zeros(100), np.zeros(100) > 0))
    assert live.act(stranger)[0, 0] == least
    assert live.fitted["counts"].sum() == frozen.fitted["counts"].sum() + 100


SMALL_ALS = {"reg": 1.0, "embedding_size": 2}  # two groups of people need no more factors


@pytest.mark.parametrize(("name", "options"), [("ease", {"reg": 20.0}), ("item-knn", {}), ("als", SMALL_ALS)])
def test_collaborative_policies_find_the_group(name, options):
    users = np.arange(USERS)
    own = make(name, **options).act(observe(users)) // 30 == (users % 2)[:, None]
    everybody = make("popularity").act(observe(users)) // 30 == (users % 2)[:, None]
    assert own.mean() > 0.9
    assert everybody.mean() < 0.7


@pytest.mark.parametrize(("name", "options"), [("ease", {"reg": 20.0}), ("item-knn", {}), ("als", SMALL_ALS)])
def test_what_a_stranger_watches_is_folded_in(name, options):
    strangers = np.array([USERS, USERS])
    shown = np.array([[1, 2, 3, 4], [31, 32, 33, 34]])
    groups = make(name, **options).act(observe(strangers, shown, np.full_like(shown, 5))) // 30
    assert (groups[0] == 0).mean() > 0.9
    assert (groups[1] == 1).mean() > 0.9
    unwatched = make(name, **options).act(observe(strangers, shown, np.zeros_like(shown)))
    assert not set(unwatched[0].tolist()) & {1, 2, 3, 4}, "shown but not watched: not again, and no sign of taste"


def test_random_pages_are_uniform():
    pages = [make("random", seed=s).act(observe(np.array([USERS])))[0] for s in range(600)]
    counts = np.bincount(np.concatenate(pages), minlength=ITEMS)
    expected = 600 * 5 / ITEMS
    assert ((counts - expected) ** 2 / expected).sum() < 110, "chi-square, 59 degrees of freedom, p = 1e-4"


def test_unknown_policy_lists_the_known():
    with pytest.raises(ConfigError, match="random, popularity"):
        make("soothsayer")
