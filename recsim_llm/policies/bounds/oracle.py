"""A policy that knows the truth: the greedy upper bound that other policies are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.dataset import Ratings
from recsim_llm.data.likeness import Likeness, repetition_stars
from recsim_llm.data.rating_levels import moved, nearest_level
from recsim_llm.errors import ConfigError
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sparse_rows import Scores, interactions
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Observation

_ALWAYS = 1e6


class Oracle(RankingPolicy):
    """Shows what is worth most: its stars, less what the person would still give if it makes them leave.

    It is given people's true tastes and the rule by which they leave (`experiments.bounds`), which no recommender has.
    It looks one item ahead and values what comes later by an estimate, so it is not the best possible policy. An item
    that is too much alike makes a person leave for certain; a low rating does with its probability, and with ratings
    that are drawn no policy can rule it out. Of a page of several items each is valued as if it were the page.
    In the long-term setting it may show what a person rated in the log, as one list for everybody does: else it would
    be no bound of that. Elsewhere it shows what is known only when nothing else is left, like all policies here.

    `fitted` holds, for U people and N items:
        ratings (U, N): expected stars. risk (U, N): probability of a rating that makes the person leave.
        later (U, T): stars that a person would still give after page 0..T-1 if they stayed; the last one holds on.
        thresholds (U,), vectors (N, D), window: distance below which an item is too much like one of the last shown.
        genres (N, G), repeats: -1 for no such rule. low_reward: stars. first_item: 0 where page 0 has no risk.
        shows_known: 1 where items of the log are shown too. counts_last: 1 where what is too much alike gives its stars
        at least; 0 as in BiLLP's tables, which leave out the turn at which a person leaves.
        slopes, usual (U,), typical: what repetition does to ratings (`data.likeness.repetition_stars`).
        chances (U, N, R), levels (R,), rounded: rating distributions, and 1 where ratings are rounded to a level; U is
        0 where no slope moves them.
    """

    name: ClassVar[str] = "oracle"
    refits: ClassVar[bool] = False

    def __init__(self, page_size: int, seed: int, known: sp.csr_array, fitted: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(page_size, seed, known, _with_people(fitted))

    @classmethod
    def knowing(cls, truth: Mapping[str, NDArray[Any]], log: Ratings, page_size: int) -> Self:
        """An oracle.

        Args:
            truth: As `fitted`, see the class.
            log: Ratings whose items are not shown to their users again, but for `shows_known`.
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
        """(B, N) stars, less what would still come where showing the item would make the person leave."""
        windows, pages = self._latest(observation, int(self.fitted["window"])), observation["page"][:, 0]
        likeness = Likeness(self.fitted["vectors"], 0.0)
        rows = []
        for user, page, window in zip(observation["user"][:, 0], pages, windows, strict=True):
            latest = window[window != EMPTY]
            gaps = likeness.gaps_to_all(latest)
            alike = gaps < self.fitted["thresholds"][user]
            alike |= crowded(self.fitted["genres"], int(self.fitted["repeats"]), latest)
            stars, risk = self._ratings(int(user), gaps)
            if page == 0 and not self.fitted["first_item"]:
                risk = np.zeros_like(risk)
            later = self.fitted["later"][user]
            # What is alike and disliked counts twice: both are out unless nothing else is left.
            lost = (risk + alike) * float(later[min(page, len(later) - 1)])
            rows.append((stars if self.fitted["counts_last"] else stars * ~alike) - lost)
        out = np.array(rows)
        if self.fitted["shows_known"]:
            shown = self._latest(observation, observation["history_items"].shape[1])
            people, places = np.nonzero(shown != EMPTY)
            out[people, shown[people, places]] -= _ALWAYS
        return out

    def excluded(self, known: Bools) -> Bools:
        """(B, N) see `RankingPolicy.excluded`; where the log is shown too, `scores` puts off what this session had."""
        return np.zeros_like(known) if self.fitted["shows_known"] else known

    def _ratings(self, user: int, gaps: Floats) -> tuple[Floats, Floats]:
        """(N,) stars, and the probability of a rating that makes the person leave, of items this far away."""
        known = self.fitted
        if not known["slopes"][user]:
            return known["ratings"][user].astype(np.float64), known["risk"][user].astype(np.float64)
        shift = repetition_stars(gaps, float(known["typical"]), known["slopes"][user], known["usual"][user])
        chances = moved(known["chances"][user].astype(np.float64), shift, known["levels"])
        return stars_and_risk(chances, known["levels"], float(known["low_reward"]), bool(known["rounded"]))

    def _latest(self, observation: Observation, width: int) -> Ints:
        """(B, W) the latest items shown in this session, EMPTY where there were fewer."""
        latest = observation["history_items"][:, -width:]
        shown = observation["page"] * self.page_size
        age = np.arange(latest.shape[1], 0, -1)
        return np.where(age <= shown, latest, EMPTY)


def stars_and_risk(chances: Floats, levels: Floats, low_reward: float, rounded: bool) -> tuple[Floats, Floats]:
    """Expected stars, and the probability of a rating below `low_reward`, of (..., R) distributions.

    Args:
        chances: (..., R) over the levels.
        levels: (R,) stars.
        low_reward: Stars below which a person leaves.
        rounded: Whether a rating is the level nearest to the expected one, which then decides between equals.
    """
    given = nearest_level(chances, levels) if rounded else chances
    stars: Floats = given @ levels
    return stars + 1e-3 * (chances @ levels) if rounded else stars, given @ (levels < low_reward)


def crowded(genres: NDArray[np.bool_], repeats: int, window: Ints) -> Bools:
    """(N,) which items have a genre that these items have more than `repeats` times; none where it is negative."""
    if repeats < 0:
        return np.zeros(len(genres), dtype=np.bool_)
    return np.asarray(genres[:, genres[window].sum(axis=0) > repeats].any(axis=1))


def _with_people(fitted: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """What an oracle's file holds; one from before people differed had a single threshold, and never let anybody go."""
    if "later" in fitted:
        return fitted
    ratings, people = fitted["ratings"], np.ones(len(fitted["ratings"]))
    return {
        **fitted,
        "risk": (ratings < fitted["low_reward"]).astype(np.float32),
        "later": _ALWAYS * people[:, None],
        "thresholds": people * fitted["threshold"],
        "first_item": np.array(1),
        "shows_known": np.array(0),
        "counts_last": np.array(1),
        "slopes": 0.0 * people,
    }
