"""Random pages: the floor that every policy should beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sparse_rows import Scores
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Observation


class RandomPolicy(RankingPolicy):
    """Uniformly drawn items that the user does not know yet.

    A draw is a hash of (seed, user, page, item): neither the batch nor the order of users changes it.
    """

    name = "random"

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """Return no arrays: there is nothing to fit."""
        return {}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) uniform numbers."""
        items = np.arange(self.known.shape[1])
        return uniforms(self.seed, Stream.POLICY, observation["user"], observation["page"], items)
