"""Poison prompts, hanging calls and failing ones: who is refused, who waits, and that answers stay the same."""

import threading
import time
from collections import Counter
from itertools import count
from zlib import crc32

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web
from mock_server import MockServer, problem

from recsim_llm.errors import LLMError
from recsim_llm.language import OpenAILLM
from recsim_llm.language.backends.openai.hedging import Hedging
from recsim_llm.seeding import uniforms
from recsim_llm.types import Prompt


def ask(question, **fields):
    return Prompt("system", "context", question, fields.pop("choices", ("Yes", "No")), **fields)


def answers(prompts, *, vllm, **options):
    """Of a server that never fails."""
    with MockServer(vllm=vllm) as server:
        llm = OpenAILLM("m", server.url, "k", **options)
        try:
            return llm.generate(prompts)
        finally:
            llm.close()


def poisoned(question, attempt):
    return problem(400, "maximum context length is 8 tokens") if "poison" in question else None


@pytest.mark.parametrize("vllm", [False, True])
@pytest.mark.parametrize("poison", [{0}, {63}, {3, 64, 65, 199}, set(range(200))])
def test_poison_prompts_are_refused_and_the_others_answered(vllm, poison):
    prompts = [ask(f"q{i}" + " poison" * (i in poison)) for i in range(200)]
    expected = answers(prompts, vllm=vllm)
    with MockServer(vllm=vllm, fault=poisoned) as server:
        llm = OpenAILLM("m", server.url, "k")
        found = llm.generate(prompts)
        llm.close()
    for i, completion in enumerate(found):
        if i in poison:
            assert "maximum context length" in completion.refused
            assert (completion.text, completion.logprobs) == ("", ())
        else:
            assert completion.logprobs == expected[i].logprobs
    assert llm.usage.refused == len(poison)
    assert llm.usage.calls == 200
    assert llm.usage.retries == 0


def test_one_poison_prompt_costs_few_requests():
    with MockServer(vllm=True, fault=poisoned) as server:
        llm = OpenAILLM("m", server.url, "k")
        llm.generate([ask(f"q{i}" + " poison" * (i == 40)) for i in range(512)])
        llm.close()
    assert server.paths["/v1/chat/completions/batch"] <= 1 + 16 + 2 * 5 + 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_every_text_can_be_poison_too(status):
    with MockServer(fault=lambda q, a: problem(status, "no") if "poison" in q else None) as server:
        llm = OpenAILLM("m", server.url, "k")
        bad, good = llm.generate([Prompt("", "", q, max_tokens=5) for q in ("poison", "fine")])
        llm.close()
    assert f"status {status}" in bad.refused
    assert good.text.startswith("fine")


@pytest.mark.parametrize("vllm", [False, True])
def test_a_form_that_is_rejected_whatever_is_asked_is_an_error(vllm):
    def fault(question, attempt):
        return None if "water" in question else problem(400, "logprobs are not supported")

    with MockServer(vllm=vllm, fault=fault) as server:
        llm = OpenAILLM("m", server.url, "k")
        with pytest.raises(LLMError, match="logprobs are not supported"):
            llm.generate([ask(f"q{i}") for i in range(100)])
        assert llm.usage.refused == 0
        llm.close()


class Storm:
    """A share of requests hang, the first time they are seen."""

    def __init__(self, hang=0.0, fail=0.0):
        self.hang, self.fail, self.seen, self.lock = hang, fail, Counter(), threading.Lock()

    def __call__(self, question, attempt):
        key = crc32(question.encode())
        luck = float(uniforms(key, attempt))
        if luck < self.hang:
            self.seen["hang"] += 1
            return "hang"
        if luck < self.hang + self.fail:
            self.seen["fail"] += 1
            cut = web.Response(text='{"choices": [{"message"')
            return [problem(500, "oops"), problem(429, "slow down", {"Retry-After": "0.01"}), "drop", cut][key % 4]
        return None


