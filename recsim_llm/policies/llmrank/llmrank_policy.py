"""The LLMRank policy: options, prompt forms, cost estimate, and the measure of position bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from annotated_types import Ge, Le

from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.language.converse import Turn
from recsim_llm.language.protocol import LLM
from recsim_llm.policies.llmrank.llmrank_ways import KIND, Question, WayName, make_way
from recsim_llm.policies.planners.asking import ask_all
from recsim_llm.policies.planners.options import LABELS, PlannerOptions
from recsim_llm.policies.planners.planner import Move, PlannedVisit, Planner
from recsim_llm.policies.planners.texts import Case, phrase, say
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats, Observation, Prompt

Form: TypeAlias = Literal["sequential", "recency", "in-context"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True, slots=True)
class LLMRankOptions(PlannerOptions):
    """Options of LLMRank; the planners' option `window` does not apply and is rejected.

    Attributes:
        form: How the history is presented: "sequential", "recency" or "in-context".
        way: How candidates are judged: "pointwise", "pairwise" or "listwise".
        bootstrap: Rounds with candidates in different orders, whose scores are summed (3 in the paper's bootstrapping);
            1 for "pointwise", which shows no order.
        candidates: m, 2..26 (20 in the paper).
        history: Latest titles that the model reads (the paper reads at most 50, and 5 with real retrievers).
        temperature: 0.2, as in the paper.

    Raises:
        ConfigError: A value outside its range.
    """

    candidates: Annotated[int, Ge(2), Le(len(LABELS))] = 20
    history: Annotated[int, Ge(0), Le(1_000)] = 20
    temperature: Annotated[float, Ge(0.0), Le(2.0)] = 0.2
    form: Form = "sequential"
    way: WayName = "listwise"
    bootstrap: Annotated[int, Ge(1), Le(1_000)] = 1

    def __post_init__(self) -> None:
        PlannerOptions.__post_init__(self)
        if self.bootstrap > 1 and self.way == "pointwise":
            raise ConfigError("bootstrap shuffles candidates; way=pointwise shows one at a time: leave bootstrap at 1.")
        if self.window != _field_default("window"):
            raise ConfigError("Policy 'llmrank' has no option window; `history` says how many titles it reads.")


class RankingCost(NamedTuple):
    """Estimated cost of pages, without retries.

    Attributes:
        calls: Number of questions.
        prompt_tokens: Characters / 4.
        output_tokens: Upper bound.
    """

    calls: int
    prompt_tokens: int
    output_tokens: int


class LLMRank(Planner):
    """Re-ranks the best items of a retriever. It learns nothing and stores no thoughts.

    An item's score is the sum over all questions about it; ties, and items that the model does not name, keep the
    retriever's order. A question without a usable answer scores as the retriever's order.
    """

    name: ClassVar[str] = "llmrank"
    Options = LLMRankOptions
    options: LLMRankOptions

    def connect(self, llm: LLM, catalogue: Catalogue) -> None:
        """See `Planner.connect`."""
        Planner.connect(self, llm, catalogue)
        self._way = make_way(self.options.way, self.texts.label, self.grounder, len(catalogue))
        self._sensitivity: list[float] = [0.0, 0.0]

    def turn(self, case: Case, visit: PlannedVisit) -> Turn[Move]:
        """See `Planner.turn`."""
        supply, questions = self._supply(case), self.questions(case)
        if not questions:
            return Move(tuple(supply[: self.page_size]))
        prompts = self._prompts(case, questions)
        reads = [partial(self._way.scores, *pair) for pair in zip(questions, prompts, strict=True)]
        choices = ", ".join(questions[0].choices)
        remind = say(KIND, "remind_label", choices=choices) if choices else say(KIND, "remind")
        answers = yield from ask_all(prompts, reads, remind, self.asking)
        self._measure(answers)
        totals = self._totals(supply, questions, answers)
        best = np.argsort(-totals, kind="stable")[: self.page_size]
        return Move(tuple(supply[place] for place in best.tolist()))

    def questions(self, case: Case) -> list[Question]:
        """Return all questions about a case; none if there is nothing to choose between."""
        supply = self._supply(case)
        if len(supply) < 2:
            return []

        def order(number: int, items: Sequence[int]) -> list[int]:
            draws = uniforms(self.seed, Stream.LISTING, case.user, case.page, number, np.array(items))
            return [items[place] for place in np.argsort(draws, kind="stable").tolist()]

        return self._way.questions(supply, order, self.options.bootstrap)

    def cost(self, observation: Observation) -> RankingCost:
        """Estimate the cost of the pages of an observation without calling the model.

        Raises:
            ConfigError: No model is connected, so there is no catalogue for the prompts.
        """
        assert self.llm is not None
        prompts = [prompt for case in self.cases(observation) for prompt in self._prompts(case, self.questions(case))]
        read = sum(len(prompt.system) + len(prompt.context) + len(prompt.question) for prompt in prompts)
        return RankingCost(
            len(prompts), read // 4, sum(1 if prompt.choices else prompt.max_tokens for prompt in prompts)
        )

    def counts(self) -> dict[str, float]:
        """Counters, and `position_sensitivity`: how much the order shown decided the answers, -1..1 (0: not at all).

        Listwise: mean Spearman correlation of position shown and rank given; pairwise: preference for the first of the
        pair; pointwise: 0, as each candidate is shown alone.
        """
        total, number = self._sensitivity
        return {**Planner.counts(self), "position_sensitivity": total / number if number else 0.0}

    def context(self, case: Case, visit: PlannedVisit | None = None) -> str:
        """Return the text of the history in the chosen form."""
        taken = [item for item, stars in case.latest if stars > 0]
        titles = [self.texts.label(item) for item in taken[max(0, len(taken) - self.options.history) :]]
        if not titles or (self.options.form == "in-context" and len(titles) < 2):
            return say(KIND, "sequential", history=_numbered(titles)) if titles else say(KIND, "unknown")
        words = {"history": _numbered(titles), "earlier": _numbered(titles[:-1]), "latest": titles[-1]}
        return say(KIND, self.options.form, **words)

    def _supply(self, case: Case) -> list[int]:
        """The retriever's best allowed items, best first."""
        ranked = case.ranked[case.allowed[case.ranked]]
        return [int(item) for item in ranked[: self.options.candidates]]

    def _prompts(self, case: Case, questions: Sequence[Question]) -> list[Prompt]:
        context, system = self.context(case), self.texts.told(say(KIND, "system"))
        prompts = []
        for number, question in enumerate(questions):
            prompt = self.prompt(case, context, question.text, f"rank {number}", question.max_tokens)
            warmth = 0.0 if question.choices else prompt.temperature
            prompts.append(prompt._replace(system=system, choices=question.choices, temperature=warmth))
        return prompts

    def _measure(self, answers: Sequence[Floats | None]) -> None:
        for scores in answers:
            found = None if scores is None else self._way.sensitivity(scores)
            if found is not None:
                self._sensitivity[0] += found
                self._sensitivity[1] += 1

    def _totals(self, supply: Sequence[int], questions: Sequence[Question], answers: Sequence[Floats | None]) -> Floats:
        place, totals = {item: i for i, item in enumerate(supply)}, np.zeros(len(supply))
        for question, scores in zip(questions, answers, strict=True):
            places = [place[item] for item in question.items]
            totals[places] += _retrieved(places) if scores is None else scores
        return totals


def _retrieved(places: Sequence[int]) -> Floats:
    """Neutral scores in the retriever's order: m - rank in a list, 0.5 each for one item or a pair."""
    if len(places) <= 2:
        return np.full(len(places), 0.5)
    return len(places) - np.argsort(np.argsort(places)).astype(np.float64)


def _numbered(titles: Sequence[str]) -> str:
    lines = (phrase(KIND, "entry", number=number + 1, title=title) for number, title in enumerate(titles))
    return "".join(lines).rstrip("\n")


def _field_default(name: str) -> object:
    return next(field.default for field in fields(PlannerOptions) if field.name == name)
