"""An OpenAI-compatible server that fails in every way: what is asked again, and what ends the call."""

import socket
import time

import pytest

pytest.importorskip("aiohttp")

from mock_server import MockServer, problem

from recsim_llm.errors import LLMError
from recsim_llm.llm import OpenAILLM
from recsim_llm.types import Prompt

YES_NO = ("Yes", "No")


def ask(question="q", **fields):
    return Prompt("system", "context", question, YES_NO, **fields)


def client(server, **options):
    return OpenAILLM("m", server.url, options.pop("api_key", "k"), **options)


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
