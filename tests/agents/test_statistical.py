"""Statistical users: what is fitted is right, saved, loaded, and the same whatever the batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.agents.fitted_sources import statistical_parameters
from recsim_llm.agents.personas.persona import traits
from recsim_llm.agents.statistical.fitting import FitOptions, fit_statistical, fit_thresholds
from recsim_llm.agents.statistical.leaving import LeaveParameters, leave_probability
from recsim_llm.agents.statistical.statistical_users import (
    StatisticalParameters,
    StatisticalUsers,
    rating_distribution,
    scores,
)
from recsim_llm.data import split_ratings
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.errors import DataError, RecordingError
from recsim_llm.types import EMPTY, Responses

LEVELS = np.arange(1.0, 6.0)


@pytest.fixture(scope="module")
def fitted():
    world = make_world(seed=1, num_users=400, num_items=300, ratings_per_user=60)
    split = split_ratings(world.dataset.ratings, "random")
    activity = traits(split.train, world.dataset.catalogue).activity
    return world, split, fit_statistical(split.train, activity, world.dataset.rating_levels)


def rmse(predicted, truth):
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def test_fit_beats_the_bias_model_on_held_out_ratings(fitted):
    _, split, parameters = fitted
    test = split.test
    taste = scores(parameters, test.users, test.items[:, None])
    mean = rating_distribution(parameters, taste)[:, 0] @ LEVELS
    bias_only = dataclasses.replace(parameters, user_factors=parameters.user_factors * 0)
    bias = scores(bias_only, test.users, test.items[:, None])[:, 0]
    constant = rmse(np.full(len(test), split.train.values.mean()), test.values)
    assert rmse(mean, test.values) < rmse(bias, test.values) < constant


def test_fit_finds_the_true_tastes(fitted):
    world, _, parameters = fitted
    users = np.arange(400)
    items = np.tile(np.arange(300), (400, 1))
    found = scores(parameters, users, items)
    true = world.truth.scores(users)
    personal = np.mean([np.corrcoef(found[u], true[u])[0, 1] for u in users])
    quality = np.mean([np.corrcoef(parameters.item_bias, true[u])[0, 1] for u in users])
    assert personal > quality + 0.15


def test_watch_level_is_the_declared_one(fitted):
    world, split, parameters = fitted
    users = StatisticalUsers(parameters)
    handles = np.arange(400)
    users.reset(handles, handles, np.zeros(400, dtype=np.uint64))
    everything = np.tile(np.arange(300), (400, 1))
    assert users.react(handles, everything).watch_BK.mean() == pytest.approx(FitOptions().watch_rate, abs=0.02)


def test_thresholds_are_recovered():
    rng = np.random.default_rng(0)
    true, scale = np.array([1.2, 2.3, 3.4, 4.4]), 0.5
    taste = rng.normal(3.3, 1.0, 20_000)
    noise = rng.logistic(size=20_000) * scale
    stars = LEVELS[(taste[:, None] + noise[:, None] > true).sum(axis=1)]
    thresholds, found = fit_thresholds(taste, stars, LEVELS)
    np.testing.assert_allclose(thresholds, true, atol=0.06)
    assert found == pytest.approx(scale, abs=0.03)


def test_one_level_only_is_named():
    log = make_world().dataset.ratings
    flat = dataclasses.replace(log, values=np.full_like(log.values, 3.0))
    with pytest.raises(DataError, match="two different levels"):
        fit_statistical(flat, np.ones(200, dtype=np.int64), (1, 2, 3, 4, 5))


def test_saved_and_loaded_parameters_are_equal(fitted, tmp_path):
    _, _, parameters = fitted
    parameters.save(tmp_path / "users.npz")
    again = StatisticalParameters.load(tmp_path / "users.npz")
    for field in dataclasses.fields(parameters):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(parameters, field.name), err_msg=field.name)
        assert isinstance(getattr(again, field.name), type(getattr(parameters, field.name)))
    (tmp_path / "users.npz").write_bytes(b"nonsense")
    with pytest.raises(RecordingError, match="fit them again"):
        StatisticalParameters.load(tmp_path / "users.npz")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_probabilities_are_probabilities_and_do_not_depend_on_the_batch(seed, size):
    rng = np.random.default_rng(seed)
    users = StatisticalUsers(statistical_parameters("synthetic"))
    handles = np.arange(size)
    users.reset(handles, rng.integers(0, 200, size), np.zeros(size, dtype=np.uint64))
    pages = rng.integers(EMPTY, 500, (size, 6))
    reaction = users.react(handles, pages)
    assert ((reaction.watch_BK >= 0) & (reaction.watch_BK <= 1)).all()
    assert (reaction.watch_BK[pages == EMPTY] == 0).all()
    np.testing.assert_allclose(reaction.rating_BKR.sum(axis=-1), 1.0)
    assert (reaction.rating_BKR >= 0).all()
    one = int(rng.integers(size))
    alone = users.react(handles[one : one + 1], pages[one : one + 1])
    np.testing.assert_array_equal(alone.watch_BK[0], reaction.watch_BK[one])
    np.testing.assert_array_equal(alone.rating_BKR[0], reaction.rating_BKR[one])


def test_watched_items_are_rarely_watched_again_and_repeats_bore():
    users = StatisticalUsers(statistical_parameters("synthetic"))
    sessions = np.array([0, 1])
    users.reset(sessions, np.array([5, 5]), np.zeros(2, dtype=np.uint64))
    page = np.array([[1, 2, 3], [1, 2, 3]])
    before = users.react(sessions, page).watch_BK
    watched = np.array([[True, False, False], [True, False, False]])
    users.observe(sessions, page, Responses(watched, watched * 4.0))
    after = users.react(sessions, page).watch_BK
    np.testing.assert_allclose(after[:, 0], before[:, 0] * users.parameters.rewatch)
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])
    nothing = Responses(np.zeros((2, 3), dtype=bool), np.zeros((2, 3)))
    bored, curious = users.observe(sessions, np.array([[1, 2, 3], [7, 8, 9]]), nothing)
    assert bored > curious


def test_leaving_moves_in_the_declared_directions():
    def hazard(page=2, satisfaction=0.5, repeats=0.0, activity=2):
        one = np.ones(1)
        return leave_probability(
            LeaveParameters(), page * one, satisfaction * one, repeats * one, (activity * one).astype(int)
        )[0]

    assert hazard(page=5) > hazard(page=1)
    assert hazard(satisfaction=0.9) < hazard(satisfaction=0.1)
    assert hazard(repeats=1.0) > hazard(repeats=0.0)
    assert hazard(activity=1) > hazard(activity=2) > hazard(activity=3)


@pytest.mark.parametrize(("satisfaction", "low", "high"), [(0.0, 1.3, 2.3), (1.0, 6.0, 10.0)])
def test_declared_session_lengths(satisfaction, low, high):
    """`LeaveParameters` promises about 2 pages for the never pleased and about 8 for the always pleased."""
    pages = np.arange(60)
    same = np.full(60, satisfaction)
    leave = leave_probability(LeaveParameters(), pages, same, np.zeros(60), np.full(60, 2))
    length = np.concatenate([[1.0], np.cumprod(1 - leave)]).sum()
    assert low < length < high
