"""LLM users: what they read, what they remember, and that a batch is only a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import personas
from recsim_llm.agents.llm import page_agent
from recsim_llm.agents.llm.llm_users import MEMORY_IMPRESSIONS, LLMUsers
from recsim_llm.agents.llm.page_texts import PageTexts
from recsim_llm.agents.population import make_population
from recsim_llm.data import Catalogue, load_dataset
from recsim_llm.errors import ConfigError
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, ScriptedLLM, hash_choice_llm
from recsim_llm.types import EMPTY, Completion, Item, Persona, Responses

PAGES = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
HANDLES = np.arange(3)
NO_KEYS = np.zeros(3, dtype=np.uint64)


def users_with(llm):
    return make_population("synthetic", "llm", llm).users


def begun(llm, who=(10, 20, 30)):
    users = users_with(llm)
    users.reset(HANDLES, np.array(who), NO_KEYS)
    return users


def test_the_agent_is_a_generator_that_a_test_feeds():
    data = load_dataset("synthetic")
    texts = PageTexts(data.catalogue, personas("synthetic"), data.rating_levels)
    counts = AnswerCounts()
    turn = page_agent.react(["me"], [0], np.array([[7, EMPTY, 9]]), texts, counts)
    prompts = next(turn)
    assert [p.choices for p in prompts] == [("Yes", "No")] * 2 + [("1", "2", "3", "4", "5")] * 2
    assert {(p.system, p.context) for p in prompts} == {(texts.system, "me")}
    assert data.catalogue[7].title in prompts[0].question
    answers = [Completion("Yes", (math.log(0.3), math.log(0.1)))] * 2
    answers += [Completion("5", tuple(math.log(p) for p in (0.1, 0.1, 0.1, 0.1, 0.4)))] * 2
    with pytest.raises(StopIteration) as stop:
        turn.send(answers)
    reaction = stop.value.value
    assert reaction.watch_BK[0] == pytest.approx([0.75, 0.0, 0.75])
    assert reaction.rating_BKR[0, 0] == pytest.approx([0.125, 0.125, 0.125, 0.125, 0.5])


def test_one_generate_a_round_for_everybody():
    batches = []
    inner = hash_choice_llm(0)

    class Counting:
        name, usage = "counting", inner.usage

        def generate(self, prompts):
            batches.append(len(prompts))
            return inner.generate(prompts)

    users = begun(Counting())
    users.react(HANDLES, PAGES)
    assert batches == [3 * 3 * 2]
    users.observe(HANDLES, PAGES, Responses(PAGES > 5, (PAGES > 5) * 4.0))
    assert batches == [18, 3]


def test_memory_is_append_only_and_what_happened_is_in_it():
    users = begun(hash_choice_llm(0))
    empty = users.contexts(HANDLES)[0]
    watched = np.array([[True, False, False]] * 3)
    users.observe(HANDLES, PAGES, Responses(watched, watched * 4.0))
    first = users.contexts(HANDLES)[0]
    users.observe(HANDLES, PAGES + 10, Responses(~watched, ~watched * 2.0))
    second = users.contexts(HANDLES)[0]
    assert second.startswith(first), "what was read before stays a prefix"
    assert first.startswith(empty.removesuffix("Nothing yet."))
    catalogue = load_dataset("synthetic").catalogue
    assert f"- {catalogue[1].label}: watched, rated 4 of 5" in first
    assert f"- {catalogue[2].label}: not watched" in first
    assert f"- {catalogue[12].label}: watched, rated 2 of 5" in second


def test_memory_is_bounded_by_construction():
    users = begun(hash_choice_llm(0))
    nothing = Responses(np.zeros((3, 3), dtype=bool), np.zeros((3, 3)))
    lengths = []
    for number in range(MEMORY_IMPRESSIONS):
        users.observe(HANDLES, (PAGES + 3 * number) % 500, nothing)
        lengths.append(users.contexts(HANDLES)[0].count("- "))
    assert max(lengths) == lengths[-1] == MEMORY_IMPRESSIONS // 3 * 3


def test_batch_of_one_equals_batch_of_many():
    together = begun(hash_choice_llm(4)).react(HANDLES, PAGES)
    for i in range(3):
        users = users_with(hash_choice_llm(4))
        users.reset(np.array([0]), np.array([[10, 20, 30][i]]), NO_KEYS[:1])
        alone = users.react(np.array([0]), PAGES[i : i + 1])
        np.testing.assert_array_equal(alone.watch_BK[0], together.watch_BK[i])
        np.testing.assert_array_equal(alone.rating_BKR[0], together.rating_BKR[i])


def test_misbehaving_models_are_counted_and_survived():
    llm = MisbehavingLLM(hash_choice_llm(0), seed=1, malformed=0.2, refusing=0.1, leaking=0.1)
    users = begun(llm)
    for number in range(10):
        reaction = users.react(HANDLES, (PAGES + number) % 500)
        assert np.isfinite(reaction.watch_BK).all()
        np.testing.assert_allclose(reaction.rating_BKR.sum(axis=-1), 1.0)
    counts = users.counts
    assert counts.malformed > 0
    assert counts.reasked > 0
    assert counts.asked + counts.reasked == counts.usable + counts.malformed
    assert counts.fallbacks <= counts.malformed / 3


def test_a_model_that_never_answers_gives_the_declared_fallback():
    users = begun(FunctionLLM(lambda prompt: Completion("I'm sorry, I can't.")))
    reaction = users.react(HANDLES, PAGES)
    assert (reaction.watch_BK == 0.5).all()
    assert (reaction.rating_BKR == 0.2).all()
    assert users.counts.fallbacks == users.counts.asked == 18


def test_half_star_scales_have_a_label_each():
    items = tuple(Item(i, f"Title {i}") for i in range(3))
    catalogue = Catalogue(items, ("a", "b", "c")).vouch()
    person = Persona(0, None, None, None, 1, 2, 3, (), (), (0,), (), 3.5)
    levels = [0.5 * i for i in range(1, 11)]
    users = LLMUsers(hash_choice_llm(0), catalogue, [person], levels)
    users.reset(np.array([0]), np.array([0]), NO_KEYS[:1])
    reaction = users.react(np.array([0]), np.array([[0, 1]]))
    assert reaction.rating_BKR.shape == (1, 2, 10)
    assert "from 1 (worst) to 10 (best)" in users.texts.rate[0]
    watched = np.array([[True, False]])
    users.observe(np.array([0]), np.array([[0, 1]]), Responses(watched, watched * 2.5))
    assert "- Title 0: watched, rated 2.5 of 5" in users.contexts(np.array([0]))[0]


def test_no_titles_is_an_error_before_the_first_call():
    raw = ("17", "18")
    catalogue = Catalogue(tuple(Item(i, r) for i, r in enumerate(raw)), raw)
    with pytest.raises(ConfigError, match="need item titles"):
        LLMUsers(ScriptedLLM([]), catalogue, [], [1, 2])
