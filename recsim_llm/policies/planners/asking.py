"""Model calls with one retry: an unusable answer is asked for again with a reminder, then None. All are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from recsim_llm.language.converse import Turn
from recsim_llm.types import Completion, Floats, Prompt

T = TypeVar("T")


@dataclass(slots=True)
class AskingCounts:
    """Counters of questions and their outcomes; they only grow.

    Attributes:
        turns: Pages asked for.
        asked: Questions, without retries.
        reasked: Retries.
        malformed: Answers that could not be used.
        label_reads: Answers from which labels are read, retries included.
        unseen: Of these, answers in which a label was not among the alternatives that the server returned.
        fallbacks: Questions answered by the declared fallback.
        filled: Slots filled by the retriever, because fewer titles than slots were proposed.
    """

    turns: int = 0
    asked: int = 0
    reasked: int = 0
    malformed: int = 0
    label_reads: int = 0
    unseen: int = 0
    fallbacks: int = 0
    filled: int = 0

    def figures(self) -> dict[str, float]:
        """Return the counters as metrics for tables."""
        return {name: float(value) for name, value in asdict(self).items()}


def ask_all(
    prompts: Sequence[Prompt], reads: Sequence[Callable[[Completion], T | None]], remind: str, counts: AskingCounts
) -> Turn[list[T | None]]:
    """Ask all prompts in one batch, and once more with a reminder where the answer cannot be read.

    Args:
        prompts: The questions.
        reads: One parser per prompt; it returns None for an unusable answer.
        remind: Text added to the question in a retry.
        counts: Counters to add to.

    Returns:
        The parsed answers; None where the caller must apply its fallback.
    """
    counts.asked += len(prompts)
    completions = yield prompts
    _count_labels(prompts, completions, counts)
    found = [read(completion) for read, completion in zip(reads, completions, strict=True)]
    again = [i for i, value in enumerate(found) if value is None and not completions[i].refused]
    counts.malformed += sum(value is None for value in found)
    if again:
        counts.reasked += len(again)
        completions = yield [_reminded(prompts[i], remind) for i in again]
        _count_labels([prompts[i] for i in again], completions, counts)
        for i, completion in zip(again, completions, strict=True):
            found[i] = reads[i](completion)
            counts.malformed += found[i] is None
    counts.fallbacks += sum(value is None for value in found)
    return found


def _count_labels(prompts: Sequence[Prompt], completions: Sequence[Completion], counts: AskingCounts) -> None:
    for prompt, completion in zip(prompts, completions, strict=True):
        counts.label_reads += bool(prompt.choices) and not completion.refused
        counts.unseen += bool(completion.bounds)


def _reminded(prompt: Prompt, remind: str) -> Prompt:
    # Another seed, so that a retry of a sampled answer is a new draw.
    return prompt._replace(question=f"{prompt.question}\n{remind}", seed=prompt.seed + 1)


def ask(prompt: Prompt, read: Callable[[Completion], T | None], remind: str, counts: AskingCounts) -> Turn[T | None]:
    """`ask_all` for one question."""
    (found,) = yield from ask_all([prompt], [read], remind, counts)
    return found


def ask_text(prompt: Prompt, read: Callable[[str], T | None], remind: str, counts: AskingCounts) -> Turn[T | None]:
    """`ask` for a text; an answer that repeats the instructions cannot be used."""

    def usable(completion: Completion) -> T | None:
        text = completion.text
        return None if completion.refused or prompt.system in text else read(text)

    return ask(prompt, usable, remind, counts)


def ask_label(prompt: Prompt, remind: str, counts: AskingCounts) -> Turn[Floats | None]:
    """`ask` for the (C,) probabilities of the choices, normalised over the choices, or None."""
    return ask(prompt, lambda completion: label_probabilities(prompt, completion), remind, counts)


def label_probabilities(prompt: Prompt, completion: Completion) -> Floats | None:
    """Return (C,) probabilities, normalised over the choices; None for a malformed answer or too little label mass.

    The choices need 0.1 % of the probability in total, so that small models, which spread theirs over words, can still
    be read. A label that the server did not return has only a bound, which is not added to that sum.
    """
    logprobs = np.asarray(completion.logprobs, dtype=np.float64)
    if completion.refused or len(logprobs) != len(prompt.choices) or np.isnan(logprobs).any():
        return None
    mass = np.exp(logprobs)
    total = float(mass.sum())
    seen = float(np.delete(mass, completion.bounds).sum()) if completion.bounds else total
    return mass / total if np.isfinite(total) and seen >= 1e-3 else None
