"""Row order of a log, user by user, as one array: a list of arrays is too slow for a hundred thousand people."""

from __future__ import annotations

import numpy as np

from recsim_llm.data.dataset import Ratings
from recsim_llm.types import Ints


def user_order(log: Ratings) -> Ints | None:
    """(M,) row numbers, users ascending, each one's rows oldest first (ties by row), as `Ratings.by_user` has them.

    None where the log is in that order already, as most are: the check costs a fiftieth of sorting, and no memory.
    """
    same = log.users[1:] == log.users[:-1]
    if np.all((log.users[1:] > log.users[:-1]) | (same & (log.times[1:] >= log.times[:-1]))):
        return None
    return np.lexsort((np.arange(len(log)), log.times, log.users))


def user_ends(log: Ratings) -> Ints:
    """(U,) where the rows of each user end in `user_order`."""
    ends: Ints = np.cumsum(np.bincount(log.users, minlength=log.num_users))
    return ends
