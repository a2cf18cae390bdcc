"""A language model that knows all users' rewards: an upper bound for what planners can reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsim_llm.data.dataset import Catalogue
from recsim_llm.language.protocol import Usage
from recsim_llm.types import Bools, Completion, Floats, Prompt


class PerfectPlannerLLM:
    """Answers with the best titles that are not yet in the prompt; thoughts are a fixed sentence.

    It recognises a user by the titles of their history, so no history may be a part of another one.

    Args:
        catalogue: The items; no title may be part of another title.
        rewards: (U, N) reward of each item for each user.
        histories: By user, items that are in every prompt about that user.
    """

    name = "perfect-planner"

    def __init__(self, catalogue: Catalogue, rewards: Floats, histories: Mapping[int, Sequence[int]]) -> None:
        self._titles, self._rewards = [item.label for item in catalogue], rewards
        self._histories = {user: [self._titles[item] for item in items] for user, items in histories.items()}
        self.usage = Usage()

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt.

        Raises:
            LookupError: A prompt is about an unknown user.
        """
        self.usage.calls += len(prompts)
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> Completion:
        if prompt.choices:
            return self._choose(prompt)
        if "title" not in prompt.question.rsplit("\n", 1)[-1] or "Do not name" in prompt.question:
            return Completion("Something good that is not like the last ones.")
        best = self._best_first(prompt)
        return Completion("\n".join(self._titles[item] for item in best[:20]))

    def _choose(self, prompt: Prompt) -> Completion:
        lines = [line.partition(": ") for line in prompt.question.splitlines()]
        named = {label: title for label, _, title in lines if label in prompt.choices}
        worth = {title: reward for title, reward in zip(self._titles, self._rewards[self._user(prompt)], strict=True)}
        scores = np.array([worth.get(named.get(choice, ""), 0.0) for choice in prompt.choices])
        logprobs = 5.0 * (scores - scores.max())
        logprobs -= np.log(np.exp(logprobs).sum())
        return Completion(prompt.choices[int(logprobs.argmax())], tuple(float(value) for value in logprobs))

    def _best_first(self, prompt: Prompt) -> list[int]:
        rewards = np.where(self._said(prompt), -np.inf, self._rewards[self._user(prompt)])
        return [int(item) for item in np.argsort(-rewards, kind="stable")]

    def _said(self, prompt: Prompt) -> Bools:
        return np.array([title in prompt.context for title in self._titles])

    def _user(self, prompt: Prompt) -> int:
        """Return the user whose history comes first: items of other histories may have been shown in the session."""
        ends = {}
        for user, titles in self._histories.items():
            places = [prompt.context.find(title) for title in titles]
            if min(places) >= 0:
                ends[user] = max(places)
        if not ends:
            raise LookupError(f"This prompt is about nobody that the scripted model knows: {prompt.context}")
        return min(ends, key=lambda user: ends[user])
