"""The page agent: a generator that asks about one page by label reads. It does no I/O and holds no client.

For each item it asks whether the person watches it (yes, no) and how the person would rate it (1..R); after the page,
whether the person leaves (yes, no). Items are judged one at a time after a shared context, so that the model cannot
prefer a slot of the page.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from recsim_llm.agents.page_texts import PageTexts
from recsim_llm.agents.reading import AnswerCounts, ask
from recsim_llm.types import EMPTY, Completion, Prompt

YES_NO = ("Yes", "No")
"""Capitalised, as chat models begin an answer: SmolLM2 gives these eight times the probability of yes and no."""

PageRow = tuple[list[float], list[list[float]]]
"""Probability of watching each of K items, and R rating probabilities for each."""


def react(
    context: str, page: Sequence[int], texts: PageTexts, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], PageRow]:
    """Read one page.

    Args:
        context: Who the person is and what happened on this visit (`PageTexts.context`).
        page: K item ids; EMPTY slots are not asked about and get probability 0.
        texts: The texts.
        counts: Counters of usable and malformed answers.

    Returns:
        The user's row of a Reaction.
    """
    system, levels = texts.system, texts.levels
    items = [item for item in page if item != EMPTY]
    prompts = [Prompt(system, context, texts.watch(item), YES_NO) for item in items]
    prompts += [Prompt(system, context, texts.rate(item), levels) for item in items]
    answers = yield from ask(prompts, texts.remind, counts)
    asked = {item: (answers[i][0], answers[i + len(items)]) for i, item in enumerate(items)}
    nothing = (0.0, [1.0 / len(levels)] * len(levels))
    rows = [asked.get(item, nothing) for item in page]
    return [watch for watch, _ in rows], [rating for _, rating in rows]


def leave(
    context: str, texts: PageTexts, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], float]:
    """Ask whether the person leaves now; the context already tells of the page just seen."""
    answers = yield from ask([Prompt(texts.system, context, texts.leave, YES_NO)], texts.remind, counts)
    return answers[0][0]
