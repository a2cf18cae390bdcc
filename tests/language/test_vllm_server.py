"""The openai backend against a mock vLLM server: batches, exact ids, recognition."""

import math
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

from mock_server import MockServer, chances, cut, problem

from recsim_llm.errors import LLMError
from recsim_llm.language import OpenAILLM
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.types import Prompt

BATCH = "/v1/chat/completions/batch"
YES_NO = ("Yes", "No")


def ask(question="q", **fields):
    return Prompt("system", "context", question, fields.pop("choices", YES_NO), **fields)


class TestContract(LLMContract):
    @pytest.fixture(autouse=True)
    def server(self):
        with MockServer(vllm=True) as server:
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
    with MockServer(vllm=True) as server:
        yield server


@pytest.fixture
def llm(server):
    llm = OpenAILLM("m", server.url, "k")
    yield llm
    llm.close()


def test_label_reads_go_many_to_a_request_and_come_back_in_order(server, llm):
    prompts = [ask("q" * i) for i in range(200)]
    answers = llm.generate(prompts)
    assert server.paths["/v1/chat/completions"] == 0
    assert server.paths[BATCH] <= 1 + 16  # the trial, and requests of 13
    ids = [cut(choice)[0] for choice in YES_NO]
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = chances(f"context\n{prompt.question}", sorted(ids))
        assert [math.exp(x) for x in answer.logprobs] == pytest.approx(
            [expected[sorted(ids).index(i)] for i in ids], rel=1e-4
        )


def test_request_is_what_vllm_says(server, llm):
    llm.generate([ask("one"), ask('two "quoted"')])
    body = server.bodies[-1]
    assert [each[-1]["content"] for each in body["messages"]] == ["context\none", 'context\ntwo "quoted"']
    assert all(each[0] == {"role": "system", "content": "system"} for each in body["messages"])
    assert (body["max_tokens"], body["temperature"], body["logprobs"]) == (1, 0, True)
    assert body["return_tokens_as_token_ids"] is True
    assert body["logprob_token_ids"] == sorted(cut(choice)[0] for choice in YES_NO)
    assert body["chat_template_kwargs"]["enable_thinking"] is False


def test_more_labels_than_the_likeliest_twenty(server, llm):
    choices = tuple(f"film{i}" for i in range(100))
    (answer,) = llm.generate([ask(choices=choices)])
    assert len(answer.logprobs) == 100
    assert sum(map(math.exp, answer.logprobs)) == pytest.approx(0.9, abs=1e-3)
    with pytest.raises(LLMError, match="at most 128"):
        llm.generate([ask(choices=tuple(f"film{i}" for i in range(129)))])


def test_a_page_is_one_line_of_labels(server, llm):
    page = ask(choices=("0", "3", "5"), slots=4)
    (answer,) = llm.generate([page])
    body = server.bodies[-1]
    assert body["max_tokens"] == 7
    assert set(body["allowed_token_ids"]) == {32, *(cut(choice)[0] for choice in page.choices)}
    assert len(answer.logprobs) == 12
    assert len(answer.text.split()) == 4
    assert answer.output_tokens == 7


def test_texts_go_one_to_a_request(server, llm):
    texts = llm.generate([Prompt("", "", f"q{i}", temperature=1.0, seed=i) for i in range(5)])
    assert [text.text for text in texts] == [f"q{i} / {i}" for i in range(5)]
    assert server.paths["/v1/chat/completions"] == 5


def test_choices_that_begin_alike_are_an_error(llm):
    with pytest.raises(LLMError, match="begin with the same token"):
        llm.generate([ask(choices=("very good", "very bad"))])
    with pytest.raises(LLMError, match="one token each"):
        llm.generate([ask(choices=("very good", "bad"), slots=2)])


def test_tokens_are_counted_and_cached_ones_come_from_the_metrics(llm):
    llm.generate([ask(f"q{i}") for i in range(100)])
    assert llm.usage.calls == 100
    assert llm.usage.prompt_tokens == 1100
    assert llm.usage.output_tokens == 100
    assert llm.usage.cached_tokens == 550


def test_the_server_is_asked_what_it_is_once(server, llm):
    assert llm.name.endswith("?labels=ids")
    for _ in range(3):
        llm.generate([ask()])
    assert server.paths[BATCH] == 1 + 3
    assert server.paths["/tokenize"] == 1 + 3  # a word; the opening and two labels


@pytest.mark.parametrize("options", [{"vllm": False}, {"vllm": True, "has_batches": False}])
def test_another_server_is_asked_as_ever(options):
    with MockServer(**options) as server:
        llm = OpenAILLM("m", server.url, "k")
        assert llm.name.endswith("?top=20")
        llm.generate([ask(f"q{i}") for i in range(10)])
        llm.close()
    assert server.paths[BATCH] == 0
    assert server.paths["/v1/chat/completions"] == 10


def test_a_vllm_that_rejects_ids_is_asked_as_ever():
    def fault(question, attempt):
        return problem(400, "logprob_token_ids: unknown") if "water" in question else None

    with MockServer(vllm=True, fault=fault) as server:
        llm = OpenAILLM("m", server.url, "k")
        assert llm.name.endswith("?top=20")
        llm.close()


def test_recognition_survives_passing_failures():
    def fault(question, attempt):
        return [problem(500, "oops", {"Retry-After": "0"}), "drop", None][min(attempt, 2)]

    with MockServer(vllm=True, fault=fault) as server:
        llm = OpenAILLM("m", server.url, "k")
        assert llm.name.endswith("?labels=ids")
        llm.close()


def test_an_unknown_model_is_named_with_those_there_are(server):
    llm = OpenAILLM("other", server.url, "k")
    with pytest.raises(LLMError, match=r"does not serve 'other'; it serves m\."):
        llm.check()
    llm.close()


def test_an_adapter_is_refused(llm):
    with pytest.raises(LLMError, match="takes no adapters"):
        llm.generate([ask(adapter="/somewhere")])


def test_the_server_of_the_benchmarks_is_a_vllm_server_too(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # benchmarks stand beside the package
    mock = import_module("benchmarks.mock_server")
    with mock.server() as address:
        llm = OpenAILLM("mock", f"{address}/vllm/0.0/v1", "k")
        assert llm.name.endswith("?labels=ids")
        answers = llm.generate([ask(f"q{i}") for i in range(70)] + [ask('"role":"user",', slots=3)])
        llm.close()
    assert {len(answer.logprobs) for answer in answers[:-1]} == {2}
    assert len(answers[-1].logprobs) == 6
