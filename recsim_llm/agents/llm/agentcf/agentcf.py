"""AgentCF (Zhang et al., WWW 2024) as users of an environment: people who judge pages by verbal memories.

`agents.llm.agentcf.agentcf_learning` learns these memories. What the paper specifies and what is done here:
docs/agents/agentcf.md.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from string import Template

import numpy as np

from recsim_llm.agents.llm.agent_kind import Agent, PageAnswer
from recsim_llm.agents.llm.agentcf.agentcf_memories import KIND, USER_WORDS, AgentCFMemories, limit_words
from recsim_llm.agents.llm.agentcf.agentcf_texts import item_text, memory_parser, system_text
from recsim_llm.agents.llm.memory.memory_budget import cut, fit
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.versions import VersionMemory
from recsim_llm.agents.llm.pages.page_labels import listing_order, read_page
from recsim_llm.agents.llm.prompts_text import phrases, prompt_text, template
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.checked import Count, CountOrNone, Temperature
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.language.encoders import HashEncoder, TextEncoder
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.language.text_reads import ask_text
from recsim_llm.types import EMPTY, Completion, Ints, Persona, Prompt

_TOKENS_A_WORD = 2


@dataclass(frozen=True, slots=True)
class AgentCFOptions:
    """How agents answer and what they are told.

    Attributes:
        online: Whether people rewrite their self-description after each page: one more generated text per page.
        user_bytes, item_bytes: Most bytes of a self-description and of an item's memory in a prompt; a token has at
            least one byte, so this bounds tokens.
        memory_bytes: Most bytes recalled for a page, each for an earlier self-description and for what happened.
        history: Most titles in a prompt of what a person took before, the latest ones; needs a log.
        temperature: Temperature of rewritten self-descriptions.
        one_by_one: One label read per item instead of one per page: more calls, for small models that count along in a
            line of numbers.
        leaving: The declared hazard of leaving: AgentCF has no exit.
    """

    online: bool = False
    user_bytes: Count = 1500
    item_bytes: Count = 400
    memory_bytes: Count = 600
    history: CountOrNone = 10
    temperature: Temperature = 0.0
    one_by_one: bool = False
    leaving: LeaveParameters = field(default_factory=LeaveParameters)


class AgentCF:
    """AgentCF's agents for one catalogue and population (see `agents.llm.agent_kind.AgentKind`). A page costs one call.

    Args:
        catalogue: Titles and genres.
        personas: `personas[u].user == u`; only their number is used: who a person is stands in the memories.
        rating_levels: (R,) stars.
        memories: What users and items learned (`agentcf_learning.learn_agentcf`). None: the start memories, with which
            users differ only in their history.
        log: Training ratings, from which prompts list a person's latest liked items; None: they list none.
        encoder: Finds the earlier self-description that is nearest to a page; None takes `HashEncoder()`.
        options: Default: `AgentCFOptions()`.

    Raises:
        ConfigError: The data set has no titles, or the memories are of another catalogue.
    """

    name = "agentcf"

    def __init__(
        self,
        catalogue: Catalogue,
        personas: Sequence[Persona],
        rating_levels: Sequence[float],
        memories: AgentCFMemories | None = None,
        log: Ratings | None = None,
        encoder: TextEncoder | None = None,
        options: AgentCFOptions | None = None,
    ) -> None:
        if not catalogue.has_titles:
            raise ConfigError("AgentCF needs item titles, and this data set has none. Add a title column.")
        if memories is not None and memories.catalogue.raw_ids != catalogue.raw_ids:
            raise ConfigError("The memories were learned on another catalogue. Load the data set they were learned on.")
        self.options = options or AgentCFOptions()
        self.num_users, self.num_items = len(personas), len(catalogue)
        self.rating_levels = np.array(rating_levels, dtype=np.float64)
        self.leaving, self.counts = self.options.leaving, AnswerCounts()
        self.memory = VersionMemory(encoder or HashEncoder())
        self._catalogue, self._log = catalogue, log
        self._learned = memories if memories is not None else AgentCFMemories(catalogue)
        self.slogans: dict[int, str] = {}
        self._current: dict[int, str] = {}
        self._items: dict[int, str] = {}

    def begin(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], None]:
        """See `AgentKind.begin`: the learned self-description, its earlier versions as memories; nothing is asked."""
        *earlier, self._current[me.handle] = self._learned.user_versions(me.user)
        past = [Event(text, 0.5, "insight") for text in earlier[1:]]
        self.memory.add(np.full(len(past), me.handle), past, np.full(len(past), me.hour))
        yield from ()

    def query(self, me: Agent, page: Sequence[int]) -> str:
        """See `AgentKind.query`: the titles and genres of the page."""
        items = [self._catalogue[item] for item in page if item != EMPTY]
        genres = dict.fromkeys(genre for item in items for genre in item.genres)
        return " ".join([*(item.title for item in items), *genres])

    def react(
        self, me: Agent, page: Sequence[int], recalled: Sequence[Event]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], PageAnswer]:
        """See `AgentKind.react`: one call per page, one label per item."""
        stem = Prompt(system_text(self._catalogue), self.context(me, recalled), "")
        order, levels = listing_order(me.key, me.page, page), len(self.rating_levels)
        remind = prompt_text(KIND, "remind")
        return (
            yield from read_page(
                stem, self._question, self._item, page, order, levels, remind, self.counts, self.options.one_by_one
            )
        )

    def observe(
        self, me: Agent, page: Sequence[int], stars: Sequence[float]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """See `AgentKind.observe`: what was taken, how it was rated and what was passed over."""
        yield from ()
        say, top = phrases(KIND), f"{self.rating_levels[-1]:g}"
        names = self._catalogue.shown.name
        shown = [(names[item], given) for item, given in zip(page, stars, strict=True) if item != EMPTY]
        taken = [say["given"].substitute(title=title, stars=f"{s:g}", top=top) for title, s in shown if s > 0]
        passed = [f'"{title}"' for title, s in shown if s <= 0]
        parts = [say["watched"].substitute(items="; ".join(taken))] if taken else []
        parts += [say["skipped"].substitute(items="; ".join(passed))] if passed else []
        return [Event(" ".join(parts) or say["empty"].template, 0.5)]

    def reflect(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """See `AgentKind.reflect`: with `online`, the self-description is rewritten; unusable texts leave it alone."""
        if not self.options.online:
            return []
        (event,) = self.memory.current(np.array([me.handle]))
        question = template(KIND, "rewrite_online").substitute(event=event, words=USER_WORDS)
        prompt = Prompt(
            system_text(self._catalogue),
            self.context(me, ()),
            question,
            max_tokens=_TOKENS_A_WORD * USER_WORDS,
            temperature=self.options.temperature,
            seed=me.key % 2**31,
        )
        remind = prompt_text(KIND, "remind_text")
        (text,) = yield from ask_text([prompt], memory_parser(prompt), remind, self.counts)
        if text is None:
            return []
        earlier = self._current[me.handle]
        self._current[me.handle] = limit_words(text, USER_WORDS)[0]
        # The new description is in every prompt and in no memory; the event lets a run record it.
        told = Event(self._current[me.handle], 0.5, "insight", written=True, kept=False)
        return [Event(earlier, 0.5, "insight"), told]

    def context(self, me: Agent, recalled: Sequence[Event]) -> str:
        """See `AgentKind.context`: self-description, the nearest earlier one, history, and what happened."""
        say, options = phrases(KIND), self.options
        current = cut(self._current[me.handle], options.user_bytes)
        past = [event.text for event in recalled if event.kind == "insight"]
        earlier = say["earlier"].substitute(memory=cut(past[-1], options.memory_bytes)) + "\n" if past else ""
        happened = fit([event for event in recalled if event.kind != "insight"], options.memory_bytes)
        titles = [self._catalogue.shown.label[item] for item in self._history(me.user)]
        had = say["had"].substitute(titles="; ".join(titles)) + "\n" if titles else ""
        return template(KIND, "page_context").substitute(
            memory=current, past=earlier, history=had, recent=happened or say["nothing"].template
        )

    def change(self, persona: Persona) -> None:
        """See `AgentKind.change`: memories describe people here, so only patience changes, outside this kind."""

    @cached_property
    def _question(self) -> Template:
        return Template(template(KIND, "page_labels").substitute(noun=self._learned.noun))

    def _item(self, item: int) -> str:
        if item not in self._items:
            self._items[item] = cut(item_text(self._learned, item), self.options.item_bytes)
        slogan = self.slogans.get(item)
        return self._items[item] if slogan is None else f"{self._items[item]} {slogan}"

    def _history(self, user: int) -> list[int]:
        if self._log is None or not self.options.history:
            return []
        rows = self._rows_of[user]
        stars, items = self._log.values[rows].astype(np.float64), self._log.items[rows]
        liked = items[stars >= stars.mean() - 1e-6] if len(rows) else items
        latest: list[int] = liked[-self.options.history :].tolist()
        return latest

    @cached_property
    def _rows_of(self) -> Sequence[Ints]:
        return self._log.by_user() if self._log is not None else []
