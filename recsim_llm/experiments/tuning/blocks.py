"""Block attention: questions attend to their context and themselves, and nothing is computed between two questions.

One mask over all tokens would be equivalent, but would compute attention between all pairs of tokens: two fifths of a
step's time on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from recsim_llm.errors import LLMError

if TYPE_CHECKING:
    import torch

NAME = "recsim_llm_blocks"
_TOKENS = 128
"""Most tokens of questions computed at once, but at least one question."""


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens that are computed at once; blocks follow each other in token order.

    Attributes:
        own: Slice of the block's Q tokens.
        stem: Slice of the S context tokens that they all see besides themselves.
        mask: (1, 1, Q, S + Q) additive mask: 0 where a token of the Q may attend to one of the stem's S or the Q, else
            the least number of the precision; None for causal attention.
    """

    own: slice
    stem: slice
    mask: torch.Tensor | None


def blocks_of(rows: Sequence[Sequence[int]], device: Any, dtype: Any) -> tuple[Block, ...]:
    """Build the blocks of concatenated rows.

    Args:
        rows: Branch of each token of each row: 0, the context, before all others; 1.. the questions, each contiguous.
            Rows do not attend to each other.
        device: Device of the masks.
        dtype: Type of the masks.
    """
    blocks, start = [], 0
    for branches in rows:
        sizes = [(branch, len(list(tokens))) for branch, tokens in groupby(branches)]
        stem = slice(start, start + (sizes[0][1] if sizes[0][0] == 0 else 0))
        if stem.stop > stem.start:
            blocks.append(Block(stem, slice(start, start), None))
        end = stem.stop
        for questions in _together([size for branch, size in sizes if branch]):
            own = slice(end, end + sum(questions))
            blocks.append(Block(own, stem, _mask(questions, stem.stop - stem.start, device, dtype)))
            end = own.stop
        start = end
    return tuple(blocks)


def use_blocks(model: Any) -> None:
    """Make a model of `transformers` compute its attention in the blocks that its caller passes (`blocks=`).

    Raises:
        LLMError: Its architecture has its own attention implementation.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)
    if model._can_set_attn_implementation():
        model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise LLMError(f"{type(model).__name__} cannot be tuned: its attention cannot be told what to look at.")


def _together(sizes: Sequence[int]) -> Iterator[list[int]]:
    group: list[int] = []
    for size in sizes:
        if group and sum(group) + size > _TOKENS:
            yield group
            group = []
        group.append(size)
    if group:
        yield group


def _mask(questions: Sequence[int], stem: int, device: Any, dtype: Any) -> torch.Tensor:
    import torch

    of = torch.repeat_interleave(torch.arange(len(questions)), torch.tensor(questions))
    order = torch.arange(len(of))
    # (Q, Q): True between different questions, and towards later tokens.
    blind = (of[:, None] != of) | (order[:, None] < order)
    mask = torch.zeros((len(of), stem + len(of)), dtype=dtype)
    mask[:, stem:].masked_fill_(blind, torch.finfo(dtype).min)
    return mask[None, None].to(device)


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, blocks: Sequence[Block] = (), **options: Any
) -> tuple[Any, None]:
    """Attention over (1, H, T, D) with the signature that `transformers` calls; returns (1, T, H, D)."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not blocks:
        raise LLMError(
            f"{type(module).__name__} cannot be tuned: it does not hand on what its attention is to look at."
        )
    options.pop("is_causal", None)
    found = []
    for block in blocks:
        # (1, H, S + Q, D): the context, then the block itself.
        keys, values = (torch.cat([x[:, :, block.stem], x[:, :, block.own]], dim=2) for x in (key, value))
        attend: Any = sdpa_attention_forward  # untyped
        part, _ = attend(
            module, query[:, :, block.own], keys, values, block.mask, is_causal=block.mask is None, **options
        )
        found.append(part)
    return torch.cat(found, dim=1), None
