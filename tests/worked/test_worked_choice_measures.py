"""Measures of choices, and of what a simulator adds to collaborative filtering: values worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.data.dataset import Ratings
from recsim_llm.experiments.fidelity.held_out_rows import RatingRows, draw_cases
from recsim_llm.experiments.fidelity.measures.choice_measures import (
    best_threshold,
    choice_measures,
    log_loss_of_choices,
    share_ceiling,
    share_measure,
    share_per_user,
    shares,
    slot_curve,
    slot_measure,
)
from recsim_llm.experiments.fidelity.measures.incremental import increment
from recsim_llm.experiments.fidelity.measures.measures import within_user_auc

ONE = np.zeros(4, dtype=int)


def test_auc_of_four_items() -> None:
    """Taken .8 and .4, two others .6 and .2: three of four pairs in order."""
    assert within_user_auc(ONE, np.array([0.8, 0.4, 0.6, 0.2]), np.array([1.0, 1, 0, 0]), 1) == 0.75
    assert within_user_auc(ONE, np.array([0.2, 0.2, 0.6, 0.8]), np.array([1.0, 1, 0, 0]), 1) == 0.0


def test_popularity_matched_negatives_come_as_often_as_they_are_rated() -> None:
    """Item 0 is held out; of the others item 1 has nine training ratings, item 2 one, item 3 none: 90 %, 10 %, never.

    1,000 people, one negative each: the share of item 1 within four standard deviations of .9.
    """
    people = np.arange(1000)
    tests = Ratings(people, 0 * people, np.ones(1000, np.float32), 0 * people, 1010, 4)
    who = 1000 + np.arange(10)
    train = Ratings(who, np.array([1] * 9 + [2]), np.ones(10, np.float32), 0 * who, 1010, 4)
    everything = Ratings(
        np.concatenate([people, who]), np.concatenate([tests.items, train.items]), np.ones(1010, np.float32),
        np.zeros(1010, dtype=np.int64), 1010, 4,
    )  # fmt: skip
    cases = draw_cases(RatingRows(people, tests.items, 0 * people), everything, train)
    first = cases.items[cases.of("popmatched", 1)]
    negatives = first[cases.label[cases.of("popmatched", 1)] == 0]
    shares_of = np.bincount(negatives, minlength=4) / len(negatives)
    assert len(negatives) == 1000
    assert shares_of[[0, 3]].tolist() == [0.0, 0.0]
    assert shares_of[1] == pytest.approx(0.9, abs=0.038)
    even = cases.items[cases.of("uniform", 1)][cases.label[cases.of("uniform", 1)] == 0]
    assert np.bincount(even, minlength=4)[1:] / 1000 == pytest.approx([1 / 3] * 3, abs=0.06)


def test_accuracy_at_one_to_one() -> None:
    """Above .5: taken .9 (right) and .6 (wrong); not taken .5, which is not above it, and .1: one right, one wrong."""
    found = choice_measures(ONE, np.array([0.9, 0.5, 0.6, 0.1]), np.array([1.0, 1, 0, 0]), 1, 0.5)
    assert {name: one.value for name, one in found.items()} == {
        "accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "auc": 0.75,
    }  # fmt: skip


def test_f1_at_one_to_nine() -> None:
    """One positive, taken; nine negatives, two of them taken: precision 1/3, recall 1, F1 2 / (2 + 2), accuracy .8."""
    scores, labels = np.array([0.9] + [0.8, 0.7] + [0.1] * 7), np.array([1.0] + [0.0] * 9)
    found = choice_measures(np.zeros(10, dtype=int), scores, labels, 1, 0.5)
    values = {name: one.value for name, one in found.items()}
    assert values == pytest.approx({"accuracy": 0.8, "precision": 1 / 3, "recall": 1.0, "f1": 0.5, "auc": 1.0})
    # Taking everything is no success: accuracy .1, F1 2 / 11.
    all_taken = choice_measures(np.zeros(10, dtype=int), scores, labels, 1, 0.0)
    assert all_taken["accuracy"].value == pytest.approx(0.1)
    assert all_taken["f1"].value == pytest.approx(2 / 11)


def test_the_threshold_parts_what_can_be_parted() -> None:
    assert 2.0 <= best_threshold(np.array([1.0, 2, 3, 4]), np.array([0.0, 0, 1, 1])) < 3.0
    # One error is the best here, between 2 and 3 or above 4.
    scores, labels = np.array([1.0, 2, 3, 4]), np.array([0.0, 0, 1, 0])
    threshold = best_threshold(scores, labels)
    assert ((scores > threshold) == labels).mean() == 0.75


def test_the_slot_curve() -> None:
    """Watched .8 and .4 (mean .6), relevant .5 and .5: |1.3333 - 1| and |.6667 - 1|, mean a third."""
    users, slots = np.zeros(2, dtype=int), np.array([0, 1])
    assert slot_measure(users, np.array([0.8, 0.4]), np.array([0.5, 0.5]), slots, 1).value == pytest.approx(1 / 3)
    # Who watches half of all, but in the same proportions, has no gap.
    assert slot_measure(users, np.array([0.4, 0.2]), np.array([0.8, 0.4]), slots, 1).value == pytest.approx(0.0)
    curve = slot_curve(np.array([1.0, 0, 1, 1]), np.array([1.0, 0, 0, 0]), np.array([0, 0, 2, 2]))
    assert curve == {"slot": [1.0, 2.0, 3.0], "watched": [0.5, 0.0, 1.0], "relevant": [0.5, 0.0, 0.0]}


def test_shares_of_groups() -> None:
    """Chosen 3 : 1 where people chose 1 : 1, middle 5/8 : 3/8.

    KL: .75 log2 1.2 + .25 log2 (2/3) = .05105; .5 log2 .8 + .5 log2 (4/3) = .04656; half their sum.
    """
    groups, users = np.eye(2)[[0, 1]], np.zeros(2, dtype=int)
    chosen, labels = np.array([0.75, 0.25]), np.array([1.0, 1.0])
    assert share_measure(users, chosen, labels, groups, 1).value == pytest.approx(0.048795, abs=1e-6)
    assert share_per_user(users, chosen, labels, groups, 1).value == pytest.approx(0.048795, abs=1e-6)
    assert shares(chosen, groups) == [0.75, 0.25]


def test_a_busy_person_counts_by_what_is_really_chosen() -> None:
    """Anna chose group 0 twice, Ben group 1 once; simulated, everybody is as busy. Real 2 : 1, simulated 2 : 1: equal.

    Unscaled, Ben's ten choices would make it 2 : 10. For each person alone it is equal too; halves share nothing.
    """
    users, groups = np.array([0, 0, 1]), np.eye(2)[[0, 0, 1]]
    chosen, labels = np.array([1.0, 1.0, 10.0]), np.ones(3)
    assert share_measure(users, chosen, labels, groups, 2).value == 0.0
    assert share_per_user(users, chosen, labels, groups, 2).value == 0.0
    assert share_ceiling(users, labels, groups, 2) == 1.0


def test_log_loss_of_choices_in_nats() -> None:
    """Taken at .8, passed over at .4: -(ln .8 + ln .6) / 2. Certainty that fails costs -ln 1e-12."""
    found = log_loss_of_choices(np.zeros(2, dtype=int), np.array([0.8, 0.4]), np.array([1.0, 0.0]), 1)
    assert found.value == pytest.approx(0.366985, abs=1e-6)
    worst = log_loss_of_choices(np.zeros(1, dtype=int), np.array([1.0]), np.array([0.0]), 1)
    assert worst.value == pytest.approx(27.631, abs=1e-3)


def test_the_gain_over_collaborative_filtering() -> None:
    """CF says nothing, the simulator half the truth: of its yes three in four, of its no one in four.

    Everybody has the same eight rows, so that what is fitted to some holds for the others: ln 2 less the entropy of a
    quarter, .6931 - .5623 = .1308 nats a row. No permutation gains as much: p = 1 / 20.
    """
    said, label = np.tile([1.0] * 4 + [0.0] * 4, 50), np.tile([1.0, 1, 1, 0, 1, 0, 0, 0], 50)
    users, nothing = np.repeat(np.arange(50), 8), np.zeros((400, 1))
    found = increment(users, nothing, said[:, None], label, 50, permutations=19)
    assert found.gain.value == pytest.approx(0.1308, abs=0.002)
    assert found.p == pytest.approx(0.05)
    # What CF says already is no gain, and neither is a coin.
    again = increment(users, said[:, None], said[:, None], label, 50, permutations=1)
    assert again.gain.value == pytest.approx(0.0, abs=0.002)
    coin = np.tile([1.0, 0, 1, 0], 100)
    balanced = np.tile([1.0, 1, 0, 0], 100)
    assert increment(users, nothing, coin[:, None], balanced, 50, 1).gain.value == pytest.approx(0.0, abs=0.002)