@pytest.mark.parametrize("vllm", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_storm_changes_no_answer_and_costs_little_time(vllm):
    """5 % of calls hang for 20 s, 10 % fail, and a second copy goes out after 0.1 s."""
    prompts = [ask(f"question {i}" * 3) for i in range(4_000 if vllm else 1_000)]
    options = {"concurrency": 32, "hedge_after_s": 0.1}
    seconds, found = [], []
    for storm in (None, Storm(hang=0.05, fail=0.1)):
        with MockServer(vllm=vllm, latency_s=0.05, hang_s=20.0, fault=storm) as server:
            llm = OpenAILLM("m", server.url, "k", **options)
            llm.check()
            started = time.perf_counter()
            found.append([c.logprobs for c in llm.generate(prompts)])
            seconds.append(time.perf_counter() - started)
            llm.close()
    assert storm.seen["hang"] > 0
    assert storm.seen["fail"] > 0
    assert found[0] == found[1]
    assert llm.usage.hedged > 0
    assert llm.usage.retries > 0
    assert vllm or llm.usage.no_answers > 0  # of few batches, none may be cut
    assert llm.usage.calls == 1 + len(prompts)
    assert seconds[1] < 10.0  # no hanging call was waited for


def test_without_hedging_a_hanging_call_is_waited_for():
    with MockServer(hang_s=0.6, fault=lambda q, a: "hang" if q.endswith("q9") else None) as server:
        llm = OpenAILLM("m", server.url, "k", hedge=False)
        started = time.perf_counter()
        llm.generate([ask(f"q{i}") for i in range(10)])
        assert time.perf_counter() - started > 0.6
        assert llm.usage.hedged == 0
        llm.close()


def test_a_copy_of_a_copy_goes_out_and_the_oldest_is_given_up():
    with MockServer(hang_s=20.0, fault=lambda q, a: "hang" if q.endswith("q9") and a < 3 else None) as server:
        llm = OpenAILLM("m", server.url, "k", hedge_after_s=0.05)
        started = time.perf_counter()
        llm.generate([ask(f"q{i}") for i in range(30)])
        assert time.perf_counter() - started < 5
        assert llm.usage.hedged == 3
        llm.close()


def test_a_server_slow_for_everybody_gets_few_second_copies():
    with MockServer(latency_s=0.15) as server:
        llm = OpenAILLM("m", server.url, "k", concurrency=20, hedge_after_s=0.01)
        llm.generate([ask(f"q{i}") for i in range(200)])
        llm.close()
    assert llm.usage.hedged <= 2 + 20


def test_second_copies_are_a_bounded_share():
    now = [0.0]
    hedging = Hedging(0.01, lambda: now[0])
    for _ in range(1_000):
        hedging.sent()
        hedging.answered("a", 0.1)
    assert hedging.patience_s("a") == pytest.approx(0.125)
    assert not hedging.may_copy("a", 0.12)
    assert not hedging.may_copy("a", 0.13, factor=2.0)
    assert sum(hedging.may_copy("a", 0.13) for _ in range(1_000)) == 252
    assert not hedging.may_double()
    now[0] += 0.13  # what hangs at the end, with nothing left, is not waited for until its time is up
    assert sum(hedging.may_copy("a", 0.13) for _ in range(1_000)) == 1


def test_what_failed_is_doubled_within_the_same_share():
    hedging = Hedging(0.01)
    for _ in range(19):
        hedging.sent()
    assert not hedging.may_double()  # so few requests have nothing to spare
    for _ in range(981):
        hedging.sent()
        hedging.answered("a", 0.1)
    assert not hedging.may_double()  # nothing fails: nothing is doubled
    for _ in range(6):
        hedging.failed()
    assert sum(hedging.may_double() for _ in range(10_000)) == 246


def test_requests_of_an_unknown_kind_have_more_time_and_looks_in_between():
    hedging = Hedging(0.5)
    assert hedging.patience_s("a") == 10.0
    assert hedging.look_s("a", 0.0, 1.0) == pytest.approx(0.1)
    hedging.answered("a", 0.7)  # the first answer tells something already
    assert hedging.patience_s("a") == pytest.approx(1.4)
    for _ in range(4):
        hedging.answered("b", 0.1)
    assert hedging.patience_s("b") == 0.5
    assert hedging.look_s("b", 0.2, 1.0) == pytest.approx(0.3)


def copies_for(latencies):
    """Second copies that requests of these latencies get, one after the other, where the time passes as they say."""
    now = [0.0]
    hedging = Hedging(0.02, lambda: now[0])
    copies = 0
    for seconds in latencies:
        hedging.sent()
        copies += hedging.may_copy("a", seconds)
        hedging.answered("a", seconds)
        now[0] += seconds
    return copies


def test_a_healthy_server_that_is_slow_is_not_asked_twice():
    assert copies_for([0.3] * 1_000) == 0
    # One in ten takes five times as long, always: that is how it is, not a fault. Before four are known, one is copied.
    assert copies_for([0.25 if i % 10 == 0 else 0.05 for i in range(1_000)]) <= 2
    assert copies_for([0.05 + 0.1 * float(uniforms(i, 0)) for i in range(1_000)]) <= 20
    # The known answer that must be copied: one in fifty hangs.
    assert copies_for([30.0 if i % 50 == 49 else 0.05 for i in range(1_000)]) == 20


def test_a_server_that_slows_down_gets_no_more_than_a_quarter_more_requests():
    """From one moment on every answer takes fifteen times as long: all that are in flight then look slow."""
    number = count()
    with MockServer(latency_s=lambda question: 0.02 if next(number) < 60 else 0.3) as server:
        llm = OpenAILLM("m", server.url, "k", concurrency=40, hedge_after_s=0.02)
        llm.generate([ask(f"q{i}") for i in range(200)])
        llm.close()
    assert llm.usage.hedged > 0
    assert server.attempts.total() <= 200 + llm.usage.hedged  # a copy may be given up before it arrives
    assert llm.usage.hedged <= 2 + 200 / 4 + llm.usage.seconds / 0.02


def test_a_first_call_that_hangs_is_asked_again_as_soon_as_others_are_answered():
    """The first call of its kind in a life: two others, answered in 0.05 s, are enough to know that it is slow."""
    with MockServer(
        latency_s=0.05, hang_s=20.0, fault=lambda q, a: "hang" if q.endswith("q0") and a == 0 else None
    ) as s:
        llm = OpenAILLM("m", s.url, "k", hedge_after_s=0.1)
        started = time.perf_counter()
        llm.generate([ask(f"q{i}") for i in range(3)])
        assert time.perf_counter() - started < 1.9  # 2 s, twenty times 0.1 s, without the two others
        assert llm.usage.hedged >= 1
        llm.close()


def test_a_call_that_fails_is_asked_again_at_once():
    with MockServer(fault=lambda q, a: problem(500, "oops") if a == 0 else None) as server:
        llm = OpenAILLM("m", server.url, "k")
        started = time.perf_counter()
        for i in range(20):
            llm.generate([ask(f"q{i}")])
        assert time.perf_counter() - started < 2.4  # with a wait of 0.125 s to 0.25 s each, it was 2.5 s and more
        assert llm.usage.retries == 20
        llm.close()


def test_a_call_that_failed_goes_out_twice_so_that_nobody_waits_for_a_second_failure():
    """The copy beside the retry is answered where the retry fails."""
    with MockServer(latency_s=0.1, fault=lambda q, a: problem(500, "oops") if "bad" in q and a < 2 else None) as server:
        llm = OpenAILLM("m", server.url, "k")
        llm.generate([ask(f"q{i}") for i in range(20)])
        llm.generate([ask("bad")])
        assert server.attempts["context\nbad"] >= 3
        assert llm.usage.retries == 1
        llm.close()
