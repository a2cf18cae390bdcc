"""The openai backend against a real `vllm serve`, in the environment that `make install-vllm` makes."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; make install-vllm makes an environment with it")
pytest.importorskip("aiohttp")

from recsim_llm.errors import LLMError, ModelNotFoundError
from recsim_llm.language import OpenAILLM, TransformersLLM, resolve_model
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.types import Prompt

pytestmark = [pytest.mark.slow, pytest.mark.real_llm, pytest.mark.vllm, pytest.mark.filterwarnings("default")]
SYSTEM = "You play a person who rates films. Answer with one word."
OPTIONS = (
    "--host 127.0.0.1 --served-model-name smollm2 --dtype float32 --max-model-len 1024 --max-num-seqs 64 "
    "--enforce-eager --block-size 32 --enable-prefix-caching --enable-prompt-tokens-details"
)
SETTINGS = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_LOGGING_LEVEL": "WARNING"}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server of its own, ended by its process."""
    try:
        where = resolve_model("smollm2-135m")
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    # Not `vllm serve`: it looks for a distribution of that name, and vllm-cpu has another.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(where), "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *OPTIONS.split()], env=os.environ | SETTINGS, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _wait(process, health, log):
    for _ in range(480):
        if process.poll() is not None:
            pytest.fail(f"vllm serve ended: {log.read_text()[-3000:]}")
        try:
            with urlopen(health, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"vllm serve did not start: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def served(url):
    llm = OpenAILLM("smollm2", url, hedge=False)
    yield llm
    llm.close()


class TestContract(LLMContract):
    """Bits may depend on the company of a prompt."""

    tolerance = 1e-3

    @pytest.fixture(autouse=True)
    def use_server(self, served):
        self.served = served

    def make(self):
        return self.served


def questions(count):
    films = ("Rain", "War", "A long title about the sea")
    contexts = [
        f"You are {who}, {age}, and like quiet films." for who in ("Ann", "Bo") for age in range(20, 20 + count)
    ]
    return [Prompt(SYSTEM, c, f"{f}: would you watch it? Yes or No?", ("Yes", "No")) for c in contexts for f in films]


def test_it_is_recognised_and_agrees_with_the_same_model_here(served):
    assert served.name.endswith("?labels=ids")
    prompts = questions(3)
    here = TransformersLLM("smollm2-135m", device="cpu").generate(prompts)
    for there, answer in zip(served.generate(prompts), here, strict=True):
        assert there.logprobs == pytest.approx(answer.logprobs, abs=2e-3)


def test_a_page_is_one_request_and_a_whole_line(served):
    pages = [
        p._replace(question="Rate A, B, C and D from 0 to 5.", choices=tuple("012345"), slots=4) for p in questions(5)
    ]
    for answer in served.generate(pages):
        assert len(answer.logprobs) == 24
        assert len(answer.text.split()) == 4


def test_dozens_of_labels_are_read_exactly(served):
    letters = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    (answer,) = served.generate([questions(1)[0]._replace(choices=letters)])
    assert len(set(answer.logprobs)) > 50
    assert sum(map(math.exp, answer.logprobs)) <= 1


def test_a_prompt_longer_than_the_context_is_refused_alone(served):
    before = served.usage.refused
    prompts = questions(10)
    expected = served.generate(prompts)
    found = served.generate([*prompts[:7], prompts[0]._replace(context="word " * 3000), *prompts[7:]])
    assert "longer than the context" in found.pop(7).refused
    assert served.usage.refused == before + 1
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)


def test_texts_follow_their_schema(served):
    schema = '{"type": "object", "properties": {"film": {"enum": ["Rain", "War"]}}, "required": ["film"]}'
    (answer,) = served.generate([Prompt(SYSTEM, "", "Which film?", schema=schema, max_tokens=30)])
    assert json.loads(answer.text)["film"] in {"Rain", "War"}


def test_tokens_from_the_prefix_cache_are_counted(served):
    time.sleep(1.1)
    before = served.usage.cached_tokens
    served.generate(questions(6))
    assert served.usage.cached_tokens > before


def test_an_unknown_model_is_an_error_that_names_those_there_are(url):
    other = OpenAILLM("no-such-model", url)
    with pytest.raises(LLMError, match="it serves smollm2"):
        other.check()
    other.close()
