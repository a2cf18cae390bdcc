"""Leaving, slots and coming back, with the numbers of one person worked out by hand.

Formulas: the hazard, `leaving` (declared); examination, Richardson et al. (WWW 2007): P(watch) = P(slot
examined) * P(watch | examined); coming back, `agents.statistical.return_times` after KuaiSim's cross-session level.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_world import Puppets, everybodys_wish, write_world

from recsim_llm.agents.llm.agent4rec.agent4rec import PAGE_HAZARD
from recsim_llm.agents.llm.clock import PAGE_HOURS, WATCH_HOURS
from recsim_llm.agents.population import make_population
from recsim_llm.agents.statistical.examination import examined
from recsim_llm.agents.statistical.leaving import LeaveParameters, leave_probability
from recsim_llm.agents.statistical.return_times import (
    ReturnParameters,
    draw_gaps,
    return_distribution,
    visit_satisfaction,
)
from recsim_llm.environments.sessions import PageRules
from recsim_llm.environments.visits import VisitRules, VisitSessions
from recsim_llm.types import Responses

ONE = np.zeros(1, dtype=np.int64)


def chance(log_odds):
    return 1 / (1 + math.exp(-log_odds))


def hazard(page, satisfaction, repeats, activity, parameters=LeaveParameters()):  # noqa: B008
    row = np.array([page]), np.array([satisfaction]), np.array([repeats]), np.array([activity])
    return float(leave_probability(parameters, *row)[0])


@pytest.mark.parametrize(
    ("page", "satisfaction", "repeats", "activity", "log_odds"),
    [
        (0, 0.0, 0.0, 2, 0.0),  # never pleased, middling patience: an even chance
        (0, 1.0, 0.0, 2, -3.0),  # fully pleased
        (2, 0.5, 0.0, 2, 2 * 0.15 - 1.5),  # the third page tires
        (0, 0.5, 1.0, 2, -1.5 + 2.0),  # everything shown before
        (0, 0.5, 0.25, 3, -1.5 + 0.5 - 0.7),  # a quarter of it; the active are patient
        (4, 0.25, 0.5, 1, 0.6 - 0.75 + 1.0 + 0.7),  # and the inactive are not
    ],
)
def test_the_declared_hazard_by_hand(page, satisfaction, repeats, activity, log_odds):
    assert math.isclose(hazard(page, satisfaction, repeats, activity), chance(log_odds), rel_tol=1e-12)


def test_agent4rec_leaves_from_fatigue_as_its_published_run_did():
    # Its exits after pages 1 to 4, activity 1, were 0.12, 0.34, 0.65 and 0.93; pleased with the page in the middle.
    fitted = [hazard(page, 0.5, 0.0, 1, PAGE_HAZARD) for page in range(4)]
    by_hand = [chance(-3.72 + 1.69 * page - 0.33 * 0.5 + 1.51) for page in range(4)]
    assert np.allclose(fitted, by_hand, rtol=1e-12)
    assert np.abs(np.array(fitted) - [0.12, 0.34, 0.65, 0.93]).max() < 0.09


def test_an_agents_visit_of_three_pages_hazard_by_hazard(tmp_path):
    # Person 0 (activity from the ratings) wants Blue Moon, five stars. Page 1 has it, page 2 not, page 3 is page 2.
    users = make_population(str(write_world(tmp_path)), "dialogue", everybodys_wish()).users
    users.reset(ONE, ONE, np.zeros(1, dtype=np.uint64))
    activity = users._activity[0]
    pages = [[0, 1], [3, 4], [3, 4]]
    stars = [[5.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    # Satisfaction begins at 1/2 and is half forgotten: 1/2*1/2 + 1/2*1 = 3/4, then 3/8, then 3/16.
    log_odds = [-3 * 3 / 4, 0.15 - 3 * 3 / 8, 0.30 - 3 * 3 / 16 + 2.0]
    for page, given, expected in zip(pages, stars, log_odds, strict=True):
        done = Responses(np.array([given]) > 0, np.array([given]))
        leave = users.observe(ONE, np.array([page]), done)
        assert leave[0] == pytest.approx(chance(expected - 0.7 * (activity - 2)), rel=1e-12)
    assert users.agent(0).hour == pytest.approx(3 * PAGE_HOURS + WATCH_HOURS)
    assert (users.agent(0).topic, users.agent(0).stars) == (0, 5.0), "what it watched last is what it talks about"


def test_slots_are_examined_from_the_first_and_the_last_one_holds_on():
    watch = np.array([[0.5, 0.4, 0.2, 1.0]])
    by_hand = [0.5 * 1.0, 0.4 * 0.5, 0.2 * 0.25, 1.0 * 0.25]
    assert np.allclose(examined(watch, np.array([1.0, 0.5, 0.25])), [by_hand], rtol=1e-12)
    assert examined(watch, np.zeros(0)) is watch


def test_the_return_of_a_person_day_by_day():
    # Satisfaction 3/4: log-odds -1.2 + 3 * 1/4 = -0.45 on day 1, and 0.1 more each day.
    days = ReturnParameters(base=-1.2, pleasure=3.0, per_day=0.1, days=3)
    first, second, third = chance(-0.45), chance(-0.35), chance(-0.25)
    by_hand = [first, (1 - first) * second, (1 - first) * (1 - second) * third]
    found = return_distribution(days, np.array([0.75]))[0]
    assert np.allclose(found, [*by_hand, (1 - first) * (1 - second) * (1 - third)], rtol=1e-12)
    # 20,000 visits: a share has a standard deviation of at most 0.0036.
    keys, visits = np.arange(20_000, dtype=np.uint64), np.zeros(20_000, dtype=np.int64)
    gaps = draw_gaps(days, np.full(20_000, 0.75), keys, visits)
    shares = np.bincount(gaps, minlength=4) / 20_000
    assert np.abs(shares - [found[3], *found[:3]]).max() < 0.02, "0 stands for not coming back"


def test_what_the_declared_return_model_says_of_three_people():
    # Of the documentation: 52 %, 7 % and 0.02 % stay away; the others come after 5.0, 3.5 and 1.7 days in the mean.
    found = return_distribution(ReturnParameters(), np.array([0.0, 0.5, 1.0]))
    by_hand = [(1 - chance(-1.2 + 3 * (s - 0.5))) ** 10 for s in (0.0, 0.5, 1.0)]
    assert np.allclose(found[:, -1], by_hand, rtol=1e-9)
    assert [round(100 * share, 2) for share in found[:, -1]] == [52.18, 7.19, 0.02]
    mean = found[:, :-1] @ np.arange(1, 11) / (1 - found[:, -1])
    assert mean.round(1).tolist() == [5.0, 3.5, 1.7]


def test_a_visit_pleases_by_its_mean_rating():
    # 5 + 3 stars of two items: mean 4, that is 3/4 of the way from 1 to 5. Nothing watched: 0.
    stars, watched = np.array([8.0, 0.0, 2.0]), np.array([2, 0, 2])
    assert visit_satisfaction(stars, watched, 1.0, 5.0).tolist() == [0.75, 0.0, 0.0]


def test_minus_the_days_of_absence_by_hand():
    # Visits of one page. Comes back for sure on day 1, so two visits of three cost a day each and the third is cut off.
    def paid(base, count):
        users = Puppets([[1.0, 0.0]], [[5.0, 5.0]], plans=[[1, 0, 0, 0, 0]])
        rules = VisitRules(count, ReturnParameters(base=base, pleasure=0.0, days=4), pay_days=True)
        visits = VisitSessions(1, users, PageRules(page_size=2, max_pages=1), rules)
        visits.begin(ONE, ONE, np.zeros(1, dtype=np.uint64))
        rows = []
        while not visits.ended[0]:
            o = visits.step(ONE, np.array([[0, 1]]))
            rows.append((o.rewards[0], bool(o.left[0]), bool(o.truncated[0]), o.visits[0], o.days[0], o.gaps[0]))
        return rows, users.visits

    rows, visits = paid(30.0, 3)
    assert rows == [(-1, False, False, 0, 0, 1), (-1, False, False, 1, 1, 1), (-1, False, True, 2, 2, 1)]
    assert visits == [(0, 24.0), (0, 48.0)], "further visits begin a day later each"
    # Who never comes back costs 4 + 1 days for each of the three visits that there will not be.
    assert paid(-30.0, 3)[0] == [(-15, True, False, 0, 0, 0)]
