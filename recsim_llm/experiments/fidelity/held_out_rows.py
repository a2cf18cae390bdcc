"""Questions of the certificate with their true answers: held-out ratings, and cases of rated against unrated items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recsim_llm.data.dataset import Ratings
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats, Ints

CASE_ITEMS = 20
"""Items a person is asked about in a discrimination test (Agent4Rec, SIGIR 2024, section 3.1)."""
RATIOS = (1, 2, 3, 9)
NEGATIVES = ("uniform", "popmatched")


@dataclass(frozen=True, slots=True)
class RatingRows:
    """Held-out ratings.

    Attributes:
        users, items: (M,) ids of the data set.
        levels: (M,) index of the rating level that was given.
    """

    users: Ints
    items: Ints
    levels: Ints

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, slots=True)
class Cases:
    """Questions of the discrimination tests: U' people with up to 10 positives each.

    Attributes:
        users, items: (M,) one row per question, without repetition.
        label: (M,) 1 where the person rated the item in the held-out part, 0 where never.
        kind: (M,) index into `NEGATIVES`; -1 for positives, which all tests share.
        rank: (M,) index of the row among its user's rows of the same kind.
    """

    users: Ints
    items: Ints
    label: Floats
    kind: Ints
    rank: Ints

    def of(self, negatives: str, ratio: int) -> Ints:
        """Rows of one test: 20 / (1 + ratio) positives, rounded down, and `ratio` times as many negatives.

        People with fewer positives are asked about fewer negatives too, so that the ratio holds.
        """
        positives = CASE_ITEMS // (1 + ratio)
        have = np.bincount(self.users[self.kind == -1], minlength=int(self.users.max(initial=-1)) + 1)
        count = np.minimum(have, positives)[self.users]
        wanted = np.where(self.kind == -1, count, count * ratio)
        rows: Ints = np.flatnonzero(np.isin(self.kind, [-1, NEGATIVES.index(negatives)]) & (self.rank < wanted))
        return rows


def rating_rows(test: Ratings, members: Ints, rating_levels: tuple[float, ...], most: int = 0) -> RatingRows:
    """Held-out ratings of some people.

    Args:
        test: The held-out part.
        members: User ids.
        rating_levels: (R,) stars.
        most: Most rows per person, chosen by hash; 0 for all.
    """
    rows = np.flatnonzero(np.isin(test.users, members))
    luck = uniforms(3, Stream.DATA, test.users[rows], test.items[rows])
    rows = rows[np.lexsort((luck, test.users[rows]))]
    if most:
        rows = rows[_rank(test.users[rows]) < most]
    levels = np.searchsorted(np.array(rating_levels), test.values[rows])
    return RatingRows(test.users[rows], test.items[rows], levels.astype(np.int64))


def draw_cases(positives: RatingRows, everything: Ratings, train: Ratings) -> Cases:
    """Draw positives and two kinds of negatives for each person.

    "uniform": drawn uniformly from the items that the person rated in neither part. "popmatched": drawn from these
    items in proportion to the number of training ratings. All draws are hashes of (user, item): neither other users
    nor the order of rows changes them. Sampling without replacement is a race of exponentials with those rates.

    Args:
        positives: Held-out ratings, in the order in which they are used.
        everything: The whole log, to know which items were never rated.
        train: The training part, for popularity.
    """
    most = CASE_ITEMS // 2
    shared = _rank(positives.users) < most
    users = positives.users[shared]
    parts = [(users, positives.items[shared], np.full(len(users), -1))]
    known = sp.csr_array(everything.matrix())
    popularity = np.bincount(train.items, minlength=train.num_items).astype(np.float64)
    per_person = np.bincount(users)
    for kind, weights in enumerate((np.ones(train.num_items), popularity)):
        for user in np.unique(users).tolist():
            rated = known.indices[known.indptr[user] : known.indptr[user + 1]].astype(np.int64)
            # The ratio 1:9 needs at most 18 negatives, the others at most 15.
            wanted = min(CASE_ITEMS - CASE_ITEMS // 10, int(per_person[user]) * max(RATIOS))
            items = _draw(user, kind, weights, rated, wanted)
            parts.append((np.full(len(items), user), items, np.full(len(items), kind)))
    columns = [np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True)]
    order = np.lexsort((np.arange(len(columns[0])), columns[2], columns[0]))
    who, what, kinds = (column[order] for column in columns)
    rank = _rank(who * 4 + kinds + 1)
    return Cases(who, what, (kinds == -1).astype(np.float64), kinds, rank)


def _draw(user: int, kind: int, weights: Floats, rated: Ints, count: int) -> Ints:
    rate = weights.copy()
    rate[rated] = 0.0
    luck = uniforms(5, Stream.DATA, np.array(user), np.array(kind), np.arange(len(weights)))
    arrival = np.divide(-np.log1p(-luck), rate, out=np.full(len(rate), np.inf), where=rate > 0)
    count = min(count, int((rate > 0).sum()))
    return np.argsort(arrival, kind="stable")[:count].astype(np.int64)


def _rank(keys: Ints) -> Ints:
    """(M,) how many earlier rows have the same key."""
    return np.asarray(pd.Series(keys).groupby(keys, sort=False).cumcount(), dtype=np.int64)
