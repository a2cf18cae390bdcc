"""Whatever a server sends: a good answer or the one failure, never another exception."""

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsim_llm.language.backends.openai.openai_answers import Count, NoAnswerError, count_tokens
from recsim_llm.language.backends.openai.openai_wire import explain_status, read_answer, retry_after_s
from recsim_llm.language.backends.vllm.vllm_server import LabelTokens, VllmServer, _read_counters
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


def good(batch):
    """An answer of one choice, or of a batch of two on vLLM, as Python values: it holds whatever prompt was asked."""
    names = ("token_id:1", "token_id:2", "token_id:3", "token_id:4") if batch else ("Yes", "No", " ", "x")
    top = [{"token": name, "logprob": -1.0 - place} for place, name in enumerate(names)]
    line = [{"token": name, "top_logprobs": top} for name in (names[0], " ", names[2 if batch else 1])]
    said = {"message": {"role": "assistant", "content": "caf\u00e9 \\ud8"}, "logprobs": {"content": line}}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
    return {"choices": [{"index": index, **said} for index in range(1 + batch)], "usage": usage}


def places(value, path=()):
    """Paths of all values inside a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [each for key, inner in pairs for each in places(inner, (*path, key))]


anything = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=9)


@st.composite
def bodies(draw):
    """A good answer with up to three values replaced or left out, now and then cut; or any JSON; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.binary(), anything.map(lambda body: json.dumps(body).encode())))
    body = json.loads(json.dumps(good(draw(st.booleans()))))
    for _ in range(draw(st.integers(0, 3))):
        paths = places(body)
        *path, last = draw(st.sampled_from(paths)) if paths else ("choices",)
        inner = body
        for key in path:
            inner = inner[key]
        if draw(st.booleans()):
            inner[last] = draw(anything)
        elif paths:
            del inner[last]
    text = json.dumps(body).encode()
    return text[: draw(st.sampled_from([len(text), len(text), len(text), len(text) - 1, len(text) // 2]))]


@settings(deadline=None, max_examples=300)
@given(bodies())
@example(b"[" * 100_000)
@example(b'{"choices":' * 50_000)
@example(b'{"choices": [{"message": {"content": "\\ud800"}, "logprobs": null}]}')
@example(b'{"choices": [{"message": {"content": "\\ud800"}, "logprobs": ' + b"[" * 100_000)
@example(b'{"choices": [{"message": {}}], "usage": {"prompt_tokens": 1e999}}')
@example(b'{"choices": [{"message": {}}], "usage": {"prompt_tokens": ' + b"9" * 5_000 + b"}}")
@example('{"choices": [{"message": {"content": "caf\u00e9"}}]}'.encode("utf-16"))
@example('\ufeff{"choices": [{"message": {"content": "caf\u00e9"}}]}'.encode())
@example(json.dumps(good(False)).encode())
@example(json.dumps(good(True)).encode())
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


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_answer_that_is_spoiled_above_is_good_by_itself(prompt):
    answer, count = read_answer(json.dumps(good(False)).encode(), prompt, "here")
    assert answer.text == ("caf\u00e9 \\ud8" if not prompt.choices else "Yes" if prompt.slots == 1 else "Yes Yes")
    assert count == Count(5, 3, 2)
    if prompt.choices:
        answers, count = VLLM.read(json.dumps(good(True)).encode(), [prompt] * 2, LABELS)
        assert [each.text for each in answers] == ["Yes" if prompt.slots == 1 else "Yes Yes"] * 2
        assert count == Count(5, 3, 2)


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
