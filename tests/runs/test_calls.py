from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_runs import make_calls, quick

from recsim_llm.errors import LLMError, RecordingError
from recsim_llm.prompt_key import prompt_key, prompt_keys
from recsim_llm.runs.calls import ANSWER_COLUMNS, CallBatch, RecordingLLM, ReplayLLM, completions
from recsim_llm.runs.run import read_calls
from recsim_llm.runs.run_files import parquet_bytes
from recsim_llm.testing.scripted import FunctionLLM, hash_choice_llm
from recsim_llm.types import EMPTY, Completion, Prompt

text = st.text(st.characters(codec="utf-8"), max_size=20)
prompts = st.builds(
    Prompt,
    text,
    text,
    text,
    st.lists(text, max_size=3).map(tuple),
    text,
    st.integers(0, 2**31),
    st.floats(0, 2),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(1, 2**63 - 1),
    text,
    st.just(EMPTY),
)
answers = st.builds(
    Completion,
    text,
    st.lists(st.floats(max_value=0), max_size=3).map(tuple),
    st.integers(0, 9),
    st.integers(0, 9),
    text,
    st.lists(st.integers(0, 9), max_size=3).map(tuple),
)


@quick
@given(st.lists(st.tuples(prompts, answers), max_size=8, unique_by=lambda pair: pair[0]))
def test_calls_survive_the_file(pairs):
    asked, said = tuple(p for p, _ in pairs), tuple(a for _, a in pairs)
    batch = CallBatch(tuple(prompt_keys("m", asked)), asked, said)
    table = pa.parquet.read_table(pa.BufferReader(parquet_bytes(batch.to_table(5))))
    assert CallBatch.from_table(table) == batch
    assert table["round"].to_pylist() == [5] * len(batch)


def test_calls_of_before_bounds_were_recorded_are_read_as_having_none(tmp_path):
    asked, said = (Prompt("", "", "q", ("a", "b")),), (Completion("a", (-0.1, -3.0), 5, 1),)
    batch = CallBatch(tuple(prompt_keys("m", asked)), asked, said)
    old = tmp_path / "part-000000.parquet"
    old.write_bytes(parquet_bytes(batch.to_table(0).drop_columns(["bounds"])))
    assert CallBatch.from_table(read_calls(old)) == batch
    assert completions(read_calls(old, ANSWER_COLUMNS)) == dict(zip(batch.keys, said, strict=True))
    strange = tmp_path / "part-000001.parquet"
    strange.write_bytes(parquet_bytes(batch.to_table(0).drop_columns(["refused"])))
    with pytest.raises(RecordingError, match="no table of calls"):
        read_calls(strange)


@quick
@given(st.lists(prompts, min_size=1, max_size=6), st.data())
def test_a_key_is_the_content_alone(asked, data):
    keys = prompt_keys("m", asked)
    assert keys == [prompt_key("m", prompt) for prompt in asked]
    assert len(set(keys)) == len(set(asked))
    assert not set(keys) & set(prompt_keys("n", asked))
    assert keys == prompt_keys("m", [prompt._replace(about=7) for prompt in asked])
    field = data.draw(st.sampled_from([name for name in Prompt._fields if name != "about"]))
    values = {"choices": ("a", "b"), "max_tokens": 1, "temperature": 0.25, "seed": 1, "slots": 2}
    changed = asked[0]._replace(**{field: values.get(field, "changed")})
    assert (prompt_key("m", changed) == keys[0]) == (changed == asked[0])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Prompt("ab", "", ""), Prompt("a", "b", "")),
        (Prompt("", "ab", ""), Prompt("", "a", "b")),
        (Prompt("", "", "q", ("ab",)), Prompt("", "", "q", ("a", "b"))),
        (Prompt("", "", "q", ("",)), Prompt("", "", "q", ())),
        (Prompt("", "", "q", (), "s"), Prompt("", "", "qs")),
        (Prompt("", "", "q", (), "", 1, 0.0, 1), Prompt("", "", "q", (), "", 11, 0.0, 1)),
        (Prompt("", "", "q", ("1",), slots=2), Prompt("", "", "q", ("1",), slots=3)),
        (Prompt("", "", "q", ("1",), seed=1, slots=2), Prompt("", "", "q", ("1",), seed=12)),
    ],
)
def test_borders_between_fields_count(a, b):
    assert prompt_key("m", a) != prompt_key("m", b)


