"""Whatever a server sends: a good answer or the one failure, never another exception."""

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsim_llm.llm.openai_answers import Count, NoAnswerError, count_tokens
from recsim_llm.llm.openai_wire import explain_status, read_answer, retry_after_s
from recsim_llm.llm.vllm_server import LabelTokens, VllmServer, _read_counters
from recsim_llm.types import Prompt

PROMPTS = (
    Prompt("", "", "q"),
    Prompt("", "", "q", ("Yes", "No")),
    Prompt("", "", "q", ("Yes", "No"), slots=2),
)
LABELS = LabelTokens(("token_id:1", "token_id:2"), ("token_id:3", "token_id:4"), "")
VLLM = VllmServer(None, "http://here/v1", "m")
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**30), -1, 0, 1]),
    st.floats(),
    st.text(st.characters(), max_size=4),
    st.sampled_from(["Yes", " No", "token_id:1", "token_id:4", "\ud800", ""]),
)


def near(value):
    """The value itself, mostly; else anything."""
    return st.one_of(value, value, value, value, leaves, st.lists(leaves, max_size=2))


def record(**fields):
    return near(st.fixed_dictionaries({}, optional={name: near(value) for name, value in fields.items()}))


numbers = near(st.one_of(st.integers(0, 3), st.floats(max_value=0.0)))
tokens = near(st.sampled_from(["Yes", "No", " Yes", " ", "token_id:1", "token_id:2", "token_id:3"]))
alternatives = st.lists(record(token=tokens, logprob=numbers), max_size=3)
positions = st.lists(record(token=tokens, top_logprobs=alternatives), max_size=3)
choices = st.lists(
    record(index=st.integers(0, 2), message=record(content=tokens), logprobs=record(content=positions)), max_size=3
)
usages = record(prompt_tokens=numbers, completion_tokens=numbers, prompt_tokens_details=record(cached_tokens=numbers))
bodies = st.one_of(
    record(choices=choices, usage=usages, error=record(message=leaves)).map(lambda body: json.dumps(body).encode()),
    st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=9).map(
        lambda body: json.dumps(body).encode()
    ),
    st.binary(),
)


def cut(draw):
    body, end = draw
    return body[: max(0, len(body) - end)]


@settings(deadline=None, max_examples=300)
@given(st.tuples(bodies, st.sampled_from([0, 0, 0, 1, 7])).map(cut))
@example(b"[" * 100_000)
@example(b'{"choices":' * 50_000)
@example(b'{"choices": [{"message": {"content": "\\ud800"}, "logprobs": null}]}')
@example(b'{"choices": [{"message": {"content": "\\ud800"}, "logprobs": ' + b"[" * 100_000)
@example(b'{"choices": [{"message": {}}], "usage": {"prompt_tokens": 1e999}}')
@example(b'{"choices": [{"message": {}}], "usage": {"prompt_tokens": ' + b"9" * 5_000 + b"}}")
@example('{"choices": [{"message": {"content": "caf\u00e9"}}]}'.encode("utf-16"))
@example('\ufeff{"choices": [{"message": {"content": "caf\u00e9"}}]}'.encode())
def test_any_body_is_a_good_answer_or_none(body):
    for prompt in PROMPTS:
        try:
            answer, count = read_answer(body, prompt, "here")
        except NoAnswerError as none:
            str(none).encode()
        else:
            _check(answer, prompt, count)
        try:
            answers, count = VLLM.read(body, [prompt] * 2, LABELS)
        except NoAnswerError as none:
            str(none).encode()
        else:
            assert len(answers) == 2
            for each in answers:
                _check(each, prompt, count)
    assert all(math.isfinite(each) for each in _read_counters(body))
    for status in (400, 404, 429, 500):
        explain_status(status, body, "m", "here").encode()


def _check(answer, prompt, count):
    answer.text.encode()
    assert all(number <= 1e-3 for number in answer.logprobs)  # also not NaN
    if prompt.slots == 1:
        assert len(answer.logprobs) == len(prompt.choices)
    assert len(answer.logprobs) <= prompt.slots * len(prompt.choices)
    assert all(0 <= tokens <= 10**9 and isinstance(tokens, int) for tokens in count[:3])


@given(st.one_of(st.text(), st.floats().map(str), st.datetimes().map(lambda t: t.strftime("%a, %d %b %Y %H:%M:%S"))))
@example("Wed, 21 Oct 2015 07:28:00 -0000")
@example("Wed, 21 Oct 9999999 07:28:00 +9999")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_any_retry_after_is_seconds_within_the_limit_or_nothing(header):
    seconds = retry_after_s(header)
    assert seconds is None or 0.0 <= seconds <= 120.0


def test_a_date_without_zone_is_one_of_utc():
    assert retry_after_s("Wed, 21 Oct 2099 07:28:00 -0000") == 120.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 -0000") == 0.0


@pytest.mark.parametrize(
    ("usage", "count"),
    [
        (None, Count()),
        ({"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}, Count(7, 2, 5)),
        ({"prompt_tokens": 7.0, "completion_tokens": None, "prompt_tokens_details": None}, Count(7)),
        ({"prompt_tokens": -1, "completion_tokens": 2}, Count(0, 2, odd=True)),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 8}}, Count(7, odd=True)),
        ({"prompt_tokens": 7, "prompt_tokens_details": "none"}, Count(7, odd=True)),
        ("many", Count(odd=True)),
    ],
)
def test_tokens_are_taken_as_reported_where_they_can_be(usage, count):
    assert count_tokens(usage) == count


def test_a_positive_log_probability_is_none():
    def body(logprob):
        top = [{"token": "Yes", "logprob": logprob}, {"token": "No", "logprob": -3.0}]
        return json.dumps({"choices": [{"message": {}, "logprobs": {"content": [{"top_logprobs": top}]}}]}).encode()

    assert read_answer(body(1e-9), PROMPTS[1], "here")[0].logprobs == pytest.approx((0.0, -3.0))
    with pytest.raises(NoAnswerError, match="choices.0.logprobs.content.0.top_logprobs.0.logprob"):
        read_answer(body(0.5), PROMPTS[1], "here")
