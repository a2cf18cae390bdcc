"""RecAgent (Wang et al., TOIS; released code): profile with roles, three-stage memory, insights and reflections.

What the paper and its code specify, what is done here and every deviation: docs/agents/recagent.md.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from recsim_llm.agents.llm.agent_kind import Agent, PageAnswer
from recsim_llm.agents.llm.kind_texts import KindTexts, read_kind_texts
from recsim_llm.agents.llm.memory.memory_budget import cut
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.three_stage import ThreeStageMemory, ThreeStageOptions
from recsim_llm.agents.llm.pages.page_labels import listing_order, read_page
from recsim_llm.agents.llm.recagent.recagent_texts import KIND, RecAgentTexts, sentence_parser
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.checked import Count, Temperature, Text
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.errors import ConfigError
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.language.label_reads import AnswerCounts, ask
from recsim_llm.language.text_reads import ask_text
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Completion, Persona, Prompt

ANSWERS = ("labels", "text")
SCORES = tuple("123456789")
"""Published: 1..10, but "10" begins with the token of "1" for most models, and would need an answer of its own."""
_REFLECT_OVER = 50  # published
_SENTENCE_TOKENS = 60
_DRAW_SEEN, _DRAW_INSIGHT = 2, 3  # purposes of draws of the stream MEMORY; the memory itself has 0 and 1
_PROBE_ITEM, _PROBE_WATCH, _PROBE_STARS = 4, 5, 6  # likewise
REACHED = 0.0239
"""Share of the pairs of `probe_texts` that reach the published threshold, a cosine of 0.847, with the published encoder
(all-mpnet-base-v2): measured once (docs/agents/recagent.md)."""
PROBES, PROBE_ITEMS, PROBE_WATCHED = 200, 5, 0.4

Sentences = Generator[Sequence[Prompt], Sequence[Completion], list[str | None]]


@dataclass(frozen=True, slots=True)
class RecAgentOptions:
    """How agents answer and what they remember.

    Attributes:
        answers: "labels": events enter the memory as template sentences; "text": as one sentence written by the model,
            as published. Decisions are label reads in both.
        memory: The constants of the three stages; None takes the published ones, but for the threshold of enhancement,
            which is calibrated to the encoder (`calibrated_enhancement`). `ThreeStageOptions()` has the published one.
        memory_bytes: Most bytes of memories in a prompt; a token has at least one byte, so this bounds tokens.
        evidence_bytes: Most bytes of memories that an insight or reflection is drawn from, the latest kept.
        temperature: Temperature of generated texts.
        one_by_one: One label read per item instead of one per page: more calls, for small models that count along in a
            line of numbers.
        prompts: Folder with texts of your own in place of some of the kind's (docs/agents/README.md); "" for none.
        leaving: The declared hazard of leaving.
    """

    answers: Literal["labels", "text"] = "labels"
    memory: ThreeStageOptions | None = None
    memory_bytes: Count = 1200
    evidence_bytes: Count = 2400
    temperature: Temperature = 0.2
    one_by_one: bool = False
    prompts: Text = ""
    leaving: LeaveParameters = field(default_factory=LeaveParameters)

    def __post_init__(self) -> None:
        if self.answers not in ANSWERS:
            raise ConfigError(f"RecAgent: answers is 'labels' or 'text', not '{self.answers}'.")


class RecAgent:
    """The agent kind "recagent" (see `agents.llm.agent_kind.AgentKind`). A page costs two calls, insights are extra.

    Args:
        catalogue: Titles, genres and descriptions.
        personas: `personas[u].user == u`.
        rating_levels: (R,) stars.
        encoder: Text encoder of memories, shared by the whole population.
        options: Default: `RecAgentOptions()`.

    Raises:
        ConfigError: The data set has no titles, so there is nothing a language model could judge.
    """

    name = KIND

    def __init__(
        self,
        catalogue: Catalogue,
        personas: Sequence[Persona],
        rating_levels: Sequence[float],
        encoder: TextEncoder,
        options: RecAgentOptions | None = None,
    ) -> None:
        if not catalogue.has_titles:
            raise ConfigError("RecAgent needs item titles, and this data set has none. Add a title column.")
        self.options = options or RecAgentOptions()
        self.num_users, self.num_items = len(personas), len(catalogue)
        self.rating_levels = np.array(rating_levels, dtype=np.float64)
        self.leaving, self.counts = self.options.leaving, AnswerCounts()
        stages = self.options.memory or ThreeStageOptions(enhancement=calibrated_enhancement(encoder))
        self.memory = ThreeStageMemory(encoder, stages)
        self.slogans: dict[int, str] = {}
        sizes = self.options.memory_bytes, self.options.evidence_bytes
        words = read_kind_texts(KIND, self.options.prompts)
        self._texts = RecAgentTexts(catalogue, personas, rating_levels, *sizes, self.slogans, words)

    def begin(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], None]:
        """See `AgentKind.begin`: nothing has to be asked, the profile comes from the persona."""
        yield from ()

    def query(self, me: Agent, page: Sequence[int]) -> str:
        """See `AgentKind.query`: the titles and genres of the page."""
        return self._texts.query(page)

    def react(
        self, me: Agent, page: Sequence[int], recalled: Sequence[Event]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], PageAnswer]:
        """See `AgentKind.react`: one call per page, one label per item."""
        texts = self._texts
        stem = Prompt(texts.system, self.context(me, recalled), "")
        order, levels = listing_order(me.key, me.page, page), len(self.rating_levels)
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
        """See `AgentKind.observe`: the sensory stage, one sentence with a score; nothing for an empty page.

        Memories recalled for the page count as accessed now, before the page itself enters the memory, as published.
        So, unlike `react`, this must be called once per page.
        """
        seen = self._texts.seen(page, stars)
        if not seen:
            return []
        self.memory.rehearse(np.array([me.handle]), [self._texts.query(page)], np.array([me.hour]))
        text, sentence = cut(seen, self.memory.options.max_bytes), None
        if self.options.answers == "text":
            (sentence,) = yield from self._sentences(me, [self._texts.compress(text)], self._texts.context(me.user, ()))
            text = sentence or text
        (importance,) = yield from self._importance(me, [text], _DRAW_SEEN)
        return [Event(text, importance, written=bool(sentence))]

    def reflect(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """See `AgentKind.reflect`: an insight per promotion to the long-term stage; a reflection where one is due."""
        insights = yield from self._insights(me, self.memory.take_promoted(me.handle))
        if self.memory.reflection_due(me.handle):
            insights += yield from self._conclude(me)
        return insights

    def context(self, me: Agent, recalled: Sequence[Event]) -> str:
        """See `AgentKind.context`: with what is recalled and the whole short-term stage, as published."""
        short = self.memory.short_term(me.handle)
        return self._texts.context(me.user, [*(event for event in recalled if event not in short), *short])

    def change(self, persona: Persona) -> None:
        """See `AgentKind.change`."""
        self._texts.change(persona)

    def _insights(
        self, me: Agent, chains: Sequence[Sequence[str]]
    ) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """One sentence, with a score, for each chain of memories that enhanced each other."""
        if not chains:
            return []
        found = yield from self._sentences(me, [self._texts.insight(chain) for chain in chains])
        texts = [text for text in found if text is not None]
        importances = (yield from self._importance(me, texts, _DRAW_INSIGHT)) if texts else []
        return [Event(*row, "insight", written=True) for row in zip(texts, importances, strict=True)]

    def _conclude(self, me: Agent) -> Generator[Sequence[Prompt], Sequence[Completion], list[Event]]:
        """One question over the latest long-term memories, one insight from those about it, put in their place."""
        latest = [event.text for event in self.memory.long_term(me.handle, _REFLECT_OVER)]
        (question,) = yield from self._sentences(me, [self._texts.reflect_question(latest)])
        sources = self.memory.sources(me.handle, question, me.hour) if question else []
        insight = None
        if question and sources:
            events = [event for _, event in sources]
            told = self._texts.reflect([event.text for event in events], question)
            (text,) = yield from self._sentences(me, [told])
            # As published, its importance is the mean of its sources'; no call.
            mean = sum(event.importance for event in events) / len(events)
            insight = None if text is None else Event(text, mean, "insight", written=True, kept=False)
        self.memory.conclude(me.handle, insight, [serial for serial, _ in sources], me.hour)
        return [insight] if insight else []

    def _sentences(self, me: Agent, questions: Sequence[str], context: str = "") -> Sentences:
        """One sentence per question; None (counted) if unusable. As published, insights are asked without profile."""
        stem = Prompt(
            self._texts.system,
            context,
            "",
            max_tokens=_SENTENCE_TOKENS,
            temperature=self.options.temperature,
            seed=me.key % 2**31,
        )
        prompts = [stem._replace(question=question) for question in questions]
        return (yield from ask_text(prompts, sentence_parser(stem), self._texts.remind, self.counts))

    def _importance(
        self, me: Agent, texts: Sequence[str], purpose: int
    ) -> Generator[Sequence[Prompt], Sequence[Completion], list[float]]:
        """Scores in [0.1, 1], drawn from the probabilities of the labels: the published score is sampled text too."""
        prompts = [Prompt(self._texts.system, "", self._texts.importance(text), SCORES) for text in texts]
        answers = yield from ask(prompts, self._texts.remind, self.counts)
        # Keyed by seconds of life, because page numbers restart on each visit.
        second = round(me.hour * 3600)
        draws = uniforms(np.uint64(me.key), Stream.MEMORY, second, purpose, np.arange(len(texts)))
        return [score(answer, draw) for answer, draw in zip(answers, draws.tolist(), strict=True)]


def score(probabilities: Sequence[float], draw: float) -> float:
    """An importance in [0.1, 1]: a label drawn, 1..9 stretched to the published 1..10, times the published 0.1.

    The published cut at a score of 7 is one at the label 7 here too: 6 is 6.6, and 7 is 7.75.

    Args:
        probabilities: Of the nine labels; they sum to 1.
        draw: In [0, 1).
    """
    label = int(np.searchsorted(np.cumsum(probabilities[:-1]), draw, side="right"))
    return 0.1 * (1.0 + 9.0 * label / (len(probabilities) - 1))


_CALIBRATED: dict[str, float] = {}  # by the encoder's name, which is its identity


def calibrated_enhancement(encoder: TextEncoder) -> float:
    """The threshold of enhancement that is as rare with an encoder as the published one is with the published encoder.

    Cosines of different encoders cannot be compared: of the pairs of `probe_texts` the published encoder brings
    2.4 % to the published 0.847, the default one none. So the threshold is the cosine that a share `REACHED` of these
    pairs reaches, rounded up to four decimals, so that it does not depend on a machine's last bits.

    Args:
        encoder: Its vectors of `probe_texts` are computed once per process.

    Returns:
        A value for `ThreeStageOptions.enhancement`: the sigmoid of that cosine.
    """
    if encoder.name not in _CALIBRATED:
        cosine = float(np.ceil(1e4 * _reached(encoder, REACHED)) / 1e4)
        _CALIBRATED[encoder.name] = float(1.0 / (1.0 + np.exp(-cosine)))
    return _CALIBRATED[encoder.name]


def _reached(encoder: TextEncoder, share: float) -> float:
    """A cosine that at most this share of the pairs of probe texts reaches, and exactly this share without ties."""
    vectors = encoder.encode(probe_texts()).astype(np.float64)
    cosines = np.sort((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)])
    # Just above the first cosine that must not reach it: with many ties, rather too few pairs reach it than all.
    return float(np.nextafter(cosines[len(cosines) - 1 - int(share * len(cosines))], np.inf))


def probe_texts() -> list[str]:
    """200 memories of random pages of five in the synthetic world, each item watched with probability 0.4."""
    world = make_world().dataset
    texts = RecAgentTexts(world.catalogue, (), world.rating_levels, 0, 0, {}, KindTexts(KIND))
    stars, items = np.array(world.rating_levels), np.arange(len(world.catalogue))
    probes = []
    for page in range(PROBES):
        shown = np.argsort(uniforms(0, Stream.MEMORY, page, _PROBE_ITEM, items), kind="stable")[:PROBE_ITEMS]
        watched = uniforms(0, Stream.MEMORY, page, _PROBE_WATCH, shown) < PROBE_WATCHED
        given = stars[(uniforms(0, Stream.MEMORY, page, _PROBE_STARS, shown) * len(stars)).astype(np.int64)]
        probes.append(texts.seen(shown.tolist(), np.where(watched, given, 0.0).tolist()))
    return probes
