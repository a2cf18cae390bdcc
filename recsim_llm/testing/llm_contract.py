"""Contract tests for language models and wrappers around them; a new backend inherits these tests."""

from __future__ import annotations

import dataclasses
import math

import pytest

from recsim_llm.language.protocol import LLM
from recsim_llm.language.slots import likeliest
from recsim_llm.types import Prompt


class LLMContract:
    """Inherit, override `make`, and pytest runs the contract.

    Attributes:
        tolerance: Largest allowed difference between log-probabilities that should be equal; 0 requires equal bits.
        texts: False for a model that writes no free text.
    """

    tolerance = 0.0
    texts = True

    def make(self) -> LLM:
        """A model, new or shared between tests."""
        raise NotImplementedError

    @pytest.fixture
    def llm(self) -> LLM:
        """The model under test."""
        return self.make()

    def prompts(self) -> list[Prompt]:
        """Questions with different systems, contexts, lengths and choices, some of them equal."""
        system = "You play a person who rates films. Answer with one word."
        labels = [
            Prompt(system, f"You are {who} and like {what}.", f"{film}: would you watch it? Yes or No?", ("Yes", "No"))
            for who, what in (("Ann", "quiet films"), ("Bo", "loud films with many cars"))
            for film in ("Rain", "A very long title about the sea and the people who live there", "War")
        ]
        stars = Prompt(system, labels[0].context, "How many stars from 1 to 5?", ("1", "2", "3", "4", "5"))
        bare = Prompt("", "", "Is water wet?", ("Yes", "No", "Perhaps"))
        page = labels[2]._replace(question="Would you watch Rain, Snow and Fog? Three times Yes or No.", slots=3)
        prompts = [*labels, stars, bare, labels[1], page]
        if self.texts:
            feeling = Prompt(system, labels[0].context, "How do you feel?", max_tokens=6)
            prompts += [feeling, feeling._replace(temperature=1.0, seed=3)]
        return prompts

    def test_one_completion_per_prompt_in_order(self, llm: LLM) -> None:
        """Same length; label answers hold one log-probability per choice and name the likeliest, if any was seen."""
        prompts = self.prompts()
        completions = llm.generate(prompts)
        assert len(completions) == len(prompts)
        for prompt, completion in zip(prompts, completions, strict=True):
            assert len(completion.logprobs) == len(prompt.choices) * prompt.slots
            if prompt.choices and len(completion.bounds) < len(completion.logprobs):
                assert completion.text == likeliest(prompt.choices, completion.logprobs)

    def test_label_probabilities_are_probabilities(self, llm: LLM) -> None:
        """Finite logs of numbers whose sum is at most 1."""
        prompts = [p for p in self.prompts() if p.choices]
        for prompt, completion in zip(prompts, llm.generate(prompts), strict=True):
            assert all(math.isfinite(x) and x <= 1e-6 for x in completion.logprobs)
            for slot in range(prompt.slots):
                of_slot = completion.logprobs[slot * len(prompt.choices) : (slot + 1) * len(prompt.choices)]
                assert sum(map(math.exp, of_slot)) <= 1 + 1e-3

    def test_the_first_of_several_labels_is_the_only_one_of_one(self, llm: LLM) -> None:
        """An answer of three labels begins as an answer of one label does; fewer slots are a part of more."""
        page = next(p for p in self.prompts() if p.slots == 3)
        one, two, three = llm.generate([page._replace(slots=slots) for slots in (1, 2, 3)])
        self.assert_same(three.logprobs[: len(one.logprobs)], one.logprobs)
        self.assert_same(three.logprobs[: len(two.logprobs)], two.logprobs)

    def test_permuting_prompts_permutes_answers(self, llm: LLM) -> None:
        """The order of a batch does not matter."""
        prompts = self.prompts()
        order = [(7 * i + 3) % len(prompts) for i in range(len(prompts))]
        assert sorted(order) == list(range(len(prompts)))
        straight, permuted = llm.generate(prompts), llm.generate([prompts[i] for i in order])
        for place, index in enumerate(order):
            self.assert_same(permuted[place].logprobs, straight[index].logprobs)
            self.assert_same_text(permuted[place].text, straight[index].text)

    def test_a_prompt_alone_is_answered_as_in_a_batch(self, llm: LLM) -> None:
        """The other prompts of a batch do not matter."""
        prompts = self.prompts()
        for prompt, together in zip(prompts, llm.generate(prompts), strict=True):
            (alone,) = llm.generate([prompt])
            self.assert_same(alone.logprobs, together.logprobs)
            self.assert_same_text(alone.text, together.text)

    def test_asking_again_gives_the_same_answers(self, llm: LLM) -> None:
        """Greedy texts, seeded texts and labels are functions of the prompt."""
        prompts = self.prompts()
        for first, second in zip(llm.generate(prompts), llm.generate(prompts), strict=True):
            self.assert_same(first.logprobs, second.logprobs)
            self.assert_same_text(first.text, second.text)

    def test_nothing_asked_nothing_answered(self, llm: LLM) -> None:
        """An empty batch is not an error."""
        assert llm.generate([]) == []

    def test_usage_only_grows(self, llm: LLM) -> None:
        """Each prompt is counted as a call, a cache hit or a duplicate."""
        before = dataclasses.replace(llm.usage)
        llm.generate(self.prompts())
        after = llm.usage
        counted = [after.calls - before.calls, after.cache_hits - before.cache_hits]
        counted.append(after.duplicates - before.duplicates)
        assert min(counted) >= 0
        assert sum(counted) == len(self.prompts())
        assert after.seconds >= before.seconds

    def test_name_is_stable(self, llm: LLM) -> None:
        """The name is not empty and does not change with use."""
        name = llm.name
        llm.generate(self.prompts()[:1])
        assert name
        assert llm.name == name
        assert self.make().name == name

    def assert_same(self, left: tuple[float, ...], right: tuple[float, ...]) -> None:
        """Equal within `tolerance`."""
        assert len(left) == len(right)
        assert all(abs(a - b) <= self.tolerance for a, b in zip(left, right, strict=True)), (left, right)

    def assert_same_text(self, left: str, right: str) -> None:
        """Assert equal texts if the tolerance is 0; otherwise a tie may be broken either way."""
        assert left == right or self.tolerance > 0
