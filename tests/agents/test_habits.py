"""Each person's own tolerance and cost of repetition: planted ones are found again, and where there are none, none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from recsim_llm.agents.long_term.habits import Estimates, fit_habits, shrink
from recsim_llm.agents.long_term.long_term_population import habits_of
from recsim_llm.agents.long_term.quit_rule import QuitRule
from recsim_llm.data.dataset import Ratings
from recsim_llm.data.likeness import Likeness, distance_quantiles, nearness

PEOPLE, ITEMS, LENGTH, WINDOW = 300, 2_000, 60, 4
EXPECTED = 3.5
NONE = np.zeros(PEOPLE)


def catalogue(rng, dimensions):
    return Likeness.nearest(rng.normal(size=(ITEMS, dimensions)), 0.1)


def choose(rng, likeness, tolerance, taste=None):
    """(P, L) items one after the other, none nearer than a person's tolerance to the last four; near a taste if any."""
    pages = np.full((PEOPLE, LENGTH), -1)
    for t in range(LENGTH):
        windows = pages[:, max(t - WINDOW, 0) : t] if t else np.full((PEOPLE, 1), -1)
        tried = rng.integers(0, ITEMS, (PEOPLE, 40))
        bad = likeness.near(windows, tried, tolerance).astype(float)
        if taste is not None:
            bad += ((likeness.vectors[tried] - taste[:, None]) ** 2).sum(axis=2)
        pages[:, t] = tried[np.arange(PEOPLE), bad.argmin(axis=1)]
    return pages


def log_of(pages, stars):
    users = np.repeat(np.arange(PEOPLE), LENGTH)
    times = np.tile(np.arange(LENGTH), PEOPLE)
    order = np.random.default_rng(9).permutation(len(users))  # rows of a log are in any order; times say which
    columns = users[order], pages.ravel()[order], stars.ravel()[order], times[order]
    return Ratings(*columns, PEOPLE, ITEMS)


def expected(users, items):
    return np.full(len(users), EXPECTED)


def fit(pages, stars, likeness):
    return fit_habits(log_of(pages, stars), expected, likeness, WINDOW, 0.1)


def nearness_of(pages, likeness):
    """(P, L) to the four before; 0 for the first."""
    typical = float(distance_quantiles(likeness.vectors, 0.5))
    near = np.zeros(pages.shape)
    for t in range(1, LENGTH):
        near[:, t] = nearness(likeness.gaps(pages[:, max(t - WINDOW, 0) : t], pages[:, t : t + 1])[:, 0], typical)
    return near


def rated(rng, pages, likeness, slopes):
    near = nearness_of(pages, likeness)
    return EXPECTED + slopes[:, None] * (near - near.mean()) + 0.7 * rng.normal(size=pages.shape)


def test_planted_tolerances_are_found():
    rng = np.random.default_rng(0)
    likeness = catalogue(rng, 4)
    ranks = rng.uniform(0.0, 0.3, PEOPLE)
    planted = distance_quantiles(likeness.vectors, ranks)
    habits = fit(choose(rng, likeness, planted), np.full((PEOPLE, LENGTH), EXPECTED), likeness)
    # Of distances above the rank r, the lowest tenth ends at the rank r + (1 - r) / 10.
    expected = distance_quantiles(likeness.vectors, ranks + (1 - ranks) / 10)
    assert np.corrcoef(habits.thresholds, planted)[0, 1] > 0.9
    assert 0.8 < np.polyfit(expected, habits.thresholds, 1)[0] < 1.1, "not shrunk away, nor blown up"
    assert habits.thresholds.mean() == pytest.approx(likeness.threshold, abs=0.03), "the level stays the declared one"


def test_planted_slopes_are_found_of_both_signs():
    rng = np.random.default_rng(1)
    likeness = catalogue(rng, 2)
    slopes = norm(-0.8, 1.5).rvs(PEOPLE, random_state=2)
    pages = choose(rng, likeness, NONE)
    habits = fit(pages, rated(rng, pages, likeness, slopes), likeness)
    found = habits.notes["repetition"]
    assert found["mean"] == pytest.approx(-0.8, abs=0.25)
    assert found["sd between people"] == pytest.approx(1.5, abs=0.3)
    assert np.corrcoef(habits.slopes, slopes)[0, 1] > 0.75
    assert habits.slopes.std() < slopes.std(), "each is drawn to the mean"
    sure = (np.abs(slopes + 0.8) > 2).nonzero()[0]
    assert (np.sign(habits.slopes[sure] + 0.8) == np.sign(slopes[sure] + 0.8)).mean() > 0.95


def test_one_slope_for_all_is_the_common_one_for_all():
    rng = np.random.default_rng(3)
    likeness = catalogue(rng, 2)
    pages = choose(rng, likeness, NONE)
    habits = fit(pages, rated(rng, pages, likeness, NONE - 0.8), likeness)
    assert np.ptp(habits.slopes) == 0.0
    assert habits.slopes[0] == pytest.approx(-0.8, abs=0.2)
    assert habits.notes["repetition"]["people with their own"] == 0


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_where_nothing_is_planted_next_to_nothing_is_found(seed):
    """At the 5 % level something is found now and then, and is then a twentieth of what is planted elsewhere."""
    rng = np.random.default_rng(seed)
    likeness = catalogue(rng, 2)
    pages = choose(rng, likeness, NONE)
    habits = fit(pages, rated(rng, pages, likeness, NONE), likeness)
    assert habits.thresholds.std() < 0.02 * likeness.threshold
    assert habits.slopes.std() < 0.1
    assert abs(habits.notes["repetition"]["mean"]) < 0.08


