"""AgentCF as users: what a page is told, what learned memories change, and that a batch is only a batch."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import personas
from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.llm.agentcf.agentcf import AgentCF, AgentCFOptions
from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.agents.society.social_turns import SocialTexts
from recsim_llm.data import Catalogue, load_dataset
from recsim_llm.errors import ConfigError
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, hash_choice_llm
from recsim_llm.testing.user_model_contract import UserModelContract
from recsim_llm.types import EMPTY, Completion, Item, Responses

HANDLES, KEYS = np.arange(2), np.arange(2, dtype=np.uint64)
PAGES = np.array([[1, 2, EMPTY], [3, 4, 5]])
STARS = np.array([[4.0, 0.0, 0.0], [0.0, 0.0, 2.0]])


def kind(memories=None, log=None, **options):
    data = load_dataset("synthetic")
    return AgentCF(
        data.catalogue, personas("synthetic"), data.rating_levels, memories, log, None, AgentCFOptions(**options)
    )


def users(llm, agents):
    data = load_dataset("synthetic")
    people = personas("synthetic")
    social = SocialTexts(data.catalogue, people, data.rating_levels)
    return AgentUsers(llm, agents, social, np.array([p.activity for p in people]))


def paged_llm():
    """`hash_choice_llm` that also reads the labels of whole pages, slot by slot."""
    good = hash_choice_llm()

    def answer(prompt):
        slots = [prompt._replace(question=f"{prompt.question} {slot}", slots=1) for slot in range(prompt.slots)]
        found = good.generate(slots)
        return Completion(" ".join(c.text for c in found), tuple(p for c in found for p in c.logprobs))

    return FunctionLLM(answer, "paged")


class Asked:
    """A model that remembers what it was asked."""

    def __init__(self, text="I like what I see."):
        self.prompts, good = [], paged_llm()

        def answer(prompt):
            self.prompts.append(prompt)
            return good.generate([prompt])[0] if prompt.choices else text

        self.llm = FunctionLLM(answer)


def visited(asked, agents, pages=1):
    model = users(asked.llm, agents)
    model.reset(HANDLES, np.array([7, 9]), KEYS)
    for _ in range(pages):
        model.react(HANDLES, PAGES)
        model.observe(HANDLES, PAGES, Responses(STARS > 0, STARS))
    return model


class TestContract(UserModelContract):
    def make(self):
        return users(paged_llm(), kind(log=load_dataset("synthetic").ratings))


class TestContractOnline(TestContract):
    def make(self):
        return users(paged_llm(), kind(online=True))


def test_a_page_is_one_call_and_tells_memories_of_user_and_items():
    data = load_dataset("synthetic")
    memories = AgentCFMemories(data.catalogue, "movie", {7: ["I was shy.", "I love space."]}, {2: ["A quiet drama."]})
    asked = Asked()
    visited(asked, kind(memories))
    mine, other = asked.prompts
    assert "self-description:\nI love space." in mine.context
    assert "Earlier it said: I was shy." in mine.context
    assert "I enjoy movies very much." in other.context
    assert f"{data.catalogue[2].label}: A quiet drama." in mine.question
    assert data.catalogue[1].label in mine.question
    assert "a page of movies" in mine.question


def test_history_is_what_the_log_says_was_liked():
    log = load_dataset("synthetic").ratings
    rows = log.by_user()[7]
    liked = log.items[rows][log.values[rows] >= log.values[rows].mean()]
    asked = Asked()
    visited(asked, kind(log=log, history=2))
    titles = [load_dataset("synthetic").catalogue[i].label for i in liked[-2:].tolist()]
    assert f"Has had before: {'; '.join(titles)}." in asked.prompts[0].context


def test_what_happened_is_remembered_and_recalled():
    asked = Asked()
    model = visited(asked, kind(), pages=2)
    first, second = load_dataset("synthetic").catalogue[1].label, load_dataset("synthetic").catalogue[2].label
    told = f'- Took "{first}" and gave it 4 of 5. Passed over "{second}".'
    assert told not in asked.prompts[0].context
    assert told in asked.prompts[2].context
    assert told in model.context(0, first)


def test_online_people_rewrite_themselves_within_the_limit_and_earlier_versions_stay():
    asked = Asked("Word after word. " * 100)
    model = visited(asked, kind(online=True), pages=2)
    assert len(asked.prompts) == 8
    current = model.kind._current[0]
    assert len(current.split()) == 180
    assert "I enjoy items very much." in asked.prompts[4].context, "the version before comes back"
    assert "gave it 4 of 5" in asked.prompts[2].question


def test_a_rewritten_self_description_is_a_thought_and_no_memory():
    model = users(Asked("I like what is loud.").llm, kind(online=True))
    model.thoughts, model.notebook = [], []
    model.reset(HANDLES, np.array([7, 9]), KEYS)
    model.react(HANDLES, PAGES)
    model.observe(HANDLES, PAGES, Responses(STARS > 0, STARS))
    assert [(t.user, t.kind, t.text) for t in model.thoughts] == [
        (user, "insight", "I like what is loud.") for user in (7, 9)
    ]
    assert "I like what is loud." in [note.text for note in model.notebook]
    (recalled, _) = model.recall(HANDLES, ["I like what is loud."] * 2, 10)
    assert "I like what is loud." not in [event.text for event in recalled]


def test_unusable_rewrites_leave_people_as_they_are():
    bad = Asked("I'm sorry, but I can't help with that.")
    model = visited(bad, kind(online=True))
    assert list(model.kind._current.values()) == ["I enjoy items very much."] * 2
    assert model.counts.fallbacks == 2


def test_a_misbehaving_model_is_survived_and_counted():
    model = users(MisbehavingLLM(paged_llm(), malformed=0.5, refusing=0.4), kind(online=True))
    model.reset(HANDLES, np.array([7, 9]), KEYS)
    for _ in range(5):
        reaction = model.react(HANDLES, PAGES)
        np.testing.assert_allclose(reaction.rating_BKR.sum(axis=-1), 1.0)
        model.observe(HANDLES, PAGES, Responses(STARS > 0, STARS))
    assert model.counts.malformed > 0


def test_prompts_are_bounded_whatever_was_learned():
    data = load_dataset("synthetic")
    long = {i: ["x" * 10_000] for i in range(6)}
    asked = Asked()
    visited(asked, kind(AgentCFMemories(data.catalogue, "item", {7: ["y" * 10_000, "z" * 10_000]}, long)))
    assert len(asked.prompts[0].context) < 1500 + 600 + 600 + 300
    assert len(asked.prompts[0].question) < 2 * 410 + 400


def test_titles_are_needed_and_memories_must_fit():
    nameless = Catalogue((Item(0, "17"), Item(1, "18")), ("17", "18"))
    with pytest.raises(ConfigError, match="titles"):
        AgentCF(nameless, (), (1.0, 2.0))
    other = Catalogue((Item(0, "Blue"),), ("b",))
    with pytest.raises(ConfigError, match="another catalogue"):
        kind(AgentCFMemories(other))
