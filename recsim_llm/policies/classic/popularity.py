"""Popularity policies, logged and live: the same page for all users, without the items that a user knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sparse_rows import Scores
from recsim_llm.types import EMPTY, Floats, Observation


class Popularity(RankingPolicy):
    """The items with the most ratings in the log."""

    name = "popularity"

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """(N,) how many users have rated each item."""
        return {"counts": _counts(known)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) counts."""
        return np.broadcast_to(self.fitted["counts"], taste.shape)


class LivePopularity(RankingPolicy):
    """Popularity that grows as simulated users watch: rich items get richer. Pages depend on earlier users."""

    name = "live-popularity"

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """(N,) how many users have rated each item."""
        return {"counts": _counts(known)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) counts so far."""
        return np.broadcast_to(self.fitted["counts"], taste.shape)

    def learn(self, batch: Feedback) -> dict[str, float]:
        """Add to each item's count the number of times it was watched in this round.

        Watches rated below `min_rating` do not count.

        Returns:
            `watched`: Number of watches counted.
        """
        counted = batch.watched & (batch.pages != EMPTY) & (batch.ratings >= self.min_rating)
        growth = np.bincount(batch.pages[counted], minlength=self.known.shape[1])
        self.fitted["counts"] = self.fitted["counts"] + growth
        return {"watched": float(counted.sum())}


def _counts(known: sp.csr_array) -> Floats:
    return np.bincount(known.indices, minlength=known.shape[1]).astype(np.float64)
