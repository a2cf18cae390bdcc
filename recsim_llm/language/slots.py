"""Reads several labels of one answer ("3 0 5"), each conditioned on the likeliest earlier ones, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from recsim_llm.language.backends.transformers.kv import Past, pad, predict

if TYPE_CHECKING:
    import torch

_DIGITS = 5


class SlotTokens(NamedTuple):
    """Tokens of the labels in a line of labels.

    Attributes:
        first: Token of each choice at the beginning of the answer.
        later: Token of each choice after another one.
        gap: Tokens between two labels; () if the space is part of the later label's token.
    """

    first: tuple[int, ...]
    later: tuple[int, ...]
    gap: tuple[int, ...]

    def fed(self, slots: int) -> int:
        """Number of tokens read after the question to predict the last of this many slots."""
        return (slots - 1) * (1 + len(self.gap))


def likeliest(choices: Sequence[str], logprobs: Sequence[float]) -> str:
    """The likeliest choice of each slot, separated by spaces."""
    size = len(choices)
    slots = (list(logprobs[start : start + size]) for start in range(0, len(logprobs), size))
    return " ".join([choices[slot.index(max(slot))] for slot in slots])


class SlotReader:
    """Reads a batch of rows, each with its own number of slots and its own labels.

    Args:
        model: The causal language model.
        device: Device of the model.
        width: Steps are padded to a multiple of this many tokens.
    """

    def __init__(self, model: Any, device: Any, width: int) -> None:
        self._model, self._device, self._width = model, device, width

    def read(
        self,
        past: Past,
        ids: torch.Tensor,
        mask: torch.Tensor,
        keep: int,
        labels: Sequence[SlotTokens],
        slots: Sequence[int],
    ) -> list[list[float]]:
        """Log-probabilities of R answers, slots concatenated, rounded to 5 digits.

        Args:
            past: Key-value cache of the R rows.
            ids: (R, T) tokens of their questions.
            mask: (R, T) True at real tokens.
            keep: Positions to predict in a step, of which the last is read.
            labels: Labels of the R rows; all have gaps of the same length.
            slots: Number of labels of each answer.
        """
        found: list[list[float]] = [[] for _ in labels]
        logits, past = predict(self._model, past, ids, mask, keep)
        live, number = list(range(len(labels))), 0
        while True:
            # Read from logits (live rows, keep, V): only the last position predicts the next label.
            wanted = [labels[row].later if number else labels[row].first for row in live]
            said = []
            for row, tokens, values in zip(live, wanted, _pick(logits[:, -1], wanted), strict=True):
                found[row] += values
                said.append([tokens[values.index(max(values))], *labels[row].gap])
            number += 1
            # Rows whose answer has further slots go on; the others drop out of the batch.
            going = [place for place, row in enumerate(live) if slots[row] > number]
            if not going:
                return found
            live = [live[place] for place in going]
            logits, past = self._step(past, going, [said[place] for place in going], keep)

    def _step(self, past: Past, places: list[int], tokens: list[list[int]], keep: int) -> tuple[torch.Tensor, Past]:
        """Read a label and a gap per row, padded on the left to the width."""
        import torch

        if places != list(range(past.mask.shape[0])):
            past = past.select(torch.tensor(places, device=self._device))
        width = -(-len(tokens[0]) // self._width) * self._width
        ids, mask = pad(tokens, width, left=True, device=self._device)
        return predict(self._model, past, ids, mask, keep)


def _pick(logits: torch.Tensor, wanted: Sequence[tuple[int, ...]]) -> list[list[float]]:
    """Log-probabilities of each row's tokens, copied from the device in one transfer, as each one stalls a GPU."""
    import torch

    # Pairs (row, token), flattened, as rows may have different numbers of labels.
    rows = torch.tensor([row for row, tokens in enumerate(wanted) for _ in tokens], device=logits.device)
    columns = torch.tensor([token for tokens in wanted for token in tokens], device=logits.device)
    values = iter(logits.float().log_softmax(dim=-1)[rows, columns].tolist())
    return [[round(float(next(values)), _DIGITS) for _ in tokens] for tokens in wanted]
