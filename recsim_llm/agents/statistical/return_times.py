"""Return times: the number of days between two visits of a person, as a hazard over at most ten days.

On day d after a visit, 1 <= d <= days, a person who has not been back yet comes with probability

    P(day d) = sigmoid(base + pleasure * (satisfaction - 0.5) + per_day * (d - 1))

and who has not come by the last day does not come back. With per_day = 0 the gap is geometric, cut off at `days`. The
level is that of KuaiSim's cross-session environment (Zhao et al., NeurIPS 2023: return time "geometric-like over 10
days", a bias and a term in what the person felt). Deviations: its third term, an untrained linear layer, is left out;
and people may stay away for good, whereas there everybody is back on day 10.

The satisfaction of a visit is the mean rating of what was watched in it, on a scale from 0 (lowest level, or nothing
watched) to 1: the one definition that both a simulated visit and a log of ratings can fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Floats, Ints, Keys

DAYS = 10
LEAST_RETURNS, LEAST_PEOPLE = 30, 10
"""Minimum contents of a log to which a return model is fitted."""

_DAY_SECONDS = 86_400
_STEPS, _TOLERANCE, _LARGEST = 50, 1e-9, 30.0  # of Newton's method; log-odds beyond 30 mean that there is no maximum


@dataclass(frozen=True, slots=True)
class ReturnParameters:
    """The hazard of coming back.

    The defaults are *declared*: of people whom a visit did not please at all 52 % stay away, of those in the middle
    7 %, of the delighted 0.02 %; those who do come back come after 5.0, 3.5 and 1.7 days on average.

    Attributes:
        base: Log-odds of coming on the first day after a visit of satisfaction 0.5.
        pleasure: Log-odds between a visit of satisfaction 0 and one of satisfaction 1.
        per_day: Added for each day that has passed, log-odds per day.
        days: Longest gap; who has not come by then does not come back. At least 1.
    """

    base: float = -1.2
    pleasure: float = 3.0
    per_day: float = 0.0
    days: int = DAYS

    def __post_init__(self) -> None:
        if self.days < 1:
            raise ConfigError(f"A person needs at least 1 day to come back, not days={self.days}.")
        if not np.isfinite([self.base, self.pleasure, self.per_day]).all():
            raise ConfigError("base, pleasure and per_day of a return model are finite log-odds.")


@dataclass(frozen=True, slots=True)
class ReturnFit:
    """A return model fitted to a log, and what it rests on.

    Attributes:
        parameters: The maximum-likelihood estimate.
        standard_errors: Of base, pleasure and per_day, from the observed information.
        people: People with at least one visit that has an observed follow-up.
        repeat_people: Those of them who came more than once.
        gaps: Visits that have an observed follow-up.
        returns: Gaps that ended within the days of the model.
        cut_short: Gaps that the end of the log cut off before the last day.
        log_likelihood: At the estimate, natural logarithm.
    """

    parameters: ReturnParameters
    standard_errors: tuple[float, float, float]
    people: int
    repeat_people: int
    gaps: int
    returns: int
    cut_short: int
    log_likelihood: float


def return_hazard(parameters: ReturnParameters, satisfaction: Floats) -> Floats:
    """(B, days) probability of coming on each day, given that the person has not been back before.

    Args:
        parameters: The hazard.
        satisfaction: (B,) of the visit that has just ended, [0, 1].
    """
    p = parameters
    logit = p.base + p.pleasure * (satisfaction[:, None] - 0.5) + p.per_day * np.arange(p.days)
    hazard: Floats = 1.0 / (1.0 + np.exp(-logit))
    return hazard


def return_distribution(parameters: ReturnParameters, satisfaction: Floats) -> Floats:
    """(B, days + 1) probability of each gap of 1..days days, and last of not coming back; rows sum to 1."""
    hazard = return_hazard(parameters, satisfaction)
    away = np.cumprod(1.0 - hazard, axis=1)
    # (B, days + 1) probability of not being back before each day.
    before = np.concatenate([np.ones((len(hazard), 1)), away], axis=1)
    return np.concatenate([hazard * before[:, :-1], away[:, -1:]], axis=1)


def draw_gaps(parameters: ReturnParameters, satisfaction: Floats, keys: Keys, visits: Ints) -> Ints:
    """(B,) days until the next visit, 1..days, or 0 for those who do not come back.

    One random number decides a gap, so that of two policies the one that pleases a person more does not bring them back
    later (common random numbers).

    Args:
        parameters: The hazard.
        satisfaction: (B,) of the visits that have just ended, [0, 1].
        keys: (B,) keys of the people's episodes.
        visits: (B,) numbers of these visits within the episodes, from 0.
    """
    # (B, days) probability of being back by each day, inverted at one uniform number.
    reached = np.cumsum(return_distribution(parameters, satisfaction)[:, :-1], axis=1)
    gaps = 1 + (uniforms(keys, Stream.RETURN, visits)[:, None] >= reached).sum(axis=1)
    return np.where(gaps > parameters.days, 0, gaps).astype(np.int64)


def visit_satisfaction(stars: Floats, watched: Ints, low: float, high: float) -> Floats:
    """(B,) satisfaction of visits, [0, 1].

    Args:
        stars: (B,) sum of the stars given in each visit.
        watched: (B,) number of items rated in each visit.
        low: Lowest rating level, stars.
        high: Highest rating level, stars.
    """
    mean = (stars / np.maximum(watched, 1) - low) / (high - low)
    satisfaction: Floats = np.where(watched > 0, np.clip(mean, 0.0, 1.0), 0.0)
    return satisfaction


def fit_returning(ratings: Ratings, levels: Sequence[float] = (), days: int = DAYS) -> ReturnFit:
    """Fit the return model to a log of ratings with times, by maximum likelihood.

    A visit is all that a person rated on one day (UTC). A gap longer than `days` counts as days without a return, and
    so does what is left of the log after a person's last visit; a log that ends sooner censors the gap. Given a gap's
    days, each is one Bernoulli observation: a discrete-time hazard model (Singer and Willett 1993), whose likelihood is
    that of a logistic regression.

    Args:
        ratings: The log; rows in any order.
        levels: Rating levels, ascending; default: the lowest and highest rating of the log.
        days: Longest gap of the model, at least 1.

    Raises:
        DataError: Too few people come more than once, or the log does not identify the effect of satisfaction.
        ConfigError: `days` is below 1.
    """
    ReturnParameters(days=days)
    gaps = _gaps(ratings, levels, days)
    _check(gaps)
    x, y = _person_days(gaps, days)
    beta, information, log_likelihood = _newton(x, y)
    # With days = 1 there is no slope over days: it is 0, with standard error 0.
    base, pleasure, per_day = np.pad(beta, (0, 3 - len(beta))).tolist()
    errors = np.pad(np.sqrt(np.diag(np.linalg.inv(information))), (0, 3 - len(beta))).tolist()
    return ReturnFit(
        ReturnParameters(base, pleasure, per_day, days),
        (errors[0], errors[1], errors[2]),
        len(np.unique(gaps.users)),
        len(np.unique(gaps.users[gaps.again])),
        len(gaps.users),
        int(gaps.returned.sum()),
        int((~gaps.returned & (gaps.length < days)).sum()),
        log_likelihood,
    )


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Follow-up of each visit: `length` days are observed, and on the last of them the person was back or not."""

    users: Ints
    satisfaction: Floats
    length: Ints
    returned: Bools
    again: Bools


