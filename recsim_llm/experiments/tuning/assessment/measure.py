"""Scores of a model in training: its answers to held-out questions, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsim_llm.experiments.fidelity.measures.measures import mean_of_users, within_user_auc
from recsim_llm.experiments.fidelity.measures.rating_measures import Predictions, rating_measures
from recsim_llm.types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class TunedAnswers:
    """Distributions of answers, as a model gives them.

    Attributes:
        users, items: (M,) ids.
        levels: (M,) index of the true answer: the rating level; or 0 for watched, 1 for not.
        pmf: (M, R) the model's distribution, padded with 0 for questions with fewer answers.
    """

    users: Ints
    items: Ints
    levels: Ints
    pmf: Floats

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: Ints | Bools) -> TunedAnswers:
        """Select some of the rows."""
        return TunedAnswers(self.users[rows], self.items[rows], self.levels[rows], self.pmf[rows])


def scores(answers: TunedAnswers, rating_levels: Sequence[float]) -> dict[str, float]:
    """Score answers.

    Returns:
        log_loss (nats per row), rps, auc_like ("at least four fifths of the best level"), auc_within (the AUC per
        person, averaged over people who gave both kinds; NaN without any) and rmse_mean (stars).
    """
    stars = np.array(rating_levels)
    people, users = np.unique(answers.users, return_inverse=True)
    p = Predictions(users, answers.items, answers.levels, answers.pmf, answers.pmf @ stars, stars, len(people))
    flat = np.full(len(stars), 1.0 / len(stars))
    found = rating_measures(p, flat)
    values = {name: found[name].value for name in ("log_loss", "rps", "auc_like", "rmse_mean")}
    liked = p.liked[p.levels]
    within = within_user_auc(users, p.pmf[:, p.liked].sum(axis=1), liked.astype(np.float64), len(people))
    return values | {"auc_within": mean_of_users(within).value}
