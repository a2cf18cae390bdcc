"""Decodes texts in a batch, each row with its own seed, so that a text does not depend on the rest of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsim_llm.language.backends.transformers.kv import Past, predict
from recsim_llm.seeding import uniforms
from recsim_llm.types import Prompt

if TYPE_CHECKING:
    import torch

_ROWS = 4


class Decoder:
    """Greedy or sampled decoding.

    Args:
        model: The causal language model.
        device: Device of the model.
        end_ids: Tokens that end an answer.
    """

    def __init__(self, model: Any, device: Any, end_ids: list[int]) -> None:
        self._model, self._device, self.end_ids = model, device, end_ids

    def decode(
        self, past: Past, ids: torch.Tensor, mask: torch.Tensor, keep: int, prompts: Sequence[Prompt]
    ) -> list[list[int]]:
        """Token ids of R answers, without the ending token.

        Args:
            past: Key-value cache of the R rows.
            ids: (R, T) tokens of their questions.
            mask: (R, T) True at real tokens.
            keep: Positions to predict in the first step.
            prompts: The R prompts, for lengths, temperatures and seeds.
        """
        texts: list[list[int]] = [[] for _ in prompts]
        logits, past = predict(self._model, past, ids, mask, keep)
        live = list(range(len(prompts)))
        while True:
            tokens = _choose(logits[:, -1], live, prompts, texts)
            going: list[int] = []
            for slot, (row, token) in enumerate(zip(live, tokens, strict=True)):
                if token not in self.end_ids and prompts[row].max_tokens > len(texts[row]):
                    texts[row].append(token)
                    if len(texts[row]) < prompts[row].max_tokens:
                        going.append(slot)
            if not going:
                return texts
            live = [live[slot] for slot in going]
            logits, past = self._step(past, going, [texts[row][-1] for row in live])

    def _step(self, past: Past, slots: list[int], tokens: list[int]) -> tuple[torch.Tensor, Past]:
        """Read one token per row. Rows are repeated up to a multiple of 4, so that results are bit-identical."""
        import torch

        extra = -len(slots) % _ROWS
        padded = torch.tensor(slots + slots[-1:] * extra, device=self._device)
        if padded.tolist() != list(range(past.mask.shape[0])):
            past = past.select(padded)
        ids = torch.tensor(tokens + tokens[-1:] * extra, device=self._device)[:, None]
        return predict(self._model, past, ids, torch.ones_like(ids, dtype=torch.bool), 1)


def _choose(logits: torch.Tensor, live: list[int], prompts: Sequence[Prompt], texts: list[list[int]]) -> list[int]:
    """The next token of each live row: the likeliest, or drawn by inverse-transform sampling."""
    tokens = [int(token) for token in logits[: len(live)].argmax(dim=-1).tolist()]
    for slot, row in enumerate(live):
        prompt = prompts[row]
        if prompt.temperature > 0:
            draw = float(uniforms(prompt.seed, len(texts[row])))
            tokens[slot] = _draw(logits[slot].double().cpu().numpy() / prompt.temperature, draw)
    return tokens


def _draw(scores: np.ndarray[Any, np.dtype[np.float64]], draw: float) -> int:
    cumulated = np.exp(scores - scores.max()).cumsum()
    return int(np.searchsorted(cumulated, draw * cumulated[-1], side="right"))
