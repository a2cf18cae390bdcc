"""Samples of each person's ratings, for prompts that list them."""

from __future__ import annotations

import numpy as np

from recsim_llm.agents.llm.page_texts import RatedItem
from recsim_llm.data.dataset import Ratings
from recsim_llm.seeding import Stream, uniforms

HISTORY = 24
"""Ratings of a person in a prompt: about 300 tokens of films."""


def rated_history(ratings: Ratings, seed: int = 0, most: int = HISTORY) -> dict[int, tuple[RatedItem, ...]]:
    """Up to `most` ratings of each person, chosen by a hash of (seed, user, item), so that other people do not matter.

    Args:
        ratings: The ratings to choose from.
        seed: Seed of the choice.
        most: Most ratings per person.
    """
    luck = uniforms(seed, Stream.HISTORY, ratings.users, ratings.items)
    order = np.lexsort((luck, ratings.users))
    users = ratings.users[order]
    order = order[np.arange(len(order)) - np.searchsorted(users, users) < most]
    found: dict[int, list[RatedItem]] = {}
    columns = (ratings.users[order], ratings.items[order], ratings.values[order])
    for user, item, stars in zip(*(column.tolist() for column in columns), strict=True):
        found.setdefault(user, []).append((item, stars))
    return {user: tuple(rated) for user, rated in found.items()}
