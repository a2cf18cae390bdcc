"""Torch networks: a tracker encodes a history as a state, and a head scores items from it.

All take (B, 1 + 2 H) rows of `states.pack`, as NumPy or torch arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recsim_llm.policies.rl.item_vectors import PRIOR, ItemStart
from recsim_llm.policies.rl.settings import NetSettings

FORBIDDEN = -100.0
"""Score in training of an item that the history holds."""

_HEADS = 2


class Tracker(nn.Module):
    """Encodes histories as (B, S) states: the user's taste, and the latest items of the session.

    The taste is the mean of the vectors of rated items, weighted by their stars above the items' mean, with `PRIOR`
    ratings at the mean added; "gru" and "sasrec" add the output of a recurrent unit, or of a block of self-attention,
    over the same vectors in order. The state also holds the vectors of the latest items of this session one by one,
    their stars, the number of items shown in the session, and the user's mean.

    Args:
        start: What is known of items.
        settings: Kind and sizes.
    """

    def __init__(self, start: ItemStart, settings: NetSettings) -> None:
        super().__init__()
        size = start.vectors.shape[1]
        self.kind, self.window = settings.tracker, settings.window
        self.expected: Tensor
        self.register_buffer("expected", torch.from_numpy(start.mean + start.bias))
        self.items = nn.Parameter(torch.from_numpy(start.vectors.copy()))
        if self.kind != "average":
            self.reader: nn.Module = nn.GRU(size + 1, size, batch_first=True) if self.kind == "gru" else Attention(size)
        self.size = size * (1 + self.window + (self.kind != "average")) + self.window + 2

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) taste and (B, S) state."""
        items, stars, shown = unpack(rows)
        rated = (stars > 0) & (items >= 0)
        index = items.clamp(min=0)
        vectors = functional.embedding(index, self.items)
        # (B, H) residuals: stars above the expected rating, 0 where not rated.
        above = torch.where(rated, stars - self.expected[index], torch.zeros_like(stars))
        count = rated.sum(dim=1, keepdim=True) + PRIOR
        taste = (above[:, :, None] * vectors).sum(dim=1) / count
        latest = _latest(items, shown, self.window)
        # (B, W, D) vectors of the last W places, zeros for items from before the session.
        held = torch.where(latest[:, :, None], vectors[:, -self.window :], torch.zeros(()))
        parts = [taste, held.flatten(1), above[:, -self.window :] * latest, above.sum(1, keepdim=True) / count]
        if self.kind != "average":
            parts.append(self._read(vectors, above, items))
        return taste, torch.cat([*parts, shown[:, None] / 30.0], dim=1)

    def _read(self, vectors: Tensor, above: Tensor, items: Tensor) -> Tensor:
        real = (items >= 0)[:, :, None]
        read = torch.cat([vectors, above[:, :, None]], dim=2) * real
        if self.kind == "gru":
            newest: Tensor = self.reader(read)[0][:, -1]
            return newest
        attended: Tensor = self.reader(read, items >= 0)
        return attended


