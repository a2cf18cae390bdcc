"""RecAgent's three stages with numbers by hand: who is admitted, recalled, forgotten (Wang et al., TOIS; its code).

Recency r = 0.99^hours; recalled by r + importance + 1 - L2 / sqrt(2); remembered with the score
max(r^1.5, 0.01) * (importance + r) / 2, and forgotten with (1 - score) / sum of (1 - score) after 24 hours without
access. Importance is the score of 1..10, times 0.1, times 0.9.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_world import AngleEncoder

from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.three_stage import ThreeStageMemory, ThreeStageOptions
from recsim_llm.agents.llm.recagent.recagent import score

ONE = np.zeros(1, dtype=np.int64)
MANY = np.arange(4000)
NEVER = ThreeStageOptions(forget_after=1e9)


def lives(agents=ONE, options=None):
    memory = ThreeStageMemory(AngleEncoder(), options)
    memory.forget(agents, agents.astype(np.uint64))
    return memory


def add(memory, text, importance=0.8, kind="fact", hour=0.0, agents=ONE):
    memory.add(agents, [Event(text, importance, kind)] * len(agents), np.full(len(agents), float(hour)))


def store(memory, text, importance=0.8, hour=0.0, agents=ONE):
    """Straight into the long-term stage, where insights go."""
    add(memory, text, importance, "insight", hour, agents)


def recalled(memory, query="1", hour=0.0, k=1):
    return [event.text for event in memory.recall(ONE, [query], np.array([float(hour)]), k)[0]]


@pytest.mark.parametrize(
    ("label", "importance", "admitted"),
    [(1, 0.1, False), (6, 0.6625, False), (7, 0.775, True), (9, 1.0, True)],  # 0.9 * 0.6625 = 0.596 <= 0.62
)
def test_a_page_scored_seven_or_more_of_nine_is_kept(label, importance, admitted):
    sure = [float(i == label) for i in range(1, 10)]
    found = score(sure, 0.5)
    assert math.isclose(found, importance)
    memory = lives()
    add(memory, "1 1 page", found)
    assert bool(memory.short_term(0)) is admitted


def test_a_score_is_drawn_by_the_models_probabilities():
    # Labels 2 and 5 at a quarter and three quarters: draws below 0.25 are a 2.
    said = [0, 0.25, 0, 0, 0.75, 0, 0, 0, 0]
    low, high = 0.1 * (1 + 9 / 8), 0.1 * (1 + 9 * 4 / 8)
    assert [score(said, draw) for draw in (0.0, 0.249, 0.251, 0.999)] == pytest.approx([low, low, high, high])


@pytest.mark.parametrize(("now", "best"), [(34, "1 0.5 old"), (35, "2 1 new")])
def test_a_relevant_memory_is_recalled_until_its_recency_is_below_seven_tenths(now, best):
    # Relevance 1 - sqrt(2 - 2 * 0.5) / sqrt(2) = 0.293 against 0: even at 0.99^hours = 0.707, after 34.5 hours.
    assert (0.99**now + 1 - math.sqrt(0.5) > 1) is (now == 34)
    memory = lives(options=NEVER)
    store(memory, "1 0.5 old")
    store(memory, "2 1 new", hour=now)
    assert recalled(memory, "1", now) == [best]


@pytest.mark.parametrize(("importance", "best"), [(0.32, "1 0.5 dull"), (0.33, "2 1 deep")])
def test_importance_counts_nine_tenths(importance, best):
    # 0.9 * importance against a relevance of 0.293: even at 0.3254.
    memory = lives(options=NEVER)
    store(memory, "1 0.5 dull", 0.0)
    store(memory, "2 1 deep", importance)
    assert recalled(memory, "1") == [best]


def test_what_is_rehearsed_is_recent_again():
    memory = lives(options=NEVER)
    store(memory, "1 0.5 old")
    store(memory, "2 1 new", hour=60)
    assert recalled(memory, "1", 60) == ["2 1 new"]
    memory.rehearse(ONE, ["1"], np.array([30.0]))
    # Accessed at hour 30 with a recency of 1 then, 0.99^30 = 0.740 now: 0.740 + 0.293 against 1.
    assert recalled(memory, "1", 60) == ["1 0.5 old"]


def chances(rows, now):
    """Of each (importance, last access) that it is forgotten at a save, by the formula above."""
    lost = []
    for importance, accessed in rows:
        r = 0.99 ** (now - accessed)
        lost.append(1 - max(r**1.5, 0.01) * (0.9 * importance + r) / 2)
    return [each / sum(lost) if now - accessed > 24 else 0.0 for each, (_, accessed) in zip(lost, rows, strict=True)]


@pytest.mark.parametrize(
    ("rows", "now", "by_hand"),
    [
        # r = 0.740, r^1.5 = 0.636, score 0.636 * (0.9 + 0.740) / 2 = 0.522; the new one scores (0 + 1) / 2.
        ([(1.0, 0), (0.0, 30)], 30, [0.489, 0.0]),
        # r = 0.366, r^1.5 = 0.221: scores 0.140 and 0.041; the important one is forgotten a little less often.
        ([(1.0, 0), (0.0, 0)], 100, [0.473, 0.527]),
    ],
)
def test_the_share_of_lives_that_have_forgotten_a_memory(rows, now, by_hand):
    assert chances(rows, now) == pytest.approx(by_hand, abs=1e-3)
    memory = lives(MANY)
    # Stored in the order of their access; then one save: a rehearsal of nothing.
    for i, (importance, hour) in enumerate(rows):
        add(memory, f"{i + 1} 1", importance, "insight", hour, MANY)
        if hour == now:
            break
    else:
        memory.rehearse(MANY, ["6"] * len(MANY), np.full(len(MANY), float(now)), k=0)
    gone = [sum(f"{i + 1} 1" not in [e.text for e in memory.long_term(a)] for a in MANY) / 4000 for i in range(2)]
    # A share of 4,000 has a standard deviation of at most 0.008.
    assert np.abs(np.array(gone) - by_hand).max() < 0.025


def test_about_one_memory_is_forgotten_a_save_however_many_there_are():
    agents = np.arange(800)
    memory = lives(agents)
    for i in range(10):
        store(memory, f"{i % 6} 1 number{i}", agents=agents)
    memory.rehearse(agents, ["6"] * 800, np.full(800, 200.0), k=0)
    left = [len(memory.long_term(agent)) for agent in agents]
    # Ten chances of a tenth: mean 1, standard deviation of 800 means 0.034.
    assert abs(10 - np.mean(left) - 1.0) < 0.15


def test_exactly_a_day_is_not_yet_long_ago():
    for now, some_forgotten in ((24.0, False), (24.5, True)):
        memory = lives(MANY[:200])
        store(memory, "1 1", agents=MANY[:200])
        memory.rehearse(MANY[:200], ["6"] * 200, np.full(200, now), k=0)
        # The only one is forgotten with certainty: its share of all that is not remembered well is 1.
        assert [len(memory.long_term(a)) for a in range(200)] == [0 if some_forgotten else 1] * 200


def test_the_eleventh_memory_pushes_out_the_least_important_and_never_itself():
    memory = lives()
    for i, importance in enumerate([0.9, 0.71, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]):
        add(memory, f"{i} 1 number{i}", importance)
    add(memory, "10 1 number10", 0.7)
    numbers = [int(event.text.rpartition("number")[2]) for event in memory.short_term(0)]
    assert numbers == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_the_same_again_enhances_with_the_sigmoid_of_its_likeness():
    # Cosine 1, and 0.1 more because it is the newest: sigmoid(1.1) = 0.750 of 4,000, standard deviation 0.007.
    memory = lives(MANY)
    add(memory, "1 1", agents=MANY)
    add(memory, "1 1", agents=MANY)
    enhanced = np.mean([len(life.short[0].enhancers) for life in memory._lives.values()])
    assert abs(enhanced - 1 / (1 + math.exp(-1.1))) < 0.025


def test_three_reminders_promote_and_the_chain_is_told_in_order():
    sure = ThreeStageOptions(enhancement=0.0)  # then a likeness of 40 is as good as certain
    memory = ThreeStageMemory(_Loud(), sure)
    memory.forget(ONE)
    for i in range(4):
        add(memory, f"1 1 number{i}")
    assert [event.text for event in memory.long_term(0)] == ["1 1 number0"]
    assert memory.take_promoted(0) == [["1 1 number0", "1 1 number1", "1 1 number2", "1 1 number3"]]
    assert memory.take_promoted(0) == []


class _Loud(AngleEncoder):
    """Vectors of length 6.3: every likeness is 40, its sigmoid 1."""

    def encode(self, texts):
        return super().encode(texts) * np.float32(40**0.5)


def test_a_reflection_is_due_when_more_than_ten_of_importance_have_come_together():
    memory = lives(options=NEVER)
    for i in range(11):
        store(memory, f"{i % 6} 1 number{i}", 1.0)
        assert memory.reflection_due(0) is False  # 11 * 0.9 = 9.9
    store(memory, "1 1 last", 0.2)
    assert memory.reflection_due(0) is True  # 9.9 + 0.18
    memory.conclude(0, None, [], 0.0)
    assert memory.reflection_due(0) is False
