"""LLM users: a population of page agents behind the `UserModel` interface, one batched `generate` a round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsim_llm.agents import page_agent
from recsim_llm.agents.page_texts import PageTexts
from recsim_llm.agents.reading import AnswerCounts
from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.llm.converse import converse, garbage_collection_paused
from recsim_llm.llm.protocol import LLM
from recsim_llm.types import EMPTY, Floats, Ints, Keys, Persona, Reaction, Responses, State

MEMORY_IMPRESSIONS = 40
"""Shown items that an agent remembers of a visit, in whole pages, at least one: about 500 tokens of a prompt.

The oldest pages are forgotten first, so that a prompt cannot overflow."""


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
        self._seen = np.zeros(0, dtype=np.int64)
        self._items = np.zeros((0, 0), dtype=np.int32)
        self._stars = np.zeros((0, 0), dtype=np.float32)
        self._context: list[str] = []

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`; all randomness is the environment's, so keys are not used."""
        self._grow(int(sessions.max(initial=-1)) + 1)
        self._users[sessions], self._seen[sessions] = users, 0
        for session, user in zip(sessions.tolist(), users.tolist(), strict=True):
            self._context[session] = self.texts.context(user, (), (), 1)

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        with garbage_collection_paused():
            turns = [
                page_agent.react(self._context[s], page, self.texts, self.counts)
                for s, page in zip(sessions.tolist(), pages.tolist(), strict=True)
            ]
        rows = converse(self.llm, turns)
        with garbage_collection_paused():
            watch = np.array([row[0] for row in rows], dtype=np.float64).reshape(pages.shape)
            rating = np.array([row[1] for row in rows], dtype=np.float64)
        return Reaction(watch, rating.reshape(*pages.shape, len(self.rating_levels)))

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        with garbage_collection_paused():
            self.remember(sessions, pages, responses)
            turns = [page_agent.leave(self._context[s], self.texts, self.counts) for s in sessions.tolist()]
        return np.array(converse(self.llm, turns), dtype=np.float64)

    def state(self) -> State:
        """See `UserModel.state`."""
        return {
            "users": self._users.copy(),
            "seen": self._seen.copy(),
            "items": self._items.copy(),
            "stars": self._stars.copy(),
            "context": list(self._context),
        }

    def load(self, state: State) -> None:
        """See `UserModel.load`."""
        self._users, self._seen = state["users"].copy(), state["seen"].copy()
        self._items, self._stars = state["items"].copy(), state["stars"].copy()
        self._context = list(state["context"])

    def remember(self, sessions: Ints, pages: Ints, responses: Responses) -> None:
        """Append a page to the memories of sessions, newest at the end, and write their contexts anew."""
        size, stars = pages.shape[1], responses.ratings_BK
        width = max(MEMORY_IMPRESSIONS // size, 1) * size
        if self._items.shape[1] != width:
            self._items = np.full((len(self._users), width), EMPTY, dtype=np.int32)
            self._stars = np.zeros((len(self._users), width), dtype=np.float32)
        self._items[sessions] = np.concatenate([self._items[sessions, size:], pages.astype(np.int32)], axis=1)
        self._stars[sessions] = np.concatenate([self._stars[sessions, size:], stars.astype(np.float32)], axis=1)
        self._seen[sessions] = np.minimum(self._seen[sessions] + size, width)
        rows = zip(
            sessions.tolist(),
            self._users[sessions].tolist(),
            (width - self._seen[sessions]).tolist(),
            self._items[sessions].tolist(),
            self._stars[sessions].tolist(),
            strict=True,
        )
        for session, user, start, items, given in rows:
            self._context[session] = self.texts.context(user, items[start:], given[start:], size)

    def _grow(self, rows: int) -> None:
        missing = rows - len(self._users)
        if missing > 0:
            self._users = np.pad(self._users, (0, missing))
            self._seen = np.pad(self._seen, (0, missing))
            self._items = np.pad(self._items, ((0, missing), (0, 0)), constant_values=EMPTY)
            self._stars = np.pad(self._stars, ((0, missing), (0, 0)))
            self._context += [""] * missing
