"""The return model: a distribution, drawn with common random numbers, recovered by the fit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsim_llm.agents.statistical.return_times import (
    ReturnParameters,
    draw_gaps,
    fit_returning,
    return_distribution,
    return_hazard,
    visit_satisfaction,
)
from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.seeding import mix

PLANTED = ReturnParameters(base=-1.6, pleasure=2.4, per_day=0.1)
DAY = 86_400


def test_distribution_against_a_loop():
    satisfaction = np.array([0.0, 0.3, 1.0])
    table = return_distribution(PLANTED, satisfaction)
    for row, pleased in zip(table, satisfaction, strict=True):
        away = 1.0
        for day in range(1, 11):
            come = 1 / (1 + math.exp(-(-1.6 + 2.4 * (pleased - 0.5) + 0.1 * (day - 1))))
            assert row[day - 1] == pytest.approx(away * come)
            away *= 1 - come
        assert row[10] == pytest.approx(away)
    np.testing.assert_allclose(table.sum(axis=1), 1.0)


def test_without_a_slope_over_days_the_gap_is_geometric():
    table = return_distribution(ReturnParameters(), np.array([0.7]))[0]
    ratios = table[1:-1] / table[:-2]
    np.testing.assert_allclose(ratios, 1 - return_hazard(ReturnParameters(), np.array([0.7]))[0, 0])


def test_the_declared_numbers_are_those_of_the_docstring():
    table = return_distribution(ReturnParameters(), np.array([0.0, 0.5, 1.0]))
    days = (table[:, :-1] @ np.arange(1, 11)) / table[:, :-1].sum(axis=1)
    np.testing.assert_allclose(table[:, -1], [0.52, 0.07, 0.0002], rtol=0.05)
    np.testing.assert_allclose(days, [5.0, 3.5, 1.7], rtol=0.03)


def test_draws_follow_the_distribution():
    count = 40_000
    gaps = draw_gaps(PLANTED, np.full(count, 0.4), mix(np.arange(count)), np.full(count, 2))
    share = np.bincount(gaps, minlength=11) / count
    expected = return_distribution(PLANTED, np.array([0.4]))[0]
    np.testing.assert_allclose(share[1:], expected[:-1], atol=0.01)
    assert share[0] == pytest.approx(expected[-1], abs=0.01)


def test_the_more_pleased_are_back_no_later():
    keys = mix(np.arange(2_000))
    number = np.zeros(2_000, dtype=np.int64)
    away = [draw_gaps(PLANTED, np.full(2_000, s), keys, number) for s in (0.0, 0.5, 1.0)]
    later = [np.where(gaps == 0, 11, gaps) for gaps in away]
    assert (later[0] >= later[1]).all()
    assert (later[1] >= later[2]).all()
    assert (later[0] > later[2]).any()


def test_a_draw_depends_on_the_person_and_the_visit_alone():
    keys, visits, pleased = mix(np.arange(50)), np.arange(50) % 4, np.linspace(0, 1, 50)
    together = draw_gaps(PLANTED, pleased, keys, visits)
    alone = [draw_gaps(PLANTED, pleased[i : i + 1], keys[i : i + 1], visits[i : i + 1])[0] for i in range(50)]
    assert together.tolist() == alone
    assert draw_gaps(PLANTED, pleased, keys, visits + 1).tolist() != alone


def test_satisfaction_of_visits():
    stars, watched = np.array([0.0, 1.0, 5.0, 8.0]), np.array([0, 1, 1, 2])
    assert visit_satisfaction(stars, watched, 1.0, 5.0).tolist() == [0.0, 0.0, 1.0, 0.75]


def simulated_log(parameters: ReturnParameters, people: int, days: int, seed: int = 0) -> Ratings:
    """People who rate one to three items a visit until they stay away or the log ends; levels 1 and 5."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(people):
        day = int(rng.integers(days // 2))
        while day < days:
            stars = rng.choice([1.0, 5.0], size=rng.integers(1, 4))
            rows += [(user, star, day * DAY + int(rng.integers(DAY))) for star in stars]
            hazard = return_hazard(parameters, np.array([(stars.mean() - 1) / 4]))[0]
            came = np.flatnonzero(rng.random(parameters.days) < hazard)
            if not len(came):
                break
            day += int(came[0]) + 1
    users, stars, times = (np.array(column) for column in zip(*rows, strict=True))
    order = rng.permutation(len(rows))
    items = np.arange(len(rows))
    return Ratings(users[order], items, stars[order].astype(np.float32), times[order], people, len(rows))


@pytest.mark.parametrize(
    "planted", [PLANTED, ReturnParameters(-0.5, 1.0, -0.2), ReturnParameters(-1.0, 0.0, 0.0, days=4)]
)
def test_planted_parameters_are_recovered(planted):
    fit = fit_returning(simulated_log(planted, 800, 60), days=planted.days)
    found, true = fit.parameters, planted
    distance = np.array([found.base - true.base, found.pleasure - true.pleasure, found.per_day - true.per_day])
    assert (np.abs(distance) < 4 * np.array(fit.standard_errors)).all()
    assert max(fit.standard_errors) < 0.2
    assert found.days == planted.days


def test_a_fit_says_what_it_rests_on():
    # One person a row: visits on these days, of a log that ends on day 40.
    visits = [*[[0, 2, 4]] * 20, *[[0, 15]] * 5, [40], [33]]
    rows = [(u, 1.0 + 4.0 * ((u + day) % 2), day * DAY) for u, days in enumerate(visits) for day in days]
    users, stars, times = (np.array(column) for column in zip(*rows, strict=True))
    fit = fit_returning(Ratings(users, np.arange(len(rows)), stars.astype(np.float32), times, 27, len(rows)))
    # Nothing is known after a visit on the last day, and of the visit on day 33 seven days are.
    assert (fit.people, fit.repeat_people) == (26, 25)
    assert (fit.gaps, fit.returns, fit.cut_short) == (20 * 3 + 5 * 2 + 1, 40, 1)


def test_the_fit_is_the_maximum():
    log = simulated_log(PLANTED, 300, 40)
    best = fit_returning(log)
    visits = sorted({(u, t // DAY) for u, t in zip(log.users.tolist(), log.times.tolist(), strict=True)})
    last = max(day for _, day in visits)

    def slow(parameters: ReturnParameters) -> float:
        total = 0.0
        for i, (user, day) in enumerate(visits):
            stars = log.values[(log.users == user) & (log.times // DAY == day)]
            hazard = return_hazard(parameters, np.array([(float(stars.mean()) - 1) / 4]))[0]
            follows = i + 1 < len(visits) and visits[i + 1][0] == user
            gap = (visits[i + 1][1] if follows else last) - day
            came = follows and gap <= 10
            total += np.log1p(-hazard[: gap - 1 if came else min(gap, 10)]).sum()
            total += math.log(hazard[gap - 1]) if came else 0.0
        return total

    p = best.parameters
    assert slow(p) == pytest.approx(best.log_likelihood)
    for nudged in (
        ReturnParameters(p.base + 0.05, p.pleasure, p.per_day),
        ReturnParameters(p.base, p.pleasure - 0.1, p.per_day),
        ReturnParameters(p.base, p.pleasure, p.per_day + 0.02),
    ):
        assert slow(nudged) < best.log_likelihood


def _log(users, days, stars) -> Ratings:
    rows = len(users)
    times = np.asarray(days) * DAY
    return Ratings(
        np.asarray(users), np.arange(rows), np.asarray(stars, np.float32), times, max(users, default=0) + 1, rows
    )


TOO_LITTLE = {
    "nothing": (_log([], [], []), "is empty"),
    "no times": (_log(range(100), [0] * 100, [1, 5] * 50), "0 of 0"),
    "one visit each": (_log(range(100), range(100), [1, 5] * 50), "0 of 0"),
    "one person": (_log([0] * 100, range(100), [1, 5] * 50), "99 of 1"),
    "one level": (_log(range(100), range(100), [5] * 100), "are equal"),
    "all come back": (_log([*range(50)] * 2, [0] * 50 + [1] * 50, [1, 5] * 50), "Everybody"),
    "likes only": (_log([*range(50)] * 3, [0] * 50 + [1] * 50 + [60] * 50, [4] * 100 + [5] * 50), "Every visit"),
    "only the pleased": (
        _log([*range(100)] * 2, [0] * 100 + [1] * 50 + [60] * 50, [5] * 50 + [1] * 50 + [3] * 100),
        "det",
    ),
}


@pytest.mark.parametrize("what", TOO_LITTLE)
def test_logs_that_cannot_tell(what):
    log, message = TOO_LITTLE[what]
    with pytest.raises(DataError, match=message):
        fit_returning(log)


@pytest.mark.parametrize("wrong", [{"days": 0}, {"base": math.nan}, {"pleasure": math.inf}])
def test_impossible_parameters(wrong):
    with pytest.raises(ConfigError):
        ReturnParameters(**wrong)
