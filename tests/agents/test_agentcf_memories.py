"""AgentCF's memories: where they begin, that every version stays, and that a file brings all of it back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories, limit_words
from recsim_llm.data import Catalogue
from recsim_llm.errors import DataError
from recsim_llm.types import Item

CATALOGUE = Catalogue((Item(0, "Blue", 1990, ("Jazz", "Bebop")), Item(1, "Red")), ("b", "r")).vouch()


def test_memories_begin_alike_for_users_and_with_title_and_categories_for_items():
    memories = AgentCFMemories(CATALOGUE, "CD")
    assert memories.user(0) == memories.user(7) == "I enjoy CDs very much."
    assert memories.item(0) == 'The CD is called "Blue (1990)". Its categories: Jazz, Bebop.'
    assert memories.item(1) == 'The CD is called "Red".'


def test_every_version_stays(tmp_path):
    memories = AgentCFMemories(CATALOGUE)
    for text in ("one", "zwei é\n\u2028"):
        memories.rewrite_user(3, text)
        memories.rewrite_item(1, text)
    memories.save(tmp_path / "deep" / "m.json")
    back = AgentCFMemories.load(tmp_path / "deep" / "m.json", CATALOGUE)
    assert back.content() == memories.content()
    assert back.user_versions(3) == [memories.start_user(), "one", "zwei é\n\u2028"]
    assert back.item(1) == "zwei é\n\u2028"
    assert back.user(0) == memories.start_user()


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "m.json"
    with pytest.raises(DataError, match="cannot be read"):
        AgentCFMemories.load(path, CATALOGUE)
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        AgentCFMemories.load(path, CATALOGUE)
    for content in ("[]", "{}", '{"users": 3}'):
        path.write_text(content)
        with pytest.raises(DataError, match="no AgentCF memories"):
            AgentCFMemories.load(path, CATALOGUE)
    good = AgentCFMemories(CATALOGUE).content()
    for change in ({"version": 9}, {"catalogue": "other"}, {"users": {"x": ["a"]}}, {"items": {"1": "text"}}):
        path.write_text(json.dumps(good | change))
        with pytest.raises(DataError):
            AgentCFMemories.load(path, CATALOGUE)


@given(st.text(alphabet="ab .!?\n", max_size=200), st.integers(1, 20))
def test_a_limit_is_a_limit(text, most):
    short, cut = limit_words(text, most)
    assert len(short.split()) <= most
    assert " ".join(text.split()).startswith(short)
    assert cut == (len(text.split()) > most)
    assert bool(short) == bool(text.split())
