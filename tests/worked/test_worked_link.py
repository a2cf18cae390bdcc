"""How a model's raw answer becomes a calibrated one, and how a hybrid person listens in one cell and no other."""

from __future__ import annotations

import math

import numpy as np
from small_world import LEVELS, Puppets

from recsim_llm.agents.hybrid.calibration import (
    Answers,
    CalibratedUsers,
    Calibration,
    Standard,
    answer_features,
    fit_calibration,
    level_for,
)
from recsim_llm.agents.hybrid.cell_gates import CELLS, GateOptions, cells_of
from recsim_llm.agents.hybrid.hybrid_users import HybridUsers, HybridWeights, Residual
from recsim_llm.agents.statistical.ordinal import OrdinalFit
from recsim_llm.types import EMPTY


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def logit(p):
    return math.log(p / (1 - p))


WATCH, RATING = 0.8, [0.1, 0.2, 0.3, 0.4]
ABOVE = (0.9, 0.7, 0.4)  # of each of the three thresholds
TASTE, MEAN_LEVEL, WATCH_ODDS = sum(map(logit, ABOVE)) / 3, sum(ABOVE) / 3, math.log(4)


def test_three_numbers_of_an_answer():
    found = answer_features(np.array(WATCH), np.array(RATING))
    assert np.allclose(found, [TASTE, MEAN_LEVEL, WATCH_ODDS], rtol=1e-12)
    # What a model is certain of counts as 0.005 and 0.995.
    sure = answer_features(np.array(1.0), np.array([1.0, 0.0, 0.0]))
    assert np.allclose(sure, [logit(0.005), 0.0, logit(0.995)], rtol=1e-12)


LINK = Calibration(
    rating_standard=Standard(np.array([0.5, 0.5, 1.0]), np.array([2.0, 0.1, 1.0])),
    rating_fit=OrdinalFit(np.array([-1.0, 0.0, 1.0]), np.array([0.5, 0.2, 0.0])),
    watch_standard=Standard(np.array([0.0, 0.5, 0.0]), np.array([1.0, 0.01, 2.0])),
    watch_weights=np.array([0.3, 0.05, 0.6]),
    watch_level=-1.5,
)


def test_the_link_by_hand():
    # The second feature is (2/3 - 1/2) / 0.01 = 16.7 standard deviations out, and counts as 4.
    watch = -1.5 + 0.3 * TASTE + 0.05 * 4.0 + 0.6 * WATCH_ODDS / 2
    assert math.isclose(LINK.watch(np.array(WATCH), np.array(RATING)), sigmoid(watch), rel_tol=1e-12)
    score = 0.5 * (TASTE - 0.5) / 2 + 0.2 * (MEAN_LEVEL - 0.5) / 0.1
    by_hand = np.diff([0, sigmoid(-1 - score), sigmoid(-score), sigmoid(1 - score), 1])
    assert np.allclose(LINK.rating(np.array(WATCH), np.array(RATING)), by_hand, rtol=1e-9)


def test_calibrated_people_answer_by_the_link_and_watch_no_holes():
    class Sayer(Puppets):
        def react(self, sessions, pages):
            said = super().react(sessions, pages)
            return said.__class__(said.watch_BK, np.tile(RATING, (*pages.shape, 1)))

    users = CalibratedUsers(Sayer([[WATCH, WATCH]], [[1, 1]]), LINK)
    users.reset(np.array([0]), np.array([0]), np.zeros(1, dtype=np.uint64))
    watch = users.react(np.array([0]), np.array([[0, EMPTY]])).watch_BK[0]
    assert watch.tolist() == [LINK.watch(np.array([WATCH]), np.array([RATING]))[0], 0.0]