def test_recorder_asks_each_prompt_once_and_hands_over_what_is_new():
    model = hash_choice_llm()
    asked = [Prompt("s", "c", q, ("yes", "no")) for q in ("a", "b", "a", "c")]
    recorder = RecordingLLM(model, {})
    got = recorder.generate(asked)
    assert got == hash_choice_llm().generate(asked)
    assert (recorder.usage.calls, recorder.usage.duplicates, recorder.usage.cache_hits) == (3, 1, 0)
    assert recorder.generate(asked[:2]) == got[:2]
    assert (recorder.usage.calls, recorder.usage.cache_hits) == (3, 2)
    calls = recorder.drain()
    assert [p.question for p in calls.prompts] == ["a", "b", "c"]
    assert len(recorder.drain()) == 0

    resumed = RecordingLLM(FunctionLLM(lambda prompt: "never asked", name=model.name), completions(calls.to_table(0)))
    assert resumed.generate(asked) == got
    assert len(resumed.drain()) == 0


def test_replay_answers_as_recorded_and_names_what_is_missing():
    recorder = RecordingLLM(hash_choice_llm(), {})
    asked = [Prompt("s", "I am Ann.", q, ("yes", "no")) for q in "abca"]
    got = recorder.generate(asked)
    replay = ReplayLLM(recorder.name, completions(recorder.drain().to_table(0)))
    assert replay.generate(asked) == got
    assert (replay.usage.cache_hits, replay.usage.duplicates) == (3, 1)
    unknown = Prompt("s", "I am Ann.", "Would you like rain?")
    with pytest.raises(RecordingError, match="Would you like rain.*I am Ann"):
        replay.generate([asked[0], unknown])
    with pytest.raises(RecordingError, match="other model"):
        ReplayLLM("other model", recorder._known).generate(asked)


def test_whole_pages_are_recorded_and_replayed_each_number_of_slots_for_itself():
    recorder = RecordingLLM(hash_choice_llm(), {})
    page = Prompt("s", "I am Ann.", "Which?", ("0", "3", "5"))
    asked = [page._replace(slots=slots) for slots in (1, 3, 4, 3)]
    got = recorder.generate(asked)
    assert [len(answer.logprobs) for answer in got] == [3, 9, 12, 9]
    stored = pa.parquet.read_table(pa.BufferReader(parquet_bytes(recorder.drain().to_table(0))))
    assert ReplayLLM(recorder.name, completions(stored)).generate(asked) == got
    with pytest.raises(RecordingError, match="no answer"):
        ReplayLLM(recorder.name, completions(stored)).generate([page._replace(slots=2)])


def test_the_key_of_one_slot_is_that_of_before_there_were_slots():
    page = Prompt("s", "c", "Which?", ("0", "3"), max_tokens=1)
    assert prompt_key("m", page).hex() == "c005275416fa10153c735002575b916b"
    assert prompt_key("m", page._replace(slots=1)) == prompt_key("m", page)


def test_an_answer_that_utf8_cannot_hold_is_the_same_for_agents_and_store():
    recorder = RecordingLLM(FunctionLLM(lambda prompt: "half \ud83d"), {})
    asked = [Prompt("half \ud83d", "", "Feelings?")]
    live = recorder.generate(asked)
    stored = completions(recorder.drain().to_table(0))
    assert live[0].text == "half ?"
    assert ReplayLLM("function", stored).generate(asked) == live


def test_a_failing_model_loses_nothing_and_a_miscounting_one_is_refused():
    def fail(prompt):
        if prompt.question == "bad":
            raise LLMError("down")
        return "fine"

    recorder = RecordingLLM(FunctionLLM(fail), {})
    recorder.generate([Prompt("", "", "good")])
    with pytest.raises(LLMError, match="down"):
        recorder.generate([Prompt("", "", "new"), Prompt("", "", "bad")])
    assert [p.question for p in recorder.drain().prompts] == ["good"]

    model = FunctionLLM(lambda prompt: "x")
    model.generate = lambda asked: []
    with pytest.raises(RecordingError, match="asked 1 prompts and gave 0"):
        RecordingLLM(model, {}).generate([Prompt("", "", "q")])


def test_contexts_that_are_shared_are_stored_once():
    # Noise, so that only the dictionary can make it small; more of it than one default dictionary page holds.
    import secrets

    contexts = [secrets.token_hex(5_000) for _ in range(400)]
    asked = tuple(Prompt("s", c, f"{i}?") for c in contexts for i in range(10))
    batch = CallBatch(tuple(prompt_keys("m", asked)), asked, (Completion("yes"),) * len(asked))
    assert len(parquet_bytes(batch.to_table(0))) < 1.2 * sum(map(len, contexts))


@pytest.mark.parametrize("field", ["max_tokens", "seed", "slots"])
def test_numbers_that_do_not_fit_are_refused(field):
    calls = make_calls(1)
    wide = CallBatch(calls.keys, (calls.prompts[0]._replace(**{field: 2**63}),), calls.completions)
    with pytest.raises(RecordingError, match="64 bits"):
        wide.to_table(0)
