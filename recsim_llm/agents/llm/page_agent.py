"""Page agents: one generator without I/O that asks many people about their pages by label reads.

For each item it asks whether the person watches it (yes, no) and how the person would rate it (1..R); after the page,
whether the person leaves (yes, no). Items are judged one at a time after a shared context, so that the model cannot
prefer a slot of the page.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from recsim_llm.agents.llm.page_texts import PageTexts
from recsim_llm.language.label_read_batches import ask_rows
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.types import EMPTY, Bools, Completion, Floats, Ints, Prompt, Reaction

YES_NO = ("Yes", "No")
"""Capitalised, as chat models begin an answer: SmolLM2 gives these eight times the probability of yes and no."""


def react(
    contexts: Sequence[str], users: Sequence[int], pages: Ints, texts: PageTexts, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], Reaction]:
    """Ask B people about one page each.

    Args:
        contexts: B texts: who the person is and what happened on this visit (`PageTexts.context`).
        users: B user ids, for the record.
        pages: (B, K) item ids; EMPTY slots are not asked about and get probability 0.
        texts: The texts.
        counts: Counters of usable and malformed answers.
    """
    real = pages != EMPTY
    answers = yield from ask_rows(_questions(contexts, users, pages, texts), texts.remind, counts)
    watch, rating = np.zeros(pages.shape), np.full((*pages.shape, len(texts.levels)), 1.0 / len(texts.levels))
    watched, rated = _places(real)
    watch[real] = answers[watched, 0]
    rating[real] = answers[rated, : len(texts.levels)]
    return Reaction(watch, rating)


def leave(
    contexts: Sequence[str], users: Sequence[int], texts: PageTexts, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], Floats]:
    """Ask each of B people whether they leave now; the contexts already tell of the page just seen."""
    system, question = texts.system, texts.leave
    answers = yield from ask_rows(
        [Prompt(system, context, question, YES_NO, about=user) for context, user in zip(contexts, users, strict=True)],
        texts.remind,
        counts,
    )
    return answers[:, 0]


def _questions(contexts: Sequence[str], users: Sequence[int], pages: Ints, texts: PageTexts) -> list[Prompt]:
    """Of each person in turn, whether they watch each item, then how they rate it."""
    system, levels, watch, rate = texts.system, texts.levels, texts.watch, texts.rate
    prompts: list[Prompt] = []
    for context, user, page in zip(contexts, users, pages.tolist(), strict=True):
        items = [item for item in page if item != EMPTY]
        prompts += [Prompt(system, context, watch[item], YES_NO, about=user) for item in items]
        prompts += [Prompt(system, context, rate[item], levels, about=user) for item in items]
    return prompts


def _places(real: Bools) -> tuple[Ints, Ints]:
    """Indices of the watch prompt and the rating prompt of each item among all prompts, row by row of the pages."""
    size = real.sum(axis=1)
    first = 2 * (np.cumsum(size) - size)
    watched: Ints = (first[:, None] + np.cumsum(real, axis=1) - 1)[real]
    return watched, watched + np.repeat(size, size)
