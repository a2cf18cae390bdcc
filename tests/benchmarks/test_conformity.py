"""The estimate of conformity in a log: it finds what was put in, and nothing where nothing was."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.society import interval, slope
from recsim_llm.data import Ratings

USERS, ITEMS = 200, 60


def log(conformity: float, drift: float = 0.0) -> Ratings:
    """Everybody rates everything in an order by chance; a rating goes towards the mean of those before it.

    drift: stars that every item gains from the first rating of the log to the last.
    """
    rng = np.random.default_rng(1)
    users, items = np.repeat(np.arange(USERS), ITEMS), np.tile(np.arange(ITEMS), USERS)
    times = rng.permutation(len(users)).astype(np.int64)
    taste = rng.normal(3.5, 0.5, ITEMS)[items] + rng.normal(0, 0.3, USERS)[users] + rng.normal(0, 1, len(users))
    taste += drift * times / len(users)
    stars, totals, counts = np.zeros(len(users)), np.zeros(ITEMS), np.zeros(ITEMS)
    for row in np.argsort(times):
        item = items[row]
        mean = totals[item] / counts[item] if counts[item] else taste[row]
        stars[row] = taste[row] + conformity * (mean - taste[row])
        totals[item], counts[item] = totals[item] + stars[row], counts[item] + 1
    return Ratings(users, items, stars.astype(np.float32), times, USERS, ITEMS)


@pytest.mark.parametrize(("conformity", "drift", "found"), [(0.5, 0.0, True), (0.0, 0.0, False), (0.0, 2.0, False)])
def test_conformity_is_what_stands_out_forwards_and_not_backwards(conformity, drift, found):
    ratings = log(conformity, drift)
    gap = slope(ratings, ratings.times) - slope(ratings, -ratings.times)
    assert (gap > 0.15) == found


def test_an_order_by_chance_has_the_slope_of_chance():
    ratings = log(0.5)
    rng = np.random.default_rng(0)
    chance = [slope(ratings, rng.random(len(ratings.users))) for _ in range(20)]
    assert slope(ratings, ratings.times) > max(chance) + 0.2
    plain = log(0.0)
    assert min(chance) - 0.3 < slope(plain, plain.times) < max(chance) + 0.1


def test_an_interval_over_seeds():
    # Mean 2, standard error 1 / sqrt(3), t(2) = 4.303.
    assert interval(np.array([1.0, 2.0, 3.0])) == "+2.0 [-0.5, +4.5]"
    assert interval(np.zeros(3)) == "+0.0"
