"""Label reads of a whole population at once, as arrays, equal to `label_reads.ask` per prompt to the last bit.

Sums run label by label, in the order of a single answer, and use `math.exp`, because the last bit of NumPy's `exp`
depends on the processor.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import chain
from math import exp, inf
from operator import attrgetter

import numpy as np

from recsim_llm.language.label_reads import MAX_LABEL_MASS, MIN_LABEL_MASS, AnswerCounts, read, refused, settle
from recsim_llm.types import Bools, Completion, Floats, Ints, Prompt

_choices, _slots = attrgetter("choices"), attrgetter("slots")
_logprobs, _refused, _bounds = attrgetter("logprobs"), attrgetter("refused"), attrgetter("bounds")


def ask_rows(
    prompts: Sequence[Prompt], remind: str, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], Floats]:
    """Like `label_reads.ask`, for many prompts.

    Returns:
        (P, W) probabilities; W is the largest number of choices times slots of a prompt, at least 1; shorter rows are
        filled with 0.
    """
    counts.asked += len(prompts)
    completions = yield prompts
    labels = np.fromiter(map(len, map(_choices, prompts)), np.int64, len(prompts))
    slots = np.fromiter(map(_slots, prompts), np.int64, len(prompts))
    weights = _weights(labels * slots, completions)
    if weights is None:
        answers = [read(p, c, counts) for p, c in zip(prompts, completions, strict=True)]
        odd, rows = list(range(len(prompts))), np.zeros((len(prompts), int((labels * slots).max(initial=1))))
    else:
        rows, usable = _read(labels, slots, weights, completions, counts)
        odd = np.flatnonzero(~usable).tolist()
        answers = [refused(prompts[i], counts) if completions[i].refused else None for i in odd]
        counts.malformed += answers.count(None)
    if odd:
        settled = yield from settle([prompts[i] for i in odd], answers, remind, counts)
        for i, answer in zip(odd, settled, strict=True):
            rows[i, : len(answer)] = answer
    return rows


def _read(
    labels: Ints, slots: Ints, weights: Floats, completions: Sequence[Completion], counts: AnswerCounts
) -> tuple[Floats, Bools]:
    """(P, W) probabilities of the usable answers, and (P,) mask of usable rows; malformed answers are not counted."""
    widths = labels * slots
    rows, mass = np.zeros((len(widths), int(widths.max(initial=1)))), np.zeros(len(widths))
    usable: Bools = np.zeros(len(widths), dtype=np.bool_)
    starts = np.cumsum(widths) - widths
    bounds = list(map(_bounds, completions))
    certain = _certain(weights, starts, widths, bounds) if any(bounds) else weights
    # Rows of equal (choices, width) are computed together; one integer encodes the pair.
    shapes = labels * (rows.shape[1] + 1) + widths
    for shape in np.flatnonzero(np.bincount(shapes)).tolist():
        size, width = divmod(shape, rows.shape[1] + 1)
        here = np.flatnonzero(shapes == shape)
        places = starts[here][:, None] + np.arange(width)
        block = weights[places].reshape(len(here), -1, size)  # (n, slots, choices)
        masses = seen = _added_up(block)  # (n, slots)
        if certain is not weights:
            seen = _added_up(certain[places].reshape(len(here), -1, size))
        # A NaN fails all comparisons, so it makes the row unusable.
        possible = (masses <= MAX_LABEL_MASS).all(axis=1)
        usable[here] = possible & (seen >= MIN_LABEL_MASS).all(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            rows[here, :width] = (block / masses[..., None]).reshape(len(here), width)
        mass[here] = np.where(possible, _added_up(seen) / seen.shape[1], 0.0)
    counts.usable += int(usable.sum())
    counts.label_reads += len(completions) - sum(map(bool, map(_refused, completions)))
    counts.label_mass_seen = float(np.cumsum([counts.label_mass_seen, *mass])[-1])
    counts.unseen += sum(map(bool, bounds))
    return rows, usable


def _certain(weights: Floats, starts: Ints, widths: Ints, bounds: Sequence[tuple[int, ...]]) -> Floats:
    """The probabilities, with 0 for labels that the server did not return."""
    certain = weights.copy()
    for start, width, places in zip(starts.tolist(), widths.tolist(), bounds, strict=True):
        certain[[start + place for place in places if place < width]] = 0.0
    return certain


def _weights(widths: Ints, completions: Sequence[Completion]) -> Floats | None:
    """Probabilities of all labels, concatenated; 0 for answers of wrong length; None if a value is not a number."""
    try:
        given = list(map(_logprobs, completions))
        lengths = np.fromiter(map(len, given), np.int64, len(widths))
        wrong = lengths != widths
        if any(map(_refused, completions)):
            wrong |= np.fromiter(map(bool, map(_refused, completions)), np.bool_, len(widths))
        for i in np.flatnonzero(wrong).tolist():
            given[i] = (-inf,) * int(widths[i])
        return np.fromiter(map(exp, chain.from_iterable(given)), np.float64, int(widths.sum()))
    except (OverflowError, TypeError):
        return None


def _added_up(numbers: Floats) -> Floats:
    """Sums over the last axis, from the first to the last."""
    total: Floats = numbers[..., 0].copy()
    for i in range(1, numbers.shape[-1]):
        total += numbers[..., i]
    return total
