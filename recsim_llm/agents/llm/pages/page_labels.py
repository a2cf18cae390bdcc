"""Reads a whole page with one call: a label for each item, 0 for "does not watch it", 1..R for the rating it would get.

Chat models prefer the first items of a list (Agent4Rec's released run: watch rate 0.91 in slot 1, 0.19 in slot 4, while
the true rates are 0.46 and 0.38), so the items are listed in an order that is drawn anew for each person and page.
Small models also count along ("1 2 3 4"); for them, the same labels can be read with one question per item.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import cache
from string import Template

from recsim_llm.agents.llm.agent_kind import PageAnswer
from recsim_llm.agents.llm.prompts_text import template
from recsim_llm.language.label_reads import AnswerCounts, ask
from recsim_llm.seeding import Stream, mix_one
from recsim_llm.types import EMPTY, Completion, Prompt


def listing_order(key: int, page_number: int, page: Sequence[int]) -> list[int]:
    """Slots of a page that hold an item, in the order in which prompts list them.

    Drawn by (session key, number of the page, item): neither the batch nor the slot matters.
    """
    draw = mix_one(key, Stream.LISTING, page_number)
    # The upper 53 bits, as in a uniform float64; equal items stay in slot order.
    draws = [(mix_one(item, key=draw) >> 11, slot) for slot, item in enumerate(page) if item != EMPTY]
    return [slot for _, slot in sorted(draws)]


def numbered(lines: Sequence[str]) -> str:
    """The lines with numbers from 1, as a list in a prompt."""
    return "\n".join(f"{i + 1}. {line}" for i, line in enumerate(lines))


@cache
def page_choices(num_levels: int) -> tuple[str, ...]:
    """The labels of an item: "0" for passing it over, then one label per rating level."""
    return tuple(str(level) for level in range(num_levels + 1))


def read_page(
    stem: Prompt,
    question: Template,
    describe: Callable[[int], str],
    page: Sequence[int],
    order: Sequence[int],
    num_levels: int,
    remind: str,
    counts: AnswerCounts,
    one_by_one: bool = False,
) -> Generator[Sequence[Prompt], Sequence[Completion], PageAnswer]:
    """Ask what the person does with each item of a page: one prompt, one label per item.

    Args:
        stem: System text and context; nothing else of it is used.
        question: Asks for the labels; `$items` is the numbered list, `$count` their number, `$top` the best label.
        describe: Returns the line that describes an item.
        page: K item ids, EMPTY in empty slots.
        order: Slots in the order in which items are listed (`listing_order`).
        num_levels: R.
        remind: Text added when the question is asked again.
        counts: Counters of usable and malformed answers.
        one_by_one: One prompt per item instead, each after the same context; `question` is then unused.

    Returns:
        The probability of watching is 1 - P("0"); the rating is distributed as the other labels.
    """
    nothing = PageAnswer([0.0] * len(page), [[1.0 / num_levels] * num_levels for _ in page])
    if not order:
        return nothing
    labels = page_choices(num_levels)
    lines = [describe(page[slot]) for slot in order]
    if one_by_one:
        ask_one = template("page", "one_item")
        texts = [ask_one.substitute(item=line, top=labels[-1]) for line in lines]
        prompts = [Prompt(stem.system, stem.context, text, labels) for text in texts]
    else:
        text = question.substitute(items=numbered(lines), count=len(order), top=labels[-1])
        prompts = [Prompt(stem.system, stem.context, text, labels, slots=len(order))]
    answers = yield from ask(prompts, remind, counts)
    flat = [probability for answer in answers for probability in answer]
    for i, slot in enumerate(order):
        skip, *rates = flat[i * len(labels) : (i + 1) * len(labels)]
        nothing.watch[slot] = 1.0 - skip
        # Where skipping is certain the rating is never used, but must still be a distribution.
        total = sum(rates)
        nothing.rating[slot] = [r / total for r in rates] if total > 0 else [1.0 / num_levels] * num_levels
    return nothing
