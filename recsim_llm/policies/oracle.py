"""A policy that knows the truth: the greedy upper bound that other policies are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.dataset import Ratings
from recsim_llm.data.likeness import Likeness
from recsim_llm.errors import ConfigError
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.rows import Scores, interactions
from recsim_llm.types import EMPTY, Bools, Ints, Observation

_NEVER = -1e6


class Oracle(RankingPolicy):
    """Shows what pleases most among what does not make the person leave now; greedy, so not the best possible.

    It is given people's true tastes and the rule by which they leave (`experiments.bounds`), which no recommender has.
    Like all policies here it shows what is known to a person only when nothing else is left.

    `fitted` holds: ratings (U, N) expected stars; vectors (N, D), threshold, window: what is too much like one of the
    last `window` shown; genres (N, G) and repeats (-1: no such rule); low_reward in stars.
    """

    name: ClassVar[str] = "oracle"
    refits: ClassVar[bool] = False

    @classmethod
    def knowing(cls, truth: Mapping[str, NDArray[Any]], log: Ratings, page_size: int) -> Self:
        """An oracle.

        Args:
            truth: As `fitted`, see the class.
            log: Ratings whose items are not shown to their users again.
            page_size: K.
        """
        return cls(page_size, 0, interactions(log), truth)

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """An oracle does not learn.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("The policy 'oracle' is told the truth of a population (experiments.bounds.make_oracle).")

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) expected stars; far lower where showing the item would make the person leave."""
        users = observation["user"][:, 0]
        scores = np.array(self.fitted["ratings"][users], dtype=np.float64)
        scores[scores < float(self.fitted["low_reward"])] += _NEVER
        for row, window in enumerate(self._windows(observation)):
            scores[row, self._alike(window[window != EMPTY])] += _NEVER
        return scores

    def _windows(self, observation: Observation) -> Ints:
        """(B, W) the latest items shown in this session, EMPTY where there were fewer."""
        width = int(self.fitted["window"])
        latest = observation["history_items"][:, -width:]
        shown = observation["page"] * self.page_size
        age = np.arange(latest.shape[1], 0, -1)
        return np.where(age <= shown, latest, EMPTY)

    def _alike(self, window: Ints) -> Bools:
        """(N,) which items are too much like one of these."""
        wrong = Likeness(self.fitted["vectors"], float(self.fitted["threshold"])).like_any(window)
        return wrong | crowded(self.fitted["genres"], int(self.fitted["repeats"]), window)


def crowded(genres: NDArray[np.bool_], repeats: int, window: Ints) -> Bools:
    """(N,) which items have a genre that these items have more than `repeats` times; none where it is negative."""
    if repeats < 0:
        return np.zeros(len(genres), dtype=np.bool_)
    return np.asarray(genres[:, genres[window].sum(axis=0) > repeats].any(axis=1))
