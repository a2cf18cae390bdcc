"""Public ratings of items, as a page shows them to everybody: how many people rated an item, and their mean."""

from __future__ import annotations

import numpy as np

from recsim_llm.data.dataset import Ratings

PublicRating = tuple[float, int]
"""Mean stars of an item, and how many people gave them."""
FEWEST = 3
"""Fewest ratings for which a page shows a mean: that of one or two is an individual opinion."""


def public_ratings(ratings: Ratings) -> dict[int, PublicRating]:
    """Mean and number of the ratings of each item that has at least `FEWEST`, by item.

    Args:
        ratings: The public ratings.
    """
    people = np.bincount(ratings.items, minlength=ratings.num_items)
    total = np.bincount(ratings.items, weights=ratings.values, minlength=ratings.num_items)
    shown = np.flatnonzero(people >= FEWEST)
    means = (total[shown] / people[shown]).tolist()
    return dict(zip(shown.tolist(), zip(means, people[shown].tolist(), strict=True), strict=True))
