"""Checks of a table of predictions against the data set that it claims to be about, and of its candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsim_llm.data import Dataset
from recsim_llm.errors import DataError
from recsim_llm.experiments.fidelity.measures.measures import Measure
from recsim_llm.types import Bools, Floats, Ints

LEAK_AUC = 0.6
"""Within-person AUC from which a scorer that knows nothing about people gives the candidates away."""
_AGREE = 0.95
_BEYOND, _MOST_BEYOND = 0.5, 0.25


def check_truths(path: Path, data: Dataset, users: Ints, items: Ints, stars: Floats) -> None:
    """Refuse true ratings that the data set does not have: the table is about another one, or its rows are mixed up.

    Args:
        path: The table, as named in errors.
        data: The data set.
        users: (M,) ids in it.
        items: (M,) ids in it.
        stars: (M,) true ratings as the table has them, NaN for none.

    Raises:
        DataError: A true rating is not the data set's.
    """
    log, levels = data.ratings, np.array(data.rating_levels)
    # One number per (user, item, level); a pair that was rated twice may have either rating.
    known = (log.users * log.num_items + log.items) * len(levels) + np.searchsorted(levels, log.values)
    rated = np.flatnonzero(~np.isnan(stars))
    pairs = users[rated] * log.num_items + items[rated]
    wrong = ~np.isin(pairs * len(levels) + np.searchsorted(levels, stars[rated]), known)
    if not wrong.any():
        return
    row = int(rated[wrong][0])
    theirs = log.values[(log.users == users[row]) & (log.items == items[row])]
    has = f"has {theirs[0]:g}" if len(theirs) else "has no rating of this pair"
    raise DataError(
        f"{path}: {int(wrong.sum()):,} of {len(rated):,} true ratings are not those of data set '{data.name}'. Row "
        f"{row + 1} has {stars[row]:g}, the data set {has}. The table is about another data set, or its rows are mixed "
        "up. If the true ratings are from elsewhere, name the ratings that the simulator was fitted on: --log FILE."
    )


def check_once(path: Path, users: Ints, items: Ints, rated: Bools) -> None:
    """Refuse a pair with two true ratings: it would count twice.

    Raises:
        DataError: Two rated rows have the same user and item; the message names the later row.
    """
    rows = np.flatnonzero(rated)
    keys = users[rows] * (int(items.max(initial=0)) + 1) + items[rows]
    first = np.unique(keys, return_index=True)[1]
    again = np.setdiff1d(np.arange(len(rows)), first)
    if len(again):
        raise DataError(
            f"{path}: row {rows[again[0]] + 1} rates a pair of user and item that an earlier row rates "
            f"({len(again):,} such rows). Keep one row per pair."
        )


def check_scale(path: Path, name: str, point: Floats, levels: Floats) -> None:
    """Refuse predicted ratings on another scale than the stars (0 to 1, 0 to 100, or centred).

    Raises:
        DataError: The median, or a quarter of the predictions by more than half a star, lies beyond the levels.
    """
    low, middle, high = np.quantile(point, [0.25, 0.5, 0.75])
    beyond = (point < levels[0] - _BEYOND) | (point > levels[-1] + _BEYOND)
    if not levels[0] <= middle <= levels[-1] or beyond.mean() > _MOST_BEYOND:
        raise DataError(
            f"{path}: half of the column {name} lies between {low:g} and {high:g}, its median is {middle:g}, and stars "
            f"go from {levels[0]:g} to {levels[-1]:g}. Put predictions on the scale of the ratings."
        )


def leak(popularity: Measure, unseen: Measure, resamples: Floats) -> str:
    """Why these candidates measure nothing, as a clause; "" if nothing is wrong with them.

    What people take up is on average more popular than what they leave. If it is *less* popular, or unknown to the log
    while the rest is known, the candidates were drawn from other items than the true ones, and a scorer that has never
    seen the person finds the true ones.

    Args:
        popularity: Within-person AUC of an item's number of training ratings.
        unseen: Within-person AUC of "has no training rating".
        resamples: (T, U) bootstrap weights of the people.
    """
    inverse = 1.0 - popularity.value
    if inverse >= LEAK_AUC and popularity.interval(resamples)[1] < 0.5:
        return f"the candidates leak: inverse popularity alone has AUC {inverse:.3f}"
    if unseen.value >= LEAK_AUC and unseen.interval(resamples)[0] > 0.5:
        return f"the candidates leak: 'has no rating in the log' alone has AUC {unseen.value:.3f}"
    return ""


def choices_doubt(data: Dataset, users: Ints, items: Ints, watched: Floats) -> str:
    """A warning if what counts as taken up is mostly not in the data set's log, else ""."""
    log, taken = data.ratings, watched == 1.0
    known = np.isin(users[taken] * log.num_items + items[taken], log.users * log.num_items + log.items)
    if not len(known) or known.mean() >= _AGREE:
        return ""
    return (
        f"Only {known.mean():.1%} of the pairs with watched = 1 are in data set '{data.name}': the truth is from "
        "elsewhere, or about another data set."
    )
