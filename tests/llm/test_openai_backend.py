import asyncio
import gc
import json
import math
import socket
import threading
import time
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("aiohttp")

from mock_server import MockServer, problem

from recsim_llm.agents.reading import AnswerCounts, label_probabilities
from recsim_llm.errors import ConfigError, LLMError
from recsim_llm.llm import OpenAILLM
from recsim_llm.llm.openai_wire import BodyWriter, read_answer
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.types import Prompt

YES_NO = ("Yes", "No")


def ask(question="q", **fields):
    return Prompt("system", "context", question, YES_NO, **fields)


def client(server, **options):
    return OpenAILLM("m", server.url, options.pop("api_key", "k"), **options)


class TestContract(LLMContract):
    @pytest.fixture(autouse=True)
    def server(self):
        with MockServer() as server:
            self.url = server.url
            self.clients = []
            yield
            for each in self.clients:
                each.close()

    def make(self):
        self.clients.append(OpenAILLM("m", self.url, "k"))
        return self.clients[-1]


@pytest.fixture
def server():
    with MockServer() as server:
        yield server


def test_label_probabilities_are_read_in_the_order_of_the_choices(server):
    llm = client(server)
    (a,), (b,) = llm.generate([ask()]), llm.generate([ask()._replace(choices=("No", "Yes"))])
    assert a.logprobs == b.logprobs[::-1] == pytest.approx((-0.35667, -1.60944))
    assert a.text == b.text == "Yes"
    assert a.prompt_tokens == 11
    llm.close()


def test_request_is_what_the_protocol_says(server):
    llm = client(server)
    tricky = 'a "quote" \\ and \n a film: Amélie \U0001f600'
    llm.generate([Prompt(tricky, tricky, tricky, YES_NO)])
    llm.generate([Prompt("", "", tricky, schema='{"type": "object"}', max_tokens=7, temperature=0.5, seed=2**40)])
    labels, text = server.bodies
    assert labels["messages"] == [
        {"role": "system", "content": tricky},
        {"role": "user", "content": f"{tricky}\n{tricky}"},
    ]
    assert (labels["max_tokens"], labels["logprobs"], labels["top_logprobs"], labels["temperature"]) == (1, True, 20, 0)
    assert text["messages"] == [{"role": "user", "content": tricky}]
    assert (text["max_tokens"], text["temperature"], text["seed"]) == (7, 0.5, 2**40 % 2**31)
    assert text["response_format"]["json_schema"]["schema"] == {"type": "object"}
    llm.close()


def answer(tokens):
    top = [{"token": token, "logprob": math.log(p)} for token, p in tokens]
    return json.dumps({"choices": [{"message": {"content": ""}, "logprobs": {"content": [{"top_logprobs": top}]}}]})


def test_tokens_that_begin_one_choice_only_are_summed():
    content = answer([(" Yes", 0.3), ("Yes", 0.2), ("Ye", 0.1), ("No", 0.1), ("", 0.05), ("yes", 0.05), ("Nope", 0.01)])
    got = read_answer(content.encode(), ask(), "server")
    assert [math.exp(x) for x in got.logprobs] == pytest.approx([0.6, 0.1])


def test_ambiguous_prefix_counts_for_nobody_but_equality_counts():
    content = answer([("1", 0.5), ("10", 0.2), ("Per", 0.2)])
    prompt = Prompt("", "", "", ("1", "10", "Perfect", "Perhaps"))
    probabilities = [math.exp(x) for x in read_answer(content.encode(), prompt, "server").logprobs]
    assert probabilities[:2] == pytest.approx([0.5, 0.2])
    assert probabilities[2:] == pytest.approx([0.05, 0.05])


