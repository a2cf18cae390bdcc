"""What lets populations be big: batches equal to one by one to the last bit, and memories with bounds."""

from __future__ import annotations

import gc
import math
import tracemalloc
from string import Template

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.agents.llm.llm_users import MEMORY_IMPRESSIONS
from recsim_llm.agents.llm.memory.item_log import ItemLog
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.shared_texts import SharedTexts
from recsim_llm.agents.llm.memory.stream import StreamMemory
from recsim_llm.agents.llm.memory.three_stage import ThreeStageMemory, ThreeStageOptions
from recsim_llm.agents.llm.memory.versions import VersionMemory
from recsim_llm.agents.llm.pages.page_labels import listing_order
from recsim_llm.agents.llm.prompts_text import Phrase
from recsim_llm.agents.personas.log_order import user_ends, user_order
from recsim_llm.agents.personas.persona import build_personas
from recsim_llm.agents.population import make_population
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.language import encoders
from recsim_llm.language.converse import converse
from recsim_llm.language.encoders import HashEncoder
from recsim_llm.language.label_read_batches import ask_rows
from recsim_llm.language.label_reads import AnswerCounts, ask
from recsim_llm.seeding import Stream, mix, mix_one, uniforms
from recsim_llm.testing.scripted import FunctionLLM, hash_choice_llm
from recsim_llm.types import EMPTY, Completion, Prompt, Responses

PAGES = 1000
quick = settings(deadline=None, max_examples=60)
HANDLES = np.arange(2)
NO_KEYS = np.zeros(2, dtype=np.uint64)

logprob = st.one_of(
    st.floats(-12, 0.1),
    st.sampled_from([math.nan, -math.inf, 5.0, -20.0]),
    st.floats(-1.0, -0.5),
    st.floats(-2.0, -1.0),
)


@st.composite
def conversations(draw):
    """Prompts, and answers of every sort to them in three rounds."""
    shapes = draw(st.lists(st.tuples(st.integers(2, 6), st.integers(1, 3)), min_size=1, max_size=6))
    prompts = [Prompt("s", "c", f"q{i}", tuple("abcdef"[:size]), slots=slots) for i, (size, slots) in enumerate(shapes)]
    answers = {}
    for prompt in prompts:
        width = len(prompt.choices) * prompt.slots
        good = st.lists(st.floats(-2.2, -1.8), min_size=width, max_size=width)
        wild = st.lists(logprob, min_size=width, max_size=width)
        wrong = st.lists(logprob, max_size=width + 1)
        good_or_bad = st.one_of(good, wild, wrong).map(tuple)
        unseen = st.one_of(st.just(()), st.lists(st.integers(0, width - 1), unique=True).map(tuple))
        said = st.tuples(good_or_bad, unseen).map(lambda pair: Completion("x", pair[0], bounds=pair[1]))
        refused = st.just(Completion("", refused="no"))
        answers[prompt.question] = [draw(st.one_of(said, said, said, refused)) for _ in range(3)]
    return prompts, answers


def answering(answers):
    """A model that gives each question its prepared answers, one a time it is asked."""
    asked, order = {}, []

    def answer(prompt):
        question = prompt.question.partition("\n")[0]
        asked[question] = asked.get(question, -1) + 1
        order.append(prompt)
        return answers[question][asked[question]]

    return FunctionLLM(answer), order


@quick
@given(conversations())
def test_reading_many_answers_at_once_is_reading_them_one_by_one(conversation):
    prompts, answers = conversation
    one, many = AnswerCounts(), AnswerCounts()
    alone, asked_alone = answering(answers)
    together, asked_together = answering(answers)
    expected = converse(alone, [ask([prompt], "Again: $choices", one) for prompt in prompts])
    (rows,) = converse(together, [ask_rows(prompts, "Again: $choices", many)])
    assert [row[: len(wanted[0])].tolist() for row, wanted in zip(rows, expected, strict=True)] == [
        wanted[0] for wanted in expected
    ]
    assert one == many
    assert asked_alone == asked_together


def test_a_text_where_numbers_belong_spoils_no_other_answer():
    prompts = [Prompt("s", "c", "q", ("yes", "no"))] * 2
    good = Completion("yes", (math.log(0.6), math.log(0.2)))
    script = iter([good, Completion("yes", ("a", "b")), good])  # type: ignore[arg-type]
    counts = AnswerCounts()
    (rows,) = converse(FunctionLLM(lambda prompt: next(script)), [ask_rows(prompts, "", counts)])
    assert rows.tolist() == [pytest.approx([0.75, 0.25])] * 2
    assert (counts.malformed, counts.reasked, counts.usable) == (1, 1, 2)


