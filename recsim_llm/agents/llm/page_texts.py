"""Texts of the page agent's prompts: personas, items and memories. Independent of any language model.

The words are in a folder of prompts: "page" is for untuned models, "tuned" and "tuned-public" are what
`recsim-llm tune` teaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property

from recsim_llm.agents.llm.prompts_text import phrases, prompt_text, template
from recsim_llm.agents.llm.rendered_texts import Rendered
from recsim_llm.agents.personas.public_ratings import PublicRating
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.shown import fact
from recsim_llm.types import EMPTY, Persona

KIND = "page"
RatedItem = tuple[int, float]
"""An item and the stars it got."""


class PageTexts:
    """All texts of the page agent for one catalogue and population; rendered pieces are cached.

    Args:
        catalogue: Titles, genres and descriptions.
        personas: By user.
        rating_levels: (R,) stars.
        kind: Folder of prompts.
        history: Sample of each user's ratings, by user, for prompts that list it ("tuned").
        public: Public rating shown with an item, by item, for prompts that include it ("tuned-public").

    Attributes:
        system: Instructions shared by all agents.
        remind: Text added to a repeated question.
        levels: Choices of a rating question, "1" (worst) to "R" (best).
        watch, rate: The questions whether the person watches an item and how they rate it, by item.
        person: Who a person is, by user.
        seen: The line about an impression, by item and stars (0 where not watched); "" for an EMPTY slot.
        nothing: Memory text of a person who has seen nothing yet.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        personas: Sequence[Persona] | Mapping[int, Persona],
        rating_levels: Sequence[float],
        kind: str = KIND,
        history: Mapping[int, Sequence[RatedItem]] | None = None,
        public: Mapping[int, PublicRating] | None = None,
    ) -> None:
        self._kind = kind
        self._top = _stars(rating_levels[-1])
        self._history, self._public = history or {}, public or {}
        self._shown = catalogue.shown
        self.system = self._shown.system(prompt_text(kind, "system"))
        self.remind = prompt_text(kind, "remind")
        self.nothing = phrases(kind)["nothing"].template
        self.levels = tuple(str(i + 1) for i in range(len(rating_levels)))
        self.person = Rendered[int, str](lambda user: self._person(personas[user]))
        self.watch = Rendered[int, str](self._watch_question)
        self.rate = Rendered[int, str](self._rate_question)
        self.seen = Rendered[tuple[int, float], str](self._seen_line)

    @cached_property
    def leave(self) -> str:
        """The question whether the person leaves."""
        return prompt_text(self._kind, "leave")

    def context(self, user: int, items: Sequence[int], stars: Sequence[float], page_size: int) -> str:
        """Who the person is and what happened on this visit.

        Args:
            user: User id.
            items: Impressions of the visit, oldest first; EMPTY slots are left out.
            stars: Stars given to each, 0 where not watched.
            page_size: Impressions per page.
        """
        lines = []
        for start in range(0, len(items), page_size):
            lines.append(page_line(start // page_size + 1))
            keys = zip(items[start : start + page_size], stars[start : start + page_size], strict=True)
            lines += [self.seen[key] for key in keys]
        return self.person[user] + ("".join(lines).removesuffix("\n") or self.nothing)

    def told(self, user: int) -> list[tuple[int, int, float]]:
        """The ratings in a person's context: (position of the first character of the stars, item, stars) of each."""
        line = self._rated(user)
        rated = self._history.get(user, ())
        items = [self._told(each) for each in rated]
        place = self.person[user].index(line) + (line.index("; ".join(items)) if items else 0)
        found = []
        for (item, stars), text in zip(rated, items, strict=True):
            found.append((place + len(text) - len(_stars(stars)), item, stars))
            place += len(text) + len("; ")
        return found

    def _watch_question(self, item: int) -> str:
        return template(self._kind, "watch").substitute(item=self._item(item))

    def _rate_question(self, item: int) -> str:
        return template(self._kind, "rate").substitute(item=self._item(item), top=self.levels[-1])

    def _seen_line(self, impression: tuple[int, float]) -> str:
        item, stars = impression
        if item == EMPTY:
            return ""
        phrase = phrases(self._kind)["watched" if stars else "skipped"]
        return phrase.substitute(item=self._shown.label[item], stars=_stars(stars), top=self._top) + "\n"

    def _item(self, item: int) -> str:
        shown = self._shown
        genres, description = (shown.genres(item), shown.description(item))
        say = phrases(self._kind)
        public = ""
        if item in self._public:
            mean, people = self._public[item]
            public = say["public"].substitute(mean=f"{mean:.1f}", people=people)
        return say["item"].substitute(
            label=shown.label[item],
            genres=f", {genres}" if genres else "",
            public=public,
            description=f". {description}" if description else "",
        )

    def _person(self, persona: Persona) -> str:
        say, top = phrases(self._kind), self._top
        facts = [say["age"].substitute(age=persona.age)] if persona.age is not None else []
        facts += [fact(word) for word in (persona.gender, persona.occupation) if word]
        tastes = [
            say[name].substitute(genres=self._shown.listed(genres))
            for name, genres in (("likes", persona.likes), ("dislikes", persona.dislikes))
            if genres
        ]
        traits = [
            say[f"{name} {level}"].template
            for name, level in (
                ("activity", persona.activity),
                ("conformity", persona.conformity),
                ("diversity", persona.diversity),
            )
        ]
        return template(self._kind, "context").substitute(
            demographics=f"{', '.join(facts)}.\n" if facts else "",
            tastes=_lines(tastes),
            examples=_lines(self._examples(persona)),
            mean=say["mean"].substitute(mean=f"{persona.mean_rating:.1f}", top=top) + "\n",
            history=self._rated(persona.user),
            traits=_lines(traits),
            memory="",
        )

    def _examples(self, persona: Persona) -> list[str]:
        named = (("liked", persona.liked_items), ("disliked", persona.disliked_items))
        return [
            phrases(self._kind)[name].substitute(items="; ".join(self._shown.label[i] for i in items))
            for name, items in named
            if items and name in phrases(self._kind)
        ]

    def _rated(self, user: int) -> str:
        rated = self._history.get(user, ())
        if not rated:
            return ""
        items = "; ".join(map(self._told, rated))
        return phrases(self._kind)["history"].substitute(items=items) + "\n"

    def _told(self, rated: RatedItem) -> str:
        item, stars = rated
        return f"{self._shown.label[item]}: {_stars(stars)}"


@cache
def page_line(page: int) -> str:
    """The line above the impressions of a page, numbered from 1."""
    return phrases(KIND)["page"].substitute(page=page) + "\n"


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _stars(value: float) -> str:
    return f"{value:g}"
