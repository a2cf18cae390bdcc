"""Checks of a table of predictions against the data set that it claims to be about, and of its candidates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsim_llm.data import Dataset
from recsim_llm.errors import DataError
from recsim_llm.experiments.fidelity.measures.measures import Measure
from recsim_llm.types import Bools, Floats, Ints

LEAK_AUC = 0.6
"""Within-person AUC from which a scorer that knows nothing about people gives the candidates away."""
ANY_SHAPE = "shape of popularity"
_BEYOND_POPULAR = 0.1
_BANDS, _FOLDS = 10, 5
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


def impersonal_scores(popularity: Floats, users: Ints, watched: Floats) -> dict[str, Floats]:
    """(M,) scores that know nothing about people, by name: what candidates must not be told apart by.

    `ANY_SHAPE` is the log-odds of being taken up in each of ten bands of popularity, and of items without any rating,
    learned from other people's rows: it finds true items of middling popularity between rare and popular ones.

    Args:
        popularity: (M,) training ratings of the row's item.
        users: (M,) 0..U-1; user u is in fold u mod 5.
        watched: (M,) 1 where taken up.
    """
    edges = np.unique(np.quantile(popularity, np.linspace(0.0, 1.0, _BANDS + 1)[1:-1]))
    band = np.where(popularity > 0, 1 + np.searchsorted(edges, popularity, side="right"), 0)
    shape = np.zeros(len(band))
    fold = users % _FOLDS
    for one in np.unique(fold):
        mine, rest = fold == one, fold != one
        # One row of either kind is added to each band, so that an empty band says nothing.
        taken, left = (np.bincount(band[rest], weights=w[rest], minlength=_BANDS + 2) for w in (watched, 1 - watched))
        shape[mine] = np.log((taken + 1.0) / (left + 1.0))[band[mine]]
    return {"inverse popularity": -popularity, "not in the log": 1.0 * (popularity == 0), ANY_SHAPE: shape}


def leak(aucs: Mapping[str, Measure], resamples: Floats) -> str:
    """Why these candidates measure nothing, as a clause; "" if nothing is wrong with them.

    What people take up is on average more popular than what they leave. If it is less popular, unknown to the log while
    the rest is known, or of middling popularity, the candidates were drawn from other items than the true ones, and a
    scorer that has never seen the person finds the true ones.

    Args:
        aucs: Within-person AUC of "popularity" and of `impersonal_scores`.
        resamples: (T, U) bootstrap weights of the people.
    """
    popular = aucs["popularity"].value
    for name in ("inverse popularity", "not in the log", ANY_SHAPE):
        auc = aucs[name]
        # Plain popularity is a taste that people share; only a shape beyond it gives the drawing away.
        least = max(LEAK_AUC, popular + _BEYOND_POPULAR) if name == ANY_SHAPE else LEAK_AUC
        if auc.value >= least and auc.interval(resamples)[0] > 0.5:
            return f"the candidates leak: '{name}' alone has AUC {auc.value:.3f}"
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
