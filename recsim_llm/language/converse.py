"""Runs any number of agents in lockstep: one batched model call per round, no threads, no I/O of its own."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

from recsim_llm.errors import LLMError
from recsim_llm.language.protocol import LLM
from recsim_llm.types import Completion, Prompt

T = TypeVar("T")
Turn: TypeAlias = Generator[Sequence[Prompt], Sequence[Completion], T]
"""An agent's turn: yields the prompts of a round, is sent their completions, returns its result."""


def converse(llm: LLM, turns: Iterable[Turn[T]], about: Sequence[int] = ()) -> list[T]:
    """Run agents against the model until every one of them has returned.

    In each round the prompts of all running agents are sent to the model in one `generate` call, in the order of
    `turns`. An agent may yield any number of prompts, including zero (it is then sent an empty list).

    Args:
        llm: The model.
        turns: Generators that have not been started.
        about: User id per turn, recorded with its prompts (`Prompt.about`); () leaves the prompts unchanged.

    Returns:
        What each generator returned, in the order of `turns`.

    Raises:
        LLMError: The model failed, or answered with a wrong number of completions.
    """
    results: dict[int, T] = {}
    live = list(enumerate(turns))
    total = len(live)
    # None starts a generator; typeshed's `send` has no such first value, so the empty list is sent from then on.
    answers: list[Sequence[Completion]] = []
    first = True
    while live:
        flat: list[Prompt] = []
        still: list[tuple[int, Turn[T]]] = []
        ends: list[int] = []
        with garbage_collection_paused():
            for position, (index, turn) in enumerate(live):
                try:
                    prompts = next(turn) if first else turn.send(answers[position])
                    flat += _about(about[index], prompts) if about else prompts
                except StopIteration as stop:
                    results[index] = stop.value
                else:
                    still.append((index, turn))
                    ends.append(len(flat))
        live, first = still, False
        answers = _split(_ask(llm, flat), ends)
    return [results[index] for index in range(total)]


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pause garbage collection: 100,000 new prompts trigger dozens of useless full ones, a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _ask(llm: LLM, prompts: list[Prompt]) -> list[Completion]:
    if not prompts:
        return []
    completions = llm.generate(prompts)
    if len(completions) != len(prompts):
        raise LLMError(
            f"The model '{llm.name}' was asked {len(prompts)} prompts and returned {len(completions)} completions; "
            "a backend must return one each, in order. Check it with recsim_llm.testing.LLMContract."
        )
    return completions


def _about(user: int, prompts: Sequence[Prompt]) -> list[Prompt]:
    return [Prompt._make((*prompt[:-1], user)) for prompt in prompts]


def _split(completions: list[Completion], ends: list[int]) -> list[Sequence[Completion]]:
    return [completions[start:end] for start, end in zip([0, *ends], ends, strict=False)]
