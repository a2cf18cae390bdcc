"""RecAgent's turns: what they ask, what enters which stage of the memory, and what misbehaving models change."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.agents.fitted_sources import personas
from recsim_llm.agents.llm.agent_kind import Agent
from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.three_stage import ThreeStageOptions
from recsim_llm.agents.llm.recagent.recagent import (
    REACHED,
    RecAgent,
    RecAgentOptions,
    calibrated_enhancement,
    probe_texts,
    score,
)
from recsim_llm.agents.llm.recagent.recagent_texts import SENTENCE_BYTES, roles
from recsim_llm.agents.population import make_population
from recsim_llm.agents.society.social_turns import SocialTexts
from recsim_llm.data import Catalogue, load_dataset
from recsim_llm.errors import ConfigError
from recsim_llm.language.converse import converse
from recsim_llm.language.encoders import HashEncoder
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, ScriptedLLM, hash_choice_llm
from recsim_llm.testing.user_model_contract import UserModelContract
from recsim_llm.types import EMPTY, Completion, Item, Persona, Responses

LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)
CATALOGUE = Catalogue(
    (Item(0, "Aliens", 1986, ("Action",)), Item(1, "Babe", 1995, ("Comedy",), "A pig."), Item(2, "Casper")),
    ("a", "b", "c"),
).vouch()
PERSON = Persona(0, 31, "female", "writer", 3, 3, 2, ("Action",), ("Comedy",), (0,), (1,), 3.6)
EAGER = ThreeStageOptions(enhancement=0.0, admission=0.0, promotion=2)
"""Everything is admitted, and may enhance everything: promotion within a few pages."""
ONE = np.zeros(1, dtype=np.int64)


def kind(person=PERSON, **options):
    made = RecAgent(CATALOGUE, [person], LEVELS, HashEncoder(64), RecAgentOptions(**options))
    made.memory.forget(ONE, np.array([7], dtype=np.uint64))
    return made


def me(**numbers):
    return Agent(0, 0, 7, **numbers)


def certain(index, of=9):
    """All probability on one label."""
    return [float(i == index) for i in range(of)]


def remember(agents, *events, hour=0.0):
    for event in events:
        agents.memory.add(ONE, [event], np.array([hour]))


def live(agents, llm, pages=1, stars=(5.0, 0.0, 0.0)):
    """So many pages, as `AgentUsers` leads a kind through them."""
    who = me()
    for _ in range(pages):
        for turn in (agents.observe(who, [0, 1, 2], stars), None):
            if turn is None:
                who.page, who.hour = who.page + 1, who.hour + 2.05
                turn = agents.reflect(who)
            (events,) = converse(llm, [turn])
            remember(agents, *(event for event in events if event.kept), hour=who.hour)


def answering(text="Likes loud films. And more.", label=8):
    """A model with one opinion; it remembers what it was asked."""
    asked = []

    def answer(prompt):
        asked.append(prompt)
        return certain(label) if prompt.choices else text

    return FunctionLLM(answer), asked


class TestContract(UserModelContract):
    def make(self):
        return population(hash_choice_llm())


class TestEagerContract(TestContract):
    """All memories are promoted and reflected on, and written by the model."""

    def make(self):
        memory = ThreeStageOptions(enhancement=0.0, promotion=1, reflection=0.5, admission=0.0)
        return population(hash_choice_llm(), RecAgentOptions("text", memory))


def population(llm, options=None):
    data, people = load_dataset("synthetic"), personas("synthetic")
    agents = RecAgent(data.catalogue, people, data.rating_levels, HashEncoder(64), options)
    social = SocialTexts(data.catalogue, people, data.rating_levels[-1])
    return AgentUsers(llm, agents, social, np.array([p.activity for p in people]))


def test_the_profile_is_the_person_by_number_with_interests_and_roles():
    assert kind().context(me(), []).splitlines() == [
        "This is person 0. age 31, female, writer.",
        "Interests: Action.",
        "Gives 3.6 of 5 stars on average.",
        "Watcher: takes up what the site recommends, and rates it.",
        "Critic: is hard to please and says so.",
        "Poster: tells everybody what they think of what they watched.",
        "What the person remembers:",
        "Nothing yet.",
    ]


def test_a_profile_without_facts_or_interests_has_no_holes():
    nobody = dataclasses.replace(PERSON, age=None, gender=None, occupation=None, likes=())
    assert kind(nobody).context(me(), []).startswith("This is person 0.\nInterests: nothing in particular.\n")


@pytest.mark.parametrize(
    ("traits", "played"),
    [
        ((1, 2, 1), ("Watcher",)),
        ((1, 1, 1), ("Chatter",)),
        ((2, 1, 1), ("Watcher", "Chatter")),
        ((1, 3, 3), ("Explorer", "Critic")),
        ((3, 3, 3), ("Watcher", "Explorer", "Critic", "Poster")),
    ],
)
def test_roles_follow_from_traits(traits, played):
    activity, conformity, diversity = traits
    person = dataclasses.replace(PERSON, activity=activity, conformity=conformity, diversity=diversity)
    assert roles(person) == played


def test_a_page_is_one_call_with_a_label_an_item():
    skip, four = [0.9, 0, 0, 0, 0.1, 0], [0.2, 0, 0, 0, 0.8, 0]
    asked = []

    def answer(prompt):
        asked.append(prompt)
        lines = prompt.question.splitlines()[1:3]
        return [p for line in lines for p in (four if "Aliens" in line else skip)]

    (row,) = converse(FunctionLLM(answer), [kind().react(me(), [1, EMPTY, 0], [])])
    np.testing.assert_allclose(row.watch, [0.1, 0.0, 0.8], atol=1e-6)
    np.testing.assert_allclose(row.rating[2], [0, 0, 0, 1, 0], atol=1e-6)
    (prompt,) = asked
    assert (prompt.slots, prompt.choices) == (2, ("0", "1", "2", "3", "4", "5"))
    assert "Babe (1995), Comedy. A pig." in prompt.question


def test_what_happened_is_one_templated_sentence_with_a_score():
    agents, llm = kind(), ScriptedLLM([certain(6)])
    (events,) = converse(llm, [agents.observe(me(), [0, 1, EMPTY, 2], [5.0, 0.0, 0.0, 0.0])])
    assert events == [
        Event(
            "I looked at a page of the site and watched Aliens (1986), which I gave 5 of 5. "
            "I passed over Babe (1995); Casper.",
            pytest.approx(0.775),
        )
    ]
    (prompt,) = llm.prompts
    # Without a profile, so that the same happening is the same prompt for everybody.
    assert (prompt.context, prompt.choices) == ("", tuple("123456789"))
    assert events[0].text in prompt.question


def test_a_page_without_a_watch_says_so_and_an_empty_page_is_no_event():
    agents = kind()
    (events,) = converse(ScriptedLLM([certain(0)]), [agents.observe(me(), [2], [0.0])])
    assert events[0].text == "I looked at a page of the site and watched none of Casper."
    assert converse(ScriptedLLM([]), [agents.observe(me(), [EMPTY], [0.0])]) == [[]]


@pytest.mark.parametrize(("label", "kept"), [(5, 0), (6, 1)])
def test_from_the_label_seven_a_page_is_remembered(label, kept):
    agents = kind()
    live(agents, answering(label=label)[0])
    assert len(agents.memory.short_term(0)) == kept


@given(st.lists(st.floats(0.01, 1), min_size=9, max_size=9), st.floats(0, 1, exclude_max=True))
def test_a_score_is_a_draw_from_the_labels(weights, draw):
    total = sum(weights)
    probabilities = [w / total for w in weights]
    found = score(probabilities, draw)
    label = round((10 * found - 1) * 8 / 9)
    assert 0.1 <= found <= 1.0 + 1e-12
    assert sum(probabilities[:label]) <= draw + 1e-9
    assert draw <= sum(probabilities[: label + 1]) + 1e-9


def test_scores_are_drawn_as_often_as_the_model_says():
    answer = FunctionLLM(lambda prompt: [0.3, *[0.0] * 7, 0.7])
    drawn = []
    for key in range(400):
        agents = kind()
        turn = agents.observe(dataclasses.replace(me(), key=key), [0], [5.0])
        drawn.append(converse(answer, [turn])[0][0].importance)
    assert set(np.round(drawn, 6)) == {0.1, 1.0}
    assert abs(np.mean(np.array(drawn) > 0.5) - 0.7) < 0.07
    # On another page it is another draw.
    late = [
        converse(answer, [kind().observe(dataclasses.replace(me(hour=0.05), key=key), [0], [5.0])])[0][0].importance
        for key in range(400)
    ]
    assert late != drawn


def test_with_text_the_model_retells_and_a_template_stands_in():
    agents, llm = kind(answers="text"), ScriptedLLM(["I loved Aliens. Really.", certain(8)])
    live(agents, llm)
    assert [e.text for e in agents.memory.short_term(0)] == ["I loved Aliens."]
    assert llm.prompts[0].context.startswith("This is person 0.")
    agents = kind(answers="text")
    live(agents, ScriptedLLM(["", "I'm sorry, but I can't help with that.", '{"answer": ', certain(8)]))
    assert agents.memory.short_term(0)[0].text.startswith("I looked at a page")
    assert agents.counts.fallbacks == 1
    with pytest.raises(ConfigError, match="labels"):
        RecAgentOptions(answers="json")


def test_what_the_page_reminds_of_is_accessed_before_the_page_is_remembered():
    agents = kind()
    remember(agents, Event("I like Aliens and Action.", 0.9, "insight"))
    (trace,) = agents.memory._lives[0].long
    assert trace.accessed == 0.0
    converse(answering()[0], [agents.observe(me(hour=30.0), [0], [5.0])])
    (trace,) = agents.memory._lives[0].long
    assert trace.accessed == 30.0
    assert agents.memory.short_term(0) == []


def test_what_happens_again_is_promoted_and_gets_a_scored_insight():
    agents = kind(memory=EAGER)
    llm, asked = answering()
    live(agents, llm, pages=7)
    long = agents.memory.long_term(0)
    insights = [e for e in long if e.kind == "insight"]
    assert {(e.text, e.importance) for e in insights} == {("Likes loud films.", 1.0)}
    assert len(insights) == len(long) / 2 > 0  # one each
    asked_for = [p for p in asked if not p.choices]
    assert len(asked_for) == len(insights)
    for prompt in asked_for:
        told = [line for line in prompt.question.splitlines() if line.startswith("- ")]
        assert 1 <= len(told) == len(set(told))  # equal memories are told once
        assert not prompt.context


def test_reflection_merges_what_says_the_same_and_begins_to_count_anew():
    agents = kind(memory=ThreeStageOptions(reflection=1.5))
    remember(
        agents,
        Event("I like loud films with ships.", 0.9, "insight"),
        Event("I like loud films, with ships.", 0.7, "insight"),
        Event("Babe", 0.5, "insight"),
    )
    llm = ScriptedLLM(["Which films?", "I like loud films with ships."])
    (told,) = converse(llm, [agents.reflect(me(hour=1.0))])
    conclusion = Event("I like loud films with ships.", pytest.approx(0.7), "insight", written=True, kept=False)
    assert told == [conclusion]  # for the record; the memory has it in the place of its sources
    assert [p.question.count("\n- ") for p in llm.prompts] == [3, 3]
    assert "Question: Which films?" in llm.prompts[1].question
    kept = agents.memory.long_term(0)
    assert [e.text for e in kept] == ["Babe", "I like loud films with ships."]
    assert kept[1].importance == pytest.approx(0.7)  # the mean of its sources
    assert converse(ScriptedLLM([]), [agents.reflect(me(hour=2.0))]) == [[]]  # nothing is due


@pytest.mark.parametrize("answers", [[""] * 3, ["Which?", "", "", ""]])
def test_a_reflection_that_cannot_be_read_changes_nothing_but_ends(answers):
    agents = kind(memory=ThreeStageOptions(reflection=0.5))
    remember(agents, Event("Babe", 0.9, "insight"))
    converse(ScriptedLLM(answers), [agents.reflect(me())])
    assert [e.text for e in agents.memory.long_term(0)] == ["Babe"]
    assert agents.counts.fallbacks == 1
    assert converse(ScriptedLLM([]), [agents.reflect(me())]) == [[]]


def test_a_reflection_looks_at_the_last_fifty_within_its_budget():
    agents = kind(memory=ThreeStageOptions(reflection=1.0), evidence_bytes=10_000)
    remember(agents, *(Event(f"Memory {i}.", 0.5, "insight") for i in range(60)))
    llm = ScriptedLLM(["Which?", "So."])
    converse(llm, [agents.reflect(me())])
    told = [line for line in llm.prompts[0].question.splitlines() if line.startswith("- ")]
    assert told == [f"- Memory {i}." for i in range(10, 60)]
    agents = kind(memory=ThreeStageOptions(reflection=1.0), evidence_bytes=100)
    remember(agents, *(Event(f"Memory {i}.", 0.5, "insight") for i in range(60)))
    llm = ScriptedLLM(["Which?", "So."])
    converse(llm, [agents.reflect(me())])
    assert len(llm.prompts[0].question.encode()) < 300


def test_contexts_stay_within_their_budget_and_tell_short_term_memories_too():
    agents = kind(memory_bytes=300)
    empty = len(agents.context(me(), []).encode()) - len("Nothing yet.")
    assert "long ago" in agents.context(me(), [Event("long ago", 0.9)])
    for number in range(9):
        remember(agents, Event(f"東京 film number {number} " * 3, 0.9), hour=float(number))
    recalled = agents.memory.recall(ONE, ["film"], np.array([9.0]))[0]
    context = agents.context(me(), recalled)
    assert len(context.encode()) <= empty + 300
    assert context.count("- 東京 film number 8") == 1


def test_an_advert_is_shown_and_can_be_taken_back():
    agents = kind()
    llm, asked = FunctionLLM(lambda p: asked.append(p) or certain(0, 6)), []
    agents.slogans[2] = "Now or never!"
    converse(llm, [agents.react(me(), [2], [])])
    del agents.slogans[2]
    converse(llm, [agents.react(me(), [2], [])])
    assert ["Casper Now or never!" in p.question for p in asked] == [True, False]


def test_a_changed_person_is_another():
    agents = kind()
    agents.context(me(), [])
    agents.change(dataclasses.replace(PERSON, occupation="miner"))
    assert "miner" in agents.context(me(), [])


def test_without_titles_there_is_nothing_to_judge():
    untitled = Catalogue((Item(0, "a"),), ("a",))
    with pytest.raises(ConfigError, match="titles"):
        RecAgent(untitled, [PERSON], LEVELS, HashEncoder(64))


def test_misbehaving_models_are_counted_and_what_they_say_is_not_remembered():
    agents = kind(memory=EAGER, answers="text")
    bad = MisbehavingLLM(answering()[0], 1, malformed=0.2, refusing=0.2, leaking=0.2)
    live(agents, bad, pages=30)
    done, counts = bad.done, agents.counts
    assert min(done.malformed, done.refusing, done.leaking, counts.reasked, counts.fallbacks) > 0
    assert counts.malformed == counts.reasked + counts.fallbacks
    told = [e.text for e in [*agents.memory.short_term(0), *agents.memory.long_term(0)]]
    assert told
    assert not any("instructions" in text or "sorry" in text or "{" in text for text in told)


def test_a_rambling_model_is_cut():
    agents = kind(answers="text")
    live(agents, answering("東京 " * 500)[0])
    assert len(agents.memory.short_term(0)[0].text.encode()) <= SENTENCE_BYTES


def lived(users, sessions, pages=8, first=0):
    if not first:
        users.reset(sessions, sessions + 1, sessions.astype(np.uint64))
    left = []
    for page in range(first, first + pages):
        slate = (sessions[:, None] * 7 + np.arange(3) + page) % users.num_items
        stars = np.where(slate % 3 == 0, 4.0, 0.0)
        watch = users.react(sessions, slate).watch_BK
        left.append(np.hstack([watch, users.observe(sessions, slate, Responses(stars > 0, stars))[:, None]]))
    return np.array(left)


def test_a_batch_is_only_a_batch():
    sessions, options = np.array([3, 0, 5]), RecAgentOptions("text", EAGER)
    together = population(hash_choice_llm(), options)
    seen = lived(together, sessions)
    assert any(together.kind.memory.long_term(s) for s in sessions.tolist())
    for place, session in enumerate(sessions.tolist()):
        alone = population(hash_choice_llm(), options)
        np.testing.assert_array_equal(lived(alone, np.array([session]))[:, 0], seen[:, place])
        assert alone.kind.memory.long_term(session) == together.kind.memory.long_term(session)
        assert alone.context(session, "film") == together.context(session, "film")


def test_pages_cost_far_less_than_a_third_of_the_published_calls():
    calls, pages, sessions = [], 30, np.arange(20)
    llm = hash_choice_llm()
    spy = FunctionLLM(lambda prompt: calls.append(prompt) or llm.generate([prompt])[0])
    lived(population(spy), sessions, pages)
    assert 2.0 <= len(calls) / (pages * len(sessions)) < 12 / 3


def test_a_page_of_the_whole_catalogue_is_still_bounded():
    agents = population(hash_choice_llm()).kind
    agents.memory.forget(ONE)
    page = list(range(300))
    (events,) = converse(ScriptedLLM([certain(8)]), [agents.observe(me(), page, [5.0] * 300)])
    assert len(events[0].text.encode()) <= 600
    assert math.isclose(events[0].importance, 1.0)


def test_a_completion_may_bring_its_own_tokens():
    answer = Completion("9", tuple(math.log(max(p, 1e-9)) for p in certain(8)), 10, 1)
    assert converse(ScriptedLLM([answer]), [kind().observe(me(), [0], [5.0])])[0][0].importance == pytest.approx(1.0)


class LevelEncoder:
    """Each text has the same cosine to each other one: `level` of every vector is common to all."""

    dim = 1 + 200

    def __init__(self, level):
        self.name, self.level, self.seen = f"level:{level}", level, {}

    def encode(self, texts):
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[0] = np.sqrt(self.level)
            row[1 + self.seen.setdefault(text, len(self.seen))] = np.sqrt(1 - self.level)
        return rows


def cosine_of(enhancement):
    return np.log(enhancement / (1 - enhancement))


@pytest.mark.parametrize("dim", [64, 128])
def test_the_threshold_is_what_the_published_share_of_pairs_reaches(dim):
    encoder = HashEncoder(dim)
    vectors = encoder.encode(probe_texts()).astype(np.float64)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    assert len(cosines) == 19_900
    bar = cosine_of(calibrated_enhancement(encoder))
    assert REACHED - 0.002 < (cosines >= bar).mean() <= REACHED
    assert (cosines >= 0.8473).mean() < 0.01, "the published constant, with another encoder than the published one"


def test_where_all_pairs_are_equally_alike_none_enhances():
    """At most a share of the pairs reaches it: where that cannot be met, none does rather than all."""
    assert cosine_of(calibrated_enhancement(LevelEncoder(0.5))) == pytest.approx(0.5001, abs=1.01e-4)
    assert cosine_of(calibrated_enhancement(LevelEncoder(0.0))) > 0.0


def test_given_constants_are_taken_as_they_are():
    assert kind().memory.options.enhancement == calibrated_enhancement(HashEncoder(64)) != 0.7
    assert kind(memory=ThreeStageOptions()).memory.options.enhancement == 0.7
    assert kind(memory=ThreeStageOptions(enhancement=0.66)).memory.options.enhancement == 0.66


@pytest.mark.parametrize(
    ("option", "expected"), [("", None), ("calibrated", None), ("published", 0.7), ("0.66", 0.66), ("0", 0.0)]
)
def test_the_threshold_is_an_option_of_the_user_model(option, expected):
    name = f"recagent:threshold={option}" if option else "recagent"
    users = make_population("synthetic", name, "uniform").users
    want = calibrated_enhancement(HashEncoder()) if expected is None else expected
    assert users.kind.memory.options.enhancement == want


@pytest.mark.parametrize("option", ["threshold=abc", "threshold=1.5", "threshold=nan", "threshold=", "treshold=0.7"])
def test_a_wrong_threshold_is_refused_with_its_value(option):
    with pytest.raises(ConfigError, match=option.rpartition("=")[2] or "threshold"):
        make_population("synthetic", f"recagent:{option}", "uniform")
