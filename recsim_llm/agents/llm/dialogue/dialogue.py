"""The kind "dialogue": a visit is one growing text, so that each page costs an engine only its own tokens.

Other kinds restate on every page what a person remembers. Here the text of a page is followed by what the person did,
then by the next page, as in a dialogue: each prompt begins with the whole previous prompt, and an engine with a prefix
cache reads only the new page. This is the cheapest kind of the package; in exchange it cannot choose what to remember.

Parts end in letters or digits, never in a full stop: many tokenizers merge a full stop with the following line break,
so the same text would have different tokens at the end of one context and in the middle of the next.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from string import Template

import numpy as np

from recsim_llm.agents.llm.agent_kind import Agent, PageAnswer
from recsim_llm.agents.llm.kind_texts import read_kind_texts
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.transcript import TranscriptMemory
from recsim_llm.agents.llm.pages.page_labels import listing_order, numbered, read_page
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.checked import Count, Text
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.shown import fact
from recsim_llm.errors import ConfigError
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.types import EMPTY, Completion, Persona, Prompt

KIND = "dialogue"
_LOVED = 3


@dataclass(frozen=True, slots=True)
class DialogueOptions:
    """Options of the prompts and of leaving.

    Attributes:
        memory_bytes: Most bytes of a transcript; beyond it the older half is forgotten. A token has at least one byte,
            so this bounds tokens.
        one_by_one: One label read per item instead of one per page: more calls, for small models that count along in a
            line of numbers.
        prompts: Folder with texts of your own in place of some of the kind's (docs/agents/README.md); "" for none.
        leaving: The declared hazard of leaving.
    """

    memory_bytes: Count = 6_000
    one_by_one: bool = False
    prompts: Text = ""
    leaving: LeaveParameters = field(default_factory=LeaveParameters)


class Dialogue:
    """The agent kind "dialogue" (see `agents.llm.agent_kind.AgentKind`). A page costs one call.

    Args:
        catalogue: Titles and genres.
        personas: `personas[u].user == u`.
        rating_levels: (R,) stars.
        options: Default: `DialogueOptions()`.

    Raises:
        ConfigError: The data set has no titles, so there is nothing a language model could judge.
    """

    name = KIND

    def __init__(
        self,
        catalogue: Catalogue,
        personas: Sequence[Persona],
        rating_levels: Sequence[float],
        options: DialogueOptions | None = None,
    ) -> None:
        if not catalogue.has_titles:
            raise ConfigError("Agents need item titles, and this data set has none. Add a title column.")
        self.options = options or DialogueOptions()
        self.num_users, self.num_items = len(personas), len(catalogue)
        self.rating_levels = np.array(rating_levels, dtype=np.float64)
        self.leaving, self.counts = self.options.leaving, AnswerCounts()
        self.memory = TranscriptMemory(self.options.memory_bytes)
        self.slogans: dict[int, str] = {}
        self._catalogue, self._personas = catalogue, list(personas)
        self._top = str(len(rating_levels))
        self._words = read_kind_texts(KIND, self.options.prompts)
        self._items: dict[int, str] = {}
        self._profiles: dict[int, str] = {}

    def begin(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], None]:
        """See `AgentKind.begin`: nothing is asked."""
        yield from ()

    def query(self, me: Agent, page: Sequence[int]) -> str:
        """See `AgentKind.query`: no query, because prompts contain the whole transcript."""
        return ""

    def react(
        self, me: Agent, page: Sequence[int], recalled: Sequence[Event]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], PageAnswer]:
        """See `AgentKind.react`: one call per page, one label per item."""
        system = self._catalogue.shown.system(self._words.template("system").substitute(top=self._top))
        remind = self._words.template("remind").safe_substitute(top=self._top)
        question = Template(self._words.template("page").safe_substitute(page=me.page + 1))
        order = listing_order(me.key, me.page, page)
        stem = Prompt(system, self.context(me, recalled), "")
        return (
            yield from read_page(
                stem,
                question,
                self._item,
                page,
                order,
                len(self.rating_levels),
                remind,
                self.counts,
                self.options.one_by_one,
            )
        )

    def observe(
        self, me: Agent, page: Sequence[int], stars: Sequence[float]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """See `AgentKind.observe`: the page as it was shown, and the numbers of what the person did."""
        yield from ()
        order = listing_order(me.key, me.page, page)
        if not order:
            return []
        shown = numbered([self._item(page[slot]) for slot in order])
        text = self._words.template("page").substitute(page=me.page + 1, items=shown)
        numbers = " ".join([str(self._level(stars[slot])) for slot in order])
        return [Event(f"{text}\n{numbers}", 0.5)]

    def reflect(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """See `AgentKind.reflect`: nothing is added to the transcript."""
        yield from ()
        return []

    def context(self, me: Agent, recalled: Sequence[Event]) -> str:
        """See `AgentKind.context`: the profile, then the whole transcript, whatever was recalled."""
        told = [event.text for event in self.memory.transcript(me.handle)]
        return "\n".join([self._profile(me.user), *told])

    def change(self, persona: Persona) -> None:
        """See `AgentKind.change`."""
        self._personas[persona.user] = persona
        self._profiles.pop(persona.user, None)

    def _level(self, stars: float) -> int:
        """The label of a rating: 0 for not watched, else its place among the levels."""
        return int(np.searchsorted(self.rating_levels, stars)) + 1 if stars > 0 else 0

    def _item(self, item: int) -> str:
        if item not in self._items:
            shown = self._catalogue.shown
            genres = shown.genres(item)
            self._items[item] = self._words.phrases["item"].substitute(
                label=shown.label[item], genres=f", {genres}" if genres else ""
            )
        slogan = self.slogans.get(item)
        return self._items[item] if slogan is None else f"{self._items[item]} {slogan}"

    def _profile(self, user: int) -> str:
        if user not in self._profiles:
            self._profiles[user] = self._render(self._personas[user])
        return self._profiles[user]

    def _render(self, persona: Persona) -> str:
        say, shown = self._words.phrases, self._catalogue.shown
        facts = [say["age"].substitute(age=persona.age)] if persona.age is not None else []
        facts += [fact(word) for word in (persona.gender, persona.occupation) if word]
        taste = [say["likes"].substitute(genres=shown.listed(persona.likes))] if persona.likes else []
        taste += [say["dislikes"].substitute(genres=shown.listed(persona.dislikes))] if persona.dislikes else []
        loved = [shown.label[item] for item in persona.liked_items[:_LOVED] if item != EMPTY]
        taste += [say["loved"].substitute(items="; ".join(loved))] if loved else []
        habits = [say[f"activity {persona.activity}"].template, say[f"diversity {persona.diversity}"].template]
        text = self._words.template("profile").substitute(
            facts=", ".join(facts) or say["nobody"].template,
            taste="\n".join(taste),
            mean=f"{persona.mean_rating:.1f}",
            top=f"{self.rating_levels[-1]:g}",
            habits="\n".join(habits),
        )
        return text.replace("\n\n", "\n")