def test_nobody_asked_is_nobody_answered():
    (rows,) = converse(hash_choice_llm(0), [ask_rows([], "", AnswerCounts())])
    assert rows.shape == (0, 1)


@quick
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4), st.integers(0, 2**64 - 1))
def test_single_numbers_are_drawn_as_arrays_are(words, key):
    assert mix_one(key, *words) == int(mix(np.uint64(key), *[np.int64(word) for word in words]))
    assert mix_one(*words, key=mix_one(key)) == mix_one(key, *words)


@quick
@given(st.integers(0, 2**64 - 1), st.integers(0, 50), st.lists(st.integers(-1, 30), max_size=12))
def test_the_listing_order_is_that_of_the_uniform_draws(key, page, items):
    slots = [slot for slot, item in enumerate(items) if item != EMPTY]
    shown = np.array([items[slot] for slot in slots], dtype=np.int64)
    draws = uniforms(np.uint64(key), Stream.LISTING, page, shown)
    assert listing_order(key, page, items) == [slots[i] for i in np.argsort(draws, kind="stable")]


@quick
@given(st.text("ab $\n", max_size=12), st.text("xyz$", max_size=5), st.integers())
def test_phrases_are_templates(text, name, number):
    for written in (text, f"${{a}}{text}$$ $b."):
        words = {"a": name, "b": number}
        try:
            expected = Template(written).substitute(words)
        except (ValueError, KeyError):
            with pytest.raises((ValueError, KeyError)):  # a mark that means nothing is told of at once
                Phrase(written).substitute(words)
            continue
        assert Phrase(written).substitute(words) == Phrase(written).substitute(**words) == expected


def test_a_vector_does_not_depend_on_its_batch():
    texts = ["Heat", "", "a man and a plan", "Heat Heat heat", "!?", "naïve café " * 30] * 400
    together = HashEncoder().encode(texts)
    alone = {text: HashEncoder().encode([text])[0].tobytes() for text in set(texts)}
    assert all(row.tobytes() == alone[text] for row, text in zip(together, texts, strict=True))


def test_the_encoder_keeps_a_bounded_number_of_words(monkeypatch):
    monkeypatch.setattr(encoders, "_KEPT", 50)
    small, big = HashEncoder(16), HashEncoder(16)
    texts = [f"word{i} word{i + 1} word{i + 2}" for i in range(200)]
    rows = np.concatenate([small.encode([text]) for text in texts])
    assert len(small._words) <= 50
    monkeypatch.undo()
    np.testing.assert_array_equal(rows, big.encode(texts))


def test_who_has_met_what_is_what_sets_say_and_the_oldest_is_forgotten_first():
    rng = np.random.default_rng(0)
    log, known = ItemLog(most=12), {session: [] for session in range(6)}
    log.forget(np.arange(6))
    for step in range(60):
        sessions = np.flatnonzero(rng.random(6) < 0.6)
        pages = rng.integers(-1, 20, (len(sessions), 3))
        met = log.has(sessions, pages)
        for session, page, row in zip(sessions.tolist(), pages.tolist(), met.tolist(), strict=True):
            real = [item != EMPTY for item in page]
            assert [m for m, r in zip(row, real, strict=True) if r] == [
                item in known[session][-12:] for item, r in zip(page, real, strict=True) if r
            ]
            known[session] += [item for item in page if item != EMPTY]
        log.add(sessions, pages, pages != EMPTY)
        if step % 20 == 19:
            gone = int(sessions[0]) if len(sessions) else 0
            log.forget(np.array([gone]))
            known[gone] = []


def test_sessions_that_have_met_nothing_take_eight_bytes():
    log = ItemLog()
    log.forget(np.arange(100_000))
    log.add(np.array([7]), np.array([[1, 2]]), np.ones((1, 2), dtype=np.bool_))
    assert log.nbytes <= 8 * 100_000 + 1000


