"""Label reads that survive misbehaving models: check, ask again with a reminder, then a declared, counted fallback."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import exp

from recsim_llm.types import Completion, Prompt

MAX_REASKS = 2
MIN_LABEL_MASS = 0.01
"""Below this total probability of all labels the model is not answering the question (a refusal, a digression)."""
MAX_LABEL_MASS = 1.001
"""Above this the numbers are no probabilities; what is between it and 1 is rounding."""


@dataclass(slots=True)
class AnswerCounts:
    """What came back, counted.

    Attributes:
        asked: Questions, re-asks not included.
        malformed: Answers that could not be used, re-asks included.
        reasked: Prompts sent again with a reminder.
        refused: Questions that the model cannot answer (too long, rejected): not asked again.
        fallbacks: Questions answered by the fallback: every choice equally likely.
        label_mass: Sum over usable answers of the probability of all labels together, in the mean over the answer's
            slots (mean = label_mass / usable).
        usable: Usable answers.
    """

    asked: int = 0
    malformed: int = 0
    reasked: int = 0
    refused: int = 0
    fallbacks: int = 0
    label_mass: float = 0.0
    usable: int = 0


def label_probabilities(prompt: Prompt, completion: Completion, counts: AnswerCounts) -> list[float] | None:
    """Probabilities over the choices, normalised slot by slot; None if any slot of the answer cannot be used.

    Returns:
        As many numbers as there are choices; for a prompt of several slots, those of one slot after the other.
    """
    try:
        weights = list(map(exp, completion.logprobs))
    except (OverflowError, TypeError):
        weights = []
    size, slots = len(prompt.choices), prompt.slots
    parts = [weights[start : start + size] for start in range(0, size * slots, size)]
    masses = list(map(sum, parts))
    # A NaN fails both comparisons.
    if len(weights) == size * slots and all([MIN_LABEL_MASS <= mass <= MAX_LABEL_MASS for mass in masses]):
        counts.usable += 1
        counts.label_mass += sum(masses) / slots
        return [weight / mass for part, mass in zip(parts, masses, strict=True) for weight in part]
    counts.malformed += 1
    return None


def ask(
    prompts: Sequence[Prompt], remind: str, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], list[list[float]]]:
    """Yield choice prompts until each has a usable answer; return their probabilities, in order.

    Args:
        prompts: Prompts with choices.
        remind: Text added to a question that is asked again; "$choices" in it stands for the choices.
        counts: Counters to add to.
    """
    counts.asked += len(prompts)
    completions = yield prompts
    return (yield from settle(prompts, completions, remind, counts))


def settle(
    prompts: Sequence[Prompt], completions: Sequence[Completion], remind: str, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], list[list[float]]]:
    """The part of `ask` after the first answers: read them, and ask again where that is needed."""
    answers = [_read(p, c, counts) for p, c in zip(prompts, completions, strict=True)]
    for attempt in range(1, MAX_REASKS + 1):
        if None not in answers:
            break
        open_ = [i for i, answer in enumerate(answers) if answer is None]
        counts.reasked += len(open_)
        again = [_reminded(prompts[i], remind, attempt) for i in open_]
        completions = yield again
        for i, prompt, completion in zip(open_, again, completions, strict=True):
            answers[i] = _read(prompt, completion, counts)
    return [_fallback(p, counts) if answer is None else answer for p, answer in zip(prompts, answers, strict=True)]


def _read(prompt: Prompt, completion: Completion, counts: AnswerCounts) -> list[float] | None:
    """Probabilities; of a refused prompt the fallback at once, since asking again would make it longer still."""
    if completion.refused:
        counts.refused += 1
        return _fallback(prompt, counts)
    return label_probabilities(prompt, completion, counts)


def _reminded(prompt: Prompt, remind: str, attempt: int) -> Prompt:
    reminder = remind.replace("$choices", ", ".join(prompt.choices))
    return prompt._replace(question=f"{prompt.question}\n{reminder}", seed=attempt)


def _fallback(prompt: Prompt, counts: AnswerCounts) -> list[float]:
    counts.fallbacks += 1
    return [1.0 / len(prompt.choices)] * (len(prompt.choices) * prompt.slots)
