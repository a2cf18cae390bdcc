"""Engines for tests with Ray: its workers import them by name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from recsim_llm.errors import LLMError, MissingExtraError
from recsim_llm.testing.scripted import hash_choice_llm


class Slow:
    """A scripted engine that takes its time, and longer over prompts that say so."""

    def __init__(self) -> None:
        self._inner = hash_choice_llm(0)
        self.name, self.usage = self._inner.name, self._inner.usage

    def generate(self, prompts):
        time.sleep(0.15)
        return self._inner.generate(prompts)


class Deadly(Slow):
    """Dies over a prompt that says so."""

    def generate(self, prompts):
        if any("die" in prompt.question for prompt in prompts):
            os._exit(1)
        return self._inner.generate(prompts)


class StuckOnce(Slow):
    """Hangs the first time that a prompt says so, on whatever copy; a file remembers."""

    def generate(self, prompts):
        for prompt in prompts:
            if prompt.question.startswith("hang "):
                mark = Path(prompt.question.removeprefix("hang "))
                if not mark.exists():
                    mark.touch()
                    time.sleep(60)
        return self._inner.generate(prompts)


class Refusing(Slow):
    """A backend that cannot answer."""

    def generate(self, prompts):
        raise LLMError("The key is wrong. Set the right one.")


class Broken(Slow):
    """A backend with a mistake in it."""

    def generate(self, prompts):
        return [1 / 0 for _ in prompts]


def missing():
    raise MissingExtraError("nowhere", "vllm", "This test")


class DiesOnce(Slow):
    """Kills its process over its third call; the file RECSIM_LLM_TEST_MARK names remembers that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def generate(self, prompts):
        self.asked += 1
        mark = os.environ["RECSIM_LLM_TEST_MARK"]
        if mark and self.asked == 3 and not Path(mark).exists():
            Path(mark).touch()
            os._exit(1)
        return self._inner.generate(prompts)
