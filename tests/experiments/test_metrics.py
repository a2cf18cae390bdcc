from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.errors import ConfigError
from recsim_llm.experiments import metrics
from recsim_llm.experiments.metrics import METRICS, Estimate, estimate, paired_difference, per_user, summarise, table
from recsim_llm.runs.steps import StepBatch

quick = settings(deadline=None, max_examples=40)


def make_steps(users=5, sessions=2, max_pages=4, page_size=3, seed=0) -> StepBatch:
    """Sessions of random length; some pages have empty slots and nobody needs to watch anything."""
    rng = np.random.default_rng(seed)
    rows = [
        (user * sessions + s, user + 100, page)
        for user in range(users)
        for s in range(sessions)
        for page in range(rng.integers(1, max_pages + 1))
    ]
    session, user, page = np.array(rows, dtype=np.int64).reshape(-1, 3).T.copy()
    S, K, R = len(rows), page_size, 5
    items = rng.integers(-1, 20, (S, K))
    watched = (rng.random((S, K)) < rng.choice([0.0, 0.6], (S, 1))) & (items >= 0)
    ratings = np.where(watched, rng.integers(1, R + 1, (S, K)), 0).astype(float)
    no = np.zeros(S, dtype=bool)
    return StepBatch(
        session, user, page, items, rng.random((S, K)), np.full((S, K, R), 1 / R), watched, ratings,
        rng.random(S), no, no, rng.normal(size=S),
    )  # fmt: skip


def naive(steps: StepBatch, metric: str) -> dict[int, float]:
    """The measures by loops over rows."""
    values = {}
    for user in sorted(set(steps.user.tolist())):
        rows = [i for i in range(len(steps)) if steps.user[i] == user]
        sessions = {int(steps.session[i]) for i in rows}
        slots = [(i, k) for i in rows for k in range(steps.items.shape[1]) if steps.items[i, k] != -1]
        stars = [steps.ratings[slot] for slot in slots if steps.watched[slot]]
        if metric == "watch_rate" and slots:
            values[user] = sum(bool(steps.watched[slot]) for slot in slots) / len(slots)
        if metric == "mean_rating" and stars:
            values[user] = sum(stars) / len(stars)
        if metric == "session_length":
            values[user] = len(rows) / len(sessions)
        if metric == "reward":
            values[user] = sum(steps.reward[i] for i in rows) / len(sessions)
    return values


@pytest.mark.parametrize("metric", METRICS)
@quick
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 10_000))
def test_measures_equal_slow_loops(metric, users, sessions, seed):
    steps = make_steps(users, sessions, seed=seed)
    ids, values = per_user(steps, metric)
    found = {int(u): v for u, v in zip(ids, values, strict=True) if not np.isnan(v)}
    wanted = naive(steps, metric)
    assert found.keys() == wanted.keys()
    assert all(found[user] == pytest.approx(wanted[user], abs=1e-12) for user in wanted)
    result = summarise(steps)[metric]
    assert result.n == len(wanted)
    if wanted:
        assert result.value == pytest.approx(np.mean(list(wanted.values())), abs=1e-12)
    if len(wanted) > 1:
        assert result.low <= result.value <= result.high


@quick
@given(st.integers(0, 10_000), st.randoms())
def test_the_order_of_rows_changes_no_bit(seed, random):
    steps = make_steps(seed=seed)
    order = list(range(len(steps)))
    random.shuffle(order)
    assert str(summarise(steps)) == str(summarise(steps.take(np.array(order))))


def test_counts_and_users_who_watched_nothing():
    steps = make_steps(users=6, sessions=2, seed=1)
    silent = steps.user == 100
    watched = steps.watched & ~silent[:, None]
    steps = StepBatch(*(watched if n == "watched" else getattr(steps, n) for n in StepBatch.__slots__))
    summary = summarise(steps)
    assert summary["users"].value == 6
    assert summary["sessions"].value == 12
    assert summary["pages"].value == len(steps)
    assert summary["mean_rating"].n < 6
    assert summary["watch_rate"].n == 6
    missing = 6 - summary["mean_rating"].n
    assert f"ease: {missing} of 6 users watched nothing" in table([("ease", summary)])


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_intervals_cover_the_truth_about_as_often_as_they_say(draw):
    rng = np.random.default_rng(0)
    truth, covered, repeats = {"normal": 0.0, "exponential": 1.0}[draw], 0, 300
    for i in range(repeats):
        result = estimate(getattr(rng, draw)(size=60), seed=i)
        covered += result.low <= truth <= result.high
    # The bootstrap of 60 skewed values is known to cover a little less than 95 %.
    assert 0.89 <= covered / repeats <= 0.985


