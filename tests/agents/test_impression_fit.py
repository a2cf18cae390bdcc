"""Logs of impressions are simulated with known slots, level and leaving, and these are found again."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsim_llm.agents.examination import examined, fit_examination
from recsim_llm.agents.impression_fit import fit_from_impressions, fit_leave, impressions_of, pages_of
from recsim_llm.agents.leaving import LeaveParameters, leave_probability
from recsim_llm.agents.sources import statistical_parameters
from recsim_llm.agents.statistical import StatisticalParameters, StatisticalUsers
from recsim_llm.data import load_dataset
from recsim_llm.data.dataset import Impressions
from recsim_llm.data.folder import load_folder, save_folder
from recsim_llm.environments.sessions import PageRules
from recsim_llm.errors import DataError
from recsim_llm.experiments.rollout import rollout
from recsim_llm.policies import make_policy
from recsim_llm.trajectories import StepBatch

WORLD = "synthetic:3:800"
SLOTS = np.array([1.0, 0.7, 0.5, 0.3, 0.3])
LEAVING = LeaveParameters(base=-0.4, per_page=0.3, pleasure=2.0, boredom=2.0, patience=0.4, memory=0.5)


def truth() -> StatisticalParameters:
    return replace(statistical_parameters(WORLD), examination=SLOTS, leave=LEAVING)


@pytest.fixture(scope="module")
def log() -> Impressions:
    """Everybody visits twice, and sees random pages of five."""
    data = load_dataset(WORLD)
    policy = make_policy("random", data.ratings, data.catalogue, 5)
    visitors, users = np.tile(np.arange(800), 2), StatisticalUsers(truth())
    steps = list(rollout(WORLD, users, policy, visitors, PageRules(page_size=5, max_pages=8), 0, 1600))
    s = StepBatch.from_table(pa.concat_tables([batch.to_table() for batch in steps]))
    return impressions_of(s.user, s.session, s.page, s.items, s.watched, s.ratings, s.left)


def test_slots_and_level_are_found_again(log: Impressions) -> None:
    wrong = replace(statistical_parameters(WORLD), watch_user=statistical_parameters(WORLD).watch_user + 1.5)
    fitted = fit_from_impressions(wrong, log)
    np.testing.assert_allclose(fitted.examination, SLOTS, atol=0.06)
    np.testing.assert_allclose(fitted.watch_user, truth().watch_user, atol=0.1)


def test_leaving_is_found_again_within_its_errors(log: Impressions) -> None:
    found = fit_leave(pages_of(log, truth()), LeaveParameters())
    assert found.exits > 500
    for name, error in found.errors.items():
        assert abs(getattr(found.parameters, name) - getattr(LEAVING, name)) < 3.5 * error, (name, found)


def test_the_hazard_is_calibrated(log: Impressions) -> None:
    pages = pages_of(log, truth())
    p = fit_leave(pages, LeaveParameters()).parameters
    chance = leave_probability(p, pages.page, pages.satisfaction, pages.repeats, pages.activity)
    assert chance[~pages.cut].sum() == pytest.approx(pages.left.sum(), rel=0.01)


def test_what_does_not_vary_stays_as_declared(log: Impressions) -> None:
    first = log.take(log.pages == 0)
    found = fit_leave(pages_of(first, truth()), LeaveParameters(per_page=0.9))
    assert found.parameters.per_page == 0.9
    assert "per_page" not in found.errors


def test_without_exits_leaving_stays_declared(log: Impressions) -> None:
    fitted = fit_from_impressions(statistical_parameters(WORLD), replace(log, has_exits=False))
    assert fitted.leave == LeaveParameters()
    assert not fitted.leave_fitted
    assert fit_from_impressions(statistical_parameters(WORLD), log).leave_fitted


def test_the_order_of_rows_does_not_matter(log: Impressions) -> None:
    shuffled = log.take(np.random.default_rng(0).permutation(len(log)))
    a, b = (fit_from_impressions(statistical_parameters(WORLD), one) for one in (log, shuffled))
    np.testing.assert_allclose(a.examination, b.examination, atol=1e-4)
    assert a.leave.base == pytest.approx(b.leave.base, abs=1e-4)


def test_no_slot_effect_changes_no_bit() -> None:
    watch = np.random.default_rng(0).random((3, 4))
    assert examined(watch, np.zeros(0)) is watch
    np.testing.assert_array_equal(examined(watch, np.array([1.0, 0.5]))[:, 1:], watch[:, 1:] * 0.5)


def test_people_without_position_bias_get_none() -> None:
    rng = np.random.default_rng(0)
    odds, slots = rng.normal(-1, 1, 40_000), rng.integers(0, 6, 40_000)
    watched = (rng.random(40_000) < 1 / (1 + np.exp(-odds))).astype(float)
    found = fit_examination(odds, slots, watched)
    assert found.probability.min() > 0.93
    assert abs(found.level) < 0.3


def test_parameters_with_slots_survive_a_file(tmp_path) -> None:
    truth().save(tmp_path / "users.npz")
    back = StatisticalParameters.load(tmp_path / "users.npz")
    np.testing.assert_array_equal(back.examination, SLOTS)
    assert back.leave == LEAVING


def test_a_folder_keeps_its_impressions(log: Impressions, tmp_path) -> None:
    data = replace(load_dataset(WORLD), impressions=log, random_ratings=load_dataset(WORLD).ratings.take(np.arange(50)))
    save_folder(data, tmp_path / "a")
    back = load_folder(tmp_path / "a")
    assert back.impressions is not None
    assert back.random_ratings is not None
    assert len(back.random_ratings) == 50
    assert back.checksum != load_dataset(WORLD).checksum
    assert len(back.impressions) == len(log)
    assert back.impressions.watched.sum() == log.watched.sum()
    assert back.impressions.left.sum() == log.left.sum()
    a, b = (fit_from_impressions(truth(), one).examination for one in (log, back.impressions))
    np.testing.assert_allclose(a, b, atol=1e-4)


HEAD = "user,item,session,page,slot,watched,rating,left\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u1,i1,s,0,1,1,5,0", "from 1"),
        ("u1,i1,s,1,1,2,5,0", "neither 1 nor 0"),
        ("u1,i1,s,1,1,0,5,0", "not watched"),
        ("u1,i1,s,1,1,1,7,0", "no level"),
        ("u9,i1,s,1,1,1,5,0", "u9"),
        ("u1,i1,s,1,1,1,5,1\nu1,i2,s,2,1,0,,0", "later page"),
    ],
)
def test_bad_tables_are_named(row: str, message: str, tmp_path) -> None:
    (tmp_path / "ratings.csv").write_text("user,item,rating\nu1,i1,5\nu1,i2,3\n")
    (tmp_path / "items.csv").write_text("item,title\ni1,A\ni2,B\n")
    (tmp_path / "impressions.csv").write_text(HEAD + row + "\n")
    with pytest.raises(DataError, match=message):
        load_folder(tmp_path)