@pytest.mark.parametrize(
    "user_model",
    [
        "statistical",
        "llm",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("agent4rec", "recagent", "agentcf")),
    ],
)
def test_a_thousand_pages_do_not_grow_a_session_beyond_its_bound(user_model):
    users = make_population("synthetic", user_model, None if user_model == "statistical" else hash_choice_llm(0)).users
    users.reset(HANDLES, HANDLES, NO_KEYS)
    rng = np.random.default_rng(0)
    sizes = []
    for page in range(PAGES):
        pages = rng.integers(0, 500, (2, 4))
        watched = rng.random((2, 4)) < 0.5
        users.observe(HANDLES, pages, Responses(watched, np.where(watched, 4.0, 0.0)))
        if page in {PAGES // 2 - 1, PAGES - 1}:
            sizes.append(held_by(users))
    if user_model in {"statistical", "llm"}:
        assert sizes[1] == sizes[0] < 20_000, "full long ago"
    else:
        assert sizes[1] <= len(HANDLES) * users.kind.memory.most_bytes


def held_by(users) -> int:
    """Bytes of the sessions' own memories."""
    if hasattr(users, "nbytes"):
        return users.nbytes
    if hasattr(users, "kind"):
        memory = users.kind.memory
        return sum(memory.nbytes(int(handle)) for handle in HANDLES)
    return users._memory.nbytes


MEMORIES = {
    "stream": lambda: StreamMemory(HashEncoder(16), capacity=20, max_bytes=60),
    "three-stage": lambda: ThreeStageMemory(HashEncoder(16), ThreeStageOptions(long_capacity=20, max_bytes=60)),
    "versions": lambda: VersionMemory(HashEncoder(16), max_bytes=60, capacity=20),
}


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("kind", ["fact", "insight", "heard"])
def test_a_memory_is_bounded_and_gives_back_what_it_forgets(name, kind):
    memory = MEMORIES[name]()
    memory.forget(HANDLES, NO_KEYS)
    for number in range(300):
        # Alike, so that they remind of each other and move between stages.
        events = [Event(f"I saw a long film about the sea and the {number}th storm " * 4, 1.0, kind)] * 2
        memory.add(HANDLES, events, np.full(2, number / 100))
        for handle in HANDLES.tolist():
            assert memory.nbytes(handle) <= memory.most_bytes
    assert memory.dropped > 0
    memory.forget(HANDLES, NO_KEYS)
    assert all(memory.nbytes(handle) == 0 for handle in HANDLES.tolist())
    assert memory.recall(HANDLES, ["the sea"] * 2, np.zeros(2)) == [[], []]


def test_texts_are_forgotten_with_those_who_hold_them():
    memory = StreamMemory(HashEncoder(16), capacity=5)
    for life in range(50):
        memory.forget(HANDLES)
        for number in range(10):
            memory.add(HANDLES, [Event(f"life {life}, page {number}"), Event("the same for all")], np.zeros(2))
    assert len(memory._texts) <= 6


@quick
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd")), max_size=40))
def test_shared_texts_count_their_holders(deeds):
    texts, held = SharedTexts(), []
    for hold, text in deeds:
        if hold:
            held.append((texts.hold(text), text))
        elif held:
            texts.release([held.pop(0)[0]])
        assert all(texts[number] == text for number, text in held)
        assert len(texts) == len({text for _, text in held})
        assert len({number for number, _ in held}) == len(texts)


def test_the_order_of_a_log_is_found_with_and_without_sorting():
    log = make_world(num_users=50).dataset.ratings
    assert user_order(log) is None, "in order already"
    mixed = log.take(np.random.default_rng(0).permutation(len(log)))
    np.testing.assert_array_equal(user_order(mixed), np.concatenate(mixed.by_user()))
    np.testing.assert_array_equal(user_ends(mixed), np.cumsum([len(rows) for rows in mixed.by_user()]))


def test_a_person_takes_less_than_half_a_kibibyte():
    def held(count):
        world = make_world(num_users=count).dataset
        build_personas(world, world.ratings)
        gc.collect()
        tracemalloc.start()
        people = build_personas(world, world.ratings)
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size, people

    assert (held(3000)[0] - held(1000)[0]) / 2000 < 512


def test_what_a_visit_tells_is_kept_in_four_bytes_an_impression():
    users = make_population("synthetic", "llm", hash_choice_llm(0)).users
    users.reset(HANDLES, HANDLES, NO_KEYS)
    nothing = Responses(np.zeros((2, 4), dtype=np.bool_), np.zeros((2, 4)))
    for number in range(30):
        users.observe(HANDLES, np.arange(8).reshape(2, 4) + number, nothing)
        assert users._memory.nbytes / 2 <= 4 * (MEMORY_IMPRESSIONS + MEMORY_IMPRESSIONS // 4) + 8