def test_an_interval_is_that_of_the_normal_law_for_many_users():
    values = np.random.default_rng(1).normal(2.0, 3.0, 5_000)
    result, half = estimate(values), 1.96 * values.std() / np.sqrt(5_000)
    assert result.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert result.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_few_users():
    none, one, same = estimate(np.array([np.nan])), estimate(np.array([np.nan, 2.0])), estimate(np.full(5, 3.0))
    assert (none.n, str(none)) == (0, "-")
    assert (one.n, str(one)) == (1, "2.000")
    assert str(same) == "3.000 [3.000, 3.000]"


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_is_paired_over_the_users_in_common(metric):
    a, b = make_steps(users=8, seed=2), make_steps(users=12, seed=3)
    ours, theirs = naive(a, metric), naive(b, metric)
    common = ours.keys() & theirs.keys()
    gap = paired_difference(a, b, metric)
    assert gap.n == len(common) < 12
    assert gap.value == pytest.approx(np.mean([theirs[u] - ours[u] for u in common]))
    back = paired_difference(b, a, metric)
    assert back.value == pytest.approx(-gap.value)
    assert paired_difference(a, a, metric) == Estimate(0.0, 0.0, 0.0, len(ours))


def test_pairing_narrows_the_interval_of_runs_that_differ_little():
    a = make_steps(users=200, seed=4)
    arrays = {name: getattr(a, name) for name in StepBatch.__slots__}
    b = StepBatch(**{**arrays, "reward": a.reward + 0.01})
    gap, alone = paired_difference(a, b, "reward"), summarise(a)["reward"]
    assert gap.low > 0
    assert gap.high - gap.low < 0.1 * (alone.high - alone.low)


def test_what_cannot_be_compared_is_said():
    a, b = make_steps(users=3), make_steps(users=3)
    strangers = StepBatch(*(b.user + 50 if n == "user" else getattr(b, n) for n in StepBatch.__slots__))
    with pytest.raises(ConfigError, match="No user has a reward in both runs"):
        paired_difference(a, strangers, "reward")
    with pytest.raises(ConfigError, match="no measure 'clicks'.*watch_rate"):
        paired_difference(a, b, "clicks")


def test_the_table_is_aligned():
    exact = {name: Estimate(v, v, v, 1000) for name, v in (("users", 1000), ("sessions", 1000), ("pages", 4321))}
    measures = {name: Estimate(0.4123, 0.39, 0.4331, 1000) for name in METRICS}
    text = table([("popularity", exact | measures), ("ease", exact | measures)])
    header, first, second, note = text.splitlines()
    assert header.split("  ")[0] == "policy"
    assert "1,000" in first
    assert "0.412 [0.390, 0.433]" in first
    assert first.replace("popularity", "ease      ") == second
    assert len(header) == len(first)
    assert header.endswith("reward")
    assert "95 %" in note


def test_ten_thousand_users_are_quick():
    steps = make_steps(users=10_000, sessions=1, seed=5)
    started = time.perf_counter()
    summarise(steps)
    assert time.perf_counter() - started < 10


def test_the_interval_of_many_users_is_the_bootstraps(monkeypatch):
    values = np.random.default_rng(0).gamma(2.0, size=3_000)
    drawn = metrics.estimate(values)
    monkeypatch.setattr(metrics, "LARGE", 2_999)
    formula = metrics.estimate(values)
    assert (formula.value, formula.n) == (drawn.value, drawn.n)
    width = drawn.high - drawn.low
    np.testing.assert_allclose([formula.low, formula.high], [drawn.low, drawn.high], atol=0.05 * width)
    assert formula.low != drawn.low
