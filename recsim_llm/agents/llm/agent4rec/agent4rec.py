"""Agent4Rec (Zhang et al., SIGIR 2024): agents with traits, verbal tastes, factual and emotional memory, and a hazard.

What the paper specifies, what is done here and every deviation: docs/agents/agent4rec.md.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from recsim_llm.agents.llm.agent4rec.agent4rec_texts import KIND, Agent4RecTexts
from recsim_llm.agents.llm.agent_kind import Agent, PageAnswer
from recsim_llm.agents.llm.kind_texts import read_kind_texts
from recsim_llm.agents.llm.memory.memory_budget import cut
from recsim_llm.agents.llm.memory.memory_protocol import Event, Memory
from recsim_llm.agents.llm.memory.stream import StreamMemory
from recsim_llm.agents.llm.pages.page_answers import PageAnswerText, page_schema, parse_page_answer
from recsim_llm.agents.llm.pages.page_labels import listing_order, read_page
from recsim_llm.agents.personas.persona import item_means
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.checked import Count, Temperature, Text
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.language.text_reads import ask_text
from recsim_llm.types import EMPTY, Completion, Persona, Prompt

ANSWERS = ("labels", "text")
# Maximum likelihood on the exits of the published run of 1,000 gpt-3.5 agents (`python -m benchmarks.replay_agent4rec
# FOLDER --fit-exits`): standard errors 0.44, 0.07, 0.60, 0.09. Pleasure is within one error of 0: fatigue decides.
# Boredom is declared, as that run shows nothing twice.
PAGE_HAZARD = LeaveParameters(base=-3.72, per_page=1.69, pleasure=0.33, boredom=2.0, patience=1.51)
_ITEM_TOKENS = 60  # per item of a text answer
_TASTE_TOKENS, _REFLECTION_TOKENS = 80, 48
_TASTE_LINES, _TASTE_LINE_BYTES = 5, 160
_TASTE = re.compile(r"\b(enjoys?|dislikes?|likes|loves?|hates?|prefers?)\b", re.IGNORECASE)
_SELF = re.compile(r"(i|i'm|i’m|as an?)\b|.*\b(assistant|language model|chatbot)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Agent4RecOptions:
    """How agents answer and what they remember.

    Attributes:
        answers: "labels": one label read per page, and feelings from a template; "text": text generated under a schema,
            and generated feelings, as published.
        tastes: "llm": written by the model from the person's rated titles when the person is first met, as published;
            "genres": the genres that the person rates above and below their own mean.
        show_average: Whether an item is shown with its mean rating, as published; without it, conformity has no effect.
        reflect_every: Pages between emotional memories; 2 as in the published run.
        capacity: Most events that an agent remembers.
        memory_bytes: Most bytes of memories in a prompt; a token has at least one byte, so this bounds tokens.
        temperature: Temperature of generated texts; 0.2 as published.
        one_by_one: One label read per item instead of one per page: more calls, for small models that count along in a
            line of numbers.
        prompts: Folder with texts of your own in place of some of the kind's (docs/agents/README.md); "" for none.
        leaving: The declared hazard of leaving.
    """

    answers: Literal["labels", "text"] = "labels"
    tastes: Literal["llm", "genres"] = "llm"
    show_average: bool = True
    reflect_every: Count = 2
    capacity: Count = 1000
    memory_bytes: Count = 1200
    temperature: Temperature = 0.2
    one_by_one: bool = False
    prompts: Text = ""
    leaving: LeaveParameters = field(default_factory=lambda: PAGE_HAZARD)

    def __post_init__(self) -> None:
        if self.answers not in ANSWERS or self.tastes not in {"llm", "genres"}:
            raise ConfigError(
                f"Agent4Rec: answers is 'labels' or 'text' (not '{self.answers}'), tastes 'llm' or 'genres' "
                f"(not '{self.tastes}')."
            )


class Agent4Rec:
    """The agent kind "agent4rec" (see `agents.llm.agent_kind.AgentKind`).

    Args:
        catalogue: Titles, genres and descriptions.
        personas: `personas[u].user == u`.
        rating_levels: (R,) stars.
        log: Training ratings: mean ratings of items, and the titles that tastes are written from.
        encoder: Text encoder of memories, shared by the whole population.
        options: Default: `Agent4RecOptions()`.

    Raises:
        ConfigError: The data set has no titles, so there is nothing a language model could judge.
    """

    name = KIND

    def __init__(
        self,
        catalogue: Catalogue,
        personas: Sequence[Persona],
        rating_levels: Sequence[float],
        log: Ratings,
        encoder: TextEncoder,
        options: Agent4RecOptions | None = None,
    ) -> None:
        if not catalogue.has_titles:
            raise ConfigError("Agent4Rec needs item titles, and this data set has none. Add a title column.")
        self.options = options or Agent4RecOptions()
        self.num_users, self.num_items = len(personas), len(catalogue)
        self.rating_levels = np.array(rating_levels, dtype=np.float64)
        self.leaving, self.counts = self.options.leaving, AnswerCounts()
        self.memory: Memory = StreamMemory(encoder, capacity=self.options.capacity)
        means = item_means(log).tolist() if self.options.show_average else None
        self.slogans: dict[int, str] = {}
        words = read_kind_texts(KIND, self.options.prompts)
        self._texts = Agent4RecTexts(
            catalogue, personas, rating_levels, log, means, self.options.memory_bytes, self.slogans, words
        )
        self._tastes: dict[int, str] = {}

    def begin(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], None]:
        """See `AgentKind.begin`: asks for a person's tastes in words, once per person."""
        if me.user in self._tastes:
            return
        if self.options.tastes == "genres":
            self._tastes[me.user] = self._texts.genre_tastes(me.user)
            return
        question = self._texts.taste_question(me.user)
        system, warmth = self._texts.taste_system, self.options.temperature
        prompt = Prompt(system, "", question, max_tokens=_TASTE_TOKENS, temperature=warmth)
        (lines,) = yield from ask_text([prompt], taste_lines, self._texts.remind, self.counts)
        self._tastes[me.user] = lines or self._texts.genre_tastes(me.user)

    def query(self, me: Agent, page: Sequence[int]) -> str:
        """See `AgentKind.query`: the page's titles and genres; "" on the first page of a life, without memories."""
        return self._texts.query(page)

    def react(
        self, me: Agent, page: Sequence[int], recalled: Sequence[Event]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], PageAnswer]:
        """See `AgentKind.react`: one call per page."""
        stem = Prompt(self._texts.system, self.context(me, recalled), "")
        order, levels = listing_order(me.key, me.page, page), len(self.rating_levels)
        if self.options.answers == "text":
            return (yield from self._react_in_text(stem, me, page, order))
        texts = self._texts
        return (
            yield from read_page(
                stem,
                texts.page_labels,
                texts.item,
                page,
                order,
                levels,
                texts.remind,
                self.counts,
                self.options.one_by_one,
            )
        )

    def observe(
        self, me: Agent, page: Sequence[int], stars: Sequence[float]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """See `AgentKind.observe`: a factual memory, from a template."""
        yield from ()
        return [Event(self._texts.fact(me.page + 1, page, stars), 0.5)]

    def reflect(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """See `AgentKind.reflect`: an emotional memory after every second page."""
        if me.page % self.options.reflect_every:
            return []
        templated = self._texts.feeling(me.page, me.satisfaction, me.topic, me.stars)
        if self.options.answers == "labels":
            return [Event(templated, 0.5, "feeling")]
        hours = np.array([me.hour])
        recalled = self.memory.recall(np.array([me.handle]), [self._texts.reflect], hours)[0]
        prompt = Prompt(
            self._texts.system,
            self.context(me, recalled),
            self._texts.reflect,
            max_tokens=_REFLECTION_TOKENS,
            temperature=self.options.temperature,
        )
        (sentence,) = yield from ask_text([prompt], first_sentence, self._texts.remind, self.counts)
        return [Event(sentence or templated, 0.5, "feeling", written=bool(sentence))]

    def context(self, me: Agent, recalled: Sequence[Event]) -> str:
        """See `AgentKind.context`."""
        return self._texts.context(me.user, self._tastes[me.user], recalled)

    def change(self, persona: Persona) -> None:
        """See `AgentKind.change`; tastes in words stay, unless they come from genres."""
        self._texts.change(persona)
        if self.options.tastes == "genres" and persona.user in self._tastes:
            self._tastes[persona.user] = self._texts.genre_tastes(persona.user)

    def _react_in_text(
        self, stem: Prompt, me: Agent, page: Sequence[int], order: Sequence[int]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], PageAnswer]:
        levels = len(self.rating_levels)
        nothing = PageAnswer([0.0] * len(page), [[1.0 / levels] * levels for _ in page])
        if not order:
            return nothing
        labels = [self._texts.label[page[slot]] for slot in order]
        prompt = stem._replace(
            question=self._texts.page_text([page[slot] for slot in order]),
            schema=page_schema(len(order), levels),
            max_tokens=_ITEM_TOKENS * len(order) + 20,
            temperature=self.options.temperature,
            seed=me.key % 2**31,
        )

        def parse(text: str) -> PageAnswerText | None:
            answer = parse_page_answer(text, labels, levels)
            return answer if answer is not None and complete(answer) else None

        (answer,) = yield from ask_text([prompt], parse, self._texts.remind, self.counts)
        if answer is None:
            # Declared fallback for an unreadable answer: uniform probabilities.
            return PageAnswer([0.5 if item != EMPTY else 0.0 for item in page], nothing.rating)
        return _decided(answer, order, nothing)


def complete(answer: PageAnswerText) -> bool:
    """Whether every item that is watched is rated too."""
    return all(item.rating is not None for item in answer.items if item.watch)


def _decided(answer: PageAnswerText, order: Sequence[int], nothing: PageAnswer) -> PageAnswer:
    """A decision as probabilities: what the text states is certain, as sampling the text was the only randomness."""
    feelings = []
    for slot, item in zip(order, answer.items, strict=True):
        nothing.watch[slot] = float(item.watch)
        if item.rating is not None:
            nothing.rating[slot] = [float(level + 1 == item.rating) for level in range(len(nothing.rating[slot]))]
        if item.watch and item.feeling:
            feelings.append(item.feeling)
    return nothing._replace(thought=" ".join(feelings))


def taste_lines(text: str) -> str | None:
    """The lines of a text that name a taste, at most five; None where there is none.

    A line in the first person is the model speaking of itself ("I'm sorry, as an assistant I like ..."), not of a
    taste.
    """
    lines = [line.strip().lstrip("-*•0123456789. ").strip() for line in text.splitlines()]
    # A line that ends in a colon announces a taste and names none.
    named = [line for line in lines if _TASTE.search(line) and not _SELF.match(line) and not line.endswith(":")]
    return "\n".join([cut(line, _TASTE_LINE_BYTES) for line in named[:_TASTE_LINES]]) or None


def first_sentence(text: str) -> str | None:
    """The first sentence of a text, at most 200 bytes; None where there is none."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    sentence, stop, _ = line.partition(". ")
    kept = (sentence + stop.strip()).encode()[:200].decode("utf-8", "ignore")
    return kept if any(c.isalpha() for c in kept) else None
