"""An agent kind: the shortest possible prompt, and no memory of its own design."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from string import Template

import numpy as np

from recsim_llm.agents.llm.agent_kind import Agent, PageAnswer
from recsim_llm.agents.llm.kind_registry import Material
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.transcript import TranscriptMemory
from recsim_llm.agents.llm.pages.page_labels import listing_order, read_page
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.types import Completion, Persona, Prompt

_SYSTEM = "You play one person. For each numbered item answer 0 if you would pass it over, else 1 to $top stars."
_REMIND = "Answer with numbers from 0 to $top only."
_PAGE = Template("Items:\n$items\nYour numbers:")


class BriefAgent:
    """People who are told which genres they like, and what they watched.

    Args:
        material: Data set, training log and personas.
        memory_bytes: Most bytes of an agent's memory.
    """

    name = "brief"

    def __init__(self, material: Material, memory_bytes: int = 1_000) -> None:
        self._personas, self._shown = list(material.personas), material.dataset.catalogue.shown
        self.num_users, self.num_items = len(material.personas), len(material.dataset.catalogue)
        self.rating_levels = np.array(material.dataset.rating_levels, dtype=np.float64)
        self._system, self._remind = (
            Template(text).substitute(top=len(self.rating_levels)) for text in (_SYSTEM, _REMIND)
        )
        self.leaving, self.counts = LeaveParameters(), AnswerCounts()
        self.memory = TranscriptMemory(memory_bytes)
        self.slogans: dict[int, str] = {}

    def begin(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], None]:
        """Nothing is asked before the first page."""
        yield from ()

    def query(self, me: Agent, page: Sequence[int]) -> str:
        """No query: `context` contains the whole memory."""
        return ""

    def react(
        self, me: Agent, page: Sequence[int], recalled: Sequence[Event]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], PageAnswer]:
        """One call per page with one label per item."""
        stem = Prompt(self._shown.system(self._system), self.context(me, recalled), "")
        order = listing_order(me.key, me.page, page)
        levels = len(self.rating_levels)
        return (yield from read_page(stem, _PAGE, self._item, page, order, levels, self._remind, self.counts, False))

    def observe(
        self, me: Agent, page: Sequence[int], stars: Sequence[float]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """What was watched enters the memory."""
        yield from ()
        return [
            Event(f"Watched {self._item(item)}: {star:g} stars", 0.5)
            for item, star in zip(page, stars, strict=True)
            if star > 0
        ]

    def reflect(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """Memories are not commented on."""
        yield from ()
        return []

    def context(self, me: Agent, recalled: Sequence[Event]) -> str:
        """Likes, then everything remembered."""
        likes = self._shown.listed(self._personas[me.user].likes) or "anything"
        return "\n".join([f"You like {likes}.", *(event.text for event in self.memory.transcript(me.handle))])

    def change(self, persona: Persona) -> None:
        """Replace the persona of this person."""
        self._personas[persona.user] = persona

    def _item(self, item: int) -> str:
        slogan = self.slogans.get(item)
        return self._shown.label[item] if slogan is None else f"{self._shown.label[item]} {slogan}"
