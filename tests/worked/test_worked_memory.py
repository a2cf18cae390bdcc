"""What is remembered and what is not, of the stream, the versions and the transcript, with scores by hand.

Stream: Generative Agents (Park et al., UIST 2023) score a memory by recency, importance and relevance; here they are
weighted and not rescaled, and Agent4Rec has relevance alone.
"""

from __future__ import annotations

import numpy as np
import pytest
from small_world import AngleEncoder

from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.stream import StreamMemory, StreamWeights
from recsim_llm.agents.llm.memory.transcript import TranscriptMemory
from recsim_llm.agents.llm.memory.versions import VersionMemory

ONE = np.zeros(1, dtype=np.int64)


def filled(memory, *rows):
    """Rows are (text, importance, hour)."""
    memory.forget(ONE)
    for text, importance, hour in rows:
        memory.add(ONE, [Event(text, importance)], np.array([float(hour)]))
    return memory


def recalled(memory, query="1", hour=0.0, k=1):
    return [event.text for event in memory.recall(ONE, [query], np.array([float(hour)]), k)[0]]


def stream(*rows, capacity=10, **weights):
    return filled(StreamMemory(AngleEncoder(), capacity, weights=StreamWeights(**weights)), *rows)


def test_relevance_alone_finds_the_nearest_however_old_and_unimportant():
    memory = stream(("1 0.9 moon", 0.0, 0), ("1 0.8 sun", 1.0, 99), ("2 1 hill", 1.0, 99))
    assert recalled(memory, "1", 100) == ["1 0.9 moon"]
    assert recalled(memory, "2", 100) == ["2 1 hill"]
    # The two best, told in the order they happened.
    assert recalled(memory, "1", 100, k=2) == ["1 0.9 moon", "1 0.8 sun"]


@pytest.mark.parametrize(
    ("now", "best"),
    [
        (50, "1 0.9 old"),  # 0.9 + 0.99^50 = 1.505 against 0.5 + 1
        (51, "1 0.5 new"),  # 0.9 + 0.99^51 = 1.499
    ],
)
def test_an_old_memory_falls_behind_a_new_one_when_its_recency_is_below_six_tenths(now, best):
    assert (0.9 + 0.99**now > 1.5) is best.endswith("old")
    memory = stream(("1 0.9 old", 0.0, 0), ("1 0.5 new", 0.0, now), recency=1.0)
    assert recalled(memory, "1", now) == [best]


@pytest.mark.parametrize(
    ("now", "best"),
    [
        (20, "1 0.9 old"),  # twice relevance, a third of recency by 0.95 an hour: 1.8 + 0.95^20 / 3 = 1.919
        (40, "1 0.9 old"),  # 1.8 + 0.95^40 / 3 = 1.843
        (60, "1 0.75 new"),  # 1.8 + 0.95^60 / 3 = 1.815; the new one has 1.5 + 1 / 3 = 1.833
    ],
)
def test_weights_and_decay_are_what_they_say(now, best):
    memory = stream(("1 0.9 old", 0, 0), ("1 0.75 new", 0, now), relevance=2.0, recency=1 / 3, decay=0.95)
    assert recalled(memory, "1", now) == [best]


@pytest.mark.parametrize(("importance", "best"), [(0.79, "1 0.9 dull"), (0.81, "1 0.5 deep")])
def test_importance_at_half_weight_makes_up_for_four_tenths_of_relevance(importance, best):
    # 0.5 + importance / 2 against 0.9: equal at 0.8.
    memory = stream(("1 0.9 dull", 0.0, 0), ("1 0.5 deep", importance, 0), importance=0.5)
    assert recalled(memory) == [best]


def test_the_stream_drops_the_oldest_and_of_equals_recalls_the_later():
    memory = stream(*((f"1 0.5 number{i}", 0.0, i) for i in range(5)), capacity=3)
    assert memory.dropped == 2
    assert recalled(memory, k=9) == ["1 0.5 number2", "1 0.5 number3", "1 0.5 number4"]
    assert recalled(memory, k=2) == ["1 0.5 number3", "1 0.5 number4"]


def test_versions_keep_the_latest_as_the_current_one_and_find_the_nearest_earlier_one():
    memory = filled(VersionMemory(AngleEncoder(), capacity=3), *((f"1 0.{9 - i} v{i}", 0.5, i) for i in range(4)))
    assert memory.current(ONE) == ["1 0.6 v3"]
    assert memory.dropped == 1, "v0, the oldest"
    assert recalled(memory, "1", k=1) == ["1 0.8 v1"]
    assert recalled(memory, "1", k=2) == ["1 0.8 v1", "1 0.7 v2"]
    assert recalled(filled(VersionMemory(AngleEncoder()), ("2 1 a", 0, 0), ("2 1 b", 0, 0)), "2") == ["2 1 b"]


def test_a_transcript_that_is_full_forgets_down_to_the_latest_half():
    # 30 bytes each: four make 120 > 100, and of these the last that fit into 50 stay: one.
    memory = filled(TranscriptMemory(max_bytes=100), *((f"{i}" * 30, 0.5, i) for i in range(4)))
    assert [event.text for event in memory.transcript(0)] == ["3" * 30]
    assert memory.dropped == 3
    # Of 25 bytes four make 100, which fits; the fifth makes 125, and two of 25 fit into 50.
    memory = filled(TranscriptMemory(max_bytes=100), *((f"{i}" * 25, 0.5, i) for i in range(4)))
    assert memory.dropped == 0
    memory.add(ONE, [Event("4" * 25)], np.zeros(1))
    assert [event.text[0] for event in memory.transcript(0)] == ["3", "4"]
    assert recalled(memory, k=1) == ["4" * 25], "the latest, whatever is asked"
