"""Turns personas, items and memories into the text that a page agent reads. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property

from recsim_llm.agents.prompts_text import phrases, prompt_text, template
from recsim_llm.data.dataset import Catalogue
from recsim_llm.types import EMPTY, Item, Persona

KIND = "page"
_MAX_DESCRIPTION = 160  # characters; a longer description would crowd out the person


class PageTexts:
    """All texts of the page agent for one catalogue and population; pieces are rendered once and kept.

    Attributes:
        system, system_interview: Instructions shared by all agents, on a visit and in an interview.
        remind: What is added to a question asked again.
        levels: Choices of a rating question, "1" (worst) to "R" (best).
    """

    def __init__(
        self,
        catalogue: Catalogue,
        personas: Sequence[Persona] | Mapping[int, Persona],
        rating_levels: Sequence[float],
    ) -> None:
        self._catalogue, self._personas = catalogue, personas
        self._top = _stars(rating_levels[-1])
        self.system = prompt_text(KIND, "system")
        self.system_interview = prompt_text(KIND, "system_interview")
        self.remind = prompt_text(KIND, "remind")
        self.levels = tuple(str(i + 1) for i in range(len(rating_levels)))
        self._persona: dict[int, str] = {}
        self._watch: dict[int, str] = {}
        self._rate: dict[int, str] = {}
        self._seen: dict[tuple[int, float], str] = {}

    @cached_property
    def leave(self) -> str:
        """The question whether the person leaves."""
        return prompt_text(KIND, "leave")

    def watch(self, item: int) -> str:
        """The question whether the person watches an item."""
        if item not in self._watch:
            text = _item_text(self._catalogue[item])
            self._watch[item] = template(KIND, "watch").substitute(item=text)
        return self._watch[item]

    def rate(self, item: int) -> str:
        """The question how the person rates an item."""
        if item not in self._rate:
            text = _item_text(self._catalogue[item])
            self._rate[item] = template(KIND, "rate").substitute(item=text, top=self.levels[-1])
        return self._rate[item]

    def context(self, user: int, items: Sequence[int], stars: Sequence[float], page_size: int) -> str:
        """Who the person is and what happened on this visit.

        Args:
            user: User id.
            items: Impressions of the visit, oldest first; EMPTY slots are left out.
            stars: Stars given to each, 0 where not watched.
            page_size: Impressions a page.
        """
        return self._persona_text(user) + self._memory(items, stars, page_size)

    def _persona_text(self, user: int) -> str:
        if user not in self._persona:
            self._persona[user] = _render_persona(self._personas[user], self._catalogue, self._top)
        return self._persona[user]

    def _memory(self, items: Sequence[int], stars: Sequence[float], page_size: int) -> str:
        if not items:
            return phrases(KIND)["nothing"].template
        lines = []
        for start in range(0, len(items), page_size):
            lines.append(_page_line(start // page_size + 1))
            # A dictionary of lines, because a template is a hundred times as slow as a look-up.
            for key in zip(items[start : start + page_size], stars[start : start + page_size], strict=True):
                line = self._seen.get(key)
                lines.append(self._seen_line(*key) if line is None else line)
        return "".join(lines).removesuffix("\n")

    def _seen_line(self, item: int, stars: float) -> str:
        if item == EMPTY:
            return ""
        phrase = phrases(KIND)["watched" if stars else "skipped"]
        line = phrase.substitute(item=self._catalogue[item].label, stars=_stars(stars), top=self._top) + "\n"
        self._seen[item, stars] = line
        return line


@cache
def _page_line(page: int) -> str:
    return phrases(KIND)["page"].substitute(page=page) + "\n"


def _stars(value: float) -> str:
    return f"{value:g}"


def short(text: str) -> str:
    """A description of at most 160 characters, cut between words."""
    if len(text) <= _MAX_DESCRIPTION:
        return text
    return text[: _MAX_DESCRIPTION - 1].rsplit(" ", 1)[0] + "…"


def _item_text(item: Item) -> str:
    genres = f", {', '.join(item.genres)}" if item.genres else ""
    text = short(item.description)
    description = f". {text}" if text else ""
    return phrases(KIND)["item"].substitute(label=item.label, genres=genres, description=description)


def _render_persona(persona: Persona, catalogue: Catalogue, top: str) -> str:
    say = phrases(KIND)
    facts = [say["age"].substitute(age=persona.age)] if persona.age is not None else []
    facts += [word for word in (persona.gender, persona.occupation) if word]
    demographics = f"{', '.join(facts)}.\n" if facts else ""
    tastes = [
        say[name].substitute(genres=", ".join(genres))
        for name, genres in (("likes", persona.likes), ("dislikes", persona.dislikes))
        if genres
    ]
    examples = [
        say[name].substitute(items="; ".join(catalogue[i].label for i in items))
        for name, items in (("liked", persona.liked_items), ("disliked", persona.disliked_items))
        if items
    ]
    rating = say["rating"].substitute(mean=f"{persona.mean_rating:.1f}", top=top)
    traits = [
        say[f"{name} {level}"].template
        for name, level in (
            ("activity", persona.activity),
            ("conformity", persona.conformity),
            ("diversity", persona.diversity),
        )
    ]
    return template(KIND, "context").substitute(
        demographics=demographics,
        tastes="".join(f"{line}\n" for line in tastes),
        examples="".join(f"{line}\n" for line in [*examples, rating]),
        traits="".join(f"{line}\n" for line in traits),
        memory="",
    )
