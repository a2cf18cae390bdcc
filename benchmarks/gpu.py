"""A real model on a GPU: decisions per second, share of the hardware's limit, and utilisation.

`python -m benchmarks gpu`; RECSIM_LLM_BENCH_MODEL names the model: a folder or a hub id, best of 1-8B parameters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from benchmarks.table import Row, seconds
from benchmarks.world import page_prompts
from recsim_llm.errors import MissingExtraError
from recsim_llm.experiments.simulation.cost.gpu_use import GpuUse
from recsim_llm.language.backends.transformers.transformers_backend import TransformersLLM
from recsim_llm.language.backends.vllm.vllm_backend import VllmLLM
from recsim_llm.language.protocol import LLM
from recsim_llm.types import Prompt

MODEL = os.environ.get("RECSIM_LLM_BENCH_MODEL", "smollm2-135m")
ITEMS = 10
PEAK_FLOPS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "T4": 65e12,
}
"""Dense bfloat16 (T4: float16) of NVIDIA's data sheets, by what the device's name contains. H100: the SXM module."""


def run(quick: bool) -> Iterator[Row | str]:
    """Label reads of agents who look at a page of ten items: one question per item, after a shared context."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "transformers", "The benchmark on a GPU") from error

    if not torch.cuda.is_available():
        yield "gpu: there is no GPU here. On a machine with one: python -m benchmarks gpu"
        return
    device = torch.cuda.get_device_name()
    prompts = page_prompts(50 if quick else 1_000, ITEMS // 2)
    for kind, make in (("transformers", lambda: TransformersLLM(MODEL)), ("vLLM", lambda: VllmLLM(MODEL))):
        try:
            llm = make()
        except MissingExtraError as missing:
            yield f"gpu, {kind}: {missing}"
            continue
        yield from measure(llm, prompts, f"{kind} on {device}, {MODEL}", peak_flops(device), parameters(MODEL))
        if hasattr(llm, "close"):
            llm.close()
        del llm
        torch.cuda.empty_cache()


def measure(
    llm: LLM, prompts: list[Prompt], where: str, peak: float | None, num_parameters: int
) -> Iterator[Row | str]:
    """Send all prompts once and measure the throughput.

    Args:
        llm: The model.
        prompts: One decision each.
        where: Label for the rows: backend, device, model.
        peak: Floating-point operations per second of the device; None if unknown.
        num_parameters: N; a token costs 2N operations.
    """
    llm.generate(prompts[:ITEMS])  # loads kernels, reads the instructions
    usage = llm.usage
    before = usage.prompt_tokens - usage.cached_tokens
    with GpuUse() as gpu:
        wall = seconds(lambda: llm.generate(prompts))
    computed = usage.prompt_tokens - usage.cached_tokens - before
    yield Row(f"{where}: decisions", len(prompts) / wall, "decisions/s")
    if peak is None:
        yield f"{where}: share of roofline: the peak of this device is not in benchmarks/gpu.py"
    else:
        yield Row(
            f"{where}: share of roofline, 2N x computed tokens", 2 * num_parameters * computed / wall / peak, "of 1"
        )
    if gpu.mean is None:
        yield f"{where}: share of time that the GPU was busy needs the package nvidia-ml-py"
    else:
        yield Row(f"{where}: share of time that the GPU was busy", gpu.mean, "of 1")


def peak_flops(device: str) -> float | None:
    """Peak of a device by its CUDA name; None if it is not in the table."""
    return next((peak for name, peak in PEAK_FLOPS.items() if name in device), None)


def parameters(model: str) -> int:
    """Parameters of a model, from its configuration alone."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from recsim_llm.language.models import resolve_model

    with torch.device("meta"):
        config = AutoConfig.from_pretrained(resolve_model(model), trust_remote_code=False)
        empty: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return sum(p.numel() for p in empty.parameters())
