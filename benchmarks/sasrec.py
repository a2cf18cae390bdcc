"""SASRec (Kang and McAuley, ICDM 2018) in short: self-attention over a user's items, trained here, for the table.

One negative a position and a binary cross-entropy, as in the paper; 2 blocks of 1 head, dropout 0.2, Adam. Trained on
the given sequences alone, in seconds on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.errors import MissingExtraError


def sasrec_scores(
    sequences: Sequence[Sequence[int]],
    histories: Sequence[Sequence[int]],
    num_items: int,
    seed: int = 0,
    embedding_size: int = 50,
    epochs: int = 200,
    learning_rate: float = 1e-3,
) -> NDArray[np.float64]:
    """Train, and score what comes next.

    Args:
        sequences: Item ids of each user to train on, oldest first.
        histories: Item ids of each user after which to predict.
        num_items: N.
        seed: Of weights, dropout and negatives.
        embedding_size: D.
        epochs: Passes over all sequences, in one batch each.
        learning_rate: Of Adam.

    Returns:
        (U, N) scores of the item after each sequence.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "transformers", "SASRec") from error
    length = max(len(sequence) for sequence in [*sequences, *histories])
    tokens, ahead = _padded(sequences, length), _padded(histories, length)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _model(torch, num_items, length, embedding_size)
        _train(torch, model, tokens, num_items, np.random.default_rng(seed), epochs, learning_rate)
        model.eval()
        with torch.no_grad():
            last = model(torch.from_numpy(ahead))[:, -1]
            scores = last @ model.items.weight[1:].T
    return np.asarray(scores.numpy(), dtype=np.float64)


def _padded(sequences: Sequence[Sequence[int]], length: int) -> NDArray[np.int64]:
    """Item i is token i + 1; 0 pads the front, so that the newest item has the same place for everybody."""
    tokens = np.zeros((len(sequences), length), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        tokens[row, length - len(sequence) :] = np.asarray(sequence) + 1
    return tokens


def _model(torch: Any, num_items: int, length: int, size: int) -> Any:
    nn = torch.nn

    class SASRec(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.items = nn.Embedding(num_items + 1, size, padding_idx=0)
            self.places = nn.Embedding(length, size)
            nn.init.normal_(self.items.weight, std=0.02)
            nn.init.normal_(self.places.weight, std=0.02)
            self.drop = nn.Dropout(0.2)
            layer = {"d_model": size, "nhead": 1, "dim_feedforward": size, "dropout": 0.2}
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(**layer, batch_first=True, norm_first=True) for _ in range(2)
            )
            self.norm = nn.LayerNorm(size)

        def forward(self, tokens: Any) -> Any:
            x = self.items(tokens) * size**0.5 + self.places.weight[-tokens.shape[1] :]
            x = self.drop(x) * (tokens > 0).unsqueeze(-1)
            n = tokens.shape[1]
            future = torch.triu(torch.ones(n, n, dtype=torch.bool), diagonal=1)
            # A position may always look at itself, so that rows of padding are not empty.
            mask = (future | (tokens == 0)[:, None, :]) & ~torch.eye(n, dtype=torch.bool)
            for block in self.blocks:
                x = block(x, src_mask=mask)
            return self.norm(x)

    return SASRec()


def _train(
    torch: Any,
    model: Any,
    tokens: NDArray[np.int64],
    num_items: int,
    rng: np.random.Generator,
    epochs: int,
    learning_rate: float,
) -> None:
    inputs, targets = torch.from_numpy(tokens[:, :-1]), torch.from_numpy(tokens[:, 1:])
    real = (inputs > 0) & (targets > 0)
    seen = [set(row.tolist()) for row in tokens]
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.98))
    loss_of = torch.nn.BCEWithLogitsLoss()
    model.train()
    for _ in range(epochs):
        negatives = torch.from_numpy(_negatives(rng, seen, tokens.shape[1] - 1, num_items))
        states = model(inputs)
        good = (states * model.items(targets)).sum(-1)[real]
        bad = (states * model.items(negatives)).sum(-1)[real]
        loss = loss_of(good, torch.ones_like(good)) + loss_of(bad, torch.zeros_like(bad))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _negatives(rng: np.random.Generator, seen: list[set[int]], width: int, num_items: int) -> NDArray[np.int64]:
    drawn = rng.integers(1, num_items + 1, (len(seen), width))
    for row, own in enumerate(seen):
        for column in range(width):
            while int(drawn[row, column]) in own:
                drawn[row, column] = rng.integers(1, num_items + 1)
    return drawn
