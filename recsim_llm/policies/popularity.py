"""Popularity, as logged and live: the same page for everybody, less what the user knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.types import Observation


class Popularity(RankingPolicy):
    """The items with the most ratings in the log."""

    name = "popularity"

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """(N,) how many users have rated each item."""
        return {"counts": np.asarray(known.sum(axis=0), dtype=np.float64).ravel()}

    def scores(self, observation: Observation, taste: sp.csr_array) -> NDArray[np.floating[Any]]:
        """(B, N) counts."""
        return np.broadcast_to(self.fitted["counts"], (len(observation["user"]), self.known.shape[1]))


class LivePopularity(Popularity):
    """Popularity that grows as simulated users watch: rich items get richer. Depends on who came before."""

    name = "live-popularity"

    def learn(self, batch: Feedback) -> dict[str, float]:
        """Add one to the count of each item for each time it was watched in this round."""
        self.fitted["counts"] += np.bincount(batch.pages[batch.watched], minlength=self.known.shape[1])
        return {"watched": float(batch.watched.sum())}
