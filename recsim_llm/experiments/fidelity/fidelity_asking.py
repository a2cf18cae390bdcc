"""Asks a user model about pairs of people and items: every pair once, on pages, each page in a session of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsim_llm.agents.collected_answers import collect_answers
from recsim_llm.agents.user_model import UserModel
from recsim_llm.types import Floats, Ints


@dataclass(frozen=True)
class Answered:
    """A user model's answers about pairs of people and items.

    Attributes:
        keys: (P,) sorted keys, user * N + item.
        num_items: N.
        watch: (P,) probability of watching.
        rating: (P, R) distribution of the rating.
        slots: (P,) slot of the item on its page.
    """

    keys: Ints
    num_items: int
    watch: Floats
    rating: Floats
    slots: Ints

    def rows(self, users: Ints, items: Ints) -> Ints:
        """Row indices of the answers about these pairs."""
        found: Ints = np.searchsorted(self.keys, users * self.num_items + items)
        return found


def ask_pairs(
    model: UserModel, pairs: Sequence[tuple[Ints, Ints]], progress: Callable[[int], object] = lambda _: None
) -> Answered:
    """Ask about all pairs of (users, items), each once.

    Args:
        model: The population.
        pairs: Arrays of user ids and item ids of equal shape.
        progress: Called with the number of pairs answered since the previous call.
    """
    keys = np.unique(np.concatenate([(users * model.num_items + items).ravel() for users, items in pairs]))
    answers = collect_answers(model, keys // model.num_items, keys % model.num_items, progress=progress)
    return Answered(keys, model.num_items, answers.watch, answers.rating, answers.slots)
