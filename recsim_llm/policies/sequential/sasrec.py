"""SASRec: self-attention over the sequence of a user's liked items (Kang and McAuley, ICDM 2018).

Fitted with torch (`sequence_nets.py`), served with NumPy only: stacked products are computed row by row, so a page's
bits do not depend on the other users of the batch, and a saved policy acts where torch is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.checked import Count
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies.ranking import Dropout, Epochs, RankingPolicy, Rate, Size
from recsim_llm.policies.sequential.sequences import logged_sequences, recent_items, split_sequences, windows
from recsim_llm.policies.sparse_rows import Scores, or_popular, sparse_times
from recsim_llm.seeding import Stream, mix_one
from recsim_llm.types import Bools, Floats32, Ints, Observation

_ROWS = 32  # users per block, so that their states fit into the CPU cache
_EPSILON = np.float32(1e-5)  # torch's epsilon of layer normalisation

Weights = Mapping[str, NDArray[Any]]


class SASRec(RankingPolicy):
    """Scores are products of item vectors and the state after a user's last `length` liked items.

    Deviations from the paper: the loss is the cross-entropy over the whole catalogue at every position (`loss="bce"` is
    the paper's, one negative per position); sequences longer than `length` are cut into pieces that are all trained on,
    where the paper keeps the latest; both parts of a block are pre-normalised, and the feed-forward part is 4 D wide.
    Users without any liked item are shown popular items.
    """

    name = "sasrec"
    reads_log: ClassVar[bool] = True

    @classmethod
    def learn_from_log(
        cls,
        log: Ratings,
        catalogue: Catalogue,
        seed: int,
        embedding_size: Size = 64,
        length: Size = 50,
        blocks: Size = 2,
        heads: Size = 1,
        dropout: Dropout = 0.2,
        learning_rate: Rate = 1e-3,
        batch_size: Count = 128,
        epochs: Epochs = 40,
        loss: Literal["softmax", "bce"] = "softmax",
        start: Weights | None = None,
    ) -> Weights:
        """Train the network.

        Args:
            log: Liked items of the users, with times.
            catalogue: The items.
            seed: Seed for weights, order, dropout and negatives.
            embedding_size: D, a multiple of `heads`.
            length: L, maximum sequence length, at least 1.
            blocks: Blocks of attention, at least 1.
            heads: Heads per block, at least 1.
            dropout: Dropout rate in training, 0 to below 1.
            learning_rate: Learning rate of Adam, above 0.
            batch_size: Pieces of sequences per step, at least 1.
            epochs: Passes over the log, at least 1.
            loss: "softmax" or "bce".
            start: Result of an earlier fit to continue from; None: fit from scratch.

        Raises:
            ConfigError: A value outside these ranges.
            MissingExtraError: `torch` is not installed.
        """
        if embedding_size % heads:
            raise ConfigError(f"embedding_size must be a multiple of heads, not {embedding_size} for {heads}.")
        try:
            import torch

            from recsim_llm.policies.sequential.sequence_nets import SASRecNet, TrainingPlan, begin, train
        except ImportError as error:
            raise MissingExtraError("torch", "sequential", "Fitting the policy 'sasrec'") from error
        sequences = logged_sequences(log)
        pieces = windows(split_sequences(sequences), length + 1)
        plan = TrainingPlan(loss, learning_rate, batch_size, epochs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix_one(seed, Stream.POLICY))
            net = begin(SASRecNet(len(catalogue), embedding_size, length, blocks, heads, dropout), start)
            weights = train(net, pieces, plan)
        return {**weights, **sequences, "heads": np.array(heads)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) products of item vectors and the state after each user's last liked item."""
        items = recent_items(observation, self.fitted, len(self.fitted["places"]), self.min_rating)
        states = [last_states(self.fitted, items[i : i + _ROWS]) for i in range(0, len(items), _ROWS)]
        return or_popular(state_scores(states, self.fitted), taste, self.popularity)


def state_scores(states: list[Floats32], weights: Weights) -> Floats32:
    """Return (B, N) products of states, given in pieces, and item vectors."""
    vectors = weights["items.weight"][1:]
    if not states:
        return np.zeros((0, len(vectors)), dtype=np.float32)
    return sparse_times(sp.csr_array(np.concatenate(states)), vectors.T.copy())


def last_states(weights: Weights, items: Ints) -> Floats32:
    """Return (B, D) states of the newest position, equal to those of `sequence_nets.SASRecNet` in evaluation mode.

    Args:
        weights: Weights by torch's names, and `heads`.
        items: (B, L), newest at the end, EMPTY in front.
    """
    tokens, vectors = items + 1, weights["items.weight"]
    length, heads = items.shape[1], int(weights["heads"])
    x = vectors[tokens] * np.float32(vectors.shape[1] ** 0.5) + weights["places"]
    earlier = np.tri(length, dtype=np.bool_)
    # (B, L, L) causal mask without padding; a position always sees itself, so that no row is empty.
    seen = (earlier & (tokens > 0)[:, None, :]) | np.eye(length, dtype=np.bool_)
    blocks = sum(name.endswith(".norm1.weight") for name in weights)
    for block in range(blocks):
        # The last block computes a query for the newest position only: no other state is read.
        asking = 1 if block == blocks - 1 else length
        x = _block(weights, f"blocks.{block}", x, seen[:, -asking:], heads)
    return _norm(weights, "norm", x[:, -1])


def _block(weights: Weights, block: str, x: Floats32, seen: Bools, heads: int) -> Floats32:
    """Return (B, Q, D) states of the newest Q positions from (B, L, D) states; `seen` is the (B, Q, L) mask."""
    asking, normed = seen.shape[1], _norm(weights, f"{block}.norm1", x)
    weight, bias = np.split(weights[f"{block}.qkv.weight"], 3), np.split(weights[f"{block}.qkv.bias"], 3)
    q, k, v = (
        _by_head(places @ w.T + b, heads)
        for places, w, b in zip((normed[:, -asking:], normed, normed), weight, bias, strict=True)
    )
    # Attention per head: q is (B, heads, Q, D / heads), k and v have L in place of Q.
    match = np.where(seen[:, None], q @ k.swapaxes(-1, -2) / np.float32(q.shape[-1] ** 0.5), -np.inf)
    share = np.exp(match - match.max(axis=-1, keepdims=True))
    share /= share.sum(axis=-1, keepdims=True)
    mixed = np.ascontiguousarray((share @ v).swapaxes(1, 2)).reshape(len(x), asking, -1)
    x = x[:, -asking:] + _linear(weights, f"{block}.out", mixed)
    wide = np.maximum(_linear(weights, f"{block}.wide", _norm(weights, f"{block}.norm2", x)), 0)
    return x + _linear(weights, f"{block}.narrow", wide)


def _by_head(x: Floats32, heads: int) -> Floats32:
    return np.ascontiguousarray(x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2))


def _linear(weights: Weights, name: str, x: Floats32) -> Floats32:
    product: Floats32 = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return product


def _norm(weights: Weights, name: str, x: Floats32) -> Floats32:
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + _EPSILON)
    normed: Floats32 = centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normed
