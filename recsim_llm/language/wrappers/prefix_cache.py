"""Simulates a prefix cache on the texts, block by block, to estimate how many prompt tokens an engine need not read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from recsim_llm.language.protocol import LLM, Usage
from recsim_llm.types import Completion, Prompt

_BLOCK_TOKENS = 16
"""vLLM's default on a GPU."""
_CHARACTERS_A_TOKEN = 4
"""Characters per token of English in the tokenizers of today's small models: 4.2 in SmolLM2's on these prompts."""


_CAPACITY = 1_000_000
"""Tokens: what 28 GB hold for a model of 1.5B parameters. It also bounds the meter's memory to some 10 MB."""


class PrefixCache:
    """Blocks of text, each keyed together with all text before it; a full cache evicts the least recently used.

    Args:
        capacity: Capacity in tokens; None for no limit.

    >>> cache = PrefixCache()
    >>> cache.read("x" * 128), cache.read("x" * 96 + "y" * 32)
    (0.0, 0.5)
    """

    def __init__(self, capacity: int | None = None) -> None:
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self._most = None if capacity is None else max(1, capacity // _BLOCK_TOKENS)

    def read(self, text: str) -> float:
        """Add a prompt; return the share of it that was cached, [0, 1]. Incomplete blocks are never cached."""
        size, blocks, head, known = _BLOCK_TOKENS * _CHARACTERS_A_TOKEN, self._blocks, 0, 0
        unbroken = True
        for end in range(size, len(text) + 1, size):
            head = hash((head, text[end - size : end]))
            unbroken = unbroken and head in blocks
            if unbroken:
                known = end
            blocks[head] = None
            if self._most is not None:
                blocks.move_to_end(head)
                while len(blocks) > self._most:
                    blocks.popitem(last=False)
        return known / len(text) if text else 0.0


class PrefixMeter:
    """Counts in `usage.repeated_tokens` what a prefix cache of a million tokens would have saved the wrapped model.

    Args:
        llm: The model itself, inside any answer cache: cached answers are not to be counted.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm, self._cache = llm, PrefixCache(_CAPACITY)

    @property
    def name(self) -> str:
        """Name of the wrapped model, since counting does not change answers."""
        return self._llm.name

    @property
    def usage(self) -> Usage:
        """Counters of the wrapped model, plus `repeated_tokens`."""
        return self._llm.usage

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt.

        Raises:
            LLMError: The model cannot answer.
        """
        completions = self._llm.generate(prompts)
        self.usage.repeated_tokens += round(sum(map(self._repeated, prompts, completions)))
        return completions

    def _repeated(self, prompt: Prompt, completion: Completion) -> float:
        share = self._cache.read(f"{prompt.system}\n{prompt.context}\n{prompt.question}")
        return share * completion.prompt_tokens
