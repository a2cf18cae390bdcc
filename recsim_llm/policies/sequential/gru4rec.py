"""GRU4Rec: a gated recurrent unit over the order in which a person liked things (Hidasi et al., ICLR 2016).

Fitted by torch (`sequence_nets.py`), served by NumPy alone, as SASRec is.
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

_ROWS = 32  # people at a time, so that their states stay in the cache

Weights = Mapping[str, NDArray[Any]]


class GRU4Rec(RankingPolicy):
    """Scores are products of item vectors with the state after a person's last `length` liked items.

    Deviations from the paper: the loss is the cross-entropy over the whole catalogue at every position, where the paper
    compares with the other items of a batch ("bce" takes one negative a position); a person's log is cut into pieces
    of `length` items, where the paper reads sessions in parallel; Adam in place of Adagrad. Users of whom nothing is
    known are shown popular items.
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
            log: What people liked, with times.
            catalogue: The items.
            seed: Of weights, order, dropout and negatives.
            embedding_size: D, of item vectors and of the state, at least 1.
            length: L, most items read, at least 1.
            dropout: Share of numbers set to 0 in training, 0 to below 1.
            learning_rate: Of Adam, above 0.
            batch_size: Pieces of sequences a step, at least 1.
            epochs: Passes over the log, at least 1.
            loss: "softmax" or "bce".
            start: What an earlier fit returned, to go on from; None: afresh.

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
        """(B, N) products with the state after what each user liked last."""
        items = recent_items(observation, self.fitted, int(self.fitted["length"]), self.min_rating)
        states = [last_states(self.fitted, items[i : i + _ROWS]) for i in range(0, len(items), _ROWS)]
        return or_popular(state_scores(states, self.fitted), taste, self.popularity)


def last_states(weights: Weights, items: Ints) -> Floats32:
    """(B, D) states after the newest item, as `sequence_nets.GRUNet` has them outside training.

    Args:
        weights: By torch's names.
        items: (B, L), newest at the end, EMPTY in front.
    """
    tokens, vectors = items + 1, weights["items.weight"]
    x = vectors[tokens] * np.float32(vectors.shape[1] ** 0.5)
    inputs = x @ weights["gru.weight_ih_l0"].T + weights["gru.bias_ih_l0"]
    # One row a person all along: a product of many rows would depend on how many they are.
    state = np.zeros((len(items), 1, vectors.shape[1]), dtype=np.float32)
    for place in range(items.shape[1]):
        following = _step(weights, inputs[:, place : place + 1], state)
        state = np.where(tokens[:, place, None, None] > 0, following, state)
    out: Floats32 = (state @ weights["out.weight"].T + weights["out.bias"])[:, 0]
    return out


def _step(weights: Weights, given: Floats32, state: Floats32) -> Floats32:
    """The next state: torch's order of gates is reset, update, new."""
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
