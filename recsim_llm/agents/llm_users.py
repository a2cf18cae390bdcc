"""LLM users: a population of page agents behind the `UserModel` interface, one batched `generate` a round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsim_llm.agents import page_agent
from recsim_llm.agents.page_texts import PageTexts
from recsim_llm.agents.reading import AnswerCounts
from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.llm.converse import converse
from recsim_llm.llm.protocol import LLM
from recsim_llm.types import Floats, Ints, Keys, Persona, Reaction, Responses, State

MEMORY_PAGES = 8
"""Pages of the visit that fit into a prompt; the oldest are forgotten first, so that a prompt cannot overflow."""


class LLMUsers:
    """Language-model users (see `agents.user_model.UserModel`).

    The memory of a session is its impressions, written out as text when a prompt is made: append-only within a visit,
    so that prompts share prefixes.

    Args:
        llm: Answers the prompts.
        catalogue: Titles, genres and descriptions.
        personas: `personas[u].user == u`.
        rating_levels: (R,) stars.

    Raises:
        ConfigError: The data set has no titles, so there is nothing a language model could judge.
    """

    def __init__(
        self, llm: LLM, catalogue: Catalogue, personas: Sequence[Persona], rating_levels: Sequence[float]
    ) -> None:
        if not catalogue.has_titles:
            raise ConfigError(
                "LLM users need item titles, and this data set has none. "
                "Add a title column, or use --user-model statistical."
            )
        self.llm = llm
        self.num_users, self.num_items = len(personas), len(catalogue)
        self.rating_levels = np.array(rating_levels, dtype=np.float64)
        self.counts = AnswerCounts()
        self.texts = PageTexts(catalogue, personas, rating_levels)
        self._users = np.zeros(0, dtype=np.int64)
        self._items: list[list[int]] = []
        self._stars: list[list[float]] = []

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`; all randomness is the environment's, so keys are not used."""
        missing = int(sessions.max(initial=-1)) + 1 - len(self._users)
        if missing > 0:
            self._users = np.pad(self._users, (0, missing))
            self._items += [[] for _ in range(missing)]
            self._stars += [[] for _ in range(missing)]
        self._users[sessions] = users
        for s in sessions.tolist():
            self._items[s], self._stars[s] = [], []

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        size = pages.shape[1]
        turns = [
            page_agent.react(self.context(s, size), page, self.texts, self.counts)
            for s, page in zip(sessions.tolist(), pages.tolist(), strict=True)
        ]
        rows = converse(self.llm, turns)
        watch = np.array([row[0] for row in rows], dtype=np.float64).reshape(pages.shape)
        rating = np.array([row[1] for row in rows], dtype=np.float64)
        return Reaction(watch, rating.reshape(*pages.shape, len(self.rating_levels)))

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        size = pages.shape[1]
        for s, page, stars in zip(sessions.tolist(), pages.tolist(), responses.ratings_BK.tolist(), strict=True):
            self._items[s] = (self._items[s] + page)[-MEMORY_PAGES * size :]
            self._stars[s] = (self._stars[s] + stars)[-MEMORY_PAGES * size :]
        turns = [page_agent.leave(self.context(s, size), self.texts, self.counts) for s in sessions.tolist()]
        return np.array(converse(self.llm, turns), dtype=np.float64)

    def context(self, session: int, page_size: int) -> str:
        """What the agent of a running session knows: persona and memory, as text."""
        user = int(self._users[session])
        return self.texts.context(user, self._items[session], self._stars[session], page_size)

    def state(self) -> State:
        """See `UserModel.state`."""
        return {
            "users": self._users.copy(),
            "items": [list(items) for items in self._items],
            "stars": [list(stars) for stars in self._stars],
        }

    def load(self, state: State) -> None:
        """See `UserModel.load`."""
        self._users = state["users"].copy()
        self._items = [list(items) for items in state["items"]]
        self._stars = [list(stars) for stars in state["stars"]]
