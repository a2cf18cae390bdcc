"""GRU4Rec: a gated recurrent unit over the sequence of a user's liked items (Hidasi et al., ICLR 2016).

Fitted with torch (`sequence_nets.py`), served with NumPy only, like SASRec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.checked import Count
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import MissingExtraError
from recsim_llm.policies.ranking import Dropout, Epochs, RankingPolicy, Rate, Size
from recsim_llm.policies.sequential.sasrec import state_scores
from recsim_llm.policies.sequential.sequences import logged_sequences, recent_items, split_sequences, windows
from recsim_llm.policies.sparse_rows import Scores, or_popular
from recsim_llm.seeding import Stream, mix_one
from recsim_llm.types import Floats32, Ints, Observation

_ROWS = 32  # users per block, so that their states fit into the CPU cache

Weights = Mapping[str, NDArray[Any]]


class GRU4Rec(RankingPolicy):
    """Scores are products of item vectors and the state after a user's last `length` liked items.

    Deviations from the paper: the loss is the cross-entropy over the whole catalogue at every position, where the paper
    compares with the other items of a batch ("bce" uses one negative per position); a user's log is cut into pieces of
    `length` items, where the paper reads sessions in parallel; Adam replaces Adagrad. Users without any liked item are
    shown popular items.
    """

    name = "gru4rec"
    reads_log: ClassVar[bool] = True

    @classmethod
    def learn_from_log(
        cls,
        log: Ratings,
        catalogue: Catalogue,
        seed: int,
        embedding_size: Size = 64,
        length: Size = 50,
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
            embedding_size: D, size of item vectors and of the state, at least 1.
            length: L, maximum sequence length, at least 1.
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
        try:
            import torch

            from recsim_llm.policies.sequential.sequence_nets import GRUNet, TrainingPlan, begin, train
        except ImportError as error:
            raise MissingExtraError("torch", "sequential", "Fitting the policy 'gru4rec'") from error
        sequences = logged_sequences(log)
        pieces = windows(split_sequences(sequences), length + 1)
        plan = TrainingPlan(loss, learning_rate, batch_size, epochs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix_one(seed, Stream.POLICY))
            net = begin(GRUNet(len(catalogue), embedding_size, dropout), start)
            weights = train(net, pieces, plan)
        return {**weights, **sequences, "length": np.array(length)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) products of item vectors and the state after each user's last liked item."""
        items = recent_items(observation, self.fitted, int(self.fitted["length"]), self.min_rating)
        states = [last_states(self.fitted, items[i : i + _ROWS]) for i in range(0, len(items), _ROWS)]
        return or_popular(state_scores(states, self.fitted), taste, self.popularity)


def last_states(weights: Weights, items: Ints) -> Floats32:
    """Return (B, D) states after the newest item, equal to those of `sequence_nets.GRUNet` in evaluation mode.

    Args:
        weights: Weights by torch's names.
        items: (B, L), newest at the end, EMPTY in front.
    """
    tokens, vectors = items + 1, weights["items.weight"]
    x = vectors[tokens] * np.float32(vectors.shape[1] ** 0.5)
    # (B, L, 3 D) input part of the three gates, for all positions at once.
    inputs = x @ weights["gru.weight_ih_l0"].T + weights["gru.bias_ih_l0"]
    # (B, 1, D), one matrix row per user: the bits of a product of many rows would depend on their number.
    state = np.zeros((len(items), 1, vectors.shape[1]), dtype=np.float32)
    for place in range(items.shape[1]):
        following = _step(weights, inputs[:, place : place + 1], state)
        state = np.where(tokens[:, place, None, None] > 0, following, state)
    out: Floats32 = (state @ weights["out.weight"].T + weights["out.bias"])[:, 0]
    return out


def _step(weights: Weights, given: Floats32, state: Floats32) -> Floats32:
    """Return the next state; torch orders the gates as reset, update, new."""
    own = state @ weights["gru.weight_hh_l0"].T + weights["gru.bias_hh_l0"]
    size = state.shape[-1]
    reset = _sigmoid(given[..., :size] + own[..., :size])
    update = _sigmoid(given[..., size : 2 * size] + own[..., size : 2 * size])
    new = np.tanh(given[..., 2 * size :] + reset * own[..., 2 * size :])
    following: Floats32 = (1 - update) * new + update * state
    return following


def _sigmoid(x: Floats32) -> Floats32:
    out: Floats32 = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + 1)
    return out
