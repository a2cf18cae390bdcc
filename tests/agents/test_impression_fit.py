"""Logs of impressions are simulated with known slots, level and leaving, and these are found again."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pytest

from recsim_llm.agents.fitted_sources import fitted_parameters, known_impressions, statistical_parameters
from recsim_llm.agents.statistical.impression_fit import (
    FEWEST_CHOICES,
    FEWEST_EXITS,
    Pages,
    fit_from_impressions,
    fit_leave,
    impressions_of,
    pages_of,
)
from recsim_llm.agents.statistical.leaving import LeaveParameters, leave_probability
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, StatisticalUsers
from recsim_llm.data import load_dataset
from recsim_llm.data.dataset import Impressions
from recsim_llm.data.formats.folder import save_folder
from recsim_llm.environments.sessions import PageRules
from recsim_llm.errors import DataError
from recsim_llm.experiments.simulation.rollout import rollout
from recsim_llm.runs import StepBatch

WORLD = "synthetic:3:800"
USERS = 800
SLOTS = np.array([1.0, 0.7, 0.5, 0.3, 0.3])
LEAVING = LeaveParameters(base=-0.4, per_page=0.3, pleasure=2.0, boredom=1.0, patience=0.4, memory=0.5)
TERMS = ("base", "per_page", "pleasure", "boredom", "patience")


def truth() -> StatisticalParameters:
    return replace(statistical_parameters(WORLD), examination=SLOTS, leave=LEAVING)


class OldAndNew:
    """Two of the same twenty items on every page, and three random others: sessions repeat themselves, now and then."""

    name, page_size = "old and new", 5

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def act(self, observation) -> np.ndarray:
        count = len(observation["user"])
        known = self.rng.permuted(np.tile(np.arange(20), (count, 1)), axis=1)[:, :2]
        fresh = 20 + self.rng.permuted(np.tile(np.arange(100), (count, 1)), axis=1)[:, :3]
        return self.rng.permuted(np.concatenate([known, fresh], axis=1), axis=1)


@lru_cache
def steps(max_pages: int = 30, seeds: tuple[int, ...] = (0, 1)) -> StepBatch:
    """Everybody visits once under each seed: a person's session is the same under the same one."""
    rules = PageRules(page_size=5, max_pages=max_pages)
    found = []
    for seed in seeds:
        users, everybody = StatisticalUsers(truth()), np.arange(USERS)
        for batch in rollout(WORLD, users, OldAndNew(seed), everybody, rules, seed, USERS):
            found.append(replace(batch, session=batch.session + seed * USERS).to_table())
    return StepBatch.from_table(pa.concat_tables(found))


def recorded(s: StepBatch) -> Impressions:
    return impressions_of(s.user, s.session, s.page, s.items, s.watched, s.ratings, s.left)


@pytest.fixture(scope="module")
def log() -> Impressions:
    return recorded(steps())


def test_slots_and_level_are_found_again(log: Impressions) -> None:
    wrong = replace(statistical_parameters(WORLD), watch_user=statistical_parameters(WORLD).watch_user + 1.5)
    fitted = fit_from_impressions(wrong, log)
    np.testing.assert_allclose(fitted.examination, SLOTS, atol=0.06)
    np.testing.assert_allclose(fitted.watch_user, truth().watch_user, atol=0.1)


def test_what_the_log_does_not_tell_is_kept(log: Impressions) -> None:
    before = statistical_parameters(WORLD)
    after = fit_from_impressions(before, log)
    kept = replace(after, watch_user=before.watch_user, examination=before.examination, leave=before.leave)
    for name in ("user_bias", "item_factors", "thresholds", "watch_item", "watch_slope", "rewatch", "activity"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(before, name))
    assert after.leave.memory == before.leave.memory


def test_the_pages_of_a_log_are_those_that_the_users_saw(log: Impressions) -> None:
    s, pages, p = steps(), pages_of(log, truth()), LEAVING
    order = np.lexsort((s.page, s.session))
    hazard = leave_probability(p, pages.page, pages.satisfaction, pages.repeats, pages.activity)
    np.testing.assert_array_equal(hazard, s.leave[order])  # to the last bit: satisfaction and repeats too
    np.testing.assert_array_equal(pages.left, s.left[order])


@pytest.mark.parametrize("max_pages", [3, 5, 30])
def test_leaving_is_found_again_within_its_errors_at_any_page_limit(max_pages: int) -> None:
    found = fit_leave(pages_of(recorded(steps(max_pages)), truth()), LeaveParameters())
    assert found.exits > 500
    assert tuple(found.errors) == TERMS
    for name, error in found.errors.items():
        assert abs(getattr(found.parameters, name) - getattr(LEAVING, name)) < 3 * error, (name, found)


def test_at_a_page_limit_no_decision_counts() -> None:
    s = steps(3)
    at_limit = s.page == 2
    unknown = replace(s, left=s.left & ~at_limit)  # as a platform logs it, which sees nobody leave there
    a, b = (fit_leave(pages_of(recorded(one), truth()), LeaveParameters()) for one in (s, unknown))
    assert a == b
    assert a.pages == int((~at_limit).sum())


