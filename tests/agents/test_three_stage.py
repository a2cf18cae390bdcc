"""RecAgent's published constants, each from both sides: another constant would fail here."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.three_stage import ThreeStageMemory
from recsim_llm.seeding import Stream, uniforms

ONE = np.zeros(1, dtype=np.int64)
KEYS = 60
"""Lives in which something with a chance of 0.7 has to happen at least once, or never."""


class AngleEncoder:
    """Texts "axis:cosine" as unit vectors with this cosine to the text "axis"; axes are at right angles."""

    name, dim = "angle", 64

    def encode(self, texts):
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            axis, _, cosine = text.partition(":")
            row[int(axis)] = float(cosine or 1)
            row[63] = np.sqrt(1 - float(cosine or 1) ** 2)
        return rows


def memory(agents=ONE):
    made = ThreeStageMemory(AngleEncoder())
    made.forget(agents, agents.astype(np.uint64))
    return made


def add(to, text, importance=0.8, kind="fact", hour=0.0, agents=ONE):
    to.add(agents, [Event(text, importance, kind)] * len(agents), np.full(len(agents), hour))


@pytest.mark.parametrize(("importance", "kept"), [(0.68, 0), (0.70, 1)])  # 0.612 and 0.63
def test_admission_begins_above_sixty_two_hundredths_of_the_weighted_score(importance, kept):
    m = memory()
    add(m, "1", importance)
    assert len(m.short_term(0)) == kept


@pytest.mark.parametrize(
    ("cosine", "newest", "happens"),
    [
        (0.83, False, False),  # sigmoid 0.696
        (0.86, False, True),  # sigmoid 0.703
        (0.73, True, False),  # 0.83 with the bonus
        (0.76, True, True),  # 0.86 with the bonus
    ],
)
def test_enhancement_begins_at_a_sigmoid_of_seven_tenths_and_the_newest_has_a_tenth_more(cosine, newest, happens):
    agents = np.arange(KEYS)
    m = memory(agents)
    add(m, "1", agents=agents)
    if not newest:
        add(m, "2", agents=agents)
    add(m, f"1:{cosine}", agents=agents)
    enhanced = [len(life.short[0].enhancers) for life in m._lives.values()]
    assert (sum(enhanced) > 0) is happens


@pytest.mark.parametrize(("more", "first"), [(0.11, "1"), (0.10, "2")])
def test_recency_falls_by_a_hundredth_an_hour(more, first):
    m = memory()
    add(m, "1", 0.5 + more, "insight", 0.0)  # 0.9 times this, and 0.99^10 = 0.904
    add(m, "2", 0.5, "insight", 10.0)
    assert m.recall(ONE, ["3"], np.array([10.0]), 1)[0][0].text == first


@pytest.mark.parametrize(("cosine", "left"), [(0.94, ["1", "1:0.94"]), (0.95, ["1:0.95"])])  # sigmoids 0.719, 0.721
def test_merging_begins_at_a_sigmoid_of_seventy_two_hundredths(cosine, left):
    m = memory()
    add(m, "1", 0.8, "insight")
    serials = [serial for serial, _ in m.sources(0, "1", 0.0)]
    m.conclude(0, Event(f"1:{cosine}", 0.8, "insight"), serials, 0.0)
    assert [e.text for e in m.long_term(0)] == left


@pytest.mark.parametrize("age", [24.5, 60.0, 200.0, 400.0])
def test_who_forgets_what_is_the_published_formula_and_one_draw_each(age):
    agents = np.arange(4000)
    m = memory(agents)
    add(m, "1", 1.0, "insight", agents=agents)
    add(m, "2", 0.2, "insight", agents=agents)
    add(m, "9", 0.0, hour=age, agents=agents)  # not admitted, but a save
    recency = 0.99**age
    score = max(recency**1.5, 0.01) * (0.9 * np.array([1.0, 0.2]) + recency) / 2
    chance = (1 - score) / (1 - score).sum()
    # A life's first draw (1) for forgetting (1), of the memories with these serial numbers.
    draws = uniforms(agents.astype(np.uint64)[:, None], Stream.MEMORY, 1, 1, np.array([[1, 2]]))
    left = [[text for text, stays in zip("12", row, strict=True) if stays] for row in draws >= chance]
    assert [[e.text for e in m.long_term(agent)] for agent in agents.tolist()] == left


def test_five_are_retrieved_of_the_long_term_stage():
    m = memory()
    for axis in range(8):
        add(m, str(axis), 0.8, "insight")
    assert len(m.recall(ONE, ["1"], np.zeros(1))[0]) == 5
    m.rehearse(ONE, ["1"], np.array([10.0]))
    assert sum(trace.accessed == 10.0 for trace in m._lives[0].long) == 5


def test_a_thousand_long_term_memories_are_kept():
    m, events = memory(), 1001
    m.add(
        np.zeros(events, dtype=np.int64), [Event(str(i % 60), 0.8, "insight") for i in range(events)], np.zeros(events)
    )
    assert (len(m.long_term(0)), m.dropped) == (1000, 1)


def test_draws_of_a_life_do_not_depend_on_the_order_of_lives():
    agents, swapped = np.array([5, 9]), np.array([9, 5])
    states = []
    for order in (agents, swapped):
        m = memory(order)
        for _ in range(9):
            add(m, "1", agents=order)
        states.append({agent: (m.short_term(agent), m.long_term(agent)) for agent in (5, 9)})
    assert states[0] == states[1]
