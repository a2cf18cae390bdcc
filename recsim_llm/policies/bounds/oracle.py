"""A policy that knows the true tastes: the greedy upper bound for other policies."""

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
    """Shows the items with the highest value: expected stars minus the later stars lost if the user leaves.

    It is given the users' true tastes and their exit rule (`experiments.bounds`), which no recommender has. It looks
    one item ahead and estimates the value of later pages, so it is not the best possible policy. An item that is too
    similar makes the user leave with certainty; a low rating does so with its probability, and when ratings are drawn
    no policy can rule it out. On a page of several items, each item is valued as if it were alone on the page.
    In the long-term setting it may show items that a user rated in the log, as the fixed list does; otherwise it would
    not bound that list. Elsewhere it shows known items only when nothing else is left, like all policies here.

    `fitted` holds, for U people and N items:
        ratings (U, N): expected stars. risk (U, N): probability of a rating that makes the person leave.
        later (U, T): stars that a user would still give after page 0..T-1 if they stayed; later pages use the last one.
        thresholds (U,), vectors (N, D), window: distance below which an item is too similar to one of the last shown.
        genres (N, G), repeats: -1 for no such rule. low_reward: stars. first_item: 0 where page 0 has no risk.
        shows_known: 1 where logged items are shown too. counts_last: 1 where an item that is too similar still earns
        its stars; 0 as in BiLLP's tables, which leave out the turn at which a person leaves.
        slopes, usual (U,), typical: effect of repetition on ratings (`data.likeness.repetition_stars`).
        chances (U, N, R), levels (R,), rounded: rating distributions, and 1 where ratings are rounded to a level; U is
        0 where no slope moves them.
    """

    name: ClassVar[str] = "oracle"
    refits: ClassVar[bool] = False

    def __init__(self, page_size: int, seed: int, known: sp.csr_array, fitted: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(page_size, seed, known, _with_people(fitted))

    @classmethod
    def knowing(cls, truth: Mapping[str, NDArray[Any]], log: Ratings, page_size: int) -> Self:
        """Return an oracle for these users.

        Args:
            truth: The arrays of `fitted`, see the class.
            log: Ratings whose items are not shown to their users again, except with `shows_known`.
            page_size: K.
        """
        return cls(page_size, 0, interactions(log), truth)

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """Refuse: an oracle does not learn.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("The policy 'oracle' is told the truth of a population (experiments.bounds.make_oracle).")

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) expected stars, minus the later stars that are lost if the item makes the user leave."""
        windows, pages = self._latest(observation, int(self.fitted["window"])), observation["page"][:, 0]
        likeness = Likeness(self.fitted["vectors"], 0.0)
        rows = []
        for user, page, window in zip(observation["user"][:, 0], pages, windows, strict=True):
            latest = window[window != EMPTY]
            gaps = likeness.gaps_to_all(latest)  # (N,) distance of each item to the nearest of the window
            alike = gaps < self.fitted["thresholds"][user]
            alike |= crowded(self.fitted["genres"], int(self.fitted["repeats"]), latest)
            stars, risk = self._ratings(int(user), gaps)
            if page == 0 and not self.fitted["first_item"]:
                risk = np.zeros_like(risk)
            later = self.fitted["later"][user]
            # Both too similar and disliked: penalised twice, so shown only when nothing else is left.
            lost = (risk + alike) * float(later[min(page, len(later) - 1)])
            rows.append((stars if self.fitted["counts_last"] else stars * ~alike) - lost)
        out = np.array(rows)
        if self.fitted["shows_known"]:
            shown = self._latest(observation, observation["history_items"].shape[1])
            people, places = np.nonzero(shown != EMPTY)
            out[people, shown[people, places]] -= _ALWAYS
        return out

    def excluded(self, known: Bools) -> Bools:
        """(B, N) see `RankingPolicy.excluded`; with `shows_known`, `scores` penalises items of this session instead."""
        return np.zeros_like(known) if self.fitted["shows_known"] else known

    def _ratings(self, user: int, gaps: Floats) -> tuple[Floats, Floats]:
        """(N,) expected stars, and (N,) probability of a rating that makes the user leave, at these (N,) distances."""
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
    """Return the (...,) expected stars and the probability of a rating below `low_reward`.

    Args:
        chances: (..., R) probabilities of the levels.
        levels: (R,) stars.
        low_reward: Stars below which a person leaves.
        rounded: Whether a rating is the level nearest to the expected rating; the expected rating then breaks ties.
    """
    given = nearest_level(chances, levels) if rounded else chances
    stars: Floats = given @ levels
    return stars + 1e-3 * (chances @ levels) if rounded else stars, given @ (levels < low_reward)


def crowded(genres: NDArray[np.bool_], repeats: int, window: Ints) -> Bools:
    """(N,) True for items with a genre that occurs more than `repeats` times in `window`; False if negative."""
    if repeats < 0:
        return np.zeros(len(genres), dtype=np.bool_)
    return np.asarray(genres[:, genres[window].sum(axis=0) > repeats].any(axis=1))


def _with_people(fitted: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """Upgrade the arrays of an older file: one threshold for all users, and an oracle that never risks an exit."""
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
