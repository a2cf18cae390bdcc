"""Texts of Agent4Rec's prompts: personas, tastes, pages and memories. Independent of any language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from string import Template

from recsim_llm.agents.llm.kind_texts import KindTexts
from recsim_llm.agents.llm.memory.memory_budget import fit
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.pages.page_labels import numbered
from recsim_llm.agents.llm.rendered_texts import Rendered
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.types import EMPTY, Ints, Persona

KIND = "agent4rec"
TITLES_A_RATING = 10
"""Titles per rating in the prompt that a taste is written from; published: 100, more than small models can read."""


class Agent4RecTexts:
    """All texts of Agent4Rec for one catalogue and population; rendered items are cached.

    Args:
        catalogue: Titles, genres, descriptions.
        personas: `personas[u].user == u`.
        rating_levels: (R,) stars.
        log: Training ratings, for the titles that a taste is written from.
        means: (N,) mean stars shown with an item; None to show none.
        memory_bytes: Most bytes of memories in a prompt.
        slogans: Words shown with an item, by item; filled from outside.
        words: The texts themselves.

    Attributes:
        system, remind, reflect, taste_system, page_labels: Texts of the prompts.
        label: Title with the year, by item.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        personas: Sequence[Persona],
        rating_levels: Sequence[float],
        log: Ratings,
        means: Sequence[float] | None,
        memory_bytes: int,
        slogans: Mapping[int, str],
        words: KindTexts,
    ) -> None:
        self._words = words
        self._catalogue, self._personas, self._levels = catalogue, list(personas), rating_levels
        self._slogans = slogans
        self._log, self._means, self._memory_bytes = log, means, memory_bytes
        self._shown = shown = catalogue.shown
        self.system, self.remind = shown.system(words.text("system")), words.text("remind")
        self.reflect = words.text("reflect")
        self.taste_system = shown.system(words.text("taste_system"))
        self.page_labels: Template = words.template("page_labels")
        self.label: Sequence[str] = shown.label
        self._items = Rendered[int, str](self._item)
        self._given = Rendered[tuple[int, float], str](self._given_line)
        self._profiles = Rendered[int, tuple[str, str]](self._profile)

    def item(self, item: int) -> str:
        """The line that describes an item."""
        slogan = self._slogans.get(item)
        return self._items[item] if slogan is None else f"{self._items[item]} {slogan}"

    def change(self, persona: Persona) -> None:
        """Replace the description of this person."""
        self._personas[persona.user] = persona
        self._profiles.pop(persona.user, None)

    def query(self, page: Sequence[int]) -> str:
        """The recall query for a page: its titles and genres.

        Published: one constant question, which recalls the same memories whatever is shown.
        """
        items = [self._catalogue[item] for item in page if item != EMPTY]
        genres = dict.fromkeys(genre for item in items for genre in item.genres)
        return " ".join([*(item.title for item in items), *genres])

    def page_text(self, items: Sequence[int]) -> str:
        """The question about a page, to be answered in text."""
        listed = numbered([self.item(item) for item in items])
        return self._words.template("page_text").substitute(items=listed, top=f"{self._levels[-1]:g}")

    def taste_question(self, user: int) -> str:
        """The prompt that a taste is written from: the person's training titles, grouped by rating, best first."""
        rows = self._rows_of[user]
        lines = []
        for stars in self._levels[::-1]:
            items = self._log.items[rows[self._log.values[rows] == stars]][-TITLES_A_RATING:]
            if len(items):
                titles = "; ".join(self.label[item] for item in items.tolist())
                lines.append(self._words.phrases["rated"].substitute(stars=f"{stars:g}", top=self._top, items=titles))
        return self._words.template("taste").substitute(rated="\n".join(lines))

    def genre_tastes(self, user: int) -> str:
        """Tastes without a model: liked and disliked genres."""
        persona, say = self._personas[user], self._words.phrases
        lines = [
            say[name].substitute(genres=self._shown.listed(genres))
            for name, genres in (("likes", persona.likes), ("dislikes", persona.dislikes))
            if genres
        ]
        return "\n".join(lines) or say["no taste"].template

    def fact(self, page_number: int, page: Sequence[int], stars: Sequence[float]) -> str:
        """What happened on a page, as a factual memory."""
        say = self._words.phrases
        shown = [pair for pair in zip(page, stars, strict=True) if pair[0] != EMPTY]
        watched = [self._given[pair] for pair in shown if pair[1]]
        skipped = [self.label[item] for item, given in shown if not given]
        parts = [say["page"].substitute(page=page_number)]
        parts += [say["watched"].substitute(items="; ".join(watched))] if watched else []
        parts += [say["skipped"].substitute(items="; ".join(skipped))] if skipped else []
        return " ".join(parts)

    def feeling(self, pages: int, satisfaction: float, topic: int, stars: float) -> str:
        """An emotional memory from the running satisfaction: the text explains behaviour but does not decide it."""
        say = self._words.phrases
        pleased = topic != EMPTY and stars > self._levels[len(self._levels) // 2]
        liked = say["liked some"].substitute(items=self.label[topic]) if pleased else say["liked none"].template
        return say["satisfied" if satisfaction >= 0.5 else "unsatisfied"].substitute(page=pages, liked=liked)

    def context(self, user: int, tastes: str, recalled: Sequence[Event]) -> str:
        """Who the person is and what they remember; the memories take at most `memory_bytes`."""
        rating, traits = self._profiles[user]
        memory = fit(recalled, self._memory_bytes) or self._words.phrases["nothing"].template
        return self._words.template("context").substitute(tastes=tastes, rating=rating, traits=traits, memory=memory)

    def _item(self, item: int) -> str:
        shown, say = self._shown, self._words.phrases
        genres, text = shown.genres(item), shown.description(item)
        average = say["average"].substitute(mean=f"{self._means[item]:.1f}") if self._means is not None else ""
        return say["item"].substitute(
            label=shown.label[item],
            genres=f", {genres}" if genres else "",
            average=average,
            description=f". {text}" if text else "",
        )

    def _given_line(self, impression: tuple[int, float]) -> str:
        item, stars = impression
        return self._words.phrases["given"].substitute(item=self.label[item], stars=f"{stars:g}", top=self._top)

    def _profile(self, user: int) -> tuple[str, str]:
        persona, say = self._personas[user], self._words.phrases
        rating = say["rating"].substitute(mean=f"{persona.mean_rating:.1f}", top=self._top) + "\n"
        levels = {name: getattr(persona, name) for name in ("activity", "conformity", "diversity")}
        return rating, "\n".join(say[f"{name} {level}"].template for name, level in levels.items())

    @cached_property
    def _top(self) -> str:
        return f"{self._levels[-1]:g}"

    @cached_property
    def _rows_of(self) -> Sequence[Ints]:
        return self._log.by_user()
