"""The slot effect as a module of its own: the position-based model, P(watch) = P(slot examined) * P(watch | examined).

Source: Craswell et al., WSDM 2008; Richardson et al., WWW 2007. Only products are identified, so the most examined slot
has probability 1, and whatever is missing there belongs to the level of watching. A language model is never asked to
have a position bias; where a log shows slots, people get the bias that the log shows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.optimize
from scipy.special import expit

from recsim_llm.types import Floats, Ints

_FEWEST = 20
_TINY = 1e-9


class FittedExamination(NamedTuple):
    """What a log of impressions says of slots.

    Attributes:
        probability: (S,) that a slot is examined; the largest is 1.
        errors: (S,) standard errors; 0 for the largest.
        level: Log-odds to be added to the attraction of an examined item.
    """

    probability: Floats
    errors: Floats
    level: float


def examined(watch_BK: Floats, probability: Floats) -> Floats:
    """Probabilities of watching on (B, K) pages, once slots are taken into account.

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

    Args:
        log_odds: (M,) of watching, by a model that knows nothing of slots; its level is fitted here.
        slots: (M,) from 0. Slots with fewer than 20 impressions join the one before.
        watched: (M,) 1 or 0.
    """
    count = np.bincount(slots)
    last = int(np.flatnonzero(count >= _FEWEST).max(initial=0))
    slots, size = np.minimum(slots, last), last + 1

    def chance(x: Floats) -> Floats:
        result: Floats = expit(x[slots]) * expit(log_odds + x[-1])
        return np.clip(result, _TINY, 1 - _TINY)

    def loss(x: Floats) -> tuple[float, Floats]:
        seen, drawn = expit(x[slots]), expit(log_odds + x[-1])
        p = np.clip(seen * drawn, _TINY, 1 - _TINY)
        slope = (p - watched) / (1 - p)  # d loss / d log p
        gradient = np.bincount(slots, weights=slope * (1 - seen), minlength=size)
        value = -(watched * np.log(p) + (1 - watched) * np.log1p(-p)).sum()
        # A trace of a penalty: that slot and level trade off must not let both run away.
        return float(value + 0.005 * (x @ x)), np.append(gradient, (slope * (1 - drawn)).sum()) + 0.01 * x

    start = np.zeros(size + 1)
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    probability = expit(found.x[:size])
    best = float(probability.max())
    return _normalised(probability / best, best, log_odds, slots, watched, float(found.x[-1]), chance(found.x))


def _normalised(
    probability: Floats, best: float, log_odds: Floats, slots: Ints, watched: Floats, level: float, p: Floats
) -> FittedExamination:
    """Put what is missing in the best slot into the level, and add standard errors from the binomial information."""
    wanted = float((best * expit(log_odds + level)).mean())
    moved = scipy.optimize.brentq(lambda c: expit(log_odds + c).mean() - wanted, -60.0, 60.0)
    information = np.bincount(slots, weights=p / (1 - p), minlength=len(probability))
    errors = np.where(probability < 1.0, probability / np.sqrt(np.maximum(information, _TINY)), 0.0)
    return FittedExamination(probability, errors, float(moved))
