"""Ordered logits: what they find is what was put in, the gradient is right, and shifts of a distribution are exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.agents.statistical.ordinal import (
    OrdinalFit,
    fit_ordinal,
    fit_weights,
    ordinal_pmf,
    raised,
    row_log_loss,
    shifted,
)
from recsim_llm.errors import DataError

TRUE = OrdinalFit(np.array([-2.0, -0.5, 0.7, 2.0]), np.array([0.8, 0.0, -0.4]), 1.3)


def rows(count=20_000, seed=0):
    rng = np.random.default_rng(seed)
    features, offset = rng.normal(size=(count, 3)), rng.normal(size=count)
    latent = features @ TRUE.weights + TRUE.slope * offset + rng.logistic(size=count)
    return features, offset, (latent[:, None] > TRUE.thresholds).sum(axis=1)


def test_the_truth_is_found():
    fit = fit_ordinal(*rows(), 5)
    np.testing.assert_allclose(fit.thresholds, TRUE.thresholds, atol=0.08)
    np.testing.assert_allclose(fit.weights, TRUE.weights, atol=0.05)
    assert fit.slope == pytest.approx(TRUE.slope, abs=0.05)


def test_the_fit_is_a_minimum():
    features, offset, level = rows(500)
    fit = fit_ordinal(features, offset, level, 5, ridge=0.0)

    def loss(thresholds, weights, slope):
        return row_log_loss(ordinal_pmf(OrdinalFit(thresholds, weights, slope), features, offset), level).mean()

    best = loss(fit.thresholds, fit.weights, fit.slope)
    for step in (-0.05, 0.05):
        for k in range(4):
            assert loss(fit.thresholds + step * np.eye(4)[k], fit.weights, fit.slope) > best
        for j in range(3):
            assert loss(fit.thresholds, fit.weights + step * np.eye(3)[j], fit.slope) > best
        assert loss(fit.thresholds, fit.weights, fit.slope + step) > best


def test_two_levels_are_a_logistic_regression():
    features, _, level = rows(2_000)
    high = (level >= 3).astype(np.int64)
    both = fit_ordinal(features, np.zeros(len(high)), high, 2)
    as_column = np.hstack([np.ones((len(high), 1)), features])
    weights = fit_weights(as_column, np.zeros((len(high), 1)), high, np.array([1e-6, 1, 1, 1]), nonnegative=False)
    np.testing.assert_allclose(weights, [-both.thresholds[0], *both.weights], atol=2e-3)


def test_weights_that_must_not_be_negative_are_not():
    features, offset, level = rows(3_000)
    fit = fit_ordinal(features, offset, level, 5, nonnegative=True)
    assert fit.weights[0] > 0.5
    assert fit.weights[2] == 0.0
    edges = TRUE.thresholds - TRUE.slope * offset[:, None]
    assert fit_weights(features, edges, level)[2] == 0.0
    assert fit_weights(features, edges, level, nonnegative=False)[2] < -0.3
    mixed = fit_weights(features, edges, level, nonnegative=np.array([True, True, False]))
    assert mixed[0] > 0.5
    assert mixed[2] < -0.3


def test_a_ridge_shrinks():
    features, offset, level = rows(200)
    edges = TRUE.thresholds - TRUE.slope * offset[:, None]
    lengths = [np.linalg.norm(fit_weights(features, edges, level, ridge, nonnegative=False)) for ridge in (0, 100, 1e9)]
    assert lengths[0] > lengths[1] > lengths[2]
    assert lengths[2] < 1e-3


@pytest.mark.parametrize("only", [0, 2, 4])
def test_a_level_that_nobody_gave_stays_possible(only):
    level = np.full(300, only)
    fit = fit_ordinal(np.zeros((300, 1)), np.zeros(300), level, 5)
    pmf = ordinal_pmf(fit, np.zeros((1, 1)))[0]
    assert pmf[only] > 0.99
    assert (pmf > 1e-6).all()


def test_no_rows_are_named():
    with pytest.raises(DataError, match="at least one row"):
        fit_ordinal(np.zeros((0, 2)), np.zeros(0), np.zeros(0, dtype=np.int64), 5)


def test_no_features_are_no_weights():
    assert fit_weights(np.zeros((3, 0)), np.zeros((3, 4)), np.zeros(3, dtype=np.int64)).shape == (0,)


@settings(max_examples=50, deadline=None)
@given(shift=st.floats(-20, 20), score=st.floats(-20, 20))
def test_a_shift_is_a_shift_of_the_score(shift, score):
    features = np.zeros((1, 3))
    moved = shifted(ordinal_pmf(TRUE, features, score / TRUE.slope), np.array([shift]))
    expected = ordinal_pmf(TRUE, features, (score + shift) / TRUE.slope)
    np.testing.assert_allclose(moved, expected, atol=1e-9)
    assert (moved >= 0).all()
    np.testing.assert_allclose(moved.sum(), 1.0)


@settings(max_examples=50, deadline=None)
@given(
    weights=st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda w: sum(w) > 0.01), shift=st.floats(-9, 9)
)
def test_any_distribution_can_be_shifted(weights, shift):
    pmf = np.array([weights]) / np.sum(weights)
    moved = shifted(pmf, np.array([shift]))
    assert (moved >= 0).all()
    np.testing.assert_allclose(moved.sum(), 1.0)
    assert (moved @ np.arange(5) - pmf @ np.arange(5)) * shift >= -1e-9  # upwards if positive
    np.testing.assert_array_equal(shifted(pmf, np.zeros(1)), pmf)


def test_certainty_is_not_shifted():
    certain = np.eye(5)
    np.testing.assert_array_equal(shifted(certain, np.full(5, 7.0)), certain)
    np.testing.assert_array_equal(raised(np.array([0.0, 1.0]), np.array([9.0, -9.0])), [0.0, 1.0])


def test_odds_are_multiplied():
    chance = np.array([0.1, 0.5, 0.9])
    up = raised(chance, np.full(3, 0.7))
    np.testing.assert_allclose(up / (1 - up), chance / (1 - chance) * np.exp(0.7))
    np.testing.assert_array_equal(raised(chance, np.zeros(3)), chance)


def test_shape_is_kept():
    pmf = ordinal_pmf(TRUE, np.zeros((2, 3, 3)), np.zeros((2, 3)))
    assert pmf.shape == (2, 3, 5)
    assert shifted(pmf, np.ones((2, 3))).shape == (2, 3, 5)
