"""One statistical person's chance of watching and expected stars; ordered logits by hand (McCullagh, 1980).

P(rating <= level k) = sigmoid((thresholds[k] - s) / scale), s = mean + biases + product of factors.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_world import LEVELS

from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.agents.statistical.ordinal import (
    OrdinalFit,
    fit_ordinal,
    fit_weights,
    ordinal_pmf,
    raised,
    row_log_loss,
    shifted,
)
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, StatisticalUsers
from recsim_llm.types import EMPTY, Responses

ONE = np.zeros(1, dtype=np.int64)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def logit(p):
    return math.log(p / (1 - p))


# Person 1 and item 2 are the ones worked out; the others differ in every number.
PEOPLE = StatisticalParameters(
    mean=3.5,
    user_bias=np.array([-1.0, 0.25]),
    item_bias=np.array([0.9, 0.1, -0.5]),
    user_factors=np.array([[3.0, -3.0], [1.0, 2.0]]),
    item_factors=np.array([[1.0, 1.0], [-1.0, 2.0], [0.5, 0.125]]),
    thresholds=np.array([1.5, 2.5, 3.5, 4.5]),
    scale=0.5,
    watch_user=np.array([2.0, -1.0]),
    watch_item=np.array([3.0, -2.0, 0.5]),
    watch_user_factors=np.array([[9.0], [0.6]]),
    watch_item_factors=np.array([[1.0], [-1.0], [0.5]]),
    watch_affinity=0.7,
    watch_slope=0.8,
    activity=np.array([1, 3]),
    rating_levels=LEVELS,
    leave=LeaveParameters(),
    examination=np.array([1.0, 0.5]),
)
TASTE = 3.5 + 0.25 - 0.5 + (1 * 0.5 + 2 * 0.125)  # 4 stars
WATCH = sigmoid(-1.0 + 0.5 + 0.8 * (TASTE - 3.5) + 0.7 * math.log(0.6 * 0.5 + 0.02))  # sigmoid(-0.898) = 0.290
UP_TO = [sigmoid(-5), sigmoid(-3), sigmoid(-1), sigmoid(1)]  # (threshold - 4) / 0.5
STARS = 5 - sum(UP_TO)  # 3.95


def person_1(page):
    users = StatisticalUsers(PEOPLE)
    users.reset(ONE, ONE + 1, np.zeros(1, dtype=np.uint64))
    return users, users.react(ONE, np.array([page]))


def test_the_chance_of_watching_in_every_slot():
    assert (round(TASTE, 9), round(WATCH, 3)) == (4.0, 0.29)
    for page, slot, seen in (([2, EMPTY, 0], 0, 1.0), ([0, 2, EMPTY], 1, 0.5), ([EMPTY, 0, 2], 2, 0.5)):
        watch = person_1(page)[1].watch_BK[0]
        assert math.isclose(watch[slot], seen * WATCH, rel_tol=1e-12)
        assert watch[page.index(EMPTY)] == 0.0


def test_the_distribution_and_the_mean_of_the_rating():
    rating = person_1([2])[1].rating_BKR[0, 0]
    by_hand = np.diff([0.0, *UP_TO, 1.0])
    assert np.allclose(rating, by_hand, rtol=1e-9)
    assert math.isclose(rating @ LEVELS, STARS, rel_tol=1e-12)
    assert rating.round(3).tolist() == [0.007, 0.041, 0.222, 0.462, 0.269]


def test_what_was_watched_is_watched_again_at_a_tenth_and_the_hazard_follows():
    users, _ = person_1([2, 0])
    leave = users.observe(ONE, np.array([[2, 0]]), Responses(np.array([[True, False]]), np.array([[4.0, 0.0]])))
    # Pleased 3/4 of the scale: 1/2 * 1/2 + 1/2 * 3/4 = 5/8. Activity 3 takes off 0.7.
    assert math.isclose(leave[0], sigmoid(-3 * 5 / 8 - 0.7), rel_tol=1e-12)
    assert math.isclose(users.react(ONE, np.array([[2, 0]])).watch_BK[0, 0], 0.1 * WATCH, rel_tol=1e-12)
    leave = users.observe(ONE, np.array([[2, EMPTY]]), Responses(np.zeros((1, 2), dtype=bool), np.zeros((1, 2))))
    # The second page holds one item, shown before; nothing watched: satisfaction 5/16.
    assert math.isclose(leave[0], sigmoid(0.15 - 3 * 5 / 16 + 2.0 - 0.7), rel_tol=1e-12)


def test_cumulative_logits_by_hand():
    fit = OrdinalFit(np.array([-1.0, 0.5, 2.0]), np.array([0.3, -0.2]), slope=2.0)
    # Score 0.3 * 1 - 0.2 * 2 + 2 * 0.25 = 0.4: edges -1.4, 0.1 and 1.6.
    found = ordinal_pmf(fit, np.array([[1.0, 2.0]]), np.array([0.25]))[0]
    assert np.allclose(found, np.diff([0, sigmoid(-1.4), sigmoid(0.1), sigmoid(1.6), 1]), rtol=1e-9)
    assert math.isclose(
        row_log_loss(found[None], np.array([2]))[0], -math.log(sigmoid(1.6) - sigmoid(0.1)), rel_tol=1e-9
    )


def test_a_shift_moves_every_cumulative_log_odds_by_the_same():
    pmf = np.array([[0.1, 0.2, 0.3, 0.4]])  # up to each level: 0.1, 0.3, 0.6
    moved = shifted(pmf, np.array([0.7]))[0]
    up_to = [sigmoid(logit(p) - 0.7) for p in (0.1, 0.3, 0.6)]
    assert np.allclose(moved, np.diff([0, *up_to, 1]), rtol=1e-9)
    assert moved @ np.arange(4) > pmf[0] @ np.arange(4), "positive means higher"
    assert shifted(pmf, np.zeros(1)) is not pmf
    assert (shifted(pmf, np.zeros(1)) == pmf).all()
    chances = raised(np.array([0.25, 0.0, 1.0]), np.full(3, math.log(3)))
    assert np.allclose(chances, [0.5, 0.0, 1.0], rtol=1e-12), "odds of 1/3 times 3 are 1"


def test_thresholds_of_ten_ratings_and_an_imaginary_one():
    # Two of the lowest level, three, five; the imaginary row adds a third to each: 7/3, 10/3, 16/3 of 11.
    level = np.repeat([0, 1, 2], [2, 3, 5])
    fit = fit_ordinal(np.zeros((10, 0)), np.zeros(10), level, 3)
    assert np.allclose(fit.thresholds, [logit(7 / 33), logit(17 / 33)], atol=1e-6)
    assert np.allclose(ordinal_pmf(fit, np.zeros((1, 0))), [[7 / 33, 10 / 33, 16 / 33]], atol=1e-6)


@pytest.mark.parametrize(
    ("high", "bounded", "weight"),
    [(3, True, math.log(3)), (1, False, -math.log(3)), (1, True, 0.0), (2, True, 0.0)],
)
def test_the_weight_of_a_feature_is_the_log_odds_it_explains(high, bounded, weight):
    # Four rows with feature 1 and even odds without it; `high` of them have the higher of two levels.
    level = (np.arange(4) < high).astype(np.int64)
    found = fit_weights(np.ones((4, 1)), np.zeros((4, 1)), level, ridge=1e-9, nonnegative=bounded)
    assert math.isclose(found[0], weight, abs_tol=1e-4)


def test_weights_on_three_levels_with_edges_of_their_own():
    # P(<= 0) = sigmoid(-1 - w), P(<= 1) = sigmoid(1 - w). One row each of levels 0 and 2 says w = 0; two more rows of
    # level 2 say it is higher: the slope of the likelihood is 0 where (1 - p0) = 3 p_up_to_1.
    rows = np.tile([-1.0, 1.0], (4, 1))
    (w,) = fit_weights(np.ones((4, 1)), rows, np.array([0, 2, 2, 2]), ridge=1e-9)
    assert math.isclose(1 - sigmoid(-1 - w), 3 * sigmoid(1 - w), rel_tol=1e-4)
