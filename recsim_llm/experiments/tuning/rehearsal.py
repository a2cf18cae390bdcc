"""Rehearsal: preserves a model's writing by training on its own earlier answers, a few at every step.

No instruction data set is needed, and thus no licence to respect: the model itself is asked in interviews before the
first step, and its own answers are rehearsed (self-distillation; Yang et al., ACL 2024).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsim_llm.agents.llm.page_texts import PageTexts
from recsim_llm.agents.llm.prompts_text import prompt_text, template
from recsim_llm.errors import RecordingError
from recsim_llm.language.protocol import LLM
from recsim_llm.runs.run_files import write_durably
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Prompt
from recsim_llm.untrusted import read_json

MOST_TOKENS = 48
"""Most tokens of an answer: two or three sentences."""


@dataclass(frozen=True, slots=True)
class Written:
    """An interview question and the model's answer before tuning."""

    system: str
    context: str
    question: str
    answer: str

    @property
    def prompt(self) -> Prompt:
        """The question as a prompt."""
        return Prompt(self.system, self.context, self.question, max_tokens=MOST_TOKENS)


def interviews(texts: PageTexts, users: Sequence[int], count: int, seed: int = 0) -> list[Prompt]:
    """Interview questions to `count` people, cycling through those of `prompts/tuned/rehearse.md`."""
    questions = prompt_text("tuned", "rehearse").splitlines()
    people = np.array(users)[np.argsort(uniforms(seed, Stream.TUNING, 4, np.array(users)), kind="stable")].tolist()
    ask, system = template("page", "interview"), prompt_text("page", "system_interview")
    return [
        Prompt(
            system,
            texts.context(people[n % len(people)], [], [], 1),
            ask.substitute(question=questions[n % len(questions)]),
            max_tokens=MOST_TOKENS,
            temperature=0.7,
            seed=n,
        )
        for n in range(count)
    ]


def write_rehearsal(path: Path, llm: LLM, prompts: Sequence[Prompt]) -> list[Written]:
    """Store the model's current answers in a file, or read it if it exists: a resumed tuning rehearses the same."""
    if path.exists():
        try:
            return [Written(**each) for each in read_json(path)]
        except (OSError, ValueError, TypeError) as error:
            raise RecordingError(f"{path} is damaged ({error}). Tune again into another folder.") from error
    answers = llm.generate(prompts)
    said = [
        Written(prompt.system, prompt.context, prompt.question, answer.text)
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer.text
    ]
    text = json.dumps([{f: getattr(w, f) for f in ("system", "context", "question", "answer")} for w in said], indent=1)
    write_durably(path, text.encode())
    return said
