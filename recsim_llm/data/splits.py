"""Splits a log into training and held-out ratings, user by user."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np

from recsim_llm.data.dataset import Ratings, Split
from recsim_llm.errors import ConfigError
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Ints

FEWEST = 5
"""Users with fewer ratings than this have no test ratings."""

_log = logging.getLogger(__name__)


def split_ratings(
    ratings: Ratings, kind: Literal["temporal", "random"] = "temporal", test_share: float = 0.2, seed: int = 0
) -> Split:
    """Hold out a share of every user's ratings.

    A user with n >= 5 ratings gives round(test_share * n) of them to test, at least 1 and at most n - 1; the others
    keep all in train. "temporal" holds out the latest; "random" those with the largest hash of (seed, user, item),
    so that neither the order of rows nor other users change a user's split. Ties in time are broken by the same hash:
    a log without times is split at random, and a warning in the program's log says so.

    Leakage rule: personas, user models and policies are fitted on train alone; test is read only by metrics. Under
    "temporal" no train rating of a user is later than any test rating of the same user. It is a split of each user's
    own time line: ratings that *other* users gave after a user's cut are in train. A claim about the future of the
    whole platform needs one cut for all, which this is not.

    Args:
        ratings: The log, in any order.
        kind: Which ratings are held out.
        test_share: Share of held-out ratings, in (0, 1).
        seed: Seed of the hash.

    Returns:
        Two disjoint parts that together are the log, rows in its order.

    Raises:
        ConfigError: No such kind, or a share outside (0, 1).
    """
    if kind not in {"temporal", "random"}:
        raise ConfigError(f"There is no split '{kind}'; there are: temporal, random.")
    if not 0.0 < test_share < 1.0:
        raise ConfigError(f"test_share must lie between 0 and 1, not {test_share}.")
    luck = uniforms(seed, int(Stream.DATA), ratings.users, ratings.items)
    if kind == "temporal" and not ratings.times.any():
        _log.warning("The ratings have no times, so their temporal split is a random one.")
    times = ratings.times if kind == "temporal" else np.zeros_like(ratings.times)
    held = _last(np.lexsort((luck, times, ratings.users)), ratings, test_share)
    return Split(train=ratings.take(~held), test=ratings.take(held))


def _last(order: Ints, ratings: Ratings, share: float) -> Bools:
    """(M,) whether a row is among the last `share` of its user's rows in this order (sorted by user first)."""
    counts = np.bincount(ratings.users, minlength=ratings.num_users)
    held = np.where(counts >= FEWEST, np.clip(np.rint(share * counts), 1, np.maximum(counts - 1, 1)), 0)
    users = ratings.users[order]
    from_end = np.cumsum(counts)[users] - np.arange(len(order))  # 1 for a user's last row
    mask = np.zeros(len(order), dtype=np.bool_)
    mask[order] = from_end <= held[users]
    return mask


CALIBRATION_SHARE = 0.2


def calibration_users(num_users: int) -> Bools:
    """(U,) mask of the fifth of the people, by hash, on whose held-out ratings links and thresholds may be fitted.

    The fidelity certificate never measures them, whatever the split.
    """
    calibrating: Bools = uniforms(0, int(Stream.CALIBRATION), np.arange(num_users)) < CALIBRATION_SHARE
    return calibrating
