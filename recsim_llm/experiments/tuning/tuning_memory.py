"""Check that a model can be tuned in the free memory, before anything is loaded."""

from __future__ import annotations

from typing import Any

from recsim_llm.errors import LLMError
from recsim_llm.language.models import resolve_model

_ROOM = 2 * 2**30
"""Bytes for activations, in addition to the weights."""


def needed_bytes(weights: int, trained: int, wide: bool) -> int:
    """Bytes that a tuning needs.

    Args:
        weights: Number of weights of the model.
        trained: Number of trained weights: each also has a gradient and two moments.
        wide: Whether numbers have 4 bytes, not 2.
    """
    return (4 if wide else 2) * (weights + 3 * trained) + _ROOM


def check_memory(name: str, lora_rank: int, cuda: bool) -> None:
    """Refuse a model that does not fit.

    Raises:
        LLMError: Less memory is free than the tuning needs.
    """
    weights = count_weights(name)
    trained = weights // 50 if lora_rank else weights
    needed, free = needed_bytes(weights, trained, wide=not (cuda and lora_rank)), free_bytes(cuda)
    if needed > free:
        where = "of the GPU" if cuda else "of this machine"
        less = "Take a smaller model." if lora_rank else "Take a smaller model, or --lora-rank 16."
        raise LLMError(
            f"Tuning '{name}' ({weights / 1e6:,.0f} million weights) needs about {needed / 2**30:.1f} GiB; "
            f"{free / 2**30:.1f} GiB {where} are free. {less}"
        )


def count_weights(name: str) -> int:
    """Number of weights of a model, from its configuration alone."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from recsim_llm.language.model_files import load_explained, quiet

    where = resolve_model(name)
    with quiet(), load_explained(name), torch.device("meta"):
        models: Any = AutoModelForCausalLM  # its members are untyped
        model = models.from_config(AutoConfig.from_pretrained(where, trust_remote_code=False), trust_remote_code=False)
        return sum(weight.numel() for weight in model.parameters())


def free_bytes(cuda: bool) -> int:
    """Free memory of the GPU, or of this machine."""
    if cuda:
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil

    return int(psutil.virtual_memory().available)
