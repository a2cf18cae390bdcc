"""Measures of choices (which items a person takes up), for any scorer of (person, item) pairs."""

from __future__ import annotations

import numpy as np

from recsim_llm.experiments.fidelity.measures.measures import (
    Measure,
    divergence_bits,
    mean_of_users,
    per_user,
    ratio,
    split_half,
    within_user_auc,
)
from recsim_llm.types import Floats, Ints

DECILES = 10
_STEPS = 200


def best_threshold(scores: Floats, labels: Floats) -> float:
    """The threshold with the highest accuracy on these rows, among 200 quantiles of the scores.

    The certificate sets it at the ratio 1:1 on people whom it does not measure, and uses it for all ratios.
    """
    candidates = np.unique(np.quantile(scores, np.linspace(0.0, 1.0, _STEPS + 1)))
    order = np.argsort(scores, kind="stable")
    positives = np.concatenate([[0.0], np.cumsum(labels[order])])
    below = np.searchsorted(scores[order], candidates, side="right")
    right = (below - positives[below]) + (positives[-1] - positives[below])
    return float(candidates[int(np.argmax(right))])


def choice_measures(
    users: Ints, scores: Floats, labels: Floats, num_users: int, threshold: float
) -> dict[str, Measure]:
    """Accuracy, precision, recall and f1 of `score > threshold`, and auc within users.

    Args:
        users: (M,) 0..U-1.
        scores: (M,).
        labels: (M,) 1 or 0.
        num_users: U.
        threshold: From `best_threshold`.
    """
    taken = (scores > threshold).astype(np.float64)
    columns = [taken * labels, taken * (1 - labels), (1 - taken) * labels, (1 - taken) * (1 - labels)]
    table = per_user(users, np.stack(columns, axis=1), num_users)
    return {
        "accuracy": Measure(table, lambda t: (t[..., 0] + t[..., 3]) / t.sum(axis=-1)),
        "precision": Measure(table, lambda t: t[..., 0] / (t[..., 0] + t[..., 1])),
        "recall": Measure(table, lambda t: t[..., 0] / (t[..., 0] + t[..., 2])),
        "f1": Measure(table, lambda t: 2 * t[..., 0] / (2 * t[..., 0] + t[..., 1] + t[..., 2])),
        "auc": mean_of_users(within_user_auc(users, scores, labels, num_users)),
    }


def deciles(popularity: Floats) -> Floats:
    """(N, 10) one-hot popularity decile of each item: a tenth of the items each, the least popular first."""
    # The argsort of an argsort is the rank of each item.
    place = np.argsort(np.argsort(popularity, kind="stable"), kind="stable") * DECILES // len(popularity)
    groups: Floats = np.eye(DECILES)[place]
    return groups


def share_measure(users: Ints, chosen: Floats, labels: Floats, groups: Floats, num_users: int) -> Measure:
    """Divergence in bits between the groups of the items chosen in simulation and in reality, at equal exposure.

    Args:
        users: (M,) 0..U-1.
        chosen: (M,) weight of each shown item among the simulated choices (P(watch), say); only ratios count.
        labels: (M,) 1 where really chosen.
        groups: (M, G) the groups of each item (popularity deciles, genres).
        num_users: U.
    """
    chosen = _as_many_as(users, chosen, labels, num_users)
    # (M, 2G) columns: simulated and real weight of each group.
    columns = np.concatenate([groups * chosen[:, None], groups * labels[:, None]], axis=1)
    return Measure(per_user(users, columns, num_users), lambda t: divergence_bits(*np.split(t, 2, axis=-1)))


def share_per_user(users: Ints, chosen: Floats, labels: Floats, groups: Floats, num_users: int) -> Measure:
    """Mean over people of the divergence between their own simulated and real shares, in bits."""
    columns = np.concatenate([groups * chosen[:, None], groups * labels[:, None]], axis=1)
    # (M, 2G) rows -> (U, 2G) sums -> two histograms (U, G).
    simulated, real = np.split(per_user(users, columns, num_users), 2, axis=-1)
    known = (simulated.sum(axis=1) > 0) & (real.sum(axis=1) > 0)
    values = np.full(num_users, np.nan)
    values[known] = divergence_bits(simulated[known], real[known])
    return mean_of_users(values)


def share_ceiling(users: Ints, labels: Floats, groups: Floats, num_users: int) -> float:
    """Divergence between the real shares of two random halves of the people, in bits."""
    return split_half(per_user(users, groups * labels[:, None], num_users), divergence_bits)


def shares(weights: Floats, groups: Floats) -> list[float]:
    """Share of each group."""
    total = weights @ groups
    result: list[float] = (total / max(total.sum(), 1e-300)).tolist()
    return result


def slot_measure(users: Ints, watched: Floats, relevant: Floats, slots: Ints, num_users: int) -> Measure:
    """Distance between the curves of watching and of relevance over slots: mean over slots of |w_k / w - r_k / r|.

    Args:
        users: (M,) 0..U-1.
        watched: (M,) probability of watching (or 1 and 0).
        relevant: (M,) 1 where the person really took the item up.
        slots: (M,) place on the page, from 0.
        num_users: U.
    """
    # (M, 3K) columns: one-hot slot, watched in the slot, relevant in the slot.
    place = np.eye(int(slots.max(initial=0)) + 1)[slots]
    columns = np.concatenate([place, place * watched[:, None], place * relevant[:, None]], axis=1)
    return Measure(per_user(users, columns, num_users), _slot_gap)


def slot_curve(watched: Floats, relevant: Floats, slots: Ints) -> dict[str, list[float]]:
    """Mean of watching and of relevance in each slot, slots numbered from 1."""
    n = np.maximum(np.bincount(slots), 1)
    return {
        "slot": [float(k + 1) for k in range(len(n))],
        "watched": (np.bincount(slots, weights=watched) / n).tolist(),
        "relevant": (np.bincount(slots, weights=relevant) / n).tolist(),
    }


def _slot_gap(totals: Floats) -> Floats:
    n, watched, relevant = np.split(totals, 3, axis=-1)
    # (..., K): the rate in each slot relative to the mean rate over all slots.
    curves = [column / n / (column.sum(axis=-1) / n.sum(axis=-1))[..., None] for column in (watched, relevant)]
    gap: Floats = np.abs(curves[0] - curves[1]).mean(axis=-1)
    return gap


def _as_many_as(users: Ints, chosen: Floats, labels: Floats, num_users: int) -> Floats:
    """Scale weights so that each person chooses as many items as in reality: activity is not measured here."""
    have, want = (ratio_sum(users, column, num_users) for column in (chosen, labels))
    scaled: Floats = chosen * np.divide(want, have, out=np.zeros_like(have), where=have > 0)[users]
    return scaled


def ratio_sum(users: Ints, column: Floats, num_users: int) -> Floats:
    """(U,) sums of a column over users."""
    sums: Floats = np.bincount(users, weights=column, minlength=num_users).astype(np.float64)
    return sums


def log_loss_of_choices(users: Ints, chance: Floats, labels: Floats, num_users: int) -> Measure:
    """Mean negative log-likelihood of the outcomes, in nats per row."""
    chance = np.clip(chance, 1e-12, 1 - 1e-12)
    loss = -(labels * np.log(chance) + (1 - labels) * np.log1p(-chance))
    return Measure(per_user(users, np.stack([loss, np.ones(len(users))], axis=1), num_users), ratio)
