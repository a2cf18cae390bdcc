"""One forward step of a causal language model on top of cached keys and values.

The cache (`Past`) holds keys and values of each layer for R rows, and a mask of the real positions, so that rows of
different lengths share a batch with gaps between prefix and suffix.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Past:
    """Key-value cache of R rows.

    Attributes:
        layers: Keys and values of each layer, (R, heads, P, width).
        mask: (R, P), True at real tokens, False at padding.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    mask: torch.Tensor

    @property
    def num_bytes(self) -> int:
        """Memory of keys and values, in bytes."""
        return sum(k.nbytes + v.nbytes for k, v in self.layers)

    def select(self, rows: torch.Tensor) -> Past:
        """The given rows, which may repeat; a single row is repeated without a copy."""
        if self.mask.shape[0] == 1:
            count = len(rows)
            # (1, heads, P, width) -> (count, heads, P, width) as a view, without copying the system text.
            layers = tuple((k.expand(count, -1, -1, -1), v.expand(count, -1, -1, -1)) for k, v in self.layers)
            return Past(layers, self.mask.expand(count, -1))
        return Past(tuple((k[rows], v[rows]) for k, v in self.layers), self.mask[rows])


class KeptPasts:
    """Caches `Past` objects by the tokens read, up to a number of bytes; evicts the least recently used first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pasts: dict[Hashable, Past] = {}
        self._bytes = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._pasts

    def get(self, key: Hashable) -> Past:
        """The past of a cached key."""
        past = self._pasts[key] = self._pasts.pop(key)  # last used, last in the dictionary
        return past

    def put(self, key: Hashable, past: Past) -> None:
        """Cache a past, and evict others until the limit holds."""
        self._pasts[key] = past
        self._bytes += past.num_bytes
        while self._bytes > self._most_bytes:
            self._bytes -= self._pasts.pop(next(iter(self._pasts))).num_bytes


def pad(rows: list[list[int]], width: int, left: bool, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows of ids with zeros on the left or right; return ids and mask, (R, width) each."""
    import torch

    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for row, tokens in enumerate(rows):
        where = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        ids[row, where] = torch.tensor(tokens, dtype=torch.long)
        mask[row, where] = True
    return ids.to(device), mask.to(device)


def read(model: Any, past: Past | None, ids: torch.Tensor, mask: torch.Tensor) -> Past:
    """Read (R, T) tokens without computing predictions."""
    inputs = _inputs(past, ids, mask)
    model.base_model(**inputs)
    return _past(inputs)


def predict(model: Any, past: Past, ids: torch.Tensor, mask: torch.Tensor, keep: int) -> tuple[torch.Tensor, Past]:
    """Read (R, T) tokens; return the logits of the last `keep` positions, (R, keep, V), and the extended past."""
    inputs = _inputs(past, ids, mask)
    return model(**inputs, logits_to_keep=keep).logits, _past(inputs)


def _inputs(past: Past | None, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
    import torch

    width = 0 if past is None else past.mask.shape[1]
    mask = mask if past is None else torch.cat([past.mask, mask], dim=1)  # (R, P + T)
    return {
        "input_ids": ids,
        "attention_mask": mask.long(),
        # (R, T) positions count real tokens only, so gaps between prefix and suffix do not shift them.
        "position_ids": (mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, width:],
        "past_key_values": _cache(past),
        "use_cache": True,
    }


def _cache(past: Past | None) -> Any:
    from transformers import DynamicCache
    from transformers.cache_utils import Cache, DynamicLayer

    if past is None:
        return DynamicCache()
    new_layer: Any = DynamicLayer
    layers = []
    for keys, values in past.layers:
        # Set directly: the cache's own update method would copy what `Past.select` avoided copying.
        layer = new_layer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        layers.append(layer)
    return Cache(layers=layers)


def _past(inputs: dict[str, Any]) -> Past:
    layers = tuple((layer.keys, layer.values) for layer in inputs["past_key_values"].layers)
    return Past(layers, inputs["attention_mask"].bool())
