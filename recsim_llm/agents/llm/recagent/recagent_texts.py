"""Texts of RecAgent's prompts: profiles, pages and memories. Independent of any language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import Template

from recsim_llm.agents.llm.agentcf.agentcf_texts import memory_parser
from recsim_llm.agents.llm.kind_texts import KindTexts
from recsim_llm.agents.llm.memory.memory_budget import cut, fit
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.shown import fact
from recsim_llm.types import EMPTY, Persona, Prompt

KIND = "recagent"
SENTENCE_BYTES = 240
"""Longest text that a model writes into a memory, in UTF-8 bytes."""


def roles(persona: Persona) -> tuple[str, ...]:
    """RecAgent's roles from Agent4Rec's traits, a declared rule: the released roles are invented, not derived.

    The active (level 3) post; those who stray from their usual taste (diversity 3) explore; mavericks (conformity 3)
    criticise, and those who rate with the crowd (conformity 1) chat and trust others. Watchers are the at least
    moderately active, and everybody without another role.
    """
    others = {
        "Explorer": persona.diversity == 3,
        "Critic": persona.conformity == 3,
        "Chatter": persona.conformity == 1,
        "Poster": persona.activity == 3,
    }
    played = tuple(role for role, is_played in others.items() if is_played)
    return ("Watcher", *played) if persona.activity >= 2 or not played else played


class RecAgentTexts:
    """All texts of RecAgent for one catalogue and population; rendered profiles and items are cached.

    Args:
        catalogue: Titles, genres, descriptions.
        personas: `personas[u].user == u`.
        rating_levels: (R,) stars.
        memory_bytes: Most bytes of memories in the context of a prompt.
        evidence_bytes: Most bytes of memories that an insight is drawn from.
        slogans: Words shown with an item, by item; filled from outside.
        words: The texts themselves.

    Attributes:
        system: Instructions shared by all agents.
        remind: Text added to a repeated question.
        page_labels: The question about a page.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        personas: Sequence[Persona],
        rating_levels: Sequence[float],
        memory_bytes: int,
        evidence_bytes: int,
        slogans: Mapping[int, str],
        words: KindTexts,
    ) -> None:
        self._words = words
        self._catalogue, self._personas, self._slogans = catalogue, list(personas), slogans
        self._memory_bytes, self._evidence_bytes = memory_bytes, evidence_bytes
        self._top = f"{rating_levels[-1]:g}"
        self._shown = catalogue.shown
        self.system, self.remind = self._shown.system(words.text("system")), words.text("remind")
        self.page_labels: Template = words.template("page_labels")
        self._items: dict[int, str] = {}
        self._profiles: dict[int, dict[str, str]] = {}

    def change(self, persona: Persona) -> None:
        """Replace the description of this person."""
        self._personas[persona.user] = persona
        self._profiles.pop(persona.user, None)

    def item(self, item: int) -> str:
        """The line that describes an item."""
        if item not in self._items:
            genres, text = self._shown.genres(item), self._shown.description(item)
            self._items[item] = self._words.phrases["item"].substitute(
                label=self._shown.label[item],
                genres=f", {genres}" if genres else "",
                description=f". {text}" if text else "",
            )
        slogan = self._slogans.get(item)
        return self._items[item] if slogan is None else f"{self._items[item]} {slogan}"

    def query(self, page: Sequence[int]) -> str:
        """The recall query for a page: its titles and genres."""
        items = [self._catalogue[item] for item in page if item != EMPTY]
        genres = dict.fromkeys(genre for item in items for genre in item.genres)
        return " ".join([*(item.title for item in items), *genres])

    def seen(self, page: Sequence[int], stars: Sequence[float]) -> str:
        """What happened on a page, in one or two sentences in the first person; "" for an empty page."""
        say = self._words.phrases
        shown = [(self._shown.label[i], given) for i, given in zip(page, stars, strict=True) if i != EMPTY]
        skipped = "; ".join(label for label, given in shown if not given)
        watched = [say["given"].substitute(item=label, stars=f"{s:g}", top=self._top) for label, s in shown if s]
        if not watched:
            return say["skipped all"].substitute(items=skipped) if skipped else ""
        text = say["watched"].substitute(items="; ".join(watched))
        return f"{text} {say['skipped'].substitute(items=skipped)}" if skipped else text

    def importance(self, text: str) -> str:
        """The question how important a memory is."""
        return self._words.template("importance").substitute(text=text)

    def compress(self, text: str) -> str:
        """The question for one sentence on what happened."""
        return self._words.template("compress").substitute(text=text)

    def insight(self, memories: Sequence[str]) -> str:
        """The question for an insight from memories that enhanced each other."""
        return self._words.template("insight").substitute(memories=self._evidence(memories))

    def reflect_question(self, memories: Sequence[str]) -> str:
        """The prompt that asks for the question of a reflection."""
        return self._words.template("reflect_question").substitute(memories=self._evidence(memories))

    def reflect(self, memories: Sequence[str], question: str) -> str:
        """The question for the insight of a reflection."""
        return self._words.template("reflect").substitute(memories=self._evidence(memories), question=question)

    def context(self, user: int, recalled: Sequence[Event]) -> str:
        """Who the person is and what they remember; the memories take at most `memory_bytes`."""
        memory = fit(recalled, self._memory_bytes) or self._words.phrases["nothing"].template
        return self._words.template("context").substitute(self._profile(user), memory=memory)

    def _evidence(self, memories: Sequence[str]) -> str:
        # Equal memories are listed only once.
        return fit([Event(text) for text in dict.fromkeys(memories)], self._evidence_bytes)

    def _profile(self, user: int) -> dict[str, str]:
        if user not in self._profiles:
            persona, say = self._personas[user], self._words.phrases
            facts = [say["age"].substitute(age=persona.age)] if persona.age is not None else []
            facts += [fact(word) for word in (persona.gender, persona.occupation) if word]
            self._profiles[user] = {
                "name": say["name"].substitute(user=user),
                "facts": f" {', '.join(facts)}." if facts else "",
                "interests": self._shown.listed(persona.likes) or say["anything"].template,
                "rating": say["rating"].substitute(mean=f"{persona.mean_rating:.1f}", top=self._top),
                "roles": "\n".join(say[role].template for role in roles(persona)),
            }
        return self._profiles[user]


def sentence_parser(prompt: Prompt) -> Callable[[str], str | None]:
    """A parser of one sentence, at most `SENTENCE_BYTES`; None for nothing, a refusal or recited instructions."""
    parse_memory = memory_parser(prompt)

    def parse(text: str) -> str | None:
        memory = parse_memory(text)
        if memory is None or memory.startswith("{"):
            return None
        sentence, stop, _ = memory.partition(". ")
        return cut(sentence + stop.strip(), SENTENCE_BYTES)

    return parse
