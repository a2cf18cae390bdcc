"""Agreement of orders of recommenders, nDCG and regret: values worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.experiments.fidelity.ranking.ranking_measures import (
    clear_pairs,
    estimate,
    half_tau,
    mean_of,
    mean_shown,
    ndcg,
    pairs_right,
    regret,
    regret_share,
    shown_weights,
    tau_b,
)
from recsim_llm.experiments.fidelity.ranking.ranking_recommenders import CONTROL, FACTORS, Recommender
from recsim_llm.experiments.fidelity.ranking.ranking_validity import RankingValidity, compare
from recsim_llm.experiments.fidelity.ranking.ranking_ways import WAYS
from recsim_llm.types import Floats

EVERY_TWO = np.array([[2.0, 0], [1, 1], [1, 1], [0, 2]])
"""All four bootstrap samples of two people."""


def tau(a: list[float], b: list[float]) -> float:
    return float(tau_b(np.array(a, dtype=float), np.array(b, dtype=float)))


def test_kendalls_tau() -> None:
    """Kendall 1938: of 1 3 2 4 five pairs are in order and one is not: 4 / 6."""
    assert tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
    assert tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1.0
    assert tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1.0


def test_kendalls_tau_b_with_ties() -> None:
    """Kendall 1945: 1 2 3 against 1 1 2: two pairs agree, one is tied: 2 / sqrt(3 x 2). Rounding is a tie too."""
    assert tau([1, 2, 3], [1, 1, 2]) == pytest.approx(0.816497, abs=1e-6)
    assert tau([1, 1, 2], [1, 2, 3]) == pytest.approx(0.816497, abs=1e-6)
    assert tau([1, 1, 2, 2], [1, 2, 2, 1]) == 0.0  # of four pairs that both order two agree
    assert tau([1, 2, 3], [1, 1 + 1e-12, 2]) == pytest.approx(0.816497, abs=1e-6)
    assert tau([1, 2, 3], [5, 5, 5]) == 0.0


def test_equal_scores_share_slots() -> None:
    """Slots worth 1 and .5. Scores 3 2 2 1: the first has 1; the second slot is shared by two; the last has none."""
    slots, all_four = np.array([1.0, 0.5]), np.ones((1, 4), dtype=np.bool_)
    weights = shown_weights(np.array([[3.0, 2, 2, 1]]), all_four, slots)
    assert weights.tolist() == [[1.0, 0.25, 0.25, 0.0]]
    assert mean_shown(weights, np.array([[4.0, 2, 0, 9]])).tolist() == [3.0]  # (4 + .5) / 1.5
    without = shown_weights(np.array([[3.0, 2, 2, 1]]), np.array([[False, True, False, True]]), slots)
    assert without.tolist() == [[0.0, 1.0, 0.0, 0.5]]
    assert shown_weights(np.array([[1.0, 1, 1, 1]]), all_four, slots).tolist() == [[0.375] * 4]


def test_ndcg_at_two() -> None:
    """Jarvelin and Kekalainen 2002. Shown: useless, useful; useful are two: .6309 / (1 + .6309)."""
    discounts = 1 / np.log2([2.0, 3.0])
    everything = np.ones((3, 3), dtype=np.bool_)
    scores = np.array([[3.0, 2, 1], [1, 3, 2], [3, 2, 1]])
    gains = np.array([[0.0, 1, 1], [0, 2, 1], [0, 0, 1]])
    found = ndcg(shown_weights(scores, everything, discounts), gains, discounts)
    assert found == pytest.approx([0.386853, 1.0, 0.0], abs=1e-6)
    nothing = ndcg(shown_weights(scores, everything, discounts), np.array([[0.0, 0, 0]] * 2 + [[1.0, 0, 0]]), discounts)
    assert np.isnan(nothing[:2]).all()
    assert nothing[2] == 1.0
    # One item is a list of its own, however long the list might be.
    alone = np.ones((1, 1), dtype=np.bool_)
    assert ndcg(shown_weights(np.ones((1, 1)), alone, discounts), np.ones((1, 1)), discounts).tolist() == [1.0]


def test_regret_is_what_picking_costs() -> None:
    """Truth 1 2 4. Picking the second costs 2 of the 3 between best and worst; a tie of both others 2.5."""
    truth = np.array([1.0, 2.0, 4.0])
    assert regret(truth, np.array([0.0, 9, 3])) == 2.0
    assert regret_share(truth, np.array([0.0, 9, 3])) == pytest.approx(2 / 3)
    assert regret(truth, np.array([9.0, 9, 3])) == 2.5
    assert regret(truth, truth) == 0.0
    assert regret_share(np.array([2.0, 2, 2]), truth) == 0.0


def test_pairs_in_the_true_order() -> None:
    """Truth 1 2 3, judged 1 3 3: (1,2) right, (1,3) right, (2,3) tied: 2.5 of 3; of the marked last two 1.5 of 2."""
    truth, judged = np.array([1.0, 2, 3]), np.array([1.0, 3, 3])
    assert pairs_right(truth, judged, np.ones(3, dtype=np.bool_)) == pytest.approx(2.5 / 3)
    assert pairs_right(truth, judged, np.array([False, True, True])) == 0.75
    assert np.isnan(pairs_right(truth, judged, np.zeros(3, dtype=np.bool_)))


def test_clear_pairs_of_two_people() -> None:
    """Differences of a and b are 1 and 1: clear. Of a and c 3 and -1: in one of four samples it turns round: not.

    Of b and c 2 and -2, mean 0: not. A margin of exactly the difference is not exceeded.
    """
    table = np.array([[3.0, 2, 0], [1, 0, 2]])
    assert clear_pairs(table, EVERY_TWO, 0.05).tolist() == [True, False, False]
    assert clear_pairs(table, EVERY_TWO, 1.0).tolist() == [False, False, False]
    assert clear_pairs(-table, EVERY_TWO, 0.05).tolist() == [True, False, False]


def test_an_estimate_of_two_people_enumerated() -> None:
    """Values 0 and 1: .5 with quantiles at places .075 and 2.925 of 0 .5 .5 1. Who has no value does not count."""
    assert estimate([np.array([[0.0], [1.0]])], mean_of, EVERY_TWO) == pytest.approx((0.5, 0.0375, 0.9625))
    three = np.column_stack([EVERY_TWO, np.ones(4)])
    assert estimate([np.array([[0.0], [1.0], [np.nan]])], mean_of, three) == pytest.approx((0.5, 0.0375, 0.9625))


def test_halves_that_agree_and_halves_that_do_not() -> None:
    agree, differ = np.array([[1.0, 2, 3]] * 2), np.array([[1.0, 2, 3], [3, 2, 1]])
    assert half_tau(agree, 0) == 1.0
    assert half_tau(differ, 0) == -1.0


def test_many_samples_at_once() -> None:
    """A bootstrap compares the orders of all samples at once: each must have the value that it has alone."""
    rng = np.random.default_rng(2)
    truth, judged = rng.integers(0, 4, (6, 5)).astype(float), rng.integers(0, 4, (6, 5)).astype(float)
    marked = rng.random(10) < 0.6
    for measure in (tau_b, regret, regret_share, lambda t, j: pairs_right(t, j, marked)):
        together = measure(truth, judged)
        assert together.tolist() == pytest.approx([float(measure(t, j)) for t, j in zip(truth, judged, strict=True)])
        assert len(set(together.tolist())) > 2
    assert pairs_right(truth, judged, np.zeros(10, dtype=np.bool_)).shape == (6,)


def test_people_are_shown_their_own_best() -> None:
    """Two people, opposite scores, three slots for two items each: both items, in the order of each."""
    scores = np.array([[1.0, 2, 9], [2.0, 1, 9]])
    candidates = np.array([[True, True, False]] * 2)
    weights = shown_weights(scores, candidates, np.array([3.0, 2.0, 1.0]))
    assert weights.tolist() == [[2, 3, 0], [3, 2, 0]]
    assert mean_shown(weights, np.array([[0.0, 5, np.nan]] * 2)).tolist() == [3.0, 2.0]
    assert np.isnan(mean_shown(0 * weights, scores)).all()
    assert mean_shown(weights / 10, np.array([[0.0, 5, np.nan]] * 2)).tolist() == pytest.approx([3.0, 2.0])
    assert ndcg(weights, np.array([[0.0, 1, 0], [0, 1, 0]]), np.array([3.0, 2, 1])).tolist() == pytest.approx(
        [1, 2 / 3]
    )
    # Two ties one after the other: 3 and 3, then 1 and 1, of slots 4 3 2 1.
    pairs = shown_weights(np.array([[1.0, 3, 1, 3]]), np.ones((1, 4), dtype=np.bool_), np.array([4.0, 3, 2, 1]))
    assert pairs.tolist() == [[1.5, 3.5, 1.5, 3.5]]


def test_differences_of_a_billionth_are_rounding() -> None:
    """Smaller than 1e-9: equal, in orders, in picks and in the distance of best and worst; larger: not."""
    assert tau([1, 1 + 2e-9], [1, 2]) == 1.0
    assert tau([1, 1 + 5e-10], [1, 2]) == 0.0
    truth = np.array([0.0, 1.0])
    assert regret(truth, np.array([1 + 5e-10, 1.0])) == 0.5
    assert regret(truth, np.array([1 + 2e-9, 1.0])) == 1.0
    assert regret_share(np.array([0.0, 5e-10]), np.array([1.0, 0.0])) == 0.0
    assert regret_share(np.array([0.0, 2e-9]), np.array([1.0, 0.0])) == pytest.approx(1.0)


def compared(simulator: Floats, offline: Floats) -> RankingValidity:
    """Four recommenders whom two people find worth 1, 2, 3, 4."""
    truth = np.array([[1.0, 2, 3, 4]] * 2)
    names = [Recommender(n, f, np.zeros((0, 0))) for n, f in zip("abcd", ["", FACTORS, CONTROL, ""], strict=True)]
    return compare(names, dict(zip(WAYS, (truth, simulator, offline, offline, offline), strict=True)), resamples=20)


def test_a_known_order_of_recommenders() -> None:
    """Simulator a c b d: tau 4/6; without the factor model b: a c d, 1; without the control c: a b d, 1.

    nDCG has the reverse, tau -1: a gain of 10/6, by which the gate is passed. It picks a: regret 3 of 3.
    """
    found = compared(np.array([[1.0, 3, 2, 4]] * 2), np.array([[4.0, 3, 2, 1]] * 2))
    assert found.simulator.tau.value == pytest.approx(4 / 6)
    assert (found.simulator.tau_other_kinds.value, found.simulator.tau_serious.value) == (1.0, 1.0)
    assert found.simulator.pairs_right.value == pytest.approx(5 / 6)
    assert (found.simulator.regret.value, found.offline.regret.value, found.offline.regret_share.value) == (0, 3, 1)
    assert found.gain.value == found.gain_persons.value == pytest.approx(10 / 6)
    assert [row.name for row in found.rows] == ["d", "c", "b", "a"]
    assert [row.truth.value for row in found.rows] == [4, 3, 2, 1]
    assert (found.clear, found.half_truth) == (6, 1.0)
    assert found.passes
    assert found.proven


def test_a_simulator_no_better_than_ndcg_does_not_pass() -> None:
    same = np.array([[1.0, 3, 2, 4]] * 2)
    found = compared(same, same)
    assert found.gain.value == 0.0
    assert not found.passes  # must lie above, not at
    assert not found.proven
