"""The `LLM` protocol: one method, `generate`. Wrappers (cache, recording, counting) implement the same protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recsim_llm.errors import LLMError
from recsim_llm.types import Completion, Prompt, Usage

__all__ = ["LLM", "Usage", "no_adapters"]


def no_adapters(name: str, prompts: Sequence[Prompt]) -> None:
    """Refuse prompts with an adapter, for backends that have one set of weights.

    Raises:
        LLMError: A prompt asks for an adapter.
    """
    wanted = next((prompt.adapter for prompt in prompts if prompt.adapter), "")
    if wanted:
        raise LLMError(f"'{name}' takes no adapters, and a prompt asks for '{wanted}'. Use vllm:MODEL?adapters=1.")


class LLM(Protocol):
    """A language model that answers many prompts at once."""

    @property
    def name(self) -> str:
        """Identity for caches and records: backend, model and everything that can change an answer."""
        ...

    @property
    def usage(self) -> Usage:
        """Counters of this object; a wrapper shares and extends those of the model it wraps."""
        ...

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt; the result has the length and order of `prompts`.

        A prompt that the model can never answer is returned with `refused` set, without affecting the others.

        Raises:
            LLMError: The backend cannot answer (unreachable, wrong key, out of memory, ...).
        """
        ...