def test_people_who_do_not_differ_are_told_apart_once_in_twenty():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1_500):
        information = rng.uniform(2, 20, 100)
        halves = [Estimates(rng.normal(size=100) / np.sqrt(information), information) for _ in range(2)]
        whole = Estimates((halves[0].values + halves[1].values) / 2, 2 * information)
        found.append(shrink(whole, *halves).variance > 0)
    assert 0.035 < np.mean(found) < 0.065


def test_taste_is_not_taken_for_repetition():
    """People choose and rate by nearness to a favourite that the model knows nothing of; order does nothing."""
    rng = np.random.default_rng(7)
    likeness = catalogue(rng, 2)
    favourite = rng.normal(size=(PEOPLE, 2))
    pages = choose(rng, likeness, NONE, favourite)
    pages = rng.permuted(np.where(rng.random(pages.shape) < 0.5, pages, choose(rng, likeness, NONE)), axis=1)
    gap = np.linalg.norm(likeness.vectors[pages] - favourite[:, None], axis=2)
    stars = EXPECTED + (gap < 0.5) + 0.3 * rng.normal(size=pages.shape)
    near = nearness_of(pages, likeness)
    plain = np.polyfit((near - near.mean(1, keepdims=True)).ravel(), (stars - stars.mean(1, keepdims=True)).ravel(), 1)
    assert plain[0] > 0.3, "a plain regression is taken in"
    habits = fit(pages, stars, likeness)
    assert abs(habits.notes["repetition"]["mean"]) < 0.1


def test_shrinking_by_hand():
    """Two pairs of people, 1 above and 1 below 2; halves agree but for 0.5 either way.

    Covariance (1.5 * 0.5 + 1.5 * 0.5 + two of the same below) / 4 = 0.75, in its own errors 4 * 0.75 / sqrt(4 * 0.75^2)
    = 2. Noise: halves differ by 1, and 2 * 2 / (2 + 2) = 1 of that. A person of information 4 keeps 4 / (4 + 1 / 0.75)
    of their distance to the mean: 0.75.
    """
    signs = np.array([1.0, 1.0, -1.0, -1.0])
    earlier = Estimates(2 + signs + np.array([0.5, -0.5, -0.5, 0.5]), np.full(4, 2.0))
    later = Estimates(2 + signs - np.array([0.5, -0.5, -0.5, 0.5]), np.full(4, 2.0))
    spread = shrink(Estimates(2 + signs, np.full(4, 4.0)), earlier, later)
    assert (spread.mean, spread.variance, spread.z) == pytest.approx((2.0, 0.75, 2.0))
    assert spread.half_way == pytest.approx(4 / 3)
    assert spread.values.tolist() == pytest.approx((2 + 0.75 * signs).tolist())


def test_a_person_without_a_log_has_what_is_common():
    rng = np.random.default_rng(8)
    likeness = catalogue(rng, 4)
    pages = choose(rng, likeness, distance_quantiles(likeness.vectors, rng.uniform(0.0, 0.3, PEOPLE)))
    log = log_of(pages, np.full(pages.shape, EXPECTED))
    known = fit_habits(log.take(log.users > 0), expected, likeness, WINDOW, 0.1)
    assert known.thresholds[0] == likeness.threshold
    assert known.notes["tolerance"]["people with their own"] == PEOPLE - 1
    assert known.usual[0] == pytest.approx(known.usual[1:].mean(), abs=0.01)


def test_people_are_looked_at_in_blocks_and_nothing_depends_on_them(monkeypatch):
    rng = np.random.default_rng(10)
    likeness = catalogue(rng, 2)
    pages = choose(rng, likeness, distance_quantiles(likeness.vectors, rng.uniform(0.0, 0.3, PEOPLE)))
    log = log_of(pages, rated(rng, pages, likeness, norm(-0.8, 1.5).rvs(PEOPLE, random_state=2)))
    log = log.take(~np.isin(log.users, [0, 1, 7, PEOPLE - 1]))  # people without ratings are people too
    whole = fit_habits(log, lambda users, items: 3.0 + users / PEOPLE + items / ITEMS, likeness, WINDOW, 0.1)
    monkeypatch.setattr("recsim_llm.agents.long_term.habits._ROWS", 1_000)
    parts = fit_habits(log, lambda users, items: 3.0 + users / PEOPLE + items / ITEMS, likeness, WINDOW, 0.1)
    np.testing.assert_allclose(parts.thresholds, whole.thresholds)
    np.testing.assert_allclose(parts.slopes, whole.slopes)
    np.testing.assert_allclose(parts.usual, whole.usual)


def test_the_invented_world_has_neither():
    """Its truth: nobody was given a tolerance or a cost of repetition."""
    habits = habits_of("synthetic", QuitRule())
    assert np.ptp(habits.thresholds) == 0.0
    assert not habits.slopes.any()
