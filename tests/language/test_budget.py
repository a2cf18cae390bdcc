from __future__ import annotations

import pytest

from recsim_llm.errors import BudgetError, ConfigError
from recsim_llm.language import CachedLLM
from recsim_llm.language.wrappers.budget import Budget, BudgetLLM
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.types import Completion, Prompt, Usage

LABELS = ("Yes", "No")


class Counting:
    """Answers at ten tokens read and one written a call."""

    name = "counting"

    def __init__(self) -> None:
        self.usage = Usage()

    def generate(self, prompts):
        self.usage.calls += len(prompts)
        self.usage.prompt_tokens += 10 * len(prompts)
        self.usage.output_tokens += len(prompts)
        return [Completion("Yes", (-0.5, -1.0), 10, 1) for _ in prompts]


def prompts(count: int) -> list[Prompt]:
    return [Prompt("", "", f"{i}?", LABELS) for i in range(count)]


class TestContract(LLMContract):
    def make(self):
        return BudgetLLM(hash_choice_llm(0), Budget(budget_calls=10**6, budget_tokens=10**9, max_hours=1.0))


@pytest.mark.parametrize("calls", [1, 7, 1024, 3000])
def test_never_a_call_more_than_the_ceiling(calls):
    llm = BudgetLLM(Counting(), Budget(budget_calls=calls))
    with pytest.raises(BudgetError, match=r"calls are used.*--resume and a new --budget-calls"):
        llm.generate(prompts(calls + 5))
    assert llm.usage.calls == calls


def test_what_fits_exactly_is_answered():
    llm = BudgetLLM(Counting(), Budget(budget_calls=40, budget_tokens=440))
    assert len(llm.generate(prompts(25)) + llm.generate(prompts(15))) == 40
    with pytest.raises(BudgetError):
        llm.generate(prompts(1))


def test_tokens_exceed_the_ceiling_by_less_than_a_prompt():
    llm = BudgetLLM(Counting(), Budget(budget_tokens=1_000))
    with pytest.raises(BudgetError, match=r"1,001 of 1,000 tokens"):
        llm.generate(prompts(3_000))
    assert 1_000 <= llm.usage.prompt_tokens + llm.usage.output_tokens < 1_000 + 11


def test_what_was_spent_before_does_not_count():
    spent = Counting()
    spent.generate(prompts(100))
    assert len(BudgetLLM(spent, Budget(budget_calls=5)).generate(prompts(5))) == 5


def test_hours():
    now = [100.0]
    llm = BudgetLLM(Counting(), Budget(max_hours=2.0), clock=lambda: now[0])
    llm.generate(prompts(3))
    now[0] += 2 * 3600
    with pytest.raises(BudgetError, match=r"2\.00 of 2\.0 hours.*--max-hours"):
        llm.generate(prompts(1))


def test_what_was_answered_before_the_ceiling_is_in_the_cache(tmp_path):
    inner, asked = Counting(), prompts(20)
    for _ in range(4):
        llm = BudgetLLM(CachedLLM(inner, tmp_path / "answers.sqlite", chunk_size=3), Budget(budget_calls=6))
        try:
            answers = llm.generate(asked)
        except BudgetError:
            continue
    assert len(answers) == 20
    assert inner.usage.calls == 20


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        (Budget(budget_calls=0), r"--budget-calls must be a whole number between 1 and .*, not 0\."),
        (Budget(budget_tokens=-1), r"--budget-tokens must be a whole number between 1 and .*, not -1\."),
        (Budget(max_hours=0.0), r"--max-hours must be a number above 0 and .*, not 0\.0\."),
    ],
)
def test_ceilings_are_positive(budget, sentence):
    with pytest.raises(ConfigError, match=sentence):
        budget.check()
