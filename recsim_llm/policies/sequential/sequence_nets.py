"""Torch networks over sequences of items, and their training; needed to fit policies, not to serve them.

Item i is token i + 1 and 0 pads the front, so that the newest item has the same position in all rows. A network turns
(W, L) tokens into (W, L, D) states; an item's score after a position is the product of state and item vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recsim_llm.types import Floats32, Ints


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Hyperparameters of training.

    Attributes:
        loss: "softmax": cross-entropy over the whole catalogue; "bce": one negative per position.
        learning_rate: Learning rate of Adam, above 0.
        batch_size: Pieces of sequences per step, at least 1.
        epochs: Passes over all pieces, at least 1.
    """

    loss: Literal["softmax", "bce"]
    learning_rate: float
    batch_size: int
    epochs: int


class SequenceNet(nn.Module):
    """Base class: item vectors for a sequence encoder.

    Args:
        num_items: N.
        size: D.
    """

    def __init__(self, num_items: int, size: int) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, size, padding_idx=0)
        nn.init.normal_(self.items.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[0] = 0.0


class SASRecNet(SequenceNet):
    """Pre-normalised blocks of causal self-attention (Kang and McAuley, ICDM 2018).

    Args:
        num_items: N.
        size: D.
        length: L, maximum sequence length.
        blocks, heads: Number of blocks, and of heads per block.
        dropout: Dropout rate in training.
    """

    def __init__(self, num_items: int, size: int, length: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__(num_items, size)
        self.places = nn.Parameter(torch.randn(length, size) * 0.02)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(size, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (W, L) tokens to (W, L, D) states."""
        length = tokens.shape[1]
        x = self.drop(self.items(tokens) * self.items.embedding_dim**0.5 + self.places[-length:])
        earlier = torch.ones(length, length, dtype=torch.bool).tril()
        # (W, L, L) causal mask without padding; a position always sees itself, so that no row is empty.
        seen = (earlier & (tokens > 0)[:, None, :]) | torch.eye(length, dtype=torch.bool)
        for block in self.blocks:
            x = block(x, seen[:, None])
        states: Tensor = self.norm(x)
        return states


class _Block(nn.Module):
    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.wide, self.narrow = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        w, n, d = x.shape
        # (W, n, 3 D) to three tensors of (W, heads, n, D / heads).
        q, k, v = self.qkv(self.norm1(x)).view(w, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        heads = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        x = x + self.drop(self.out(heads.transpose(1, 2).reshape(w, n, d)))
        x = x + self.drop(self.narrow(self.drop(functional.relu(self.wide(self.norm2(x))))))
        return x


class GRUNet(SequenceNet):
    """A gated recurrent unit over item vectors (Hidasi et al., ICLR 2016), with shared input and output vectors.

    Args:
        num_items: N.
        size: D.
        dropout: Dropout rate in training.
    """

    def __init__(self, num_items: int, size: int, dropout: float) -> None:
        super().__init__(num_items, size)
        self.drop = nn.Dropout(dropout)
        self.gru = nn.GRU(size, size, batch_first=True)
        self.out = nn.Linear(size, size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (W, L) tokens to (W, L, D) states."""
        # Rotate the padding of each row to the end, where it cannot affect the states of items.
        first = (tokens == 0).sum(dim=1, keepdim=True)
        order = (torch.arange(tokens.shape[1]) + first) % tokens.shape[1]
        x = self.drop(self.items(tokens.gather(1, order)) * self.items.embedding_dim**0.5)
        states = self.out(self.drop(self.gru(x)[0]))
        back = (torch.arange(tokens.shape[1]) - first) % tokens.shape[1]
        unpadded: Tensor = states.gather(1, back[:, :, None].expand_as(states))
        return unpadded


def begin(net: SequenceNet, start: Mapping[str, NDArray[Any]] | None) -> SequenceNet:
    """Load the weights of an earlier training by name, if given; return the network."""
    if start is not None:
        net.load_state_dict({name: torch.from_numpy(start[name].copy()) for name in net.state_dict()})
    return net


def train(net: SequenceNet, pieces: Ints, plan: TrainingPlan) -> dict[str, Floats32]:
    """Train on all positions of all pieces with Adam. Draws from torch's global generator.

    Args:
        net: Changed in place.
        pieces: (W, L + 1) items, newest at the end, EMPTY in front.
        plan: Hyperparameters.

    Returns:
        The weights by name.
    """
    tokens = torch.from_numpy(pieces + 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=plan.learning_rate, betas=(0.9, 0.98))
    loss_of = _softmax_loss if plan.loss == "softmax" else _bce_loss
    net.train()
    for _ in range(plan.epochs if len(tokens) else 0):
        for rows in torch.split(torch.randperm(len(tokens)), plan.batch_size):
            loss = loss_of(net, tokens[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    net.eval()
    return {name: np.array(value.detach().numpy(), dtype=np.float32) for name, value in net.state_dict().items()}


def _softmax_loss(net: SequenceNet, tokens: Tensor) -> Tensor:
    states, target, _ = _positions(net, tokens)
    return functional.cross_entropy(states @ net.items.weight[1:].T, target - 1)


def _bce_loss(net: SequenceNet, tokens: Tensor) -> Tensor:
    """Equation 6 of SASRec, with one negative per position: an item that the piece does not hold."""
    states, target, held = _positions(net, tokens)
    others = torch.randint_like(target, 1, net.items.num_embeddings)
    for _ in range(3):  # redraw negatives that the user liked; three rounds leave almost none
        again = torch.randint_like(target, 1, net.items.num_embeddings)
        others = torch.where((held == others[:, None]).any(dim=1), again, others)
    good, bad = ((states * net.items(which)).sum(-1) for which in (target, others))
    return functional.softplus(-good).mean() + functional.softplus(bad).mean()


def _positions(net: SequenceNet, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For all P positions without padding: (P, D) states, (P,) next tokens, and (P, L + 1) whole pieces."""
    inputs, target = tokens[:, :-1], tokens[:, 1:]
    real = inputs > 0
    return net(inputs)[real], target[real], tokens[real.nonzero()[:, 0]]
