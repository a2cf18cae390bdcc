"""One list of items for everybody: what a policy must beat before it can be called personal."""

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
    """Shows everybody the same items in the same order, and looks at nobody.

    The list was searched on people who do not visit, with the rule of leaving known (`experiments.bounds`). Unlike
    other policies it shows what a person has rated already too: a list with gaps is another list for everybody.

    `fitted` holds: order (L,) items, first to last; behind its end it begins again.
    """

    name: ClassVar[str] = "fixed-list"
    refits: ClassVar[bool] = False

    @classmethod
    def of(cls, order: Ints, log: Ratings, page_size: int) -> Self:
        """A policy that shows this list.

        Args:
            order: (L,) items, first to last.
            log: Ratings whose items are not shown to their users again.
            page_size: K.
        """
        return cls(page_size, 0, interactions(log), {"order": np.asarray(order, dtype=np.int64)})

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """A list is not learned from a log.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("The policy 'fixed-list' is searched on a population (experiments.bounds.make_fixed_list).")

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) highest for the item whose turn it is, and falling along the list."""
        order: Ints = self.fitted["order"]
        first = observation["page"][:, 0] * self.page_size
        places = (np.arange(len(order))[None, :] - first[:, None]) % len(order)  # (B, L) how far ahead in the list
        scores = np.full((len(first), self.known.shape[1]), -float(len(order)), dtype=np.float32)
        scores[:, order] = -places
        return scores

    def excluded(self, known: Bools) -> Bools:
        """(B, N) nothing is kept back."""
        return np.zeros_like(known)
