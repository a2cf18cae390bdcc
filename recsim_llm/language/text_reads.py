"""Text reads that tolerate misbehaving models: parse, ask again with a reminder, then return None, counted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from recsim_llm.language.label_reads import MAX_REASKS, AnswerCounts
from recsim_llm.types import Completion, Prompt

T = TypeVar("T")


def ask_text(
    prompts: Sequence[Prompt],
    parse: Callable[[str], T | None],
    remind: str,
    counts: AnswerCounts,
    reasks: int = MAX_REASKS,
) -> Generator[Sequence[Prompt], Sequence[Completion], list[T | None]]:
    """Yield text prompts until `parse` accepts each answer.

    Args:
        prompts: Prompts without choices.
        parse: Parses an answer; returns None if it cannot be used.
        remind: Text added to a question that is asked again.
        counts: Counters to add to.
        reasks: Most times that a prompt is asked again.

    Returns:
        The parsed values, in order; None if no attempt could be used, and without further attempts if the model
        refused the prompt. The caller declares the fallback.
    """
    counts.asked += len(prompts)
    completions = yield prompts
    found = [parse(completion.text) for completion in completions]
    refused = {i for i, completion in enumerate(completions) if completion.refused}
    for attempt in range(1, reasks + 1):
        open_ = [i for i, value in enumerate(found) if value is None and i not in refused]
        if not open_:
            break
        counts.malformed += len(open_)
        counts.reasked += len(open_)
        again = yield [_reminded(prompts[i], remind, attempt) for i in open_]
        for i, completion in zip(open_, again, strict=True):
            found[i] = parse(completion.text)
            refused |= {i} if completion.refused else set()
    lost = sum(value is None for value in found)
    counts.refused += len(refused)
    counts.malformed += lost - len(refused)
    counts.fallbacks += lost
    counts.usable += len(found) - lost
    return found


def _reminded(prompt: Prompt, remind: str, attempt: int) -> Prompt:
    # Another seed, because the repeated question must be another draw from a sampled model.
    return prompt._replace(question=f"{prompt.question}\n{remind}", seed=prompt.seed + attempt)