@pytest.mark.parametrize("tokens", [[("A", 0.999)], [("A", 0.5), ("B", 0.3)], [("x", 0.05)] * 20, [("x", 1.0)]])
def test_unseen_choices_get_a_bound_that_keeps_the_sum_below_one(tokens):
    prompt = Prompt("", "", "", tuple("ABCDE"))
    probabilities = [math.exp(x) for x in read_answer(answer(tokens).encode(), prompt, "server").logprobs]
    assert sum(probabilities) <= 1 + 1e-9
    unseen = [p for choice, p in zip("ABCDE", probabilities, strict=True) if choice not in dict(tokens)]
    assert all(0 < p <= min(p for _, p in tokens) for p in unseen)


def test_body_writer_writes_json_for_any_text():
    writer = BodyWriter('m"', 20)
    for text in ('"', "\\", "\n", "\x00", "é\u2028", "</x>"):
        body = json.loads(writer.write(Prompt(text, text, text, YES_NO)))
        assert body["messages"][1]["content"] == f"{text}\n{text}"
        assert body["model"] == 'm"'


def test_many_requests_are_in_flight_but_no_more_than_allowed():
    with MockServer(latency_s=0.2) as server:
        llm = client(server, concurrency=500)
        started = time.perf_counter()
        completions = llm.generate([ask(f"q{i}") for i in range(1500)])
        seconds = time.perf_counter() - started
        llm.close()
    assert len(completions) == 1500
    assert 300 < server.most_in_flight <= 500
    assert seconds < 1500 * 0.2 / 20  # far from one after the other, even on a slow machine


def test_passing_failures_are_asked_again():
    def fault(question, attempt):
        bad = [problem(429, "slow down", {"Retry-After": "0.01"}), problem(500, "oops"), "drop"]
        return bad[attempt] if attempt < 3 else None

    with MockServer(fault=fault) as server:
        llm = client(server)
        (completion,) = llm.generate([ask()])
        assert completion.text == "Yes"
        assert llm.usage.retries == 3
        assert llm.usage.calls == 1
        llm.close()


def test_waiting_for_a_retry_blocks_nobody_else():
    answered = {}

    def fault(question, attempt):
        answered[question] = time.perf_counter()
        return problem(503, "busy", {"Retry-After": "1"}) if question.endswith("first") and attempt == 0 else None

    with MockServer(fault=fault) as server:
        llm = client(server, concurrency=2)
        llm.generate([ask("first"), *(ask(f"q{i}") for i in range(20))])
        llm.close()
    assert max(at for question, at in answered.items() if not question.endswith("first")) < answered["context\nfirst"]


def test_a_hanging_answer_times_out_and_is_asked_again():
    with MockServer(fault=lambda question, attempt: "hang" if attempt == 0 else None) as server:
        llm = client(server, timeout_s=0.3)
        assert llm.generate([ask()])[0].text == "Yes"
        assert llm.usage.retries == 1
        llm.close()


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (400, "This model's maximum context length is 4096 tokens", "Shorten"),
        (404, "no such model", "models"),
        (403, "forbidden", "OPENAI_API_KEY"),
        (400, "top_logprobs must be <= 5", "top_logprobs"),
    ],
)
def test_lasting_failures_end_at_once_and_say_what_to_do(status, message, hint):
    with MockServer(fault=lambda question, attempt: problem(status, message)) as server:
        llm = client(server)
        with pytest.raises(LLMError, match=hint):
            llm.generate([ask(f"q{i}") for i in range(50)])
        assert llm.usage.retries == 0
        llm.close()


def test_no_quota_is_not_haste():
    with MockServer(fault=lambda q, a: problem(429, "You exceeded your quota", code="insufficient_quota")) as server:
        llm = client(server)
        with pytest.raises(LLMError, match="quota"):
            llm.generate([ask()])
        assert server.attempts.total() == 1
        llm.close()


def test_retries_come_to_an_end():
    with MockServer(fault=lambda question, attempt: problem(500, "oops", {"Retry-After": "0"})) as server:
        llm = client(server, max_retries=2)
        with pytest.raises(LLMError, match="asked 3 times"):
            llm.generate([ask()])
        assert server.attempts.total() == 3
        llm.close()


