"""Budgets: limits on calls, tokens and time at which a job stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from recsim_llm.checked import Positive, check_fields
from recsim_llm.errors import BudgetError
from recsim_llm.language.protocol import LLM, Usage
from recsim_llm.types import Completion, Prompt

_SLICE = 1_024
"""Most prompts between two checks of the clock and the token counter."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Ceilings of one command, counted from its start; a resumed run starts with a new budget.

    Attributes:
        budget_calls: Most prompts that may reach the language model; answers from a cache are free.
        budget_tokens: Most tokens that it may read and write. What a prompt costs is known once it is answered, so the
            last one may exceed this by its own length. A backend that reports no tokens is not stopped by it.
        max_hours: Most hours of wall time; the batch that is being answered then is the last.
    """

    budget_calls: Annotated[int, Ge(1), Le(10**15)] | None = None
    budget_tokens: Annotated[int, Ge(1), Le(10**15)] | None = None
    max_hours: Positive | None = None

    def check(self) -> None:
        """Refuse limits that allow no call.

        Raises:
            ConfigError: One of them is not positive.
        """
        check_fields(self)

    @property
    def limited(self) -> bool:
        """Whether any limit is set."""
        return any(getattr(self, name) is not None for name in self.__slots__)


class BudgetLLM:
    """Forwards prompts to the model as long as the budget allows, then raises.

    It wraps the answer cache, so answers from before the limit are in the cache when the job is resumed.

    Args:
        llm: The model, with its cache.
        budget: The limits.
        clock: Returns the current time in seconds; time counts from construction.
    """

    def __init__(self, llm: LLM, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self._llm, self._budget, self._clock = llm, budget, clock
        self._started = clock()
        usage = llm.usage
        self._before = (usage.calls, usage.prompt_tokens + usage.output_tokens)

    @property
    def name(self) -> str:
        """Name of the wrapped model, since a budget does not change answers."""
        return self._llm.name

    @property
    def usage(self) -> Usage:
        """Counters of the wrapped model."""
        return self._llm.usage

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt.

        Raises:
            BudgetError: A limit was reached first. The answers so far are in the cache.
            LLMError: The model cannot answer.
        """
        completions: list[Completion] = []
        while (done := len(completions)) < len(prompts):
            completions += self._llm.generate(prompts[done : done + self._room()])
        return completions

    def _room(self) -> int:
        """Most prompts in the next batch, at least 1."""
        budget, spent = self._budget, self._spent()
        room = _SLICE
        if budget.budget_calls is not None:
            room = min(room, self._left("calls", spent[0], budget.budget_calls))
        if budget.budget_tokens is not None:
            left = self._left("tokens", spent[1], budget.budget_tokens)
            # The expected cost of a prompt is the mean so far; the first prompt is sent alone to measure it.
            room = min(room, max(1, int(left * spent[0] / spent[1]))) if spent[1] else 1
        hours = (self._clock() - self._started) / 3600
        if budget.max_hours is not None and hours >= budget.max_hours:
            raise _over(f"{hours:.2f} of {budget.max_hours} hours", "--max-hours")
        return room

    def _left(self, what: str, spent: int, ceiling: int) -> int:
        if spent >= ceiling:
            raise _over(f"{spent:,} of {ceiling:,} {what}", f"--budget-{what}")
        return ceiling - spent

    def _spent(self) -> tuple[int, int]:
        usage = self.usage
        return usage.calls - self._before[0], usage.prompt_tokens + usage.output_tokens - self._before[1]


def _over(spent: str, option: str) -> BudgetError:
    return BudgetError(
        f"Stopped at the budget: {spent} are used. Everything so far is recorded; go on with the same command, "
        f"--resume and a new {option}."
    )