def test_the_level_is_the_declared_share_of_drawn_pairs():
    # Odds 1 and 3 with c = 0 have the mean (1/2 + 3/4) / 2 = 0.625.
    assert math.isclose(level_for(np.array([0.0, math.log(3)]), 0.625), 0.0, abs_tol=1e-9)
    # Forty people with one rated and three drawn pairs; the model knows the rated ones a little better.
    rated = np.tile([True, False, False, False], 40)
    rng = np.random.default_rng(0)
    watch = np.where(rated, 0.7, 0.4) + rng.uniform(-0.3, 0.3, 160)
    rating = rng.dirichlet(np.ones(5), 160)
    level = np.where(rated, np.arange(160) // 4 % 5, -1)
    answers = Answers(np.repeat(np.arange(40), 4), np.arange(160), watch, rating, rated, level)
    link = fit_calibration(answers, watch_rate=0.2)
    assert math.isclose(link.watch(watch, rating)[~rated].mean(), 0.2, rel_tol=1e-6)
    assert link.watch(watch, rating)[rated].mean() > 0.25
    assert (link.watch_weights >= 0).all()
    assert (link.pairs, link.users) == (160, 40)


def test_cells_begin_at_ten_ratings_of_an_item_and_twenty_of_a_person():
    options = GateOptions(cold=10, short=20)
    named = [CELLS[c] for c in cells_of(np.array([9, 9, 10, 10]), np.array([19, 20, 19, 20]), options)]
    assert named == ["cold item, short history", "cold item, long history", "warm item, short history",
                     "warm item, long history"]  # fmt: skip


def test_a_hybrid_person_listens_in_one_cell_with_its_weight_and_in_no_other():
    # Items 0 and 2 are cold (9 ratings), item 1 is warm (10); person 0 has a short history (19), person 1 a long (20).
    # Only about cold items and short histories is the model believed: watching by 0.4 of its log-odds of watching,
    # ratings by 0.25 of its taste; item counts have a trend of 0.1, and the cell a level of -0.2.
    weights, centre, slope = np.zeros((3, 4, 3))
    weights[0, 2], centre[0, 2], slope[0, 2] = 0.4, 0.3, 0.1
    by_watch = Residual(
        Standard(np.zeros(3), np.array([1.0, 1.0, 2.0])), centre, slope, weights, np.array([-0.2, 9, 9, 9])
    )
    by_rating = np.zeros((4, 3))
    by_rating[0, 0] = 0.25
    nothing = np.zeros((4, 3))
    rating = Residual(Standard(np.zeros(3), np.ones(3)), nothing, nothing, by_rating, np.zeros(4))
    asked = []

    class Model(Puppets):
        def react(self, sessions, pages):
            asked.append((sessions.tolist(), pages.tolist()))
            said = super().react(sessions, pages)
            return said.__class__(said.watch_BK, np.tile([0.05, 0.05, 0.2, 0.3, 0.4], (*pages.shape, 1)))

    backbone = Puppets(np.full((2, 3), 0.3), np.full((2, 3), 2.0))
    backbone.react = lambda sessions, pages: Puppets.react(backbone, sessions, pages).__class__(
        np.where(pages == EMPTY, 0.0, 0.3), np.tile([0.1, 0.2, 0.3, 0.2, 0.2], (*pages.shape, 1))
    )
    counts = np.array([9, 10, 9]), np.array([19, 20])
    options = GateOptions(cold=10, short=20)
    users = HybridUsers(
        backbone, Model(np.full((2, 3), 0.8), np.ones((2, 3))), HybridWeights(rating, by_watch, (), options), *counts
    )
    users.reset(np.arange(2), np.arange(2), np.zeros(2, dtype=np.uint64))
    said = users.react(np.arange(2), np.array([[1, 2, EMPTY], [0, 1, 2]]))

    assert asked == [([0], [[EMPTY, 2, EMPTY]])], "it is asked about nothing else"
    # Watching: log-odds of the backbone + 0.4 * (log 4 / 2 - 0.3 - 0.1 * log(1 + 9)) - 0.2.
    watch = logit(0.3) + 0.4 * (math.log(4) / 2 - 0.3 - 0.1 * math.log(10)) - 0.2
    assert np.allclose(said.watch_BK, [[0.3, sigmoid(watch), 0.0], [0.3, 0.3, 0.3]], rtol=1e-12)
    # Rating: every cumulative log-odds less 0.25 times the model's taste.
    taste = sum(map(logit, (0.95, 0.9, 0.7, 0.4))) / 4
    up_to = [sigmoid(logit(p) - 0.25 * taste) for p in (0.1, 0.3, 0.6, 0.8)]
    assert np.allclose(said.rating_BKR[0, 1], np.diff([0, *up_to, 1]), rtol=1e-9)
    elsewhere = said.rating_BKR.reshape(6, 5)[[0, 2, 3, 4, 5]]
    assert (elsewhere == [0.1, 0.2, 0.3, 0.2, 0.2]).all(), "and to the last bit the backbone's elsewhere"
    assert len(LEVELS) == 5
