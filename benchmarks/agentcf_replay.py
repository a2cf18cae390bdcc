"""Replays AgentCF's 500 recorded gpt-3.5 choices in our reflection loop, and checks resolution and judgement."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsim_llm.agents.llm.agentcf.agentcf_learning import LearnCounts, LearnOptions, learn_step
from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.agents.llm.agentcf.agentcf_texts import choose_prompt, parse_choice
from recsim_llm.agents.llm.agentcf.agentcf_trials import Trial
from recsim_llm.data import Catalogue
from recsim_llm.errors import LLMError
from recsim_llm.types import Completion, Item, Prompt, Usage

_TRIAL = Trial(0, 0, 1)
_OPTIONS = LearnOptions(answers="text", rounds=1, noun="CD")


class ReplayExamples:
    """Answers the prompts of recorded choices from the record, and rewrites with the texts recorded next.

    The record holds no verbatim choice: the title is put in front of the recorded explanation as the published prompt
    has it, raw, with its HTML entities.

    Args:
        examples: Recorded choices.
    """

    name = "replay:agentcf-examples"

    def __init__(self, examples: Sequence[dict[str, Any]]) -> None:
        self.usage = Usage()
        self.ambiguous: list[dict[str, Any]] = []
        self._choices: dict[Prompt, dict[str, Any]] = {}
        self._next = _rewrites(examples)
        for example in examples:
            for swapped in (False, True):
                prompt = choose_prompt(memories_of(example), _TRIAL, swapped, "text")
                if self._choices.setdefault(prompt, example)["correct"] != example["correct"]:
                    self.ambiguous.append(example)

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer from the record.

        Raises:
            LLMError: A prompt that was never recorded.
        """
        self.usage.calls += len(prompts)
        return [Completion(self._answer(prompt)) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> str:
        example = self._choices.get(prompt)
        if example is not None:
            chosen = example["pos_title" if example["correct"] else "neg_title"]
            return f"Choice: {chosen}\nExplanation: {example['explanation']}"
        for context, text in self._next.items():
            if context in prompt.context:
                return text
        raise LLMError(
            f"No recorded answer to: {prompt.context[:80]} / {prompt.question[:80]}. Replay what was recorded."
        )


def _rewrites(examples: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Rewritten text per memory: that of the same user's next record; an item's description is unchanged."""
    after: dict[str, str] = {}
    for now, then in zip(examples, [*examples[1:], examples[-1]], strict=True):
        same = now["user"] == then["user"]
        after.setdefault(memories_of(now).user(0), then["user_memory"] if same else now["user_memory"])
        after.setdefault(memories_of(now).item(0), now["pos_desc"])
    return after


def memories_of(example: dict[str, Any]) -> AgentCFMemories:
    """The memories that a recorded choice was made with: user 0, item 0 the positive, item 1 the negative."""
    titles = [html.unescape(example[name]) for name in ("pos_title", "neg_title")]
    catalogue = Catalogue(tuple(Item(i, title) for i, title in enumerate(titles)), ("pos", "neg"))
    descriptions = {i: [" ".join(html.unescape(example[n]).split())] for i, n in enumerate(("pos_desc", "neg_desc"))}
    return AgentCFMemories(catalogue, "CD", {0: [" ".join(example["user_memory"].split())]}, descriptions)


@dataclass(slots=True)
class ReplayReport:
    """Result of the replay.

    Attributes:
        choices, resolved, agreeing: Recorded choices; those that our parser resolved to an item; of these, those that
            were judged right or wrong as recorded.
        ambiguous: Choices whose prompt was recorded with another outcome too.
        explained, explained_right: Choices that our parser resolves from the recorded explanation alone, and of these
            those as recorded: the only check that does not get the title from the record's outcome.
        counts: Counts of the reflection loop.
        failures: One line per choice that was not resolved, or judged differently.
    """

    choices: int = 0
    resolved: int = 0
    agreeing: int = 0
    ambiguous: int = 0
    explained: int = 0
    explained_right: int = 0
    counts: LearnCounts = field(default_factory=LearnCounts)
    failures: list[str] = field(default_factory=list)


def replay(examples: Sequence[dict[str, Any]], seed: int = 0) -> ReplayReport:
    """Run every recorded choice through `learn_step`, both orders of listing drawn as in learning."""
    llm, report = ReplayExamples(examples), ReplayReport()
    report.ambiguous = len(llm.ambiguous)
    for number, example in enumerate(examples):
        memories = memories_of(example)
        # Each record has its own seed, or all would be listed in one order.
        ((_, (outcome,)),) = learn_step(llm, memories, [_TRIAL], seed + number, _OPTIONS, report.counts)
        report.choices += 1
        report.resolved += outcome is not None
        report.agreeing += outcome is bool(example["correct"])
        if outcome is not bool(example["correct"]):
            report.failures.append(f"{example['user']}: {example['pos_title']} / {example['neg_title']}: {outcome}")
        listed = memories.catalogue[0].label, memories.catalogue[1].label
        pick = parse_choice(example["explanation"], listed)
        report.explained += pick is not None
        report.explained_right += pick is not None and (pick.slot == 0) == bool(example["correct"])
    return report


def lines(report: ReplayReport) -> Iterator[str]:
    """The report in words."""
    counts = report.counts
    yield (
        f"Replay: {report.choices} recorded choices, {report.resolved} resolved to an item, {report.agreeing} judged "
        f"as recorded; {report.ambiguous} prompts recorded with two outcomes."
    )
    yield (
        f"From the explanation alone (both titles may be in it): {report.explained} resolved, "
        f"{report.explained_right} of these as recorded."
    )
    yield (
        f"Of {counts.user_rewrites} recorded user memories {counts.user_cut} are over 180 words and were cut; of "
        f"{counts.item_rewrites} item memories {counts.item_cut} over 50."
    )
    yield from (f"  not as recorded: {failure}" for failure in report.failures)
