"""LLM users: a population of page agents behind the `UserModel` interface, one batched `generate` per round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from recsim_llm.agents.llm import page_agent
from recsim_llm.agents.llm.memory.visit_memory import VisitMemory
from recsim_llm.agents.llm.page_texts import PageTexts
from recsim_llm.agents.llm.thoughts import PAGE, Thinker, thought_counts
from recsim_llm.agents.user_model import Description
from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.language.converse import converse, garbage_collection_paused
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.language.protocol import LLM
from recsim_llm.runs.step_notes import Thought
from recsim_llm.types import Floats, Ints, Keys, Persona, Reaction, Responses

MEMORY_IMPRESSIONS = 40
"""Most impressions of a visit that an agent remembers, in whole pages, at least one: about 500 tokens of a prompt.

The oldest pages are forgotten first, so that a prompt cannot overflow."""


class LLMUsers:
    """Language-model users (see `agents.user_model.UserModel`).

    The memory of a session is its impressions, rendered as text for each prompt: append-only within a visit, so that
    prompts share prefixes.

    Args:
        llm: Answers the prompts.
        catalogue: Titles, genres and descriptions.
        personas: `personas[u].user == u`.
        rating_levels: (R,) stars.
        texts: Texts of the prompts; default: those for untuned models.

    Attributes:
        thoughts: If set to a list, receives what users think of pages; nothing else reads it.
        thinker: Asks users what they think of a page after their choice; None: they are not asked.

    Raises:
        ConfigError: The data set has no titles, so there is nothing a language model could judge.
    """

    def __init__(
        self,
        llm: LLM,
        catalogue: Catalogue,
        personas: Sequence[Persona],
        rating_levels: Sequence[float],
        texts: PageTexts | None = None,
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
        self.texts = texts or PageTexts(catalogue, personas, rating_levels)
        self._memory = VisitMemory(self.texts.seen, self.texts.nothing, MEMORY_IMPRESSIONS)
        self._users = np.zeros(0, dtype=np.int64)
        self.thoughts: list[Thought] | None = None
        self.thinker: Thinker | None = None

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`; all randomness is the environment's, so keys are not used."""
        self._memory.forget(sessions)
        self._users = np.pad(self._users, (0, len(self._memory) - len(self._users)))
        self._users[sessions] = users

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        users = self._users[sessions].tolist()
        return converse(self.llm, [page_agent.react(self.contexts(sessions), users, pages, self.texts, self.counts)])[0]

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        self.remember(sessions, pages, responses)
        users = self._users[sessions].tolist()
        return converse(self.llm, [page_agent.leave(self.contexts(sessions), users, self.texts, self.counts)])[0]

    def describe(self) -> Description:
        """See `UserModel.describe`."""
        return Description(counts={"answers": asdict(self.counts), **thought_counts(self.thinker)})

    def remember(self, sessions: Ints, pages: Ints, responses: Responses) -> None:
        """Append a page to the memories of sessions, after asking what users thought of it."""
        if self.thinker is not None:
            self._think(self.thinker, sessions, pages, responses)
        self._memory.add(sessions, pages, responses.ratings_BK)

    def _think(self, thinker: Thinker, sessions: Ints, pages: Ints, responses: Responses) -> None:
        users = self._users[sessions].tolist()
        rows = zip(self.contexts(sessions), pages.tolist(), responses.ratings_BK.tolist(), users, strict=True)
        texts = converse(self.llm, [thinker.turn(*row) for row in rows], users)
        if self.thoughts is not None:
            self.thoughts += [Thought(user, PAGE, text) for user, text in zip(users, texts, strict=True) if text]

    def contexts(self, sessions: Ints) -> list[str]:
        """The context that all current prompts of each of (B,) sessions share: who the person is and what they saw."""
        with garbage_collection_paused():
            people, memories = self._users[sessions].tolist(), self._memory.texts(sessions)
            return [self.texts.person[user] + memory for user, memory in zip(people, memories, strict=True)]
