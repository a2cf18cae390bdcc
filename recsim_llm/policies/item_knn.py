"""Item-kNN: items that the same people rated, by shrunken cosine (Sarwar et al. 2001; Bell and Koren 2007)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.policies.ranking import RankingPolicy, sparse_times
from recsim_llm.types import Observation


class ItemKNN(RankingPolicy):
    """Scores x S, where S[i, j] = n_ij / (sqrt(n_i n_j) + shrinkage), kept for the k nearest i of each j."""

    name = "item-knn"

    @classmethod
    def learn_from(
        cls, known: sp.csr_array, seed: int, neighbours: int = 50, shrinkage: float = 10.0
    ) -> Mapping[str, NDArray[Any]]:
        """(N, N) similarities, 0 outside the neighbourhoods and on the diagonal.

        Args:
            known: (U, N) interactions.
            seed: Not used.
            neighbours: k, at least 1.
            shrinkage: Weakens similarities that rest on few people.
        """
        together = (known.T @ known).toarray().astype(np.float64)
        counts = np.diag(together).copy()
        similarity = together / (np.sqrt(np.outer(counts, counts)) + shrinkage)
        np.fill_diagonal(similarity, 0.0)
        k = min(max(neighbours, 1), len(counts))
        least = -np.partition(-similarity, k - 1, axis=0)[k - 1]
        similarity[similarity < least] = 0.0
        return {"similarity": similarity.astype(np.float32)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> NDArray[np.floating[Any]]:
        """(B, N) sums of the similarities to the items that the user rated or watched."""
        return sparse_times(taste, self.fitted["similarity"])
