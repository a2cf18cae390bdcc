"""Label reads a second of a real small model, with a shared prefix and with every prompt read in full."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.table import Row, seconds
from benchmarks.world import page_prompts
from recsim_llm.llm.model_files import quiet
from recsim_llm.llm.models import resolve_model
from recsim_llm.llm.transformers_backend import TransformersLLM
from recsim_llm.types import Prompt

MODEL = os.environ.get("RECSIM_LLM_TEST_MODEL", "smollm2-135m")
QUESTIONS = 8


def run(quick: bool) -> Iterator[Row]:
    """Page agents on their second page: 8 questions a context, in one call, beside each prompt on its own."""
    folder = resolve_model(MODEL)
    contexts, alone = (1, 2) if quick else (6, 8)
    prompts = page_prompts(contexts, QUESTIONS // 2)
    llm = TransformersLLM(str(folder), device="cpu")
    llm.generate([prompts[0]._replace(context="")])  # reads the instructions, warms up
    warm = replace(llm.usage)
    ours = len(prompts) / seconds(lambda: llm.generate(prompts))
    tokens = (llm.usage.prompt_tokens - warm.prompt_tokens) / len(prompts)
    peer = full_reads_per_second(folder, prompts[:: len(prompts) // alone])
    folder_name = Path(folder).name
    measure = f"label reads, {folder_name} on CPU, {contexts} agents x {QUESTIONS} questions of ~{tokens:.0f} tokens"
    yield Row(measure, ours, "reads/s", "", peer, "plain transformers, each prompt in full, last logits only")


def full_reads_per_second(folder: Path | str, prompts: Sequence[Prompt]) -> float:
    """The same texts through the model's chat template, one forward each."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()

    def read(prompt: Prompt) -> list[float]:
        ids: Any = tokenizer.apply_chat_template(_messages(prompt), add_generation_prompt=True, return_tensors="pt")
        logits = model(**ids, use_cache=False, logits_to_keep=1).logits[0, -1]
        logprobs = logits.float().log_softmax(dim=-1)
        return [float(logprobs[tokenizer.encode(c, add_special_tokens=False)[0]]) for c in prompt.choices]

    with torch.inference_mode():
        read(prompts[0])
        return len(prompts) / seconds(lambda: [read(prompt) for prompt in prompts])


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    user = f"{prompt.context}\n{prompt.question}"
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}]