def _gaps(ratings: Ratings, levels: Sequence[float], days: int) -> _Gaps:
    if not len(ratings):
        raise DataError("A return model needs ratings with times; the log is empty.")
    day = ratings.times // _DAY_SECONDS
    first, last = int(day.min()), int(day.max())
    # V distinct (user, day) keys, sorted; rows (M,) is the visit of each rating.
    visits, rows = np.unique(ratings.users * (last - first + 1) + (day - first), return_inverse=True)
    users, when = np.divmod(visits, last - first + 1)
    stars, watched = np.bincount(rows, weights=ratings.values).astype(np.float64), np.bincount(rows).astype(np.int64)
    low, high = (levels[0], levels[-1]) if levels else (float(ratings.values.min()), float(ratings.values.max()))
    if low == high:
        raise DataError("All ratings of the log are equal, so it cannot tell what satisfaction does to coming back.")
    again = np.zeros(len(users), dtype=np.bool_)
    again[:-1] = users[1:] == users[:-1]
    # Days to the next visit or, after the last one, to the end of the log.
    until = np.where(again, np.roll(when, -1), last - first) - when
    length = np.minimum(until, days)
    known = length > 0
    satisfaction = visit_satisfaction(stars, watched, low, high)
    parts = (users, satisfaction, length, again & (until <= days), again)
    return _Gaps(*(part[known] for part in parts))


def _check(gaps: _Gaps) -> None:
    returns, people = int(gaps.returned.sum()), len(np.unique(gaps.users[gaps.again]))
    if returns < LEAST_RETURNS or people < LEAST_PEOPLE:
        raise DataError(
            f"A return model needs {LEAST_RETURNS} returns of {LEAST_PEOPLE} people who come more than once; this log "
            f"has {returns} of {people}. Use the declared ReturnParameters()."
        )
    if gaps.returned.all():
        raise DataError("Everybody in this log comes back, so it cannot tell who would not. Use ReturnParameters().")
    if np.ptp(gaps.satisfaction) == 0:
        raise DataError(
            f"Every visit of this log has satisfaction {gaps.satisfaction[0]:g}, so it cannot tell what satisfaction "
            "does to coming back. Use the declared ReturnParameters()."
        )


def _person_days(gaps: _Gaps, days: int) -> tuple[Floats, Floats]:
    """(M, P) regressors and (M,) outcomes, one row per observed day; with days = 1 there is no slope over days."""
    # row (M,) is the gap of each observed day; day (M,) counts from 0 within the gap.
    row = np.repeat(np.arange(len(gaps.length)), gaps.length)
    ends = np.cumsum(gaps.length)
    day = np.arange(ends[-1]) - (ends - gaps.length)[row]
    columns = [np.ones(len(row)), gaps.satisfaction[row] - 0.5, day.astype(np.float64)]
    came = gaps.returned[row] & (day == gaps.length[row] - 1)
    return np.stack(columns[: 3 if days > 1 else 2], axis=1), came.astype(np.float64)


def _newton(x: Floats, y: Floats) -> tuple[Floats, Floats, float]:
    """Estimate, observed information and log-likelihood of a logistic regression.

    Raises:
        DataError: There is no maximum: the log separates those who come from those who do not.
    """
    beta = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-(x @ beta)))
        # (P, P); nearly singular where the log separates the outcomes.
        information = (x * (p * (1.0 - p))[:, None]).T @ x
        if np.linalg.cond(information) > 1e12:
            break
        step = np.linalg.solve(information, x.T @ (y - p))
        beta = beta + step
        if np.abs(beta).max() > _LARGEST:
            break
        if np.abs(step).max() < _TOLERANCE:
            logit = x @ beta
            return beta, information, float((y * logit - np.logaddexp(0.0, logit)).sum())
    raise DataError("This log does not determine a return model: no finite parameters are the likeliest. "
                    "Use the declared ReturnParameters().")  # fmt: skip
