"""The LLM seam: one method. Wrappers (cache, recording, counting) have the same one method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from recsim_llm.types import Completion, Prompt


@dataclass(slots=True)
class Usage:
    """What a backend or wrapper has done so far; counters only grow.

    Attributes:
        calls: Prompts that reached the model.
        prompt_tokens, output_tokens: Tokens of those calls.
        cache_hits: Prompts answered from a cache.
        duplicates: Prompts of one `generate` that equalled another one and were asked once.
        retries: Calls sent again after a failure.
        seconds: Wall time inside the model.
    """

    calls: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    retries: int = 0
    seconds: float = 0.0


class LLM(Protocol):
    """A language model that answers many prompts at once."""

    @property
    def name(self) -> str:
        """Identity for caches and records: backend, model and everything that can change an answer."""
        ...

    @property
    def usage(self) -> Usage:
        """Counters of this object; a wrapper shares and extends those of what it wraps."""
        ...

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt: same length, same order.

        Raises:
            LLMError: The backend cannot answer (unreachable, wrong key, out of memory, ...).
        """
        ...
