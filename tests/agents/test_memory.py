"""Memories: what all designs must do, budgets that hold in any language, encoders, and the stream's own rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.agents.llm.memory.memory_budget import cut, fit, size
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.stream import StreamMemory, StreamWeights
from recsim_llm.agents.llm.memory.versions import VersionMemory
from recsim_llm.errors import ConfigError, MissingExtraError, ModelNotFoundError
from recsim_llm.language.encoders import CachedEncoder, HashEncoder, make_encoder
from recsim_llm.testing.memory_contract import MemoryContract

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)


class TestStream(MemoryContract):
    max_bytes = 600

    def make(self):
        return StreamMemory(HashEncoder(64), capacity=4)


class TestWeightedStream(MemoryContract):
    max_bytes = 600

    def make(self):
        weights = StreamWeights(relevance=1.0, recency=1.0, importance=1.0)
        return StreamMemory(CachedEncoder(HashEncoder(32), kept=3), weights=weights)


class TestVersions(MemoryContract):
    max_bytes = 2000

    def make(self):
        return VersionMemory(HashEncoder(64))


@given(ANY_TEXT, st.integers(0, 60))
def test_a_cut_text_is_within_its_budget_and_a_short_one_is_untouched(text, budget):
    short = cut(text, budget)
    assert size(short) <= budget
    if size(text) <= budget:
        assert short == text


@given(st.lists(ANY_TEXT, max_size=8), st.integers(0, 120))
def test_lines_are_within_their_budget(texts, budget):
    assert size(fit([Event(t) for t in texts], budget)) <= budget


def test_the_latest_memories_are_kept():
    events = [Event(f"event number {i}") for i in range(10)]
    assert fit(events, 40) == "- event number 8\n- event number 9"


@given(st.lists(ANY_TEXT, max_size=6))
def test_a_vector_depends_on_its_text_alone(texts):
    together = HashEncoder(64).encode(texts)
    cached = CachedEncoder(HashEncoder(64), kept=2).encode(texts)
    for text, row, again in zip(texts, together, cached, strict=True):
        np.testing.assert_array_equal(HashEncoder(64).encode([text])[0], row)
        np.testing.assert_array_equal(again, row)
        assert abs(np.linalg.norm(row) - 1) < 1e-5 or not row.any()


def test_hashes_are_the_same_in_every_process():
    assert np.flatnonzero(HashEncoder(16).encode(["Aliens"])[0]).tolist() == PLACES_OF_ALIENS


PLACES_OF_ALIENS = [0, 5, 6, 9, 11, 15]


def test_related_texts_are_nearer_than_unrelated_ones():
    a, b, c = HashEncoder(256).encode(["Watched Star Wars", "Star Wars again", "Babe in the garden"])
    assert a @ b > a @ c + 0.2


def test_encoders_by_name_and_their_errors(monkeypatch):
    assert make_encoder("hash:32").dim == 32
    with pytest.raises(ConfigError, match="whole number"):
        make_encoder("hash:x")
    with pytest.raises(ConfigError, match="at least 8"):
        make_encoder("hash:2")
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[embeddings\]"):
        make_encoder("minilm")


@pytest.mark.slow
def test_a_sentence_encoder_sees_meaning():
    pytest.importorskip("sentence_transformers")
    try:
        encoder = make_encoder("minilm:64")
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    film, cinema, tax = encoder.encode(["a movie about space", "cinema in orbit", "income tax form"])
    assert film @ cinema > film @ tax
    np.testing.assert_array_equal(make_encoder("minilm:64").encode(["income tax form"])[0], tax)


def test_the_oldest_are_dropped_and_counted():
    memory, one = StreamMemory(HashEncoder(64), capacity=3), np.zeros(1, dtype=np.int64)
    memory.forget(one)
    for i in range(5):
        memory.add(one, [Event(f"film number {i}")], np.array([float(i)]))
    assert [e.text for e in memory.recall(one, ["film"], np.array([9.0]), 9)[0]] == [
        f"film number {i}" for i in (2, 3, 4)
    ]
    assert memory.dropped == 2


def test_relevance_recency_and_importance_each_decide_where_they_weigh():
    old, new, grave = Event("Aliens", 0.1), Event("Babe", 0.1), Event("Casper", 0.9)
    for weights, first in (
        (StreamWeights(1, 0, 0), "Aliens"),
        (StreamWeights(0, 1, 0), "Babe"),
        (StreamWeights(0, 0, 1), "Casper"),
    ):
        memory, one = StreamMemory(HashEncoder(64), weights=weights), np.zeros(1, dtype=np.int64)
        memory.forget(one)
        for event, hour in ((old, 0.0), (grave, 1.0), (new, 9.0)):
            memory.add(one, [event], np.array([hour]))
        assert memory.recall(one, ["Aliens"], np.array([10.0]), 1)[0][0].text == first


def test_of_equals_the_later_counts_more_and_order_is_that_of_happening():
    memory, one = StreamMemory(HashEncoder(64)), np.zeros(1, dtype=np.int64)
    memory.forget(one)
    for hour, importance in enumerate((0.1, 0.2, 0.3)):
        memory.add(one, [Event("the same", importance)], np.array([float(hour)]))
    kept = memory.recall(one, ["the same"], np.array([5.0]), 2)[0]
    assert [round(e.importance, 3) for e in kept] == [0.2, 0.3]


class DenseEncoder:
    """Vectors without zeros, for which the order of a sum matters."""

    name, dim = "dense", 64

    def encode(self, texts):
        rows = [np.random.default_rng([len(text), *text.encode()]).standard_normal(self.dim) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, self.dim) / np.float32(8)


@pytest.mark.parametrize("query", ["a", "bc", "def", "ghij"])
def test_equal_texts_have_equal_scores_wherever_they_stand(query):
    memory, one = StreamMemory(DenseEncoder()), np.zeros(1, dtype=np.int64)
    memory.forget(one)
    for number in range(1, 20):
        memory.add(one, [Event("always the same", number / 20)], np.array([0.0]))
        assert memory.recall(one, [query], np.zeros(1), 1)[0][0].importance == np.float32(number / 20)


def test_agents_share_texts():
    memory = StreamMemory(HashEncoder(64))
    agents = np.arange(50)
    memory.forget(agents)
    memory.add(agents, [Event("one text")] * 50, np.zeros(50))
    assert len(memory._texts) == 1


def test_the_latest_version_is_current():
    memory, two = VersionMemory(HashEncoder(64)), np.arange(2)
    memory.forget(two)
    memory.add(np.array([0, 0]), [Event("likes all"), Event("likes westerns")], np.zeros(2))
    assert memory.current(two) == ["likes westerns", ""]
