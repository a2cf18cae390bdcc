import dataclasses

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from recsim_llm.experiments.fidelity.measures.rating_measures import (
    Predictions,
    histograms,
    human_ceilings,
    point_predictions,
    rating_measures,
    reliability,
)

LEVELS = np.arange(1.0, 6.0)
USERS, ROWS = 300, 20


def world(seed: int = 0) -> tuple[Predictions, np.ndarray]:
    """Ratings drawn from known distributions that differ by user and item: the truth is its own best predictor."""
    rng = np.random.default_rng(seed)
    users, items = np.repeat(np.arange(USERS), ROWS), rng.integers(0, 500, USERS * ROWS)
    taste = rng.normal(0, 1.2, USERS)[users] + rng.normal(0, 1.2, len(users))
    cumulative = 1 / (1 + np.exp(-(np.array([-3.0, -1.5, 0.2, 2.0]) - taste[:, None])))
    pmf = np.diff(np.pad(cumulative, ((0, 0), (1, 1)), constant_values=((0, 0), (0.0, 1.0))), axis=1)
    levels = (rng.random(len(users))[:, None] > pmf.cumsum(axis=1)[:, :-1]).sum(axis=1)
    histogram = np.bincount(levels, minlength=5) / len(levels)
    return Predictions(users, items, levels, pmf, pmf @ LEVELS, LEVELS, USERS), histogram


def values(p: Predictions, histogram: np.ndarray) -> dict[str, float]:
    return {name: measure.value for name, measure in rating_measures(p, histogram).items()}


def with_pmf(p: Predictions, pmf: np.ndarray) -> Predictions:
    return dataclasses.replace(p, pmf=pmf, mean=pmf @ LEVELS)


def test_the_truth_beats_everything_that_is_not_the_truth() -> None:
    p, histogram = world()
    true = values(p, histogram)
    others = {
        "histogram": np.tile(histogram, (len(p.users), 1)),
        "sharpened": p.pmf**3 / (p.pmf**3).sum(axis=1, keepdims=True),
        "flattened": np.sqrt(p.pmf) / np.sqrt(p.pmf).sum(axis=1, keepdims=True),
        "reversed": p.pmf[:, ::-1],
    }
    for name, pmf in others.items():
        other = values(with_pmf(p, pmf), histogram)
        for proper in ("rps", "log_loss", "brier"):
            assert true[proper] < other[proper], (name, proper)
        assert true["rps_skill"] > other["rps_skill"], name


def test_the_truth_is_calibrated_and_its_sample_is_like_people() -> None:
    p, histogram = world()
    found, ceiling = values(p, histogram), human_ceilings(p)
    assert found["ece"] < 0.02
    assert found["rating_jsd_bits"] < 5 * ceiling["rating_jsd_bits"]
    assert found["rating_sd_ratio"] == pytest.approx(1.0, abs=0.05)
    assert found["between_user_variance_ratio"] == pytest.approx(1.0, abs=0.1)
    assert abs(found["constant_raters"] - ceiling["constant_raters"]) < 0.03


def test_people_who_are_all_the_same_are_found_out() -> None:
    p, histogram = world()
    same = values(with_pmf(p, np.tile(histogram, (len(p.users), 1))), histogram)
    assert same["between_user_variance_ratio"] < 0.5
    assert same["rps_skill"] == pytest.approx(0.0)
    assert same["auc_like"] == pytest.approx(0.5)


def test_a_constant_has_no_spread() -> None:
    p, histogram = world()
    constant = point_predictions(p.users, p.items, p.levels, np.full(len(p.users), p.truth.mean()), LEVELS, USERS)
    found = values(constant, histogram)
    assert found["constant_raters"] == 1.0
    assert found["rating_sd_ratio"] == 0.0
    assert found["rmse_mean"] == pytest.approx(p.truth.std())
    assert found["mae_mean"] == pytest.approx(np.abs(p.truth - p.truth.mean()).mean())
    assert "log_loss" not in found


def test_point_predictions_fall_on_the_nearest_level() -> None:
    stars = np.array([0.2, 1.4, 1.6, 4.49, 9.0])
    p = point_predictions(np.arange(5), np.arange(5), np.zeros(5, dtype=int), stars, LEVELS, 5)
    assert p.pmf.argmax(axis=1).tolist() == [0, 0, 1, 3, 4]


def test_pooled_auc_equals_the_rank_sum() -> None:
    p, histogram = world()
    chance, liked = p.pmf[:, 3:].sum(axis=1), p.levels >= 3
    pairs = mannwhitneyu(chance[liked], chance[~liked]).statistic / (liked.sum() * (~liked).sum())
    assert values(p, histogram)["auc_like"] == pytest.approx(pairs, abs=0.001)


def test_pairwise_order_counts_pairs() -> None:
    """One person, true 1 2 3 and predicted 1 3 2: two of three pairs; a tie counts half."""
    users, items, levels = np.zeros(3, dtype=int), np.arange(3), np.array([0, 1, 2])

    def order(*stars: float) -> float:
        p = point_predictions(users, items, levels, np.array(stars), LEVELS, 1)
        return rating_measures(p, np.full(5, 0.2))["pairwise_order"].value

    assert order(1, 3, 2) == pytest.approx(2 / 3)
    assert order(1, 2, 2) == pytest.approx(5 / 6)
    assert order(3, 2, 1) == 0.0


def test_draws_depend_on_the_pair_not_on_its_row() -> None:
    p, _ = world()
    order = np.random.default_rng(0).permutation(len(p.users))
    moved = Predictions(p.users[order], p.items[order], p.levels[order], p.pmf[order], p.mean[order], LEVELS, USERS)
    np.testing.assert_array_equal(p.drawn()[order], moved.drawn())


def test_curves_are_shares() -> None:
    p, _ = world()
    curve, bars = reliability(p), histograms(p)
    assert sum(curve["share"]) == pytest.approx(1.0)
    assert sum(bars["real"]) == pytest.approx(1.0)
    for predicted, observed in zip(curve["predicted"], curve["observed"], strict=True):
        assert predicted is None or abs(predicted - observed) < 0.1
