"""Calibration: distorted answers become true ones, worthless ones become the histogram, and the level is declared."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from opinions import (
    LEVELS,
    Opinion,
    answers_of,
    helpful,
    known,
    opposite,
    overconfident,
    pmf_at,
    true_scores,
    useless,
)

from recsim_llm.agents.hybrid.calibration import (
    Answers,
    CalibratedInhabitants,
    CalibratedUsers,
    Calibration,
    answer_features,
    fit_calibration,
)
from recsim_llm.agents.population import make_population
from recsim_llm.agents.statistical.ordinal import row_log_loss
from recsim_llm.errors import DataError, RecordingError
from recsim_llm.testing.inhabitants_contract import InhabitantsContract
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.testing.user_model_contract import UserModelContract
from recsim_llm.types import EMPTY


def distorted(place):
    """Knows the truth, but is sure of itself, thinks little of everything, and would watch all of it."""

    def say(users, items):
        score = true_scores(place, users, items)
        sharp = pmf_at(0.5 * score + 0.2) ** 2
        return 1 / (1 + np.exp(-0.5 * (score - 3) - 3)), sharp / sharp.sum(axis=-1, keepdims=True)

    return Opinion(place, say)


def ece(chance, happened):
    bins = np.minimum((chance * 10).astype(int), 9)
    return np.abs(np.bincount(bins, chance - happened, 10)).sum() / len(chance)


def histogram_loss(fitted, measured):
    share = np.bincount(fitted.level[fitted.rated], minlength=5) / fitted.rated.sum()
    return -np.log(share[measured.level[measured.rated]]).mean()


def rating_loss(link, answers):
    rated = answers.take(answers.rated)
    return row_log_loss(link.rating(rated.watch, rated.rating), rated.level).mean()


def test_a_distorted_truth_becomes_calibrated():
    place = known(0)
    model = distorted(place)
    fitted, measured = answers_of(place, model), answers_of(place, model, calibrating=False)
    link, rated = fit_calibration(fitted), measured.take(measured.rated)
    raw, now = rated.rating, link.rating(rated.watch, rated.rating)
    liked = (rated.level >= 3).astype(float)
    assert ece(raw[:, 3:].sum(axis=1), liked) > 0.2
    assert ece(now[:, 3:].sum(axis=1), liked) < 0.04
    truth = row_log_loss(pmf_at(true_scores(place, rated.users, rated.items)), rated.level).mean()
    floor = histogram_loss(fitted, measured)
    assert truth - 0.01 < rating_loss(link, measured) < truth + 0.03 < floor - 0.2
    assert row_log_loss(raw, rated.level).mean() > floor


def test_the_level_of_watching_is_the_declared_one():
    place = known(0)
    fitted = answers_of(place, distorted(place))
    drawn = fitted.take(~fitted.rated)
    assert drawn.watch.mean() > 0.8
    for rate in (0.05, 0.2, 0.6):
        link = fit_calibration(fitted, watch_rate=rate)
        assert link.watch(drawn.watch, drawn.rating).mean() == pytest.approx(rate, abs=1e-6)
    learnt = fit_calibration(fitted, watch_rate=None)
    assert learnt.watch(fitted.watch, fitted.rating).mean() == pytest.approx(fitted.rated.mean(), abs=0.02)


def test_what_was_rated_is_watched_more():
    place = known(0)
    model = distorted(place)
    link, measured = fit_calibration(answers_of(place, model)), answers_of(place, model, calibrating=False)
    watch = link.watch(measured.watch, measured.rating)
    assert watch[measured.rated].mean() > watch[~measured.rated].mean() + 0.05


@pytest.mark.parametrize("make", [useless, overconfident])
def test_worthless_answers_become_the_histogram(make):
    place = known(1)
    model = make(place)
    fitted, measured = answers_of(place, model), answers_of(place, model, calibrating=False)
    link = fit_calibration(fitted)
    assert rating_loss(link, measured) < histogram_loss(fitted, measured) + 0.01


def test_answers_against_taste_are_not_turned_round():
    place = known(0)
    fitted = answers_of(place, opposite(place))
    link = fit_calibration(fitted)
    assert not link.rating_fit.weights.any()
    assert not link.watch_weights.any()
    share = (np.bincount(fitted.level[fitted.rated], minlength=5) + 0.2) / (fitted.rated.sum() + 1)
    np.testing.assert_allclose(link.rating(np.full(1, 0.4), np.full((1, 5), 0.2))[0], share, atol=1e-3)


def test_a_better_answer_is_never_worth_less():
    place = known(0)
    link = fit_calibration(answers_of(place, helpful(place)))
    ladder = pmf_at(np.linspace(-1, 8, 40))
    mean = link.rating(np.full(40, 0.5), ladder) @ LEVELS
    assert (np.diff(mean) >= -1e-12).all()
    assert (np.diff(link.watch(np.linspace(0, 1, 40), np.tile(ladder[20], (40, 1)))) >= -1e-12).all()


def test_certain_answers_are_finite():
    features = answer_features(np.array([0.0, 1.0]), np.eye(5)[[0, 4]])
    assert np.isfinite(features).all()
    assert (features[1] > features[0]).all()


def test_the_order_of_pairs_does_not_matter():
    place = known(0)
    fitted = answers_of(place, helpful(place))
    shuffled = fitted.take(np.random.default_rng(0).permutation(len(fitted)))
    one, two = fit_calibration(fitted), fit_calibration(shuffled)
    np.testing.assert_allclose(one.rating_fit.weights, two.rating_fit.weights, atol=1e-4)
    np.testing.assert_allclose(one.watch_weights, two.watch_weights, atol=1e-4)


@pytest.mark.parametrize("rated", [True, False])
def test_one_kind_of_pairs_alone_is_named(rated):
    place = known(0)
    fitted = answers_of(place, useless(place))
    with pytest.raises(DataError, match="one kind is absent"):
        fit_calibration(fitted.take(fitted.rated == rated))


def some_link():
    place = known(0)
    return fit_calibration(answers_of(place, helpful(place)))


def test_saved_and_loaded_it_is_the_same(tmp_path):
    link = some_link()
    link.save(tmp_path / "link.json")
    again = Calibration.load(tmp_path / "link.json")
    watch, rating = np.linspace(0, 1, 9), pmf_at(np.linspace(0, 6, 9))
    np.testing.assert_array_equal(again.watch(watch, rating), link.watch(watch, rating))
    np.testing.assert_array_equal(again.rating(watch, rating), link.rating(watch, rating))
    assert (again.pairs, again.users) == (link.pairs, link.users)
    assert (tmp_path / "link.json").stat().st_size < 3_000


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 99, "another version"),
        ("kind", "hybrid", "holds a hybrid"),
        ("watch_weights", [1.0], "damaged"),
        ("watch_weights", [1.0, float("nan"), 0.0], "damaged"),
        ("rating_fit", None, "damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, field, value, message):
    path = tmp_path / "link.json"
    some_link().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(RecordingError, match=message):
        Calibration.load(path)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", '{"kind": "calibration"'])
def test_a_file_of_something_else_is_named(tmp_path, text):
    (tmp_path / "link.json").write_text(text)
    with pytest.raises(RecordingError, match="Fit the calibration again"):
        Calibration.load(tmp_path / "link.json")
    with pytest.raises(RecordingError, match="missing"):
        Calibration.load(tmp_path / "nothing.json")


def test_users_keep_their_thoughts_and_empty_slots():
    place = known(0)
    link = some_link()
    users = CalibratedUsers(helpful(place), link)
    users.reset(np.arange(2), np.arange(2), np.zeros(2, dtype=np.uint64))
    reaction = users.react(np.arange(2), np.array([[3, EMPTY], [EMPTY, 4]]))
    assert reaction.thoughts == ("I think so.",) * 2
    assert reaction.watch_BK[0, 1] == reaction.watch_BK[1, 0] == 0
    raw = users.inner.react(np.arange(2), np.array([[3, EMPTY], [EMPTY, 4]]))
    assert reaction.watch_BK[0, 0] == link.watch(raw.watch_BK, raw.rating_BKR)[0, 0]


class TestCalibrated(UserModelContract):
    def make(self):
        return CalibratedUsers(make_population("synthetic", "llm", hash_choice_llm(0)).users, some_link())


class TestCalibratedInhabitants(UserModelContract, InhabitantsContract):
    def make(self):
        return CalibratedInhabitants(make_population("synthetic", "agent4rec", hash_choice_llm(0)).users, some_link())

    inhabitants = make


def test_answers_can_be_taken_apart():
    place = known(0)
    fitted = answers_of(place, useless(place))
    part = fitted.take(np.array([3, 1]))
    assert len(part) == 2
    for field in dataclasses.fields(Answers):
        np.testing.assert_array_equal(getattr(part, field.name), getattr(fitted, field.name)[[3, 1]])
