"""Label reads that tolerate misbehaving models: check, ask again with a reminder, then a declared, counted fallback."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from math import exp

from recsim_llm.types import Completion, Prompt

MAX_REASKS = 2
MIN_LABEL_MASS = 0.01
"""Below this total probability of all returned labels the model is not answering (a refusal, a digression)."""
MAX_LABEL_MASS = 1.001
"""Above this total the numbers are not probabilities; values between 1 and it are rounding."""
MOST_UNSEEN = 0.05
"""Share of label reads with a label that the server did not return from which a run reports it."""


@dataclass(slots=True)
class AnswerCounts:
    """Counts of answers by outcome.

    Attributes:
        asked: Questions, re-asks not included.
        malformed: Answers that could not be used, re-asks included.
        reasked: Prompts sent again with a reminder.
        refused: Questions that the model cannot answer (too long, rejected); they are not asked again.
        fallbacks: Questions answered by the fallback, which makes every choice equally likely.
        usable: Usable answers.
        label_reads: Answers that labels are read from, usable or not, re-asks included.
        label_mass_seen: Sum over these of the total probability of the labels that the server returned, averaged over
            the answer's slots; 0 for values that are not probabilities (mean = label_mass_seen / label_reads).
        unseen: Label reads in which a label was not among the alternatives that the server returned.
    """

    asked: int = 0
    malformed: int = 0
    reasked: int = 0
    refused: int = 0
    fallbacks: int = 0
    usable: int = 0
    label_reads: int = 0
    label_mass_seen: float = 0.0
    unseen: int = 0


def unseen_labels(answers: Mapping[str, float]) -> str:
    """Advice for a model whose labels are often missing from the server's alternatives; "" if that is rare.

    Args:
        answers: The fields of `AnswerCounts`, as a run's summary has them; older summaries lack these.
    """
    reads, unseen = answers.get("label_reads", 0), answers.get("unseen", 0)
    if unseen <= MOST_UNSEEN * reads:
        return ""
    return (
        f"In {unseen / reads:.0%} of the {reads:,} label reads a label was not among the alternatives that the server "
        "returned, so its probability is not known, only a bound: take another model, ask for more alternatives "
        "(`openai:MODEL?top_logprobs=20`), or serve the model with vLLM, where labels are read by their token ids."
    )


def label_probabilities(prompt: Prompt, completion: Completion, counts: AnswerCounts) -> list[float] | None:
    """Probabilities over the choices, normalised slot by slot; None if any slot of the answer cannot be used.

    Only labels that the server returned decide whether a slot is usable; a bound (`Completion.bounds`) only completes
    the distribution.

    Returns:
        One number per choice; for a prompt of several slots, the slots are concatenated.
    """
    try:
        weights = list(map(exp, completion.logprobs))
    except (OverflowError, TypeError):
        weights = []
    size, slots = len(prompt.choices), prompt.slots
    parts = [weights[start : start + size] for start in range(0, size * slots, size)]
    masses = seen = list(map(sum, parts))
    if completion.bounds:
        counts.unseen += 1
        bounds = frozenset(completion.bounds)
        certain = [0.0 if place in bounds else weight for place, weight in enumerate(weights)]
        seen = [sum(certain[start : start + size]) for start in range(0, size * slots, size)]
    counts.label_reads += 1
    # A NaN fails all comparisons.
    if len(weights) == size * slots and all([mass <= MAX_LABEL_MASS for mass in masses]):
        counts.label_mass_seen += sum(seen) / slots
        if all([mass >= MIN_LABEL_MASS for mass in seen]):
            counts.usable += 1
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
    answers = [read(p, c, counts) for p, c in zip(prompts, completions, strict=True)]
    return (yield from settle(prompts, answers, remind, counts))


def settle(
    prompts: Sequence[Prompt], answers: list[list[float] | None], remind: str, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], list[list[float]]]:
    """The part of `ask` after the first answers were read: ask again where needed."""
    for attempt in range(1, MAX_REASKS + 1):
        if None not in answers:
            break
        open_ = [i for i, answer in enumerate(answers) if answer is None]
        counts.reasked += len(open_)
        again = [_reminded(prompts[i], remind, attempt) for i in open_]
        completions = yield again
        for i, prompt, completion in zip(open_, again, completions, strict=True):
            answers[i] = read(prompt, completion, counts)
    return [_fallback(p, counts) if answer is None else answer for p, answer in zip(prompts, answers, strict=True)]


def read(prompt: Prompt, completion: Completion, counts: AnswerCounts) -> list[float] | None:
    """Probabilities of one answer; the fallback for a refused prompt, as a reminder would only make it longer."""
    return refused(prompt, counts) if completion.refused else label_probabilities(prompt, completion, counts)


def refused(prompt: Prompt, counts: AnswerCounts) -> list[float]:
    """Count a prompt that the model cannot answer, and return the fallback."""
    counts.refused += 1
    return _fallback(prompt, counts)


def _reminded(prompt: Prompt, remind: str, attempt: int) -> Prompt:
    reminder = remind.replace("$choices", ", ".join(prompt.choices))
    return prompt._replace(question=f"{prompt.question}\n{reminder}", seed=attempt)


def _fallback(prompt: Prompt, counts: AnswerCounts) -> list[float]:
    counts.fallbacks += 1
    return [1.0 / len(prompt.choices)] * (len(prompt.choices) * prompt.slots)