def test_the_hazard_is_calibrated(log: Impressions) -> None:
    pages = pages_of(log, truth())
    p = fit_leave(pages, LeaveParameters()).parameters
    chance = leave_probability(p, pages.page, pages.satisfaction, pages.repeats, pages.activity)
    assert chance[~pages.cut].sum() == pytest.approx(pages.left[~pages.cut].sum(), rel=1e-6)
    for level in (1, 2, 3):
        rows = ~pages.cut & (pages.activity == level)
        assert chance[rows].mean() == pytest.approx(pages.left[rows].mean(), abs=0.03)


def test_what_does_not_vary_stays_as_declared(log: Impressions) -> None:
    pages = replace(pages_of(log, truth()), repeats=np.zeros(len(steps().page)), page=np.full(len(steps().page), 2))
    declared = LeaveParameters(per_page=0.9, boredom=7.0)
    found = fit_leave(pages, declared)
    assert (found.parameters.per_page, found.parameters.boredom) == (0.9, 7.0)
    assert tuple(found.errors) == ("base", "pleasure", "patience")


def test_exits_that_are_told_apart_perfectly_give_a_finite_hazard() -> None:
    page = np.tile(np.arange(3), 100)
    flat = np.full(300, 0.5)
    pages = Pages(page, flat, np.zeros(300), np.full(300, 2), page == 2, np.zeros(300, dtype=np.bool_))
    found = fit_leave(pages, LeaveParameters()).parameters
    chance = leave_probability(found, np.arange(3), flat[:3], np.zeros(3), np.full(3, 2))
    assert np.abs(found.base) < 50
    np.testing.assert_allclose(chance, [0, 0, 1], atol=0.01)


@pytest.mark.parametrize("left", [True, False])
def test_a_hazard_needs_pages_left_and_not_left(left: bool) -> None:
    one = np.ones(40)
    pages = Pages(one.astype(int), one, one, one.astype(int), np.full(40, left), np.zeros(40, dtype=np.bool_))
    with pytest.raises(DataError, match="left and not left"):
        fit_leave(pages, LeaveParameters())


def test_without_exits_leaving_stays_declared(log: Impressions) -> None:
    fitted = fit_from_impressions(statistical_parameters(WORLD), replace(log, has_exits=False))
    assert fitted.leave == LeaveParameters()
    assert not fitted.leave_fitted
    assert fit_from_impressions(statistical_parameters(WORLD), log).leave_fitted


@pytest.mark.parametrize("sessions", [0, 1, FEWEST_EXITS - 1])
def test_too_small_a_log_leaves_leaving_declared(sessions: int, log: Impressions) -> None:
    fitted = fit_from_impressions(statistical_parameters(WORLD), log.take(log.sessions < sessions))
    assert fitted.leave == LeaveParameters()
    assert not fitted.leave_fitted


def test_too_few_choices_leave_watching_declared(log: Impressions) -> None:
    declared, rows = statistical_parameters(WORLD), np.flatnonzero(log.watched)[: FEWEST_CHOICES - 1]
    for few in (log.take(rows), log.take(~log.watched)):
        fitted = fit_from_impressions(declared, replace(few, has_exits=False))
        assert fitted is declared


def test_the_order_of_rows_does_not_matter(log: Impressions) -> None:
    shuffled = log.take(np.random.default_rng(0).permutation(len(log)))
    a, b = (fit_from_impressions(statistical_parameters(WORLD), one) for one in (log, shuffled))
    np.testing.assert_allclose(a.examination, b.examination, atol=1e-4)
    assert a.leave.base == pytest.approx(b.leave.base, abs=1e-4)


def test_parameters_with_slots_survive_a_file(tmp_path) -> None:
    truth().save(tmp_path / "users.npz")
    back = StatisticalParameters.load(tmp_path / "users.npz")
    np.testing.assert_array_equal(back.examination, SLOTS)
    assert back.leave == LEAVING


def test_people_of_a_folder_with_a_log_are_fitted_to_it(log: Impressions, tmp_path) -> None:
    save_folder(replace(load_dataset(WORLD), impressions=log), tmp_path / "world")
    fitted = fitted_parameters(str(tmp_path / "world"))
    back = load_dataset(str(tmp_path / "world")).impressions
    assert back is not None
    assert 0.7 < len(known_impressions(back)) / len(log) < 0.9
    assert fitted.leave_fitted
    np.testing.assert_allclose(fitted.examination, SLOTS, atol=0.1)
    # Shown to people who are fitted, the log's own pages are watched as often as they were.
    users = StatisticalUsers(fitted)
    s = steps()
    first = np.flatnonzero(s.page == 0)
    users.reset(np.arange(len(first)), s.user[first], np.zeros(len(first), dtype=np.uint64))
    chance = users.react(np.arange(len(first)), s.items[first]).watch_BK
    np.testing.assert_allclose(chance.mean(axis=0), s.watched[first].mean(axis=0), atol=0.05)
