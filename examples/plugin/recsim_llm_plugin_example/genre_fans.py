"""A user model: people who watch what has a genre that they like, as their personas say."""

from __future__ import annotations

import numpy as np

from recsim_llm.agents.llm.kind_registry import Material
from recsim_llm.agents.user_model import Description
from recsim_llm.checked import Share
from recsim_llm.types import EMPTY, Floats, Ints, Keys, Reaction, Responses


class GenreFans:
    """Watches an item of a liked genre with one probability, any other with a third of it; leaves after a bad page.

    Args:
        material: Data set, training log and personas.
        eager: Probability of watching an item of a liked genre.
    """

    def __init__(self, material: Material, eager: Share = 0.6) -> None:
        catalogue, levels = material.dataset.catalogue, material.dataset.rating_levels
        self.num_users, self.num_items = len(material.personas), len(catalogue)
        self.rating_levels = np.array(levels, dtype=np.float64)
        likes = [[genre in persona.likes for genre in catalogue.genres] for persona in material.personas]
        genres = np.asarray(catalogue.genre_matrix, dtype=np.float64)
        self._fan = np.array(likes, dtype=np.float64) @ genres.T > 0  # (U, N)
        self._eager = eager
        self._users: dict[int, int] = {}  # by handle

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """These users begin a session under these handles."""
        self._users |= dict(zip(sessions.tolist(), users.tolist(), strict=True))

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """Probabilities for (B, K) pages: the best stars for fans, uniform ones for others."""
        fan = self._likes(sessions, pages)
        watch = np.where(pages == EMPTY, 0.0, np.where(fan, self._eager, self._eager / 3))
        best = np.eye(len(self.rating_levels))[-1]
        rating = np.where(fan[..., None], best, 1 / len(self.rating_levels))
        return Reaction(watch, rating)

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """(B,) probabilities of leaving: one half after a page without a watched item."""
        return np.where(responses.watched_BK.any(axis=1), 0.1, 0.5)

    def describe(self) -> Description:
        """Description of these people for summaries and certificates."""
        return Description(asks_llm=False)

    def _likes(self, sessions: Ints, pages: Ints) -> np.ndarray:
        users = np.array([self._users[handle] for handle in sessions.tolist()], dtype=np.int64)
        return self._fan[users[:, None], pages] & (pages != EMPTY)
