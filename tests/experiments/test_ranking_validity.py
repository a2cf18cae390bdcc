"""Orders of recommenders: an oracle finds the truth, a liar its reverse; who comes first in a table means nothing."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsim_llm.agents.fitted_sources import true_parameters
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.data import Dataset, Ratings
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.experiments.fidelity.measures.measures import draw_resamples
from recsim_llm.experiments.fidelity.ranking.ranking_measures import (
    clear_pairs,
    estimate,
    mean_shown,
    ndcg,
    regret,
    regret_share,
    shown_weights,
    tau_b,
)
from recsim_llm.experiments.fidelity.ranking.ranking_recommenders import CONTROL, FACTORS, Recommender, fit_recommenders
from recsim_llm.experiments.fidelity.ranking.ranking_validity import compare, measure_ranking, ranking_table
from recsim_llm.experiments.fidelity.ranking.ranking_ways import WAYS
from recsim_llm.types import Floats, Ints, Reaction

pytest.importorskip("implicit")

SMALL = make_world(5, 60, 80, 15)
FEW = 60  # bootstrap samples


class _Opposite(StatisticalUsers):
    """People who would watch, and like, the opposite of what the true people would."""

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        true = super().react(sessions, pages)
        flat = np.zeros(true.rating_BKR.shape)
        flat[..., 0] = 1.0  # one star for all: only watching orders
        return Reaction(1.0 - true.watch_BK * (true.rating_BKR @ self.rating_levels) / 5.0, flat)


def _made_up(num_users: int = 40, num_recommenders: int = 6, seed: int = 0) -> tuple[list[Recommender], Floats]:
    rng = np.random.default_rng(seed)
    families = ["", FACTORS, CONTROL]
    recommenders = [Recommender(f"r{s}", families[s % 3], np.zeros((0, 0))) for s in range(num_recommenders)]
    return recommenders, rng.normal(np.arange(num_recommenders), 1.0, (num_users, num_recommenders))


def _tables(truth: Floats, simulator: Floats, offline: Floats | None = None) -> dict[str, Floats]:
    other = truth if offline is None else offline
    return dict(zip(WAYS, (truth, simulator, other, other, other), strict=True))


def test_the_truth_itself_orders_rightly() -> None:
    recommenders, truth = _made_up()
    found = compare(recommenders, _tables(truth, truth, -truth), resamples=FEW)
    for name in ("tau", "tau_other_kinds", "tau_serious", "pairs_right"):
        assert getattr(found.simulator, name) == (1.0, 1.0, 1.0)
    assert found.simulator.regret == found.simulator.regret_share == (0.0, 0.0, 0.0)
    assert found.gain.value == 2.0
    assert found.passes
    assert found.proven


def test_the_reverse_orders_wrongly() -> None:
    recommenders, truth = _made_up()
    found = compare(recommenders, _tables(truth, -truth), resamples=FEW)
    assert found.simulator.tau == (-1.0, -1.0, -1.0)
    assert found.simulator.pairs_right.value == 0.0
    assert found.simulator.regret_share == (1.0, 1.0, 1.0)
    assert not found.passes
    assert not found.proven


def test_chance_is_near_zero() -> None:
    rng = np.random.default_rng(0)
    taus = tau_b(np.repeat(np.arange(10.0)[None], 2000, axis=0), rng.random((2000, 10)))
    assert abs(taus.mean()) < 4 * taus.std() / np.sqrt(2000)


def test_order_of_people_and_recommenders_means_nothing() -> None:
    recommenders, truth = _made_up()
    simulator = truth + np.random.default_rng(1).normal(0, 3, truth.shape)
    before = compare(recommenders, _tables(truth, simulator), resamples=FEW)
    columns = np.random.default_rng(2).permutation(len(recommenders))
    moved = [recommenders[s] for s in columns]
    after = compare(moved, _tables(truth[:, columns], simulator[:, columns]), resamples=FEW)
    assert [row.name for row in after.rows] == [row.name for row in before.rows]
    for one, other in zip(_numbers(before), _numbers(after), strict=True):
        assert one == pytest.approx(other, abs=1e-9)
    rows = np.random.default_rng(3).permutation(len(truth))
    people = compare(recommenders, _tables(truth[rows], simulator[rows]), resamples=FEW)
    assert people.simulator.tau.value == before.simulator.tau.value
    assert people.simulator.regret.value == pytest.approx(before.simulator.regret.value)


def _numbers(found: object) -> list[float]:
    out: list[float] = []

    def collect(value: object) -> None:
        if isinstance(value, dict):
            [collect(one) for one in value.values()]
        elif isinstance(value, list | tuple):
            [collect(one) for one in value]
        elif isinstance(value, float):
            out.append(value)

    collect(dataclasses.asdict(found))  # type: ignore[call-overload]
    return out


def test_a_simulator_that_is_the_same_people_needs_no_luck() -> None:
    found = measure_ranking(SMALL, StatisticalUsers(true_parameters(SMALL)), resamples=FEW)
    assert found.simulator.tau.value == 1.0
    assert found.simulator.regret.value == 0.0
    for row in found.rows:
        assert row.simulator.value == pytest.approx(row.truth.value)


def test_opposite_people_order_the_other_way_round() -> None:
    found = measure_ranking(SMALL, _Opposite(true_parameters(SMALL)), resamples=FEW)
    assert found.simulator.tau.value == -1.0
    assert found.simulator.regret_share.value == 1.0


def test_fitted_people_are_better_than_chance_and_the_same_twice() -> None:
    found = measure_ranking(SMALL, resamples=FEW)
    assert found.simulator.tau.low > 0.0
    assert found == measure_ranking(SMALL, resamples=FEW)
    assert len(found.rows) >= 8
    assert {row.name for row in found.rows if row.family == CONTROL} == {"random", "least popular", "worst rated"}


def _with_random_ratings(shown: Ratings) -> Dataset:
    return dataclasses.replace(SMALL.dataset, name="mine", random_ratings=shown)


def _random_ratings(seed: int = 0, per_user: int = 12) -> Ratings:
    rng = np.random.default_rng(seed)
    U, N = SMALL.dataset.ratings.num_users, SMALL.dataset.ratings.num_items
    items = rng.random((U, N)).argsort(axis=1)[:, :per_user].ravel()
    users = np.repeat(np.arange(U), per_user)
    stars = np.rint(SMALL.truth.expected_ratings(SMALL.truth.scores())[users, items]).astype(np.float32)
    return Ratings(users, items, stars, np.zeros(len(users), dtype=np.int64), U, N)


def test_the_simulator_sees_no_random_rating() -> None:
    """Random ratings turned upside down leave simulator and nDCG where they are."""
    shown = _random_ratings()
    reverse = dataclasses.replace(shown, values=6.0 - shown.values)
    before, after = (measure_ranking(_with_random_ratings(log), resamples=FEW) for log in (shown, reverse))
    told = [{row.name: row for row in found.rows} for found in (before, after)]
    for name, row in told[0].items():
        other = told[1][name]
        assert (row.simulator, row.offline, row.offline_liked) == (other.simulator, other.offline, other.offline_liked)
        assert row.truth.value == pytest.approx(6.0 - other.truth.value)


def test_what_was_chosen_before_is_not_judged() -> None:
    """Random ratings of items that stand in the log may say anything."""
    log = SMALL.dataset.ratings
    shown = _random_ratings()
    rated = np.isin(shown.users * log.num_items + shown.items, log.users * log.num_items + log.items)
    assert rated.any()
    spoilt = dataclasses.replace(shown, values=np.where(rated, np.float32(1.0), shown.values))
    before, after = (measure_ranking(_with_random_ratings(one), resamples=FEW) for one in (shown, spoilt))
    assert before == after


def test_without_a_truth_there_is_nothing_to_say() -> None:
    with pytest.raises(DataError, match=r"'mine' is not known.*random_ratings\.csv"):
        measure_ranking(dataclasses.replace(SMALL.dataset, name="mine"))
    # The name of the default world, but other people.
    with pytest.raises(DataError, match="what make_world returned"):
        measure_ranking(SMALL.dataset)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match="k must be within"):
        measure_ranking(SMALL, k=0)
    with pytest.raises(ConfigError, match="The simulator has 200 users"):
        measure_ranking(SMALL, StatisticalUsers(true_parameters(make_world())))


def test_the_table_and_the_file_say_the_same() -> None:
    found = measure_ranking(SMALL, resamples=FEW)
    table = ranking_table(found)
    assert max(map(len, table.splitlines())) <= 110
    assert all(line == line.rstrip() for line in table.splitlines())
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert told["passes"] == ("pass" in table.split("Gate")[1])
    assert [row["name"] for row in told["rows"]] == [row.name for row in found.rows]
    assert told["simulator"]["tau"] == list(found.simulator.tau)
    assert f"{found.simulator.tau.value:.2f}" in table


def test_recommenders_are_finite_and_differ() -> None:
    data = SMALL.dataset
    made = fit_recommenders(data.ratings, data.catalogue, data.rating_levels)
    scores = {one.name: one.scores for one in made}
    assert all(np.isfinite(s).all() and s.shape == (60, 80) for s in scores.values())
    assert len({s.argsort(axis=1, kind="stable").tobytes() for s in scores.values()}) == len(scores)


_VALUES = st.integers(-3, 3).map(float)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, (2, 7), elements=_VALUES))
def test_tau_is_that_of_scipy(both: Floats) -> None:
    expected = scipy.stats.kendalltau(both[0], both[1]).statistic
    assert tau_b(both[0], both[1]) == pytest.approx(0.0 if np.isnan(expected) else expected)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, (4, 9), elements=_VALUES), hnp.arrays(np.bool_, (4, 9)), st.integers(1, 12))
def test_equal_scores_share_their_slots(scores: Floats, candidates: np.ndarray, k: int) -> None:
    """The weights are the mean of what one sees with random tie-breaking; they sum to the slots that can be filled."""
    slots = 1.0 / np.log2(np.arange(2, k + 2))
    weights = shown_weights(scores, candidates, slots)
    filled = np.minimum(candidates.sum(axis=1), k)
    np.testing.assert_allclose(weights.sum(axis=1), [slots[:n].sum() for n in filled])
    assert (weights[~candidates] == 0).all()
    rng = np.random.default_rng(0)
    draws = [shown_weights(scores + 0.1 * rng.random(scores.shape), candidates, slots) for _ in range(400)]
    np.testing.assert_allclose(np.mean(draws, axis=0), weights, atol=0.15)


def test_ndcg_by_hand() -> None:
    discounts = 1.0 / np.log2([2.0, 3.0])
    scores, everything = np.array([[3.0, 2.0, 1.0]] * 3), np.ones((3, 3), dtype=np.bool_)
    gains = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    values = ndcg(shown_weights(scores, everything, discounts), gains, discounts)
    np.testing.assert_allclose(values[:2], [discounts[1] / discounts.sum(), 1.0])
    assert np.isnan(values[2])


def test_people_to_whom_nothing_can_be_shown_do_not_count() -> None:
    weights = shown_weights(np.ones((2, 3)), np.array([[True, True, False], [False] * 3]), np.ones(4))
    values = mean_shown(weights, np.array([[1.0, 2.0, 9.0]] * 2))
    assert values[0] == 1.5
    assert np.isnan(values[1])
    table = np.array([[1.0, 0.0], [3.0, 0.0], [np.nan, np.nan]])
    assert estimate([table], lambda means: means[..., 0], draw_resamples(3, 0, FEW)).value == 2.0


def test_ties_for_the_first_place_share_the_regret() -> None:
    truth, judged = np.array([1.0, 2.0, 4.0]), np.array([5.0, 5.0, 1.0])
    assert regret(truth, judged) == 2.5
    assert regret_share(truth, judged) == pytest.approx(2.5 / 3)
    assert regret_share(np.ones(3), judged) == 0.0


def test_clear_pairs_need_a_distance_and_people_who_agree() -> None:
    people = draw_resamples(50, 0, 200)
    noise = np.random.default_rng(0).normal(0, 1, 50)
    table = np.stack([np.zeros(50), np.full(50, 0.04), 0.2 * noise + 0.5, 5 * noise], axis=1)
    # pairs: (0,1) too close, (0,2) and (1,2) clear, the rest drowned in noise
    assert clear_pairs(table, people, 0.05).tolist() == [False, True, False, True, False, False]


def test_on_the_real_coat() -> None:
    folder = os.environ.get("RECSIM_LLM_COAT", "")
    if not Path(folder, "train.ascii").is_file():
        pytest.skip("RECSIM_LLM_COAT names no Coat folder")
    found = measure_ranking(folder)
    assert found.simulator.tau.value > 0.3
    assert {row.name: row.truth.value for row in found.rows}["random"] == pytest.approx(2.19, abs=0.02)
