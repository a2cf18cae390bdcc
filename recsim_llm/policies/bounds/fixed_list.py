"""A policy that shows all users one list: the baseline that a personalised policy must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sparse_rows import Scores, interactions
from recsim_llm.types import Bools, Ints, Observation


class FixedList(RankingPolicy):
    """Shows all users the same items in the same order, without using their histories.

    The list was optimised on users who are not in the evaluation, with the exit rule known (`experiments.bounds`).
    Unlike other policies it also shows items that a user has already rated: skipping them would give each user a
    different list.

    `fitted` holds: order (L,) items, first to last; after its end the list starts again.
    """

    name: ClassVar[str] = "fixed-list"
    refits: ClassVar[bool] = False

    @classmethod
    def of(cls, order: Ints, log: Ratings, page_size: int) -> Self:
        """Return a policy that shows this list.

        Args:
            order: (L,) items, first to last.
            log: Ratings whose items are not shown to their users again.
            page_size: K.
        """
        return cls(page_size, 0, interactions(log), {"order": np.asarray(order, dtype=np.int64)})

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """Refuse: a fixed list is not learned from a log.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("The policy 'fixed-list' is searched on a population (experiments.bounds.make_fixed_list).")

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) scores: highest for the next item of the list, decreasing along it."""
        order: Ints = self.fitted["order"]
        first = observation["page"][:, 0] * self.page_size
        places = (np.arange(len(order))[None, :] - first[:, None]) % len(order)  # (B, L) how far ahead in the list
        scores = np.full((len(first), self.known.shape[1]), -float(len(order)), dtype=np.float32)
        scores[:, order] = -places
        return scores

    def excluded(self, known: Bools) -> Bools:
        """(B, N) all False: no item is excluded."""
        return np.zeros_like(known)
