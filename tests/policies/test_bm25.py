"""BM25: the library's own scores of the last liked items' texts; order matters; texts are needed."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from worlds import make_log, make_observation

from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies import POLICIES
from recsim_llm.policies.classic.bm25 import BM25
from recsim_llm.testing.policy_contract import PolicyContract
from recsim_llm.types import Item

bm25s = pytest.importorskip("bm25s")

ITEMS = (
    Item(0, "Red Balloon", 1956, ("Family",)),
    Item(1, "Black Balloon", 2008, ("Drama",)),
    Item(2, "Star Harbour", 1977, ("Space",), "a pilot steals a ship"),
    Item(3, "Harbour of Night", 1980, ("Space", "Drama"), "a ship comes home"),
    Item(4, "Nothing", None, ()),
)
TEXTS = ["Red Balloon (1956) Family", "Black Balloon (2008) Drama", "Star Harbour (1977) Space a pilot steals a ship"]
TEXTS += ["Harbour of Night (1980) Space Drama a ship comes home", "Nothing"]


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "bm25", BM25)


class TestBM25(PolicyContract):
    name = "bm25"


def shelf(items=ITEMS):
    return Catalogue(tuple(items), tuple(f"raw{i}" for i in range(len(items))))


def fit(pairs=(), **options):
    return BM25.fit(make_log(pairs, 3, len(ITEMS)), shelf(), 2, **options)


def scores(policy, observation):
    return policy.scores(observation, policy.liked)


@pytest.mark.parametrize("liked", [[0], [2], [1, 3], [2, 3, 0], [4]])
def test_scores_are_those_of_the_library(liked):
    index = bm25s.BM25(backend="numpy", csc_backend="numpy")
    corpus = bm25s.tokenize(TEXTS, stopwords="en", show_progress=False)
    index.index(corpus, show_progress=False)
    query = bm25s.tokenize(" ".join(TEXTS[i] for i in liked), stopwords="en", show_progress=False, return_ids=False)[0]
    expected = index.get_scores(query)
    policy = fit([(0, i, 5.0) for i in liked])
    np.testing.assert_allclose(scores(policy, make_observation([0], [[]]))[0], expected, rtol=1e-5)
    assert expected.max() > 0


def test_a_shared_word_decides():
    policy = fit()
    pages = policy.act(make_observation([0, 0], [[(0, 5.0)], [(2, 5.0)]]))
    assert pages[:, 0].tolist() == [1, 3]


def test_only_the_latest_items_ask():
    policy = fit([(0, 0, 5.0), (0, 2, 5.0)], recent=1)
    assert policy.act(make_observation([0], [[]]))[0, 0] == 3, "the later item asks"
    assert policy.act(make_observation([0], [[(1, 5.0)]]))[0, 0] == 3, "a shared genre: drama"
    backwards = fit([(0, 2, 5.0), (0, 0, 5.0)], recent=1)
    assert backwards.act(make_observation([0], [[]]))[0, 0] == 1


def test_a_catalogue_without_texts_is_refused():
    bare = [Item(i, f"raw{i}") for i in range(5)]
    with pytest.raises(ConfigError, match="needs texts"):
        BM25.fit(make_log([], 3, 5), shelf(bare), 2)
    BM25.fit(make_log([], 3, 5), shelf([Item(i, f"raw{i}", None, ("Drama",)) for i in range(5)]), 2)


@pytest.mark.parametrize("recent", [0, -1, "many"])
def test_how_many_items_ask_is_a_number(recent):
    with pytest.raises(ConfigError, match="recent"):
        fit(recent=recent)


def test_a_saved_policy_needs_no_library(monkeypatch, tmp_path):
    policy, observation = fit([(0, 0, 5.0)]), make_observation([0, 9], [[], [(2, 5.0)]])
    policy.save(tmp_path / "policy.npz")
    pages = policy.act(observation)
    monkeypatch.setitem(sys.modules, "bm25s", None)
    np.testing.assert_array_equal(BM25.load(tmp_path / "policy.npz").act(observation), pages)
    with pytest.raises(MissingExtraError, match="social"):
        fit()


def test_what_was_not_liked_does_not_ask():
    policy = fit([(0, 2, 5.0), (0, 0, 1.0)], recent=1, min_rating=3.0)
    assert policy.act(make_observation([0, 0], [[], [(0, 2.0)]]))[:, 0].tolist() == [3, 3]


def test_the_library_keeps_its_messages():
    before = logging.getLogger("bm25s").level
    fit()
    assert logging.getLogger("bm25s").level == before
