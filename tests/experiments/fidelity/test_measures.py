import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from recsim_llm.experiments.fidelity.measures.measures import (
    Measure,
    divergence_bits,
    draw_resamples,
    mean_of_rows,
    mean_of_users,
    split_half,
    within_user_auc,
)


def slow_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    ranks, positives = rankdata(scores), labels.sum()
    negatives = len(labels) - positives
    return float((ranks[labels > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_auc_within_users_is_the_rank_sum_of_each(seed: int) -> None:
    rng = np.random.default_rng(seed)
    users, scores = rng.integers(0, 6, 60), rng.integers(0, 5, 60).astype(float)
    labels = rng.integers(0, 2, 60).astype(float)
    found = within_user_auc(users, scores, labels, 7)
    for user in range(7):
        rows = users == user
        if 0 < labels[rows].sum() < rows.sum():
            assert found[user] == pytest.approx(slow_auc(scores[rows], labels[rows]))
        else:
            assert np.isnan(found[user])


def test_divergence_is_between_none_and_one_bit() -> None:
    a, b = np.array([3.0, 1.0, 0.0]), np.array([0.0, 0.0, 7.0])
    assert divergence_bits(a, 2 * a) == pytest.approx(0.0)
    assert divergence_bits(a, b) == pytest.approx(1.0)
    assert divergence_bits(a, np.ones(3)) == pytest.approx(divergence_bits(np.ones(3), a))


def test_published_histogram_is_a_sixth_of_a_bit_from_people() -> None:
    """The released Agent4Rec run against ML-1M, as re-analysed in the literature: 0.177 bits."""
    agents, people = np.array([0, 0, 7.8, 75.3, 16.9]), np.array([5.6, 10.8, 26.1, 34.9, 22.6])
    assert divergence_bits(agents, people) == pytest.approx(0.177, abs=0.001)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    resamples = draw_resamples(80, seed=1, resamples=400)
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).exponential(1.0, 80)
        low, high = mean_of_users(values).interval(resamples)
        covered += low <= 1.0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_people_are_the_independent_draws_not_rows() -> None:
    """A hundred copies of a row make nobody surer."""
    rng = np.random.default_rng(0)
    values, users = rng.normal(size=50), np.arange(50)
    resamples = draw_resamples(50, resamples=500)
    once = mean_of_rows(users, values, 50).interval(resamples)
    often = mean_of_rows(np.repeat(users, 100), np.repeat(values, 100), 50).interval(resamples)
    np.testing.assert_allclose(once, often)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    users, values = rng.integers(0, 20, 300), rng.normal(size=300)
    order = rng.permutation(300)
    a, b = mean_of_rows(users, values, 20), mean_of_rows(users[order], values[order], 20)
    np.testing.assert_allclose(a.sums, b.sums)


def test_nobody_gives_no_number() -> None:
    empty = mean_of_users(np.full(3, np.nan))
    assert np.isnan(empty.value)
    assert np.isnan(empty.interval(draw_resamples(3))).all()


def test_one_person_gives_no_interval() -> None:
    alone = Measure(np.array([[2.0, 1.0], [0.0, 0.0]]), lambda t: t[..., 0] / t[..., 1])
    assert alone.value == 2.0
    assert np.isnan(alone.interval(draw_resamples(2))).all()


def test_halves_of_more_people_differ_less() -> None:
    rng = np.random.default_rng(0)
    few, many = (np.eye(5)[rng.integers(0, 5, n)] for n in (40, 4000))
    assert split_half(many, divergence_bits) < split_half(few, divergence_bits) / 10