def test_the_key_is_never_shown():
    with MockServer(key="right") as server:
        llm = client(server, api_key="sk-secret")
        with pytest.raises(LLMError) as caught:
            llm.generate([ask()])
        assert "sk-secret" not in str(caught.value)
        assert "sk-secret" not in repr(vars(llm))
        assert "sk-secret" not in llm.name
        llm.close()
    quoting = MockServer(fault=lambda q, a: problem(400, "bad request with sk-secret"))
    with quoting as server:
        llm = client(server, api_key="sk-secret")
        with pytest.raises(LLMError) as caught:
            llm.generate([ask()])
        assert "sk-secret" not in str(caught.value)
        llm.close()


def test_missing_logprobs_are_an_error_found_by_check():
    with MockServer(logprobs=False) as server:
        llm = client(server)
        with pytest.raises(LLMError, match="log-probabilities"):
            llm.check()
        assert llm.generate([ask()._replace(choices=())])[0].text
        llm.close()


def test_check_passes_on_a_good_server(server):
    llm = client(server)
    llm.check()
    assert len(server.bodies) == 1
    llm.close()


def test_an_unreachable_server_fails_quickly():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    llm = OpenAILLM("m", f"http://127.0.0.1:{port}/v1", "k")
    started = time.perf_counter()
    with pytest.raises(LLMError, match="cannot be reached"):
        llm.generate([ask(f"q{i}") for i in range(100)])
    assert time.perf_counter() - started < 5
    llm.close()


def test_an_answer_that_is_no_completion_is_an_error():
    from aiohttp import web

    with MockServer(fault=lambda q, a: web.Response(text="<html>hello</html>")) as server:
        llm = client(server)
        with pytest.raises(LLMError, match="base_url"):
            llm.generate([ask()])
        llm.close()


def test_works_inside_a_running_event_loop(server):
    llm = client(server)

    async def notebook_cell():
        return llm.generate([ask()])

    assert asyncio.run(notebook_cell())[0].text == "Yes"
    llm.close()


def test_thread_ends_with_the_object(server):
    before = threading.active_count()
    llm = client(server)
    llm.generate([ask()])
    assert threading.active_count() > before
    del llm
    gc.collect()
    assert not any(thread.name == "recsim-llm-openai" for thread in threading.enumerate() if thread.is_alive())


def test_a_closed_client_says_so(server):
    llm = client(server)
    llm.close()
    with pytest.raises(LLMError, match="closed"):
        llm.generate([ask()])


def test_public_service_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        OpenAILLM("gpt")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://user:pass@host/v1"])
def test_strange_urls_are_refused(url):
    with pytest.raises(ConfigError, match="base_url"):
        OpenAILLM("m", url)


def test_environment_names_server_and_key(monkeypatch):
    with MockServer(key="from-env") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "from-env")
        llm = OpenAILLM("m")
        llm.check()
        assert server.url in llm.name
        llm.close()


def test_an_answer_cut_short_is_malformed_not_an_error():
    page = Prompt("", "", "Three times Yes or No?", ("Yes", "No"), slots=3)
    with MockServer(most_tokens=3) as server:
        llm = client(server)
        (answer,) = llm.generate([page])
        llm.close()
    assert server.bodies[0]["max_tokens"] == 6
    assert answer.text == "Yes Yes"
    assert len(answer.logprobs) == 4
    counts = AnswerCounts()
    assert label_probabilities(page, answer, counts) is None
    assert counts.malformed == 1


def test_other_words_in_a_line_of_labels_are_malformed():
    page = Prompt("", "", "Three times Yes or No?", ("Yes", "No"), slots=3)
    with MockServer(tokens=(("Sure", -0.1), ("Yes", -3.0))) as server:
        llm = client(server)
        (answer,) = llm.generate([page])
        llm.close()
    assert answer.logprobs == ()
    assert answer.text.startswith("Sure")


