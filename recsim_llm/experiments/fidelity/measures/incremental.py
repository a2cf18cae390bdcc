"""Information that a simulator adds to collaborative filtering of the same log: the headline of the certificate.

Two logistic models are cross-validated over users: one on features of collaborative filtering, one on these and the
simulator's features. The gain is the difference of held-out log-loss, in nats per row. The p-value permutes the
simulator's features among the rows of each person, so that knowing only a person's mean level does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from recsim_llm.agents.statistical.fitting import logistic
from recsim_llm.experiments.fidelity.measures.measures import Measure, per_user, ratio
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats, Ints

FOLDS = 5
PERMUTATIONS = 199


@dataclass(frozen=True, slots=True)
class Increment:
    """Information over collaborative filtering.

    Attributes:
        gain: Held-out log-loss without the simulator minus that with it, in nats per row.
        p: Share of permutations, the observed data included, with at least this gain.
    """

    gain: Measure
    p: float


def increment(
    users: Ints, known: Floats, simulated: Floats, label: Floats, num_users: int, permutations: int = PERMUTATIONS
) -> Increment:
    """Measure the information that simulated features add.

    Args:
        users: (M,) 0..U-1.
        known: (M, A) features of collaborative filtering.
        simulated: (M, B) features of the simulator.
        label: (M,) 1 or 0.
        num_users: U.
        permutations: Permutations behind p; the smallest p is 1 / (permutations + 1).

    Returns:
        NaN if there are so few people that all are in one fold: nobody is left to fit on.
    """
    # (M,): all rows of a user are in the same fold.
    folds = (uniforms(11, Stream.DATA, np.arange(num_users)) * FOLDS).astype(np.int64)[users]
    if len(np.unique(folds)) < 2:
        return Increment(Measure(np.full((num_users, 2), np.nan), ratio), np.nan)
    base, extra = _standard(known), _standard(simulated)
    without = _held_out_loss(base, label, folds)
    gain = without - _held_out_loss(np.hstack([base, extra]), label, folds)
    rng = np.random.default_rng(0)
    # The observed data count as one permutation, so p is never 0.
    beaten = 1
    for _ in range(permutations):
        shuffled = extra[_within(users, rng)]
        beaten += (without - _held_out_loss(np.hstack([base, shuffled]), label, folds)).mean() >= gain.mean()
    columns = np.stack([gain, np.ones(len(gain))], axis=1)
    return Increment(Measure(per_user(users, columns, num_users), ratio), beaten / (permutations + 1))


def _within(users: Ints, rng: np.random.Generator) -> Ints:
    """A permutation that moves rows only within their user."""
    places = np.argsort(users, kind="stable")
    shuffled = np.lexsort((rng.random(len(users)), users))
    permutation = np.empty(len(users), dtype=np.int64)
    permutation[places] = shuffled
    return permutation


def _standard(columns: Floats) -> Floats:
    deviation = columns.std(axis=0)
    result: Floats = (columns - columns.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return result


def _held_out_loss(features: Floats, label: Floats, folds: Ints) -> Floats:
    """(M,) log-loss of each row under a model fitted without its fold."""
    features = np.hstack([np.ones((len(features), 1)), features])
    loss = np.zeros(len(label))
    for fold in np.unique(folds):
        out = folds == fold
        chance = np.clip(expit(features[out] @ logistic(features[~out], label[~out])), 1e-9, 1 - 1e-9)
        loss[out] = -(label[out] * np.log(chance) + (1 - label[out]) * np.log1p(-chance))
    return loss
