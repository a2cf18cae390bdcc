"""Fits to a log of impressions what ratings do not identify: the level of watching, slots, and leaving.

What the log is too small to identify stays as declared, and the parameters record it: without a fit of slots and level
`examination` is empty, without one of leaving `leave_fitted` is 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.special import expit

from recsim_llm.agents.statistical.examination import fit_examination
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.agents.statistical.statistical_users import (
    StatisticalParameters,
    page_satisfaction,
    scores,
    watch_probability,
)
from recsim_llm.data.dataset import Impressions
from recsim_llm.errors import DataError
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Responses

FEWEST_CHOICES = 30
"""Fewest items watched, and fewest not watched, for slots and level to be fitted; below, they stay as declared."""

FEWEST_EXITS = 30
"""Fewest pages with an exit, and fewest without one, for leaving to be fitted; below, it stays as declared."""

_PRIOR = 1e-4
"""Precision, about what is declared, of all terms but the base: a standard deviation of 100 log-odds.

It matters only where exits are separated perfectly, and the likelihood has no maximum (Albert and Anderson 1984).
"""

_TERMS = ("base", "per_page", "pleasure", "boredom", "patience")


@dataclass(frozen=True)
class Pages:
    """A log of impressions as pages, for the hazard of leaving.

    Attributes:
        page: (P,) pages of the session before this one.
        satisfaction: (P,) running satisfaction after it, [0, 1].
        repeats: (P,) share of its items already shown in the session.
        activity: (P,) trait level 1..3.
        left: (P,) whether the person left after it.
        cut: (P,) whether the page is censored: the session was cut off after it, or would have been (`pages_of`).
    """

    page: Ints
    satisfaction: Floats
    repeats: Floats
    activity: Ints
    left: Bools
    cut: Bools


@dataclass(frozen=True, slots=True)
class FittedLeave:
    """The hazard of leaving, fitted.

    Attributes:
        parameters: The hazard; terms that do not vary in the log are as declared.
        errors: Standard error of each fitted term; an absent term is declared.
        pages, exits: Numbers of pages and exits.
    """

    parameters: LeaveParameters
    errors: dict[str, float]
    pages: int
    exits: int


def fit_from_impressions(parameters: StatisticalParameters, log: Impressions) -> StatisticalParameters:
    """Parameters with the level of watching, the slots and, where there are exits, leaving fitted to a log.

    Args:
        parameters: Fitted to ratings; everything else stays unchanged.
        log: Of the same people and items.
    """
    fitted = _with_watching(parameters, log)
    if not log.has_exits:
        return fitted
    pages = pages_of(log, parameters)
    decided = pages.left[~pages.cut]
    if min(int(decided.sum()), int((~decided).sum())) < FEWEST_EXITS:
        return fitted
    return replace(fitted, leave=fit_leave(pages, parameters.leave).parameters, leave_fitted=1.0)


def _with_watching(parameters: StatisticalParameters, log: Impressions) -> StatisticalParameters:
    log = log.take(~_repeated(log))  # watching again is a separate effect
    watched = int(log.watched.sum())
    if min(watched, len(log) - watched) < FEWEST_CHOICES:
        return parameters
    # Each row as a page of one slot, (M, 1).
    taste = scores(parameters, log.users, log.items[:, None])
    chance = np.clip(watch_probability(parameters, log.users, log.items[:, None], taste)[:, 0], 1e-12, 1 - 1e-12)
    odds = np.log(chance) - np.log1p(-chance)
    found = fit_examination(odds, log.slots, log.watched.astype(np.float64))
    return replace(parameters, watch_user=parameters.watch_user + found.level, examination=found.probability)


def fit_leave(pages: Pages, declared: LeaveParameters) -> FittedLeave:
    """Maximum likelihood of the declared form: a discrete-time hazard (Allison 1982), by Newton's method.

    Sessions that were cut off are censored. A covariate that does not vary cannot be told from the base: it stays as
    declared. So does the memory of satisfaction, which is no term of the sum.

    Raises:
        DataError: The fit finds no maximum, as where everybody leaves at once or nobody ever does.
    """
    free = ~pages.cut
    ones = np.ones(len(pages.page))
    # (P, 5), in the order of `_TERMS`, with the signs of `LeaveParameters`.
    columns = np.stack([ones, pages.page, -pages.satisfaction, pages.repeats, 2.0 - pages.activity], axis=1)[free]
    label = pages.left[free].astype(np.float64)
    varies = np.append(True, np.ptp(columns[:, 1:], axis=0) > 1e-9 if len(label) else np.zeros(4, dtype=np.bool_))
    values = np.array([getattr(declared, name) for name in _TERMS])
    # Terms that do not vary enter as an offset, with their declared weights.
    weights, errors = _hazard(columns[:, varies], label, columns[:, ~varies] @ values[~varies], values[varies])
    names = [name for name, known in zip(_TERMS, varies.tolist(), strict=True) if known]
    found = asdict(declared) | dict(zip(names, weights.tolist(), strict=True))
    told = dict(zip(names, errors.tolist(), strict=True))
    return FittedLeave(LeaveParameters(**found), told, len(label), int(label.sum()))


def _hazard(x: Floats, label: Floats, offset: Floats, declared: Floats) -> tuple[Floats, Floats]:
    """Weights of a logistic model, the first of them the base, and their standard errors."""
    if not 0 < label.sum() < len(label):
        raise DataError(f"{int(label.sum())} exits after {len(label)} pages: a hazard needs pages left and not left.")
    penalty = np.diag(np.append(0.0, np.full(x.shape[1] - 1, _PRIOR)))
    share = label.mean()
    weights = np.append(np.log(share / (1 - share)), np.zeros(x.shape[1] - 1))
    for _ in range(100):
        p = expit(offset + x @ weights)
        information = (x * (p * (1 - p))[:, None]).T @ x + penalty
        step = np.linalg.solve(information, x.T @ (label - p) - penalty @ (weights - declared))
        # Steps are capped at 2 log-odds, so that a nearly separable log does not overshoot.
        weights = weights + step * min(1.0, 2.0 / float(np.abs(step).max() + 1e-300))
        if np.abs(step).max() < 1e-9:
            return weights, np.sqrt(np.diag(np.linalg.inv(information)))
    raise DataError("The hazard of leaving cannot be fitted to this log; leave out its column 'left'.")


def pages_of(log: Impressions, parameters: StatisticalParameters) -> Pages:
    """The pages of a log, with the satisfaction that statistical people would have had.

    Where sessions are cut off after the longest session's last page, that page is a limit. Then no decision there
    counts: those who would have stayed are not observed, so those who left would make leaving look certain.

    Args:
        log: Rows in any order.
        parameters: For activity, rating levels, and the memory of satisfaction.
    """
    log = log.take(np.lexsort((log.slots, log.pages, log.sessions)))
    # P distinct pages: first (P,) is a row of each, place (M,) the page of each row.
    _, first, place = np.unique(
        np.stack([log.sessions, log.pages], axis=1), axis=0, return_index=True, return_inverse=True
    )
    place = place.ravel()
    width = int(log.slots.max(initial=0)) + 1
    # Rows scattered into (P, K) pages; slots without a row count as not watched.
    watched, stars = np.zeros((len(first), width), dtype=np.bool_), np.zeros((len(first), width))
    watched[place, log.slots], stars[place, log.slots] = log.watched, log.ratings
    pleased = page_satisfaction(Responses(watched, stars), parameters.rating_levels)
    sessions, left = log.sessions[first], log.left[first]
    last = np.append(sessions[1:] != sessions[:-1], True) if len(sessions) else np.zeros(0, dtype=np.bool_)
    # Pages are sorted by session, so the search finds the first page of each session.
    number = np.arange(len(sessions)) - np.searchsorted(sessions, sessions)
    shown_before = np.bincount(place, weights=_shown_before(log), minlength=len(first))
    return Pages(
        number,
        _running(pleased, number, parameters.leave.memory),
        shown_before / np.maximum(np.bincount(place, minlength=len(first)), 1),
        parameters.activity[log.users[first]],
        left,
        says_nothing_of_leaving(number, left, last),
    )


def says_nothing_of_leaving(number: Ints, left: Bools, last: Bools) -> Bools:
    """(P,) pages after which a session was cut off, and all pages at the limit that the log's sessions are cut off at.

    Args:
        number: (P,) pages of the session before.
        left: (P,) whether the person left after it.
        last: (P,) whether it is the session's last.
    """
    cut: Bools = last & ~left
    at_limit = number == number.max(initial=-1)
    return cut | at_limit if (cut & at_limit).any() else cut


def _running(pleased: Floats, number: Ints, memory: float) -> Floats:
    """Running satisfaction over the pages of each session, as `StatisticalUsers` computes it."""
    running = np.zeros(len(pleased))
    for page in range(int(number.max(initial=-1)) + 1):
        rows = np.flatnonzero(number == page)
        before = running[rows - 1] if page else 0.5
        running[rows] = memory * before + (1.0 - memory) * pleased[rows]
    return running


def _shown_before(log: Impressions) -> Floats:
    """(M,) 1 where the item was on an earlier page of the session; rows sorted by session and page."""
    key = log.sessions * (int(log.items.max(initial=0)) + 1) + log.items
    # Sorted by (session, item), then page: an equal key on an earlier page is a repeat.
    order = np.lexsort((log.pages, key))
    earlier = np.zeros(len(key))
    same = key[order][1:] == key[order][:-1]
    later = log.pages[order][1:] > log.pages[order][:-1]
    earlier[order[1:]] = same & later
    return earlier


def _repeated(log: Impressions) -> Bools:
    """(M,) whether the item was watched on an earlier page of the session."""
    key = log.sessions * (int(log.items.max(initial=0)) + 1) + log.items
    # First page on which each (session, item) was watched; the largest integer where never.
    first = np.full(len(key), np.iinfo(np.int64).max)
    _, place = np.unique(key, return_inverse=True)
    np.minimum.at(first, place[log.watched], log.pages[log.watched])
    repeated: Bools = log.pages > first[place]
    return repeated


def impressions_of(
    users: Ints, sessions: Ints, pages: Ints, items: Ints, watched: Bools, ratings: Floats, left: Bools
) -> Impressions:
    """A log of impressions from P recorded pages of K slots (empty slots are left out).

    Args:
        users: (P,).
        sessions: (P,) number of the session.
        pages: (P,) from 0.
        items: (P, K).
        watched: (P, K).
        ratings: (P, K) stars, 0 where not watched.
        left: (P,) whether the person left after the page.
    """
    row, slot = np.nonzero(items != EMPTY)
    stars = ratings[row, slot].astype(np.float32)
    return Impressions(
        users[row], items[row, slot], sessions[row], pages[row], slot, watched[row, slot], stars, left[row], True
    )
