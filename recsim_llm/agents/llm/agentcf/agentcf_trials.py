"""AgentCF's training trials: for each user, items they took, each paired with a popular one they did not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats


class Trial(NamedTuple):
    """A user, an item that they took, and one that they did not: item ids."""

    user: int
    positive: int
    negative: int


def plan_trials(log: Ratings, users: Sequence[int], positives: int, seed: int) -> list[list[Trial]]:
    """All trials: one list per step, each in the order of user ids.

    A user's positives are the latest items that they rated at least as high as their own mean (all items, where the log
    has no stars), oldest first. The negative of each is drawn with a probability proportional to popularity in the log
    from the items that the user has not rated; the draw is a function of (seed, user, positive) alone.

    Raises:
        ConfigError: No users, one of them is unknown, or one has rated all items that anybody rated.
    """
    if not len(users) or not all(0 <= user < log.num_users for user in users):
        raise ConfigError(f"Learning needs users, with ids 0..{log.num_users - 1}; got {list(users)[:5]}.")
    rows = log.by_user()
    popularity = np.bincount(log.items, minlength=log.num_items).astype(np.float64)
    steps: list[list[Trial]] = []
    for user in sorted({int(user) for user in users}):
        stars, items = log.values[rows[user]].astype(np.float64), log.items[rows[user]]
        liked = items[stars >= stars.mean() - 1e-6][-positives:] if len(stars) else items
        weights = popularity.copy()
        weights[items] = 0.0
        for step, positive in enumerate(liked.tolist()):
            steps += [[]] if step == len(steps) else []
            steps[step].append(Trial(user, positive, _negative(weights, seed, user, positive)))
    return steps


def _negative(weights: Floats, seed: int, user: int, positive: int) -> int:
    edges = np.cumsum(weights)
    if not edges[-1] > 0:
        raise ConfigError(f"User {user} has rated every item of the log: there is nothing to compare with. Leave out.")
    draw = float(uniforms(seed, Stream.DATA, user, positive)) * edges[-1]
    return int(np.searchsorted(edges, draw, side="right"))
