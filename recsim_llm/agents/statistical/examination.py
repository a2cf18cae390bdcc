"""The slot effect, by the position-based model: P(watch) = P(slot examined) * P(watch | examined).

Sources: Richardson et al., WWW 2007; Craswell et al., WSDM 2008; as propensities, Joachims et al., WSDM 2017. Slots and
level are identified up to a constant only, so the most examined slot has probability 1, and any shortfall there is part
of the level of watching. A language model is never asked to have a position bias; where a log records slots, people get
the bias fitted to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.optimize
from scipy.special import expit

from recsim_llm.types import Floats, Ints

FEWEST_SHOWN = 20
"""Impressions that a slot needs for a probability of its own."""

_LEAST = 1e-4
"""The smallest probability that a slot is examined: a slot in which nothing was watched is not yet invisible."""


class FittedExamination(NamedTuple):
    """The slot effect fitted to a log of impressions.

    Attributes:
        probability: (S,) that a slot is examined; the largest is 1.
        errors: (S,) standard errors; 0 for the slot that is 1 by definition.
        level: Log-odds to be added to the attraction of an examined item.
        level_error: Its standard error.
    """

    probability: Floats
    errors: Floats
    level: float
    level_error: float


def examined(watch_BK: Floats, probability: Floats) -> Floats:
    """(B, K) probabilities of watching, with the slot effect applied.

    Args:
        watch_BK: Probabilities of watching what is examined.
        probability: (S,) that a slot is examined; later slots take the last; (0,) for no slot effect, which changes
            no bit.
    """
    if not len(probability):
        return watch_BK
    slots = np.minimum(np.arange(watch_BK.shape[1]), len(probability) - 1)
    result: Floats = watch_BK * probability[slots]
    return result


def fit_examination(log_odds: Floats, slots: Ints, watched: Floats) -> FittedExamination:
    """Maximum likelihood of slots and level, given each pair's attraction up to that level.

    The slot with the most watching relative to the attraction of its items is taken as the one that is always examined.
    This choice is not included in the standard errors, which are those of the expected information.

    Args:
        log_odds: (M,) of watching, by a model without slots; its level is fitted here.
        slots: (M,) from 0. Slots with fewer than 20 impressions join the one before (the first ones, the one after).
        watched: (M,) 1 or 0; both must occur.
    """
    # (S,) group of each slot, then (M,) group of each row.
    group_of_slot = _groups(np.bincount(slots))
    groups, size = group_of_slot[np.minimum(slots, len(group_of_slot) - 1)], int(group_of_slot.max()) + 1
    best = _most_watched(log_odds, groups, watched, size)

    def loss(x: Floats) -> tuple[float, Floats]:
        p, drawn = _chance(x, log_odds, groups)
        slope = (p - watched) / (1 - p)  # d loss / d log p
        value = -(watched * np.log(p) + (1 - watched) * np.log1p(-p)).mean()
        # By each group's log-probability, then by the level.
        gradient = np.append(np.bincount(groups, weights=slope, minlength=size), (slope * (1 - drawn)).sum())
        return float(value), gradient / len(watched)

    # Logs of probabilities, so that the bound at 1 can be reached.
    lowest = np.append(np.where(np.arange(size) == best, 0.0, np.log(_LEAST)), -30.0)
    bounds = scipy.optimize.Bounds(lowest, np.append(np.zeros(size), 30.0))
    start = np.append(np.where(np.arange(size) == best, 0.0, np.log(0.5)), _level(log_odds, watched))
    x = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8}
    ).x
    errors, probability = _errors(x, best, log_odds, groups), np.exp(x[:size])
    return FittedExamination(
        probability[group_of_slot], (probability * errors[:size])[group_of_slot], float(x[-1]), float(errors[-1])
    )


def _groups(shown: Ints) -> Ints:
    """(S,) group of each slot: slots with too few impressions share one with a neighbour."""
    own = np.flatnonzero(shown >= FEWEST_SHOWN)
    # The last slot at or before this one with enough impressions; leading slots take the first such.
    place = np.searchsorted(own, np.arange(len(shown)), side="right") - 1
    groups: Ints = np.maximum(place, 0).astype(np.int64)
    return groups[: own[-1] + 1] if len(own) else groups[:1]


def _level(log_odds: Floats, watched: Floats) -> float:
    """Log-odds to add for the observed share of watching, if there were no slot effect."""
    share = float(np.clip(watched.mean(), 1e-6, 1 - 1e-6))
    return float(scipy.optimize.brentq(lambda c: expit(log_odds + c).mean() - share, -100.0, 100.0))


def _most_watched(log_odds: Floats, groups: Ints, watched: Floats, size: int) -> int:
    expected = np.bincount(groups, weights=expit(log_odds + _level(log_odds, watched)), minlength=size)
    return int(np.argmax(np.bincount(groups, weights=watched, minlength=size) / expected))


def _chance(x: Floats, log_odds: Floats, groups: Ints) -> tuple[Floats, Floats]:
    """(M,) probability of watching, and of watching what is examined; never quite 0 or 1."""
    drawn = np.clip(expit(log_odds + x[-1]), 1e-12, 1 - 1e-12)
    return np.exp(x[:-1])[groups] * drawn, drawn


def _errors(x: Floats, best: int, log_odds: Floats, groups: Ints) -> Floats:
    """(S + 1,) standard errors of the logs of the probabilities and of the level, from the expected information."""
    p, drawn = _chance(x, log_odds, groups)
    size, weight, slope = len(x) - 1, p / (1 - p), 1 - drawn  # d log p / d level
    # Diagonal in the log-probabilities; only the level's row and column couple them.
    information = np.diag(np.append(np.bincount(groups, weights=weight, minlength=size), (weight * slope**2).sum()))
    information[:size, -1] = information[-1, :size] = np.bincount(groups, weights=weight * slope, minlength=size)
    free = np.arange(size + 1) != best
    errors = np.zeros(size + 1)
    errors[free] = np.sqrt(np.diag(np.linalg.inv(information[np.ix_(free, free)])))
    return errors
