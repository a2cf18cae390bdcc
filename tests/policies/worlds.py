"""Small catalogues, logs and observations, written out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.types import EMPTY, Item, Observation


def make_catalogue(num_items: int) -> Catalogue:
    """A catalogue of items called "item 0", "item 1", ..."""
    titles = tuple(f"item {i}" for i in range(num_items))
    return Catalogue(tuple(Item(i, title) for i, title in enumerate(titles)), titles).vouch()


def make_log(pairs: Sequence[tuple[int, int, float]], num_users: int, num_items: int) -> Ratings:
    """A log of (user, item, stars), one second apart."""
    users, items, stars = zip(*pairs, strict=True) if pairs else ((), (), ())
    times = np.arange(len(pairs), dtype=np.int64)
    return Ratings(
        np.array(users, dtype=np.int64),
        np.array(items, dtype=np.int64),
        np.array(stars, dtype=np.float32),
        times,
        num_users,
        num_items,
    )


def make_observation(
    users: Sequence[int], histories: Sequence[Sequence[tuple[int, float]]], page: int = 0, length: int = 24
) -> Observation:
    """What a policy sees.

    Args:
        users: B user ids.
        histories: Of each, (item, stars) from old to new; 0 stars means shown and not watched.
        page: Pages already seen.
        length: H; longer histories lose their oldest entries.
    """
    items = np.full((len(users), length), EMPTY, dtype=np.int64)
    stars = np.zeros((len(users), length), dtype=np.float32)
    for row, history in enumerate(histories):
        for column, (item, rating) in enumerate(reversed(list(history)[-length:]), start=1):
            items[row, -column], stars[row, -column] = item, rating
    return {
        "user": np.array(users, dtype=np.int64)[:, None],
        "page": np.full((len(users), 1), page, dtype=np.int64),
        "history_items": items,
        "history_ratings": stars,
        "history_mask": (items != EMPTY).astype(np.int8),
    }
