"""The real vLLM engine, in the environment that `make install-vllm` makes; elsewhere these are skipped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; make install-vllm makes an environment with it")

from recsim_llm.errors import ConfigError, LLMError, ModelNotFoundError
from recsim_llm.language import TransformersLLM, make_llm, resolve_model
from recsim_llm.language.backends.vllm.vllm_backend import VllmLLM
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.types import Prompt

# vLLM and what it imports warn of much that is not ours.
pytestmark = [pytest.mark.slow, pytest.mark.real_llm, pytest.mark.vllm, pytest.mark.filterwarnings("default")]
SYSTEM = "You play a person who rates films. Answer with one word."
YES_NO = ("Yes", "No")
DIGITS = ("0", "1", "2", "3", "4", "5")


@pytest.fixture(scope="session")
def engine():
    try:
        resolve_model("smollm2-135m")
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    llm = make_llm("vllm:smollm2-135m?max_model_len=1024&cpu_cache_gib=2&dtype=float32")
    yield llm
    llm.close()


@pytest.fixture(scope="session")
def plain():
    return TransformersLLM("smollm2-135m", device="cpu")


class TestContract(LLMContract):
    """Bits may depend on the company of a prompt; 0.001 nats is what float32 was seen to keep to by far."""

    tolerance = 1e-3

    @pytest.fixture(autouse=True)
    def use_engine(self, engine):
        self.engine = engine

    def make(self):
        return self.engine


def questions():
    contexts = ["You are Ann and like quiet films.", "You are Bo and like loud films with many cars."]
    labels = [
        Prompt(SYSTEM, context, f"{film}: would you watch it? Yes or No?", YES_NO)
        for context in contexts
        for film in ("Rain", "War", "A long title about the sea")
    ]
    page = Prompt(SYSTEM, contexts[0], "A line of four numbers, 0 to 5, for Rain, Snow, Fog and War.", DIGITS, slots=4)
    return [*labels, page, page._replace(context=contexts[1], slots=2), Prompt("", "", "Is water wet?", YES_NO)]


def test_label_reads_are_those_of_transformers(engine, plain):
    for ours, theirs in zip(engine.generate(questions()), plain.generate(questions()), strict=True):
        assert ours.text == theirs.text
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=2e-3)
        assert ours.prompt_tokens == theirs.prompt_tokens


def test_prefixes_are_read_once(engine):
    long = "This is a rule of the game that everybody must know. " * 12
    prompts = [Prompt(long, "You are Ann.", f"Film {i}?", YES_NO) for i in range(20)]
    before = replace(engine.usage)
    engine.generate(prompts)
    read = engine.usage.prompt_tokens - before.prompt_tokens
    assert 0.7 * read < engine.usage.cached_tokens - before.cached_tokens < read


def test_a_prompt_longer_than_the_context_is_refused_and_disturbs_nobody(engine):
    good = questions()
    before = engine.usage.refused
    *answers, refused = engine.generate([*good, Prompt(SYSTEM, "word " * 2000, "Yes or No?", YES_NO)])
    assert "the model reads 1024" in refused.refused
    assert not refused.logprobs
    assert all(len(a.logprobs) == len(p.choices) * p.slots for a, p in zip(answers, good, strict=True))
    assert engine.usage.refused == before + 1


def test_seeded_texts_of_many_long_prompts(engine):
    """More tokens than one step takes: no prompt may be cut in two, as a CPU generator has no way back."""
    prompts = [
        Prompt(SYSTEM, f"You are person {i}. " + "This is what you remember of the visit. " * 40, "Say a word.",
               max_tokens=2, temperature=0.7, seed=i)
        for i in range(40)
    ]  # fmt: skip
    first, again = engine.generate(prompts), engine.generate(prompts)
    assert [a.text for a in first] == [a.text for a in again]


def test_a_text_follows_its_schema(engine):
    schema = {
        "type": "object",
        "properties": {"stars": {"type": "integer", "minimum": 1, "maximum": 5}, "watch": {"type": "boolean"}},
        "required": ["stars", "watch"],
        "additionalProperties": False,
    }
    prompt = Prompt(SYSTEM, "You are Ann.", "Rain?", schema=json.dumps(schema), max_tokens=40)
    answer = json.loads(engine.generate([prompt])[0].text)
    assert 1 <= answer["stars"] <= 5
    assert isinstance(answer["watch"], bool)


def test_choices_that_begin_alike_are_refused_with_a_sentence(engine):
    with pytest.raises(LLMError, match=r"begin with the same token|not told apart"):
        engine.generate([questions()[0]._replace(choices=("never again", "never mind"))])


def test_an_adapter_where_none_are_on_is_an_error(engine):
    with pytest.raises(LLMError, match="adapters are off"):
        engine.generate([questions()[0]._replace(adapter="/somewhere")])


def write_adapter(folder: Path, scale: float) -> str:
    """A LoRA adapter for SmolLM2-135M's queries, with random weights of this size."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    folder.mkdir()
    draw, rank, width, weights = torch.Generator().manual_seed(0), 8, 576, {}
    for layer in range(30):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(rank, width, generator=draw) / width**0.5
        weights[f"{name}.lora_B.weight"] = torch.randn(width, rank, generator=draw) * scale
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def test_a_prompt_may_name_its_adapter(engine, tmp_path):
    idle, busy = write_adapter(tmp_path / "idle", 0.0), write_adapter(tmp_path / "busy", 1.0)
    prompt = questions()[0]
    llm = VllmLLM("smollm2-135m", dtype="float32", max_model_len=512, cpu_cache_gib=1, adapters=2)
    try:
        # Many of each, so that the engine has them all in one batch.
        answers = llm.generate([prompt._replace(adapter=adapter) for adapter in ("", idle, busy) for _ in range(8)])
        bare, same, other = answers[0], answers[8], answers[16]
        with pytest.raises(LLMError, match="no LoRA adapter"):
            llm.generate([prompt._replace(adapter=str(tmp_path / "nothing"))])
    finally:
        llm.close()
    assert bare.logprobs == pytest.approx(engine.generate([prompt])[0].logprobs, abs=2e-3)
    assert all(answer.logprobs == pytest.approx(bare.logprobs, abs=2e-3) for answer in answers[:16])
    assert same.logprobs == pytest.approx(bare.logprobs, abs=2e-3)
    assert abs(other.logprobs[0] - bare.logprobs[0]) > 0.1


def test_bad_options_are_named_before_anything_starts():
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        VllmLLM("./nowhere")
    with pytest.raises(ConfigError, match="share of a GPU"):
        VllmLLM("smollm2-135m", gpu_memory=2.0)
    with pytest.raises(ConfigError, match=r"max_modle_len.*max_model_len"):
        make_llm("vllm:smollm2-135m?max_modle_len=3")
