"""The measures of the retraining study, worked out on paper."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.retraining import spread_estimates, spreads, values

GENRES = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=bool)


def test_values_of_pages():
    """Person 7 sees items 0, 1 and 1, 2: top genre 2 of 2 and 1 of 2, genres 2 and 3; stars 4 and 1."""
    steps = SimpleNamespace(
        user=np.array([7, 7]),
        items=np.array([[0, 1], [1, 2]]),
        watched=np.array([[False, True], [False, True]]),
        ratings=np.array([[0.0, 4.0], [0.0, 1.0]]),
    )
    found = values([steps], np.array([3, 7]), GENRES)
    np.testing.assert_array_equal(found[1], [0.75, 2.5, 0.5, 2.5])
    assert np.isnan(found[0]).all()


def test_spreads_of_equal_and_of_one_sided_showings():
    """Four items alike: Gini 0, all covered. One item alone: Gini 3/4 of four items, a quarter covered."""
    alike, alone = np.ones((1, 5, 4), dtype=np.int64), np.zeros((1, 5, 4), dtype=np.int64)
    alone[:, :, 2] = 3
    assert spreads(alike, np.ones(5)).tolist() == [0.0, 1.0]
    assert spreads(alone, np.ones(5)) == pytest.approx([0.75, 0.25])
    gini, coverage = spread_estimates(alone, alike)
    assert (gini.value, gini.low, gini.high) == pytest.approx((0.75, 0.75, 0.75))
    assert coverage.value == -0.75
    same = spread_estimates(alike, alike)
    assert [(one.value, one.low, one.high) for one in same] == [(0.0, 0.0, 0.0)] * 2
