"""Keys of servers come from the environment only, and no message repeats one that was written somewhere else."""

from __future__ import annotations

import pickle

import pytest

pytest.importorskip("aiohttp")

from mock_server import MockServer, problem

from recsim_llm.errors import ConfigError, LLMError
from recsim_llm.experiments.fidelity.certify import CertifyConfig
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.language import OpenAILLM, make_llm
from recsim_llm.spec import parse_spec, refuse_secrets
from recsim_llm.types import Prompt

SECRET = "sk-live/3f9c+never-shown"
LINES = (
    f"openai:m?api_key={SECRET}",
    f"openai:m?concurrency=4&apiKey={SECRET}",
    f"openai:m?OPENAI_API_KEY={SECRET}",
    f"openai:m?token={SECRET}",
    f"openai:m?client_secret={SECRET}",
    f"openai:m?password={SECRET}",
    f"openai:m?Authorization=Bearer%20{SECRET}",
    f"openai:m?key={SECRET}",
    f"openai:m?api%5Fkey={SECRET}",
    f"openai:m?api%255Fkey={SECRET}",
    f"openai:m?base_url=http://host/v1?api-key={SECRET}",
    f"openai:m?base_url=http://host/v1%3Ftoken%3D{SECRET}",
    f"openai:m?base_url=http://host/v1#access_token={SECRET}",
    f"openai:m?base_url=http://user:{SECRET}@host/v1",
    f"openai:m?base_url=http://{SECRET.replace('/', '')}@host/v1",
    f"openai:m?base_url=http%3A%2F%2Fuser%3A{SECRET.replace('/', '')}%40host/v1",
)
STRAY = (  # in places where no option's name tells what it is
    f"openai:m?{SECRET}",
    f"openai:m?concurrency=1&concurrency={SECRET}",
    f"openai:m?apikee={SECRET}",
    f"openai:m?api_key_env={SECRET}",
    f"openai:m?base_url=user:{SECRET}@host/v1",
    f"openai:m?base_url=http://host/v1?{SECRET}",
    f"opnai:m?base_url=http://host/v1&x={SECRET}",
)
ADVICE = "set the environment variable OPENAI_API_KEY, or name another one with \\?api_key_env=NAME"


@pytest.mark.parametrize("line", LINES)
def test_a_line_with_a_key_is_refused_with_advice(line):
    with pytest.raises(ConfigError, match=ADVICE) as caught:
        make_llm(line)
    assert_silent(caught.value)
    for check in (
        SimulationConfig(llm=line).check,
        SimulationConfig(policy_llm=line).check,
        CertifyConfig(llm=line).check,
        lambda: parse_spec(line.replace("openai:m", "ease")),
    ):
        with pytest.raises(ConfigError, match=ADVICE) as caught:
            check()
        assert_silent(caught.value)


@pytest.mark.parametrize("line", STRAY)
def test_a_key_in_the_wrong_place_is_not_repeated(line):
    with pytest.raises(ConfigError) as caught:
        make_llm(line)
    assert_silent(caught.value)


def test_the_key_of_the_environment_is_known_wherever_it_is_written(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for line in (f"openai:{SECRET}", f"openai:m?base_url=http://host/{SECRET}/v1", f"openai:m?x=a{SECRET}"):
        with pytest.raises(ConfigError, match="the value of OPENAI_API_KEY") as caught:
            refuse_secrets(line)
        assert_silent(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")  # what vLLM's documentation sets where a server wants no key
    refuse_secrets("openai:EMPTY")


@pytest.mark.parametrize(
    "line",
    [
        "openai:@cf/meta/llama-3?base_url=http://localhost:8000/v1&api_key_env=MY_KEY&top_logprobs=5",
        "openai:tokenizer-key:v2",
        "transformers:/models/secret/key?kept_bytes=5",
        "vllm:m?max_model_len=2048&adapters=1",
        "react?max_tokens=20",
    ],
)
def test_lines_without_keys_pass(line):
    refuse_secrets(line)


@pytest.mark.parametrize(
    "url",
    [
        f"http://host/v1?api_key={SECRET}",
        f"http://user:{SECRET}@host/v1",
        f"http://{SECRET}",
        f"{SECRET}@host",
        f"http://host/v1#{SECRET}",
        f"http://host/v1?{SECRET}",
        "http://host:99999/v1",
        "http://good\\@evil/v1",
        "http://ho st/v1",
    ],
)
def test_urls_with_more_than_a_place_are_refused(url, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(ConfigError, match="URL|base_url|OPENAI_API_KEY") as given:
        OpenAILLM("m", url)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match="URL|base_url|OPENAI_API_KEY") as found:
        OpenAILLM("m")
    assert_silent(given.value, found.value)


def test_a_named_variable_holds_the_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "another-one")
    monkeypatch.setenv("MY_SERVER_KEY", SECRET)
    with MockServer(key=SECRET) as server:
        llm = make_llm(f"openai:m?base_url={server.url}&api_key_env=MY_SERVER_KEY")
        assert llm.generate([Prompt("", "", "q", ("Yes", "No"))])[0].text == "Yes"
        assert SECRET not in llm.name
        llm.close()
        monkeypatch.delenv("MY_SERVER_KEY")
        with pytest.raises(ConfigError, match="MY_SERVER_KEY, which is not set"):
            make_llm(f"openai:m?base_url={server.url}&api_key_env=MY_SERVER_KEY")


def test_a_key_that_no_header_can_hold_is_said_so():
    with pytest.raises(ConfigError, match="white space") as caught:
        OpenAILLM("m", "http://host/v1", f"{SECRET}\n")
    assert_silent(caught.value)


@pytest.mark.parametrize("form", [SECRET, SECRET.replace("/", "\\/")])
def test_what_a_server_quotes_back_is_blotted_out(form):
    body = b'{"choices": [{"message": {"content": "You sent Bearer %s."}}]}' % form.encode()
    with MockServer(fault=lambda q, a: echo(200, body)) as server:
        llm = OpenAILLM("m", server.url, SECRET)
        assert llm.generate([Prompt("", "", "q")])[0].text == "You sent Bearer ***."
        llm.close()
    with MockServer(fault=lambda q, a: problem(404, f"no model for {SECRET}")) as server:
        llm = OpenAILLM("m", server.url, SECRET)
        with pytest.raises(LLMError, match="no model for \\*\\*\\*"):
            llm.generate([Prompt("", "", "q")])
        llm.close()


def test_the_object_shows_no_key():
    with MockServer() as server:
        llm = OpenAILLM("m", server.url, SECRET)
        assert SECRET not in f"{llm!r} {llm.name} {vars(llm)}"
        try:
            packed = pickle.dumps(llm)
        except (TypeError, AttributeError) as error:  # it has a thread
            packed = str(error).encode()
        assert SECRET.encode() not in packed
        llm.close()


def echo(status: int, body: bytes):
    from aiohttp import web

    return web.Response(body=body, status=status, content_type="application/json")


def assert_silent(*errors: BaseException) -> None:
    for error in errors:
        shown = f"{error} {error!r} {error.__cause__!r}"
        assert SECRET not in shown
        assert "3f9c" not in shown
