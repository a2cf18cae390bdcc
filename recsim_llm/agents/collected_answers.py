"""Collects a population's answers about any (user, item) pairs on pages, for fitting and measuring."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from recsim_llm.agents.user_model import UserModel
from recsim_llm.seeding import Stream, mix, uniforms
from recsim_llm.types import EMPTY, Floats, Ints

PAGE_SIZE = 10
_BATCH = 32


class PairAnswers(NamedTuple):
    """A population's answers about M pairs, each at the start of a session.

    Attributes:
        watch: (M,) probability of watching.
        rating: (M, R) distribution of the rating.
        slots: (M,) slot of the item on its page, from 0.
    """

    watch: Floats
    rating: Floats
    slots: Ints


def collect_answers(
    model: UserModel,
    users: Ints,
    items: Ints,
    page_size: int = PAGE_SIZE,
    batch_size: int = _BATCH,
    progress: Callable[[int], object] = lambda _: None,
) -> PairAnswers:
    """Ask about pairs of people and items.

    A person's items fill pages of `page_size` in an order drawn by a hash of (user, item), so that slots do not depend
    on the order of the arguments; each page is the first of its own session.

    Args:
        model: The population; its sessions 0..batch_size-1 are reset.
        users: (M,) ids.
        items: (M,) ids; no pair twice.
        page_size: K.
        batch_size: Pages per batch.
        progress: Called with the number of pairs answered since the previous call.
    """
    order = np.lexsort((uniforms(0, Stream.CALIBRATION, users, items), users))
    rank = np.arange(len(users)) - np.searchsorted(users[order], users[order])
    page_key = users[order] * (len(users) + 1) + rank // page_size
    starts, page_of = np.unique(page_key, return_index=True)[1], np.unique(page_key, return_inverse=True)[1]
    slots = rank % page_size
    pages = np.full((len(starts), page_size), EMPTY, dtype=np.int64)
    pages[page_of, slots] = items[order]
    people = users[order][starts]
    watch, rating = np.zeros(pages.shape), np.zeros((*pages.shape, len(model.rating_levels)))
    for start in range(0, len(pages), batch_size):
        rows = slice(start, start + batch_size)
        handles = np.arange(len(people[rows]))
        model.reset(handles, people[rows], mix(0, Stream.CALIBRATION, people[rows]))
        reaction = model.react(handles, pages[rows])
        watch[rows], rating[rows] = reaction.watch_BK, reaction.rating_BKR
        progress(int((pages[rows] != EMPTY).sum()))
    back = np.empty(len(users), dtype=np.int64)
    back[order] = np.arange(len(users))
    return PairAnswers(watch[page_of, slots][back], rating[page_of, slots][back], slots[back])
