"""Who answers what, without Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.language.backends.ray.ray_engine import (
    error_of,
    pack_answers,
    pack_prompts,
    unpack_answers,
    unpack_prompts,
)
from recsim_llm.language.backends.ray.ray_work import Work
from recsim_llm.types import Completion, Prompt


def prompts(count: int, agents: int = 10) -> list[Prompt]:
    contexts = [f"You are person {agent} and like films." for agent in range(agents)]
    return [Prompt("s", contexts[i % agents], f"{i}?", ("Yes", "No")) for i in range(count)]


@given(st.integers(0, 300), st.integers(1, 5), st.integers(1, 40), st.randoms())
def test_every_prompt_is_answered_once_whoever_is_first(count, replicas, size, random):
    work = Work(prompts(count), replicas, size)
    answered = []
    number = 0
    while work.open:
        for replica in range(replicas):
            while work.busy(replica) < 2 and (chunk := work.take(replica)) is not None:
                work.send(number, replica, chunk)
                number += 1
        done = work.receive(random.choice(list(work.sent)))
        if done.chunk in work.open:
            work.finish(done)
            answered += work.chunks[done.chunk]
    assert sorted(answered) == list(range(count))
    assert all(1 <= len(chunk) <= size for chunk in work.chunks)


def test_an_agent_has_a_home_that_does_not_depend_on_the_company():
    asked = prompts(60)
    whole, alone = Work(asked, 3, 1000), Work(asked[7:8], 3, 1000)
    chunk = next(i for i, places in enumerate(whole.chunks) if 7 in places)
    home = next(r for r in range(3) if Work(asked, 3, 1000)._queues[r] and chunk in Work(asked, 3, 1000)._queues[r])
    assert alone._queues[home]
    assert {place % 10 for place in whole.chunks[chunk]} & {7}
    agents = [{place % 10 for place in places} for places in whole.chunks]
    assert sum(map(len, agents)) == 10, "no agent has two homes"


def test_who_has_nothing_to_do_takes_from_who_has_most():
    work = Work([prompts(1)[0]._replace(question=str(i)) for i in range(40)], 2, 10)
    (busy,) = [r for r in range(2) if work._queues[r]]
    assert len(work.chunks) == 4
    assert work.take(1 - busy) == 3, "the chunk that would come last"
    assert work.take(busy) == 0


def test_a_slow_chunk_goes_to_an_idle_copy_once():
    now = [0.0]
    work = Work(prompts(40), 2, 4, clock=lambda: now[0])
    work.send("stuck", 0, work.take(0))
    while (chunk := work.take(1)) is not None:
        work.send("quick", 1, chunk)
        now[0] += 0.01
        work.finish(work.receive("quick"))
    stuck = work.sent["stuck"].chunk
    assert work.open == {stuck}
    now[0] += 0.5
    assert work.take(1) is None, "not yet"
    now[0] += 0.6
    assert work.take(0) is None, "not to the copy that has it"
    assert work.take(1) == stuck
    assert work.take(1) is None, "not twice"


ANSWERS = st.builds(
    Completion,
    st.text(max_size=5),
    st.lists(st.floats(allow_nan=False), max_size=4).map(tuple),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from(["", "too long"]),
    st.lists(st.integers(0, 10**6), max_size=3).map(tuple),
)


@given(st.lists(ANSWERS, min_size=1, max_size=20))
def test_answers_travel_to_the_last_bit(answers):
    assert unpack_answers(pack_answers(answers)) == answers


def test_prompts_travel_and_shared_texts_travel_once():
    asked = [Prompt("system" * 100, "context" * 1000, f"{i}?", ("Yes", "No")) for i in range(100)]
    asked = [prompt._replace(system=asked[0].system, context=asked[0].context) for prompt in asked]
    columns = pack_prompts(asked)
    assert unpack_prompts(columns) == asked
    assert len(columns) < 12_000


def test_the_example_of_a_cluster_is_one():
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    jsonschema, yaml = pytest.importorskip("jsonschema"), pytest.importorskip("yaml")
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    example = Path(__file__).parents[2] / "examples" / "ray-cluster.yaml"
    jsonschema.validate(yaml.safe_load(example.read_text("utf-8")), json.loads(schema.read_text("utf-8")))


def test_errors_keep_their_class_and_sentence():
    for kind in ("LLMError", "ModelNotFoundError", "MissingExtraError", "ConfigError"):
        error = error_of(kind, "do this")
        assert type(error).__name__ == kind
        assert str(error) == "do this"
    with pytest.raises(Exception, match="do this"):
        raise error_of("SomethingNew", "do this")
