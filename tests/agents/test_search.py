"""The search box: what is found has a word of the query, equals are in order of id, and nothing makes it fail."""

from __future__ import annotations

import builtins
import logging
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsim_llm.agents.society.search import MAX_QUERY_BYTES, CatalogueSearch, words
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.types import EMPTY, Item


def catalogue(*items):
    made = tuple(Item(i, title, year, genres, about) for i, (title, year, genres, about) in enumerate(items))
    return Catalogue(made, tuple(str(i) for i in range(len(made)))).vouch()


SMALL = catalogue(
    ("The Lamp", 1999, ("Drama",), "A lamp that will not go out."),
    ("Amélie", 2001, ("Comedy", "Romance"), "A waitress in Paris."),
    ("七人の侍", 1954, ("Action",), ""),
    ("The Lamp", 2010, ("Drama",), "A lamp that will not go out."),
    ("Z", 1969, ("Drama", "Mystery"), "Politics & murder \u200b\ud83d\udc7b \x00"),
    ("Straße", None, ("Film-Noir",), "हिन्दी कहानी"),
)


@pytest.fixture(scope="module")
def small():
    return CatalogueSearch(SMALL)


def found(search, query, k=6):
    return [item for item in search.search([query], k)[0].tolist() if item != EMPTY]


@pytest.mark.parametrize(
    ("query", "items"),
    [
        ("amelie", [1]),
        ("AMÉLIE!", [1]),
        ("Ame\u0301lie", [1]),
        ("comedy", [1]),
        ("waitress", [1]),
        ("1954", [2]),
        ("七人の侍", [2]),
        ("z", [4]),
        ("strasse", [5]),
        ("ＳＴＲＡＳＳＥ", [5]),
        ("film-noir", [5]),
        ("हिन्दी", [5]),
        ("", []),
        (" \t\n", []),
        ("?! ___", []),
        ("zebra", []),
        ("\ud800", []),
        ("👻", []),
    ],
)
def test_queries_find(small, query, items):
    assert found(small, query) == items


def test_items_of_one_title_stay_two_in_order_of_id(small):
    assert found(small, "the lamp") == [0, 3]
    assert found(small, "the lamp 2010") == [3, 0]


def test_better_matches_come_first(small):
    assert found(small, "drama murder")[0] == 4
    assert set(found(small, "drama murder")) == {0, 3, 4}


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=40), max_size=5), st.integers(1, 8))
@example(["\u0130\u0345", "\ud800\udfff", "\ufdfa" * 300], 3)
def test_what_is_found_has_a_word_of_the_query(small, queries, k):
    answers = small.search(queries, k)
    assert answers.shape == (len(queries), k)
    for query, row in zip(queries, answers.tolist(), strict=True):
        real = [item for item in row if item != EMPTY]
        assert row == real + [EMPTY] * (k - len(real))
        assert len(set(real)) == len(real)
        matching = {i for i, item in enumerate(SMALL) if set(words(query)) & set(words(text(item)))}
        assert set(real) <= matching
        assert len(real) == min(k, len(matching))


def text(item):
    return f"{item.label} {' '.join(item.genres)} {item.description}"


@given(st.text(max_size=60))
def test_words_do_not_depend_on_case_or_form(query):
    composed = unicodedata.normalize("NFC", query)
    assert words(composed) == words(unicodedata.normalize("NFD", query)) == words(composed.casefold())
    assert words(" ".join(words(query))) == words(query)


def test_every_title_finds_its_item():
    made = make_world(0, 50, 300, 10).dataset.catalogue
    answers = CatalogueSearch(made).search([item.label for item in made], 5)
    for item, row in zip(made, answers.tolist(), strict=True):
        assert made[row[0]].label == item.label


def test_a_batch_is_its_queries_one_by_one():
    made = make_world(0, 50, 300, 10).dataset.catalogue
    search = CatalogueSearch(made)
    queries = ["comedy", "clock", "", "clock comedy", "comedy"]
    one_by_one = np.concatenate([search.search([query], 7) for query in queries])
    assert np.array_equal(search.search(queries, 7), one_by_one)
    assert np.array_equal(CatalogueSearch(made).search(queries, 7), one_by_one)
    assert search.search(["comedy"], 300)[0, :7].tolist() == one_by_one[0].tolist()


def test_a_repeated_word_counts_once(small):
    assert found(small, "drama drama drama lamp") == found(small, "drama lamp")


def test_only_the_first_bytes_are_read(small):
    assert found(small, "é" * (MAX_QUERY_BYTES // 2 - 4) + " amelie") == [1]
    assert found(small, "é" * (MAX_QUERY_BYTES // 2) + " amelie") == []
    assert found(small, "x" * 10_000_000 + " amelie") == []


@pytest.mark.parametrize("items", [(), [("", None, (), "")], [("---", None, (), "?")]])
def test_a_catalogue_without_words_has_nothing(items):
    assert CatalogueSearch(catalogue(*items)).search(["lamp", ""], 2).tolist() == [[EMPTY] * 2] * 2


def test_no_queries_no_rows(small):
    assert small.search([], 3).shape == (0, 3)
    with pytest.raises(ConfigError, match="k=0"):
        small.search(["lamp"], 0)


def test_it_is_silent_and_leaves_logging_alone(capfd, caplog):
    logger = logging.getLogger("bm25s")
    before = logger.level
    with caplog.at_level(logging.DEBUG):
        CatalogueSearch(SMALL).search(["lamp", ""], 2)
    assert logger.level == before
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_it_runs_without_numba_and_without_warnings():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from recsim_llm.agents.society.search import CatalogueSearch\n"
        "from recsim_llm.data.dataset import Catalogue\n"
        "from recsim_llm.types import Item\n"
        "search = CatalogueSearch(Catalogue((Item(0, 'Lamp'), Item(1, 'Kite')), ('a', 'b')))\n"
        "print(search.search(['kite'], 1).tolist())\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("[[1]]\n", "", 0)


def test_without_bm25s_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name == "bm25s":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[social\]"):
        CatalogueSearch(SMALL)
