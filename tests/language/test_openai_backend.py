"""The openai backend against a mock server that knows the OpenAI protocol and no more."""

import asyncio
import gc
import threading
import time

import pytest

pytest.importorskip("aiohttp")

from mock_server import MockServer, problem

from recsim_llm.errors import ConfigError, LLMError
from recsim_llm.language import OpenAILLM
from recsim_llm.language.label_reads import AnswerCounts, label_probabilities
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


def test_many_requests_are_in_flight_but_no_more_than_allowed():
    with MockServer(latency_s=0.6) as server:
        llm = client(server, concurrency=500)
        started = time.perf_counter()
        completions = llm.generate([ask(f"q{i}") for i in range(1500)])
        seconds = time.perf_counter() - started
        llm.close()
    assert len(completions) == 1500
    assert 300 < server.most_in_flight <= 500
    assert seconds < 1500 * 0.6 / 20  # far from one after the other, even on a slow machine


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


def test_no_log_probabilities_are_an_error_with_several_slots_too():
    page = Prompt("", "", "", YES_NO, slots=2)
    with MockServer(logprobs=False) as server:
        llm = client(server)
        with pytest.raises(LLMError, match="log-probabilities"):
            llm.generate([page])
        llm.close()