STARS = ("0", "3", "5")


def line(tokens):
    """A server's answer of (token, top alternatives)."""
    content = [
        {"token": token, "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in top]}
        for token, top in tokens
    ]
    text = "".join(token for token, _ in tokens)
    return json.dumps({"choices": [{"message": {"content": text}, "logprobs": {"content": content}}]}).encode()


@st.composite
def lines(draw):
    """Probabilities of each slot, and a line that says the likeliest in one of the ways tokenizers have."""
    weights = st.lists(st.integers(1, 99), min_size=3, max_size=3, unique=True)
    slots = [[w / sum(row) for w in row] for row in draw(st.lists(weights, min_size=2, max_size=5))]
    gap, glued = draw(st.sampled_from([(" ",), (",", " "), ("\n",), ()])), draw(st.booleans())
    tokens = [("\n", [("\n", 0.9)])] if draw(st.booleans()) else []
    for number, slot in enumerate(slots):
        space = " " if glued or not gap else ""
        tokens += [(each, [(each, 0.9), ("5", 0.05)]) for each in gap if number]
        names = [f"{space}{label}" for label in STARS]
        tokens.append((names[slot.index(max(slot))], list(zip(names, slot, strict=True))))
    return slots, tokens + draw(st.sampled_from([[], [(" and", [(" and", 0.5)])], [(" 3", [(" 3", 0.5)])]]))


@settings(deadline=None)
@given(lines())
def test_a_line_of_labels_is_read_however_it_is_cut_into_tokens(drawn):
    slots, tokens = drawn
    page = Prompt("", "", "", STARS, slots=len(slots))
    answer = read_answer(line(tokens), page, "server")
    assert [math.exp(x) for x in answer.logprobs] == pytest.approx([p for slot in slots for p in slot])
    assert answer.text == " ".join(STARS[slot.index(max(slot))] for slot in slots)


@pytest.mark.parametrize(
    "tokens", [(), ("3",), ("3", " 0"), ("3", " or", " 0", " 5"), ("30", " 5", " 5"), ("Sure", ":")]
)
def test_a_line_with_too_few_labels_is_malformed_and_says_what_was_said(tokens):
    page = Prompt("", "", "", STARS, slots=3)
    answer = read_answer(line([(token, [(token, 0.9)]) for token in tokens]), page, "server")
    assert answer.text == "".join(tokens)
    assert label_probabilities(page, answer, AnswerCounts()) is None


def test_a_label_of_a_later_slot_that_was_not_returned_gets_a_bound():
    page = Prompt("", "", "", STARS, slots=2)
    answer = read_answer(line([("3", [("3", 0.9)]), (" 5", [(" 5", 0.6), (" 3", 0.3)])]), page, "server")
    chances = [math.exp(x) for x in answer.logprobs]
    assert chances == pytest.approx([0.05, 0.9, 0.05, 0.1, 0.3, 0.6])


def test_no_log_probabilities_are_an_error_with_several_slots_too():
    page = Prompt("", "", "", STARS, slots=2)
    with MockServer(logprobs=False) as server:
        llm = client(server)
        with pytest.raises(LLMError, match="log-probabilities"):
            llm.generate([page])
        llm.close()


def test_the_server_of_the_benchmarks_answers_a_page(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # benchmarks stand beside the package
    mock = import_module("benchmarks.mock_server")
    writer = BodyWriter("m", 20)
    for slots in (1, 2, 10):
        page = Prompt("", "", 'Say "max_tokens": 99.', YES_NO, slots=slots)
        answer = read_answer(mock.answer_of(mock.max_tokens_of(writer.write(page))), page, "server")
        assert answer.text == " ".join(["Yes"] * slots)
        assert label_probabilities(page, answer, AnswerCounts()) is not None
