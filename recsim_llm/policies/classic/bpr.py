"""BPR: item vectors learned from pairs of rated and unrated items (Rendle et al. 2009), with `implicit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.checked import NotNegative
from recsim_llm.errors import MissingExtraError
from recsim_llm.policies.ranking import Epochs, RankingPolicy, Rate, Size
from recsim_llm.policies.sparse_rows import Scores, or_popular, sparse_times
from recsim_llm.seeding import Stream, mix
from recsim_llm.types import Floats32, Observation


class BPR(RankingPolicy):
    """Scores are x y_i + b_i, where x is the mean of the vectors of the items that the user liked so far.

    Training ascends sum log sigmoid(x_u (y_i - y_j) + b_i - b_j) - reg |.|^2 over pairs of an item i that user u rated
    and one j that they did not. Deviation from the paper: the trained user vectors are not stored; the mean is used for
    users of the log, growing histories and unknown users alike (docs/policies/bpr.md has the cost). Users without any
    liked item are shown popular items.
    """

    name = "bpr"

    @classmethod
    def learn_from(
        cls,
        known: sp.csr_array,
        seed: int,
        embedding_size: Size = 64,
        reg: NotNegative = 0.01,
        learning_rate: Rate = 0.01,
        epochs: Epochs = 100,
        start: Mapping[str, NDArray[Any]] | None = None,
    ) -> Mapping[str, NDArray[Any]]:
        """(N, D) item vectors and (N,) biases.

        Args:
            known: (U, N) interactions.
            seed: Seed for the initial vectors and the sampled pairs.
            embedding_size: D, at least 1.
            reg: Penalty on squares, at least 0.
            learning_rate: Of stochastic gradient ascent, above 0.
            epochs: Passes, each of as many pairs as there are interactions; at least 1.
            start: Result of an earlier fit to continue from; None: fit from scratch.

        Raises:
            ConfigError: A value outside these ranges.
            MissingExtraError: `implicit` is not installed.
        """
        model = _model_class()(
            factors=embedding_size,
            regularization=reg,
            learning_rate=learning_rate,
            iterations=epochs,
            # Hashed, because NumPy's generators refuse negative seeds.
            random_state=int(mix(seed, Stream.POLICY)),
            # One thread: several would update the same vectors in a race.
            num_threads=1,
        )
        if not known.nnz:  # no pairs to draw
            size = (known.shape[1], embedding_size)
            return {"item_factors": np.zeros(size, dtype=np.float32), "bias": np.zeros(size[0], dtype=np.float32)}
        if start is not None:
            items = start["item_factors"]
            # Column D + 1: the item's bias, and for users the constant 1 that multiplies it.
            model.item_factors = np.column_stack([items, start["bias"]]).astype(np.float32)
            model.user_factors = np.column_stack([_means(known, items), np.ones(known.shape[0], dtype=np.float32)])
        model.fit(_for_implicit(known), show_progress=False)
        factors = np.asarray(model.item_factors)  # (N, D + 1): the last column is the bias
        return {"item_factors": factors[:, :-1].copy(), "bias": factors[:, -1].copy()}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) products of item vectors and the mean vector of each user's liked items, plus item biases."""
        items = self.fitted["item_factors"]
        users = _means(taste, items)
        return or_popular(
            sparse_times(sp.csr_array(users), items.T.copy()) + self.fitted["bias"], taste, self.popularity
        )


def _means(taste: sp.csr_array, items: Floats32) -> Floats32:
    """(B, D) mean vectors of each user's liked items; zeros where there are none."""
    counts = np.maximum(np.diff(taste.indptr), 1).astype(np.float32)
    means: Floats32 = sparse_times(taste, items) / counts[:, None]
    return means


def _for_implicit(rows: sp.csr_array) -> sp.csr_matrix:
    # The compiled sampler accepts 32-bit indices only.
    matrix = sp.csr_matrix(rows)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix


def _model_class() -> Any:
    try:
        from implicit.cpu.bpr import BayesianPersonalizedRanking
    except ImportError as error:
        raise MissingExtraError("implicit", "cf", "The policy 'bpr'") from error
    return BayesianPersonalizedRanking
