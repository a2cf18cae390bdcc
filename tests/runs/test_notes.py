"""Notes beside steps: they belong to the right page, and neither resuming nor a replay depends on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.language.converse import converse
from recsim_llm.runs import RecordingLLM, StepBatch
from recsim_llm.runs.step_notes import Remembered, Why, asked_table, memory_table, why_table
from recsim_llm.testing.scripted import FunctionLLM
from recsim_llm.types import EMPTY, Completion, Prompt


def steps_of(users, items):
    S, K = np.shape(items)
    return StepBatch(
        session=np.arange(S) + 10,
        user=np.array(users),
        page=np.arange(S) % 3,
        items=np.array(items),
        watch=np.zeros((S, K)),
        rating_probs=np.full((S, K, 2), 0.5),
        watched=np.zeros((S, K), dtype=bool),
        ratings=np.zeros((S, K)),
        leave=np.zeros(S),
        left=np.zeros(S, dtype=bool),
        truncated=np.zeros(S, dtype=bool),
        reward=np.zeros(S),
    )


@given(st.permutations([3, 5, 8]), st.permutations([3, 5, 8, 9]), st.data())
def test_scores_stand_at_their_items_whatever_the_order(shown_to, policy_saw, data):
    items = {user: data.draw(st.permutations(range(6)))[:3] for user in policy_saw}
    shown = [data.draw(st.permutations(items[user])) for user in shown_to]
    shown[0][0] = 99  # somebody else has put it there: an advert
    scores = {user: [user + item / 10 for item in items[user]] for user in policy_saw}
    why = Why(
        np.array(policy_saw),
        np.array([items[u] for u in policy_saw]),
        np.array([scores[u] for u in policy_saw]),
        tuple(f"thought of {u}" for u in policy_saw),
    )
    rows = why_table(why, steps_of(shown_to, shown)).to_pylist()
    assert [row["user"] for row in rows] == shown_to
    for row, user, page in zip(rows, shown_to, shown, strict=True):
        expected = [user + item / 10 if item in items[user] else np.nan for item in page]
        np.testing.assert_array_equal(row["scores"], expected)
        assert row["thought"] == f"thought of {user}"


def test_rows_belong_to_the_page_of_their_user_or_to_none():
    steps = steps_of([4, 7], [[0, 1], [1, 2]])
    asked = asked_table([(7, b"k" * 16), (5, b"m" * 16), (4, b"n" * 16)], steps)
    assert asked.select(["session", "user", "page"]).to_pylist() == [
        {"session": 11, "user": 7, "page": 1},
        {"session": -1, "user": 5, "page": -1},
        {"session": 10, "user": 4, "page": 0},
    ]
    told = memory_table([Remembered(4, 1.5, "heard", 0.2, "half a \ud800 pair")], None).to_pylist()
    assert told[0] | {"session": -1, "hour": 1.5, "text": "half a ? pair"} == told[0]
    assert asked_table([], steps).num_rows == memory_table([], None).num_rows == 0


def test_a_shared_answer_is_noted_for_everybody_who_asked_and_again_after_resuming():
    def turn():
        (answer,) = yield [Prompt("s", "c", "Rain?")]
        return answer.text

    recorder = RecordingLLM(FunctionLLM(lambda prompt: Completion("no")), {})
    assert converse(recorder, [turn(), turn(), turn()], [8, 2, 8]) == ["no"] * 3
    calls, asked = recorder.drain(), recorder.asked()
    assert len(calls) == 1
    assert asked == [(8, calls.keys[0]), (2, calls.keys[0])]
    assert recorder.asked() == []
    resumed = RecordingLLM(
        FunctionLLM(lambda prompt: pytest.fail("asked again")), dict(zip(calls.keys, calls.completions, strict=True))
    )
    converse(resumed, [turn()], [2])
    assert resumed.asked() == [(2, calls.keys[0])]
    converse(resumed, [turn()])
    assert resumed.asked() == []  # asked for nobody in particular
    assert calls.prompts[0].about != EMPTY