class Attention(nn.Module):
    """One block of self-attention over a sequence, read at its newest place (after Kang and McAuley, ICDM 2018).

    Args:
        size: D.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size + 1, size)
        self.places = nn.Parameter(torch.zeros(512, size))
        self.attend = nn.MultiheadAttention(size, _HEADS if size % _HEADS == 0 else 1, batch_first=True)
        self.norm = nn.LayerNorm(size)

    def forward(self, read: Tensor, real: Tensor) -> Tensor:
        """Return (B, D) outputs at the newest place of (B, H, D + 1) sequences; `real` (B, H) is False for padding."""
        x = self.inner(read) + self.places[-read.shape[1] :]
        # The newest place is never masked, so that no row is empty.
        hidden = ~real
        hidden = torch.cat([hidden[:, :-1], torch.zeros_like(hidden[:, -1:])], dim=1)
        out, _ = self.attend(x[:, -1:], x, x, key_padding_mask=hidden, need_weights=False)
        normal: Tensor = self.norm(x[:, -1] + out[:, 0])
        return normal


class Scorer(nn.Module):
    """Computes (B, N) scores: query times item vectors, plus item bias, minus similarity to the latest items.

    The query is the taste plus the output of two hidden layers on the state, which is 0 at first: with pretrained
    vectors the scores begin as predicted ratings. An item's similarity to the latest items is a sigmoid of its largest
    cosine to one of them, with trained weight, slope and offset; the weight begins at one star.

    Args:
        start: What is known of items.
        settings: Kind and sizes.
        tracker: A tracker to share; None creates one.
        quantiles: Q, scores per item; 0: a single score.
    """

    def __init__(
        self, start: ItemStart, settings: NetSettings, tracker: Tracker | None = None, quantiles: int = 0
    ) -> None:
        super().__init__()
        self.tracker = tracker or Tracker(start, settings)
        size, hidden = start.vectors.shape[1], settings.hidden_size
        self.items = nn.Parameter(torch.from_numpy(start.vectors.copy()))
        self.bias = nn.Parameter(torch.from_numpy(start.mean + start.bias))
        self.likeness = nn.Parameter(torch.from_numpy(start.likeness.copy()))
        self.nearness = nn.Parameter(torch.tensor([1.0, 8.0, 0.6]))
        self.sharpness = nn.Parameter(torch.tensor(settings.sharpness))
        self.query = layers(self.tracker.size, hidden, size)
        self.level = layers(self.tracker.size, hidden, max(1, quantiles))
        self.quantiles = quantiles

    def forward(self, obs: Any, state: Any = None, info: Any = None) -> tuple[Tensor, Any]:
        """Return training scores, with items of the history set to `FORBIDDEN`; the signature is tianshou's."""
        rows = as_tensor(obs)
        scores = self.scores(rows)
        items, _, _ = unpack(rows)
        known = torch.zeros((len(rows), len(self.bias) + 1), dtype=torch.bool)
        # Padding (-1) is mapped to an extra last column, which is dropped.
        known.scatter_(1, torch.where(items >= 0, items, torch.full_like(items, len(self.bias))), True)
        known = known[:, :-1]
        if self.quantiles:
            return scores.masked_fill(known[:, :, None], FORBIDDEN), state
        return scores.masked_fill(known, FORBIDDEN), state

    def scores(self, rows: Tensor) -> Tensor:
        """Return (B, N) scores, or (B, N, Q) with quantiles."""
        taste, features = self.tracker(rows)
        items, _, shown = unpack(rows)
        level = self.level(features)
        # (B, D) query times (D, N) item vectors.
        products: Tensor = (taste + self.query(features)) @ self.items.T + self.bias - self._near(items, shown)
        products = products * self.sharpness
        scores: Tensor = products[:, :, None] + level[:, None, :] if self.quantiles else products + level
        return scores

    def _near(self, items: Tensor, shown: Tensor) -> Tensor:
        weight, slope, place = self.nearness
        width = self.tracker.window
        unit = functional.normalize(self.likeness, dim=1)
        # (B, W, N) cosines of the last W items to all items.
        cosines = functional.embedding(items[:, -width:].clamp(min=0), unit) @ unit.T
        real = _latest(items, shown, width)[:, :, None]
        nearest = torch.where(real, cosines, torch.full((), -1.0)).max(dim=1).values
        near: Tensor = weight * torch.sigmoid(slope * (nearest - place))
        return near


class Value(nn.Module):
    """Computes (B, 1) state values.

    Args:
        start: Initial item vectors.
        settings: Kind and sizes.
    """

    def __init__(self, start: ItemStart, settings: NetSettings) -> None:
        super().__init__()
        self.tracker = Tracker(start, settings)
        self.worth = layers(self.tracker.size, settings.hidden_size, 1)

    def forward(self, obs: Any, **_: Any) -> Tensor:
        """Return the values."""
        worth: Tensor = self.worth(self.tracker(as_tensor(obs))[1])
        return worth


def layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return two hidden layers and an output layer initialised to 0."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)


def as_tensor(obs: Any) -> Tensor:
    """Return rows as a float32 tensor."""
    return torch.as_tensor(obs, dtype=torch.float32)


def unpack(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split rows into (B, H) items, (B, H) stars and (B,) number of items shown in the session."""
    half = (rows.shape[1] - 1) // 2
    return rows[:, 1 : 1 + half].long(), rows[:, 1 + half :], rows[:, 0]


def weights_of(net: nn.Module) -> dict[str, NDArray[Any]]:
    """Return the weights as arrays, by name."""
    return {name: np.array(value.detach().cpu().numpy()) for name, value in net.state_dict().items()}


def _latest(items: Tensor, shown: Tensor, width: int) -> Tensor:
    """(B, W) True for those of the newest W items that this session has shown."""
    age = torch.arange(min(width, items.shape[1]), 0, -1)
    return (age[None, :] <= shown[:, None]) & (items[:, -width:] >= 0)
