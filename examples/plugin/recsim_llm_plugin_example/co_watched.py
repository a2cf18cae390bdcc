"""A policy: items that share many people with those the user likes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.checked import Positive
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sparse_rows import Scores, sparse_times
from recsim_llm.types import Observation


class CoWatched(RankingPolicy):
    """Scores an item by how many people it shares with the user's items, to some power."""

    name = "co-watched"  # as in pyproject.toml: the policy's file holds this name

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int, power: Positive = 0.5) -> Mapping[str, NDArray[Any]]:
        """Count the people of each pair of items: (N, N)."""
        together = (known.T @ known).toarray().astype(np.float64)
        np.fill_diagonal(together, 0)
        return {"weights": together**power}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) sums over the items of each taste."""
        return sparse_times(taste, self.fitted["weights"])
