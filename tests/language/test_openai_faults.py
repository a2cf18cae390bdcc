"""An OpenAI-compatible server that fails in every way: what is asked again, and what ends the call."""

import json
import socket
import threading
import time

import pytest

pytest.importorskip("aiohttp")

from mock_server import MockServer, problem

from recsim_llm.errors import LLMError
from recsim_llm.language import OpenAILLM
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


def bodies():
    """Responses with status 200 that are no completions, by name."""
    from aiohttp import web

    def say(text, **options):
        return lambda: web.Response(text=text, **options)

    whole = '{"choices": [{"message": {"content": "Yes"}'
    return {
        "cut": say(whole),
        "empty": say(""),
        "no content": lambda: web.Response(status=204),
        "html": say("<html>Bad gateway</html>", content_type="text/html"),
        "error": say('{"error": {"message": "overloaded"}}'),
        "no choices": say('{"choices": []}'),
        "a list": say("[]"),
        "stream": say('data: {"choices": [{"delta": {"content": "Yes"}}]}\n\ndata: [DONE]\n\n'),
        "no log-probabilities": say(whole + "}]}"),
        "log-probabilities that are none": say(
            whole + ', "logprobs": {"content": [{"top_logprobs": [{"token": "Yes", "logprob": NaN}]}]}}]}'
        ),
        "brackets": say("[" * 100_000),
        "no text": lambda: web.Response(body=b"\xff\xfe\x00\xd8"),
        "a number for a text": say('{"choices": [{"message": {"content": 7}}]}'),
        "a list for a text": say('{"choices": [{"message": {"content": [{"type": "text", "text": "Yes"}]}}]}'),
    }


NAMES = tuple(bodies())


@pytest.mark.parametrize("vllm", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_is_none_is_asked_again_and_counted(name, vllm):
    body = bodies()[name]
    with MockServer(vllm=vllm, fault=lambda q, a: body() if "bad" in q and a == 0 else None) as server:
        llm = client(server)
        found = llm.generate([ask("good"), ask("bad")])
        assert [each.text for each in found] == [each.text for each in llm.generate([ask("good"), ask("fine")])]
        assert (llm.usage.no_answers, llm.usage.retries) == (1, 0)
        llm.close()


@pytest.mark.parametrize("name", NAMES)
def test_answers_that_are_none_for_ever_end_the_call_after_the_retries(name):
    body = bodies()[name]
    with MockServer(fault=lambda q, a: body() if "bad" in q else None) as server:
        llm = client(server, max_retries=2)
        llm.generate([ask("good")])
        with pytest.raises(LLMError, match="asked 3 times"):
            llm.generate([ask("bad")])
        assert server.attempts["context\nbad"] == 3
        llm.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_never_answered_is_no_such_server(name):
    body = bodies()[name]
    with MockServer(fault=lambda q, a: body()) as server:
        llm = client(server)
        started = time.perf_counter()
        with pytest.raises(LLMError, match="logprobs" if name == "no log-probabilities" else "base_url ends in /v1"):
            llm.generate([ask()])
        assert time.perf_counter() - started < 1.0
        assert server.attempts.total() == 3
        llm.close()


def test_what_a_body_says_instead_of_an_answer_is_told_without_the_key():
    from aiohttp import web

    def fault(question, attempt):
        return web.json_response({"error": {"message": "sk-secret is \ud800 out of luck"}})

    with MockServer(fault=fault) as server:
        llm = client(server, api_key="sk-secret")
        with pytest.raises(LLMError, match="it says: \\*\\*\\* is \\? out of luck") as failed:
            llm.generate([ask()])
        str(failed.value).encode()  # can be printed
        llm.close()


@pytest.mark.parametrize("tokens", [-1, 1e30, 10**400, "many", [3], True, 0.5, "1e999"])
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "prompt_tokens_details"])
def test_token_counts_that_cannot_be_are_not_reported(tokens, field):
    from aiohttp import web

    details = {"cached_tokens": tokens} if field == "prompt_tokens_details" else {}
    usage = {"prompt_tokens": 11, "completion_tokens": 5, field: details or tokens}
    body = {"choices": [{"message": {"content": "Yes"}}], "usage": usage}
    text = json.dumps(body).replace('"1e999"', "1e999")
    with MockServer(fault=lambda q, a: web.Response(text=text)) as server:
        llm = client(server)
        (answer,) = llm.generate([Prompt("", "", "q")])
        assert answer.text == "Yes"
        assert answer.prompt_tokens == llm.usage.prompt_tokens == (0 if field == "prompt_tokens" else 11)
        assert answer.output_tokens == llm.usage.output_tokens == (0 if field == "completion_tokens" else 5)
        assert llm.usage.cached_tokens == 0
        assert (llm.usage.odd_counts, llm.usage.no_answers) == (1, 0)
        llm.close()


def test_half_a_surrogate_pair_breaks_nothing_and_is_counted(tmp_path):
    from aiohttp import web

    from recsim_llm.language import CachedLLM
    from recsim_llm.runs import RecordingLLM

    body = '{"choices": [{"message": {"content": "caf\u00e9 \\ud83d, \\ud83d\\ude00 \\\\ud83d"}}]}'
    with MockServer(fault=lambda q, a: web.Response(text=body)) as server:
        backend = client(server)
        cache = CachedLLM(backend, tmp_path / "answers.sqlite")
        recorder = RecordingLLM(cache, {})
        (answer,) = recorder.generate([Prompt("", "", "q")])
        assert answer.text == "caf\u00e9 ?, \U0001f600 \\ud83d"
        answer.text.encode()
        assert recorder.drain().to_table(0)["text"].to_pylist() == [answer.text]
        assert cache.generate([Prompt("", "", "q")]) == [answer]
        assert (backend.usage.mended, backend.usage.calls, backend.usage.cache_hits) == (1, 1, 1)
        cache.close()
        backend.close()


@pytest.mark.parametrize("header", ["nan", "inf", "-inf", "soon", "Wed, 21 Oct 2015 07:28:00 -0000", "1e999", "-5"])
def test_a_retry_after_that_says_nothing_of_use_stops_nobody(header):
    fault = problem(503, "busy", {"Retry-After": header})
    with MockServer(fault=lambda q, a: fault if a == 0 else None) as server:
        llm = client(server)
        started = time.perf_counter()
        assert llm.generate([ask()])[0].text == "Yes"
        assert time.perf_counter() - started < 1.0
        assert llm.usage.retries == 1
        llm.close()


def test_bytes_that_are_no_http_are_asked_again():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"\x00\x01 this is no HTTP\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        llm = OpenAILLM("m", f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "k", max_retries=1)
        with pytest.raises(LLMError, match="asked 2 times"):
            llm.generate([ask()])
        llm.close()
        listener.shutdown(socket.SHUT_RDWR)
