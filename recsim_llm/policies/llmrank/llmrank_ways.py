"""Pointwise, pairwise and listwise ranking of candidates by a language model. Independent of policies.

A way turns candidates into questions, each about some of them in the order shown, and each answer into item scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple, Protocol, TypeAlias, get_args

import numpy as np

from recsim_llm.policies.grounding import MAX_TITLE, Grounder, written_titles
from recsim_llm.policies.planners.asking import label_probabilities
from recsim_llm.policies.planners.options import LABELS
from recsim_llm.policies.planners.texts import phrase, say
from recsim_llm.types import Bools, Completion, Floats, Prompt

KIND = "llmrank"
Label = Callable[[int], str]
Order = Callable[[int, Sequence[int]], list[int]]
"""Maps a round number and items to the order in which that round shows them."""


class Question(NamedTuple):
    """A question about candidates.

    Attributes:
        text: The question.
        items: The items it is about, in the order shown.
        choices: Labels of the answer; () for a written answer.
        max_tokens: Longest written answer.
    """

    text: str
    items: tuple[int, ...]
    choices: tuple[str, ...] = ()
    max_tokens: int = 8


class Way(Protocol):
    """A method of ranking candidates."""

    def questions(self, items: Sequence[int], order: Order, rounds: int) -> list[Question]:
        """Return all questions about `items`, which are in the retriever's order."""
        ...

    def scores(self, question: Question, prompt: Prompt, completion: Completion) -> Floats | None:
        """Return a score for each item of a question, higher is better; None if the answer cannot be used."""
        ...

    def sensitivity(self, scores: Floats) -> float | None:
        """Return how much the order shown decided the answer, -1..1; None if undefined."""
        ...


class Pointwise:
    """Asks of one item whether the user would like it; the score is the probability of yes. Has no position bias."""

    def __init__(self, label: Label) -> None:
        self._label = label

    def questions(self, items: Sequence[int], order: Order, rounds: int) -> list[Question]:
        """See `Way.questions`: one per candidate."""
        return [Question(say(KIND, "pointwise", title=self._label(item)), (item,), ("Yes", "No")) for item in items]

    def scores(self, question: Question, prompt: Prompt, completion: Completion) -> Floats | None:
        """See `Way.scores`."""
        chances = label_probabilities(prompt, completion)
        return None if chances is None else chances[:1]

    def sensitivity(self, scores: Floats) -> float | None:
        """See `Way.sensitivity`."""
        return None


class Pairwise:
    """Asks which of two items is better; which one is A is drawn, and swapped in every other round."""

    def __init__(self, label: Label) -> None:
        self._label = label

    def questions(self, items: Sequence[int], order: Order, rounds: int) -> list[Question]:
        """See `Way.questions`: one per pair and round."""
        found = []
        for number in range(rounds):
            place = {item: i for i, item in enumerate(order(number // 2, items))}
            for pair in combinations(items, 2):
                first, second = sorted(pair, key=lambda item: place[item], reverse=bool(number % 2))
                text = say(KIND, "pairwise", options=_options((first, second), self._label))
                found.append(Question(text, (first, second), ("A", "B")))
        return found

    def scores(self, question: Question, prompt: Prompt, completion: Completion) -> Floats | None:
        """See `Way.scores`."""
        return label_probabilities(prompt, completion)

    def sensitivity(self, scores: Floats) -> float | None:
        """See `Way.sensitivity`: the preference for the first of a pair."""
        return float(scores[0] - scores[1])


class Listwise:
    """Asks for one list per round, candidates in random order. An item scores m - rank, or 0 if it is not named."""

    def __init__(self, label: Label, grounder: Grounder, num_items: int) -> None:
        self._label, self._grounder, self._num_items = label, grounder, num_items

    def questions(self, items: Sequence[int], order: Order, rounds: int) -> list[Question]:
        """See `Way.questions`: one per round."""
        found = []
        for number in range(rounds):
            shown = tuple(order(number, items))
            text = say(KIND, "listwise", count=len(shown), options=_options(shown, self._label))
            found.append(Question(text, shown, (), 24 * len(shown) + 8))
        return found

    def scores(self, question: Question, prompt: Prompt, completion: Completion) -> Floats | None:
        """See `Way.scores`: a line counts if it names a candidate by title (exact or fuzzy) or by letter."""
        if completion.refused or prompt.system in completion.text:
            return None
        free = np.zeros(self._num_items, dtype=np.bool_)
        free[list(question.items)] = True
        ranked = []
        for line in written_titles(completion.text, 2 * len(question.items), self._may_be_title):
            item = self._named(line, question.items, free)
            if item is not None:
                ranked.append(item)
                free[item] = False
        if not ranked:
            return None
        size = len(question.items)
        return np.array([float(size - ranked.index(i)) if i in ranked else 0.0 for i in question.items])

    def sensitivity(self, scores: Floats) -> float | None:
        """See `Way.sensitivity`: Spearman's correlation of the positions shown and the ranks of the answer."""
        if len(scores) < 2 or np.ptp(scores) == 0:
            return None
        ranks = _average_ranks(-scores)
        return float(np.corrcoef(np.arange(len(scores)), ranks)[0, 1])

    def _may_be_title(self, line: str) -> bool:
        return len(line) <= MAX_TITLE or len(self._grounder.names(line)) > 0

    def _named(self, line: str, items: Sequence[int], free: Bools) -> int | None:
        if not free.any():
            return None
        letter, _, rest = line.replace(")", ":", 1).replace(".", ":", 1).partition(":")
        labelled = letter.strip() in LABELS[: len(items)] and len(letter.strip()) == 1
        for text in (line, rest.strip()) if labelled and rest.strip() else (line,):
            found = self._grounder.ground(text, free)
            if found.how != "embedding":
                return found.item
        item = items[LABELS.index(letter.strip())] if labelled else None
        return item if item is not None and free[item] else None


WayName: TypeAlias = Literal["pointwise", "pairwise", "listwise"]
WAYS: tuple[str, ...] = get_args(WayName)


def make_way(name: str, label: Label, grounder: Grounder, num_items: int) -> Way:
    """Return the way of this name: "pointwise", "pairwise" or "listwise"."""
    if name == "listwise":
        return Listwise(label, grounder, num_items)
    return Pairwise(label) if name == "pairwise" else Pointwise(label)


def _options(items: Sequence[int], label: Label) -> str:
    lines = (phrase("planner", "option", label=a, item=label(i)) for a, i in zip(LABELS, items, strict=False))
    return "".join(lines).rstrip("\n")


def _average_ranks(values: Floats) -> Floats:
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    ranks: Floats = below + (equal - 1) / 2
    return ranks
