"""Item-kNN with shrunken cosine similarity over co-ratings (Sarwar et al. 2001; Bell and Koren 2007)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.checked import NotNegative
from recsim_llm.policies.ranking import RankingPolicy, Size
from recsim_llm.policies.sparse_rows import Scores, or_popular, sparse_times
from recsim_llm.types import Observation


class ItemKNN(RankingPolicy):
    """Scores x S, where S[i, j] = n_ij / (sqrt(n_i n_j) + shrinkage), kept for the k nearest i of each j.

    n_ij is the number of users who rated both. Items that tie with the k-th nearest are kept too. Memory: N^2. Users
    without any liked item are shown popular items.
    """

    name = "item-knn"

    @classmethod
    def learn_from(
        cls, known: sp.csr_array, seed: int, neighbours: Size = 50, shrinkage: NotNegative = 10.0
    ) -> Mapping[str, NDArray[Any]]:
        """(N, N) similarities, 0 outside the neighbourhoods and on the diagonal.

        Args:
            known: (U, N) interactions.
            seed: Not used.
            neighbours: k, at least 1.
            shrinkage: Weakens similarities that rest on few users, at least 0.

        Raises:
            ConfigError: A value outside these ranges.
        """
        together = (known.T @ known).toarray().astype(np.float64)
        counts = np.diag(together).copy()
        scale = np.sqrt(np.outer(counts, counts)) + shrinkage
        similarity = np.divide(together, scale, out=np.zeros_like(together), where=scale > 0)
        np.fill_diagonal(similarity, 0.0)
        k = min(neighbours, len(counts))
        least = -np.partition(-similarity, k - 1, axis=0)[k - 1]
        similarity[similarity < least] = 0.0
        return {"similarity": similarity.astype(np.float32)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) sums of the similarities to the items that the user rated or watched."""
        return or_popular(sparse_times(taste, self.fitted["similarity"]), taste, self.popularity)
