"""Label reads per second of a real small model, with a shared prefix and with every prompt read in full."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.table import Row, seconds
from benchmarks.world import page_prompts
from recsim_llm.language.backends.transformers.transformers_backend import TransformersLLM
from recsim_llm.language.model_files import quiet
from recsim_llm.language.models import resolve_model
from recsim_llm.types import Prompt

MODEL = os.environ.get("RECSIM_LLM_TEST_MODEL", "smollm2-135m")
QUESTIONS = 8


def run(quick: bool) -> Iterator[Row]:
    """Page agents on their second page: a call with 8 questions a context, in turns with prompts read on their own."""
    folder = resolve_model(MODEL)
    contexts = 1 if quick else 6
    prompts = page_prompts(contexts, QUESTIONS // 2)
    llm, alone = TransformersLLM(str(folder), device="cpu"), plain_reader(folder)
    warm = prompts[0]._replace(context="")
    llm.generate([warm])  # reads the instructions, which are cached
    alone(warm)
    before, ours, peer = llm.usage.prompt_tokens, 0.0, 0.0
    for start in range(0, len(prompts), QUESTIONS):
        # In turns, so that other load on the machine affects both.
        asked = prompts[start : start + QUESTIONS]
        ours += seconds(lambda: llm.generate(asked))  # noqa: B023 - called at once
        peer += seconds(lambda: (alone(asked[0]), alone(asked[-1])))  # noqa: B023 - called at once
    tokens = (llm.usage.prompt_tokens - before) / len(prompts)
    yield Row(
        f"label reads on CPU, {contexts} agents x {QUESTIONS} questions of {tokens:.0f} tokens",
        len(prompts) / ours,
        "reads/s",
        "",
        2 * contexts / peer,
        f"plain transformers, each prompt in full ({2 * contexts} of them), last logits only",
    )


def plain_reader(folder: Path | str) -> Callable[[Prompt], list[float]]:
    """Reads the labels of one prompt: the same texts through the model's chat template, one forward each."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    model.eval()

    def read(prompt: Prompt) -> list[float]:
        ids: Any = tokenizer.apply_chat_template(_messages(prompt), add_generation_prompt=True, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**ids, use_cache=False, logits_to_keep=1).logits[0, -1]
        logprobs = logits.float().log_softmax(dim=-1)
        return [float(logprobs[tokenizer.encode(c, add_special_tokens=False)[0]]) for c in prompt.choices]

    return read


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    user = f"{prompt.context}\n{prompt.question}"
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}]
