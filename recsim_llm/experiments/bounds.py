"""Reference bounds of a population: the reward of a greedy policy that knows the people, and that of one fixed list.

Both value an item at its expected stars minus the probability that it makes the person leave times the person's future
reward. Items too similar to recent ones have no stars, as BiLLP's tables leave out the turn at which a person leaves.
The future reward is a recursion over the remaining turns: the mean, over as many items as there are turns, of their
stars plus the reward after them. The oracle takes each person's best items; the list takes the best for all people
together. The recursion ignores that two of these items may be too similar, so it is slightly too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.long_term.long_term_users import LongTermUsers
from recsim_llm.agents.population import Population
from recsim_llm.agents.statistical.statistical_users import (
    StatisticalParameters,
    rating_distribution,
    scores,
    watch_probability,
)
from recsim_llm.data.likeness import repetition_stars
from recsim_llm.data.rating_levels import moved
from recsim_llm.errors import ConfigError
from recsim_llm.policies.bounds.fixed_list import FixedList
from recsim_llm.policies.bounds.oracle import Oracle, crowded, stars_and_risk
from recsim_llm.types import Floats, Floats32, Ints

_BLOCK = 256
_CANDIDATES = 500
"""Number of candidates for a list: the items of highest worth when nothing was shown before."""


@dataclass(frozen=True, slots=True)
class _Truth:
    """Ratings and exit risks of items when nothing was shown before.

    Attributes:
        ratings: (P, N) expected stars.
        risk: (P, N) probability of a rating that makes the person leave.
        chances: (P, N, R) rating distributions; (0, N, R) if nothing shifts them.
    """

    ratings: Floats32
    risk: Floats32
    chances: Floats32


def make_oracle(population: Population, page_size: int, turns: int) -> Oracle:
    """Build the policy that knows how these people would rate and when they would leave.

    In the long-term setting an item is worth its expected stars minus the probability of leaving times the person's
    future reward. Ratings are rounded first if the rule rounds them (`QuitRule.ratings`), and the expected rating
    itself breaks ties. Elsewhere an item is worth the expected stars of showing it: probability of watching times
    expected rating. `QuitRule.hazard` is ignored.

    Args:
        population: In the long-term setting or not.
        page_size: K.
        turns: Pages of a session.

    Raises:
        ConfigError: The people are not statistical users, whose tastes are known.
    """
    tastes = _known_tastes(population, Oracle.name)
    truth = _truth(tastes, population.users.describe().long_term, np.arange(population.users.num_users))
    fitted = {"ratings": truth.ratings, "risk": truth.risk, "chances": truth.chances, **_rule(population)}
    later = _later(truth, turns)
    return Oracle.knowing({**fitted, "later": later.astype(np.float32)}, population.log, page_size)


def make_fixed_list(population: Population, people: Ints, page_size: int, turns: int) -> FixedList:
    """Build one list for everybody, greedily as the oracle builds pages, from the known tastes of other people.

    The next item has the highest mean worth over `people`, each weighted by the probability of still being there.
    Worth is the stars minus the probability that the item makes this person leave (by their own threshold and rating)
    times their future reward. On a page of several items, each item counts as a fraction of a turn.

    Args:
        population: In the long-term setting or not.
        people: (P,) ids of the people used for the search; they must differ from the visitors.
        page_size: K.
        turns: Pages of a session.

    Raises:
        ConfigError: There is nobody to search on, or the people are not statistical users.
    """
    tastes, life = _known_tastes(population, FixedList.name), population.users.describe().long_term
    if not len(people):
        raise ConfigError("The policy 'fixed-list' is searched on people who do not visit: name fewer --users.")
    truth, rule = _truth(tastes, life, people), _rule(population)
    later = _common_later(truth, turns)
    candidates = _candidates(truth, later, turns * page_size)
    search = _Search(life, people, truth, rule)
    # (P,) probability that each person is still there.
    here = np.ones(len(people))
    order: list[int] = []
    for place in range(min(turns * page_size, population.users.num_items)):
        page = place // page_size
        stars, leaving = search.outlook(candidates, order, page)
        # (P,) @ (P, C) -> (C,): worth summed over people, weighted by who is still there.
        worth = here @ (stars - leaving * later[:, page, None])
        worth[np.isin(candidates, order)] = -np.inf
        best = int(worth.argmax())
        # Each of the K items of a page is 1 / K of a turn.
        here *= (1.0 - leaving[:, best]) ** (1.0 / page_size)
        order.append(int(candidates[best]))
    return FixedList.of(np.array(order), population.log, page_size)


class _Search:
    """Evaluates the next item of a list on each of the people used for the search."""

    def __init__(self, life: LongTermUsers | None, people: Ints, truth: _Truth, rule: dict[str, NDArray[Any]]) -> None:
        self._life, self._people, self._truth, self._rule = life, people, truth, rule

    def outlook(self, items: Ints, order: list[int], page: int) -> tuple[Floats, Floats]:
        """Return (P, C) stars and (P, C) probabilities of leaving if each of the (C,) items followed this list."""
        stars, risk = self._truth.ratings[:, items].astype(np.float64), self._truth.risk[:, items].astype(np.float64)
        if self._life is None:
            return stars, risk
        window, rule = np.array(order[-self._life.rule.window :], dtype=np.int64), self._rule
        # (C,) distance of each candidate to the recent items of the list.
        gaps = self._life.likeness.gaps_to_all(window)[items]
        slopes, usual = rule["slopes"][self._people, None], rule["usual"][self._people, None]
        if slopes.any():
            # Shift of the rating by repetition: (1, C) gaps and (P, 1) slopes broadcast to (P, C).
            shift = repetition_stars(gaps[None, :], float(rule["typical"]), slopes, usual)
            chances = moved(self._truth.chances[:, items].astype(np.float64), shift, rule["levels"])
            stars, risk = stars_and_risk(chances, rule["levels"], float(rule["low_reward"]), bool(rule["rounded"]))
        if page == 0 and not rule["first_item"]:
            risk = np.zeros_like(risk)
        full = crowded(rule["genres"], int(rule["repeats"]), window)[items]
        # (P, C): too similar by the person's own threshold, or too many of one genre: ends the session, no stars.
        alike = (gaps[None, :] < rule["thresholds"][self._people, None]) | full[None, :]
        return np.where(alike, 0.0, stars), np.where(alike, 1.0, risk)


def _known_tastes(population: Population, policy: str) -> StatisticalParameters:
    tastes = population.users.describe().tastes
    if tastes is None:
        raise ConfigError(f"The policy '{policy}' must know people's tastes: it works with --user-model statistical.")
    return tastes


def _truth(tastes: StatisticalParameters, life: LongTermUsers | None, people: Ints) -> _Truth:
    # Blocks of people bound the memory of the (P, N, R) distributions.
    blocks = [_block(tastes, life, block) for block in np.split(people, range(_BLOCK, len(people), _BLOCK))]
    return _Truth(*(np.concatenate(part) for part in zip(*blocks, strict=True)))


def _block(
    tastes: StatisticalParameters, life: LongTermUsers | None, people: Ints
) -> tuple[Floats32, Floats32, Floats32]:
    num_items = len(tastes.item_bias)
    # (P, N): every person with every item.
    items = np.broadcast_to(np.arange(num_items), (len(people), num_items))
    taste = scores(tastes, people, items)
    chances, levels = rating_distribution(tastes, taste), tastes.rating_levels
    if life is None:
        stars = (chances @ levels) * watch_probability(tastes, people, items, taste)
        return stars.astype(np.float32), np.zeros_like(stars, dtype=np.float32), chances[:0].astype(np.float32)
    stars, risk = stars_and_risk(chances, levels, life.rule.low_reward, life.rule.ratings == "expected")
    kept = chances if life.habits.slopes.any() else chances[:0]
    return stars.astype(np.float32), risk.astype(np.float32), kept.astype(np.float32)


def _later(truth: _Truth, turns: int) -> Floats:
    """(U, T) future reward of each person after each page, if shown their own best items."""
    out = np.zeros((len(truth.ratings), turns))
    for start in range(0, len(out), _BLOCK):
        rows = slice(start, start + _BLOCK)
        stars, risk = truth.ratings[rows].astype(np.float64), truth.risk[rows]
        for page in reversed(range(turns - 1)):
            worth = stars + (1.0 - risk) * out[rows, page + 1, None]
            out[rows, page] = _best(worth, turns)
    return out


def _best(worth: Floats, count: int) -> Floats:
    """(P,) mean of the `count` best items of each row."""
    size = min(count, worth.shape[1])
    top = np.partition(worth, -size, axis=1)[:, -size:]
    mean: Floats = top.mean(axis=1)
    return mean


def _common_later(truth: _Truth, turns: int) -> Floats:
    """(P, T) future reward of each person after each page, if shown the items that are best for all together."""
    stars, risk = truth.ratings.astype(np.float64), truth.risk.astype(np.float64)
    out = np.zeros((len(stars), turns))
    for page in reversed(range(turns - 1)):
        worth = stars.mean(axis=0) - (risk * out[:, page + 1, None]).mean(axis=0)
        best = np.argsort(-worth, kind="stable")[:turns]
        out[:, page] = (stars[:, best] + (1.0 - risk[:, best]) * out[:, page + 1, None]).mean(axis=1)
    return out


def _candidates(truth: _Truth, later: Floats, places: int) -> Ints:
    worth = truth.ratings.mean(axis=0) - (truth.risk * later[:, :1]).mean(axis=0)
    chosen: Ints = np.sort(np.argsort(-worth, kind="stable")[: max(_CANDIDATES, places)])
    return chosen


def _rule(population: Population) -> dict[str, NDArray[Any]]:
    """The exit rule for an oracle (`Oracle.fitted`); neutral values for people who leave of their own accord."""
    users, genres = population.users, population.dataset.catalogue.genre_matrix
    life = users.describe().long_term
    nobody = np.zeros(users.num_users)
    told: dict[str, Any] = {"genres": genres, "levels": users.rating_levels, "thresholds": nobody, "slopes": nobody}
    if life is None:
        told |= {"vectors": np.zeros((len(genres), 1)), "usual": nobody, "typical": 0.0, "window": 1, "repeats": -1}
        told |= {"low_reward": 0.0, "first_item": 1, "rounded": 0, "shows_known": 0, "counts_last": 1}
    else:
        rule, habits = life.rule, life.habits
        told |= {"vectors": life.likeness.vectors, "window": rule.window, "low_reward": rule.low_reward}
        told |= {"repeats": -1 if rule.repeats is None else rule.repeats, "first_item": int(rule.first_item)}
        told |= {"thresholds": habits.thresholds if rule.nearest > 0 else nobody, "slopes": habits.slopes}
        told |= {"usual": habits.usual, "typical": habits.typical, "rounded": int(rule.ratings == "expected")}
        told |= {"shows_known": 1, "counts_last": 0}
    return {name: np.asarray(value) for name, value in told.items()}
