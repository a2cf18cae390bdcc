"""Ask a recorded agent a question; it answers from its persona and its memory, as they were at that moment."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from recsim_llm.checked import AnyPath, CountOrNone, Name, Text
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.config import DEFAULT_LLM
from recsim_llm.experiments.simulation.interview import EXIT_FILE, doubt, exit_interviews, interview_prompt
from recsim_llm.experiments.tuning.writer import writer_of
from recsim_llm.language import make_llm
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.runs import Run


@dataclass(frozen=True)
class InterviewCommand:
    """Options of `recsim-llm interview`."""

    run: Positional[AnyPath]
    """A run folder."""
    question: Positional[str] = ""
    """What to ask. Without a question and a user: everybody is asked how satisfied they are, 1 to 10, and why."""
    user: Text = ""
    """The person, by the data set's own id."""
    after: CountOrNone | None = None
    """Ask after this page of the session, from 1 (in a society: after this round); default: after the last."""
    llm: Name = DEFAULT_LLM
    """Backend that answers: transformers:NAME_OR_FOLDER or openai:MODEL."""


def run(command: InterviewCommand) -> None:
    """Ask one person, or everybody."""
    match command:
        case InterviewCommand(folder, "", "", None, llm):
            interview_everybody(folder, llm)
        case InterviewCommand(folder, question, user, after, llm):
            interview_user(folder, user, question, after, llm)


def interview_user(folder: Path, user: str, question: str, after: int | None, llm: str) -> None:
    """Print an agent's answer."""
    if not (user and question):
        raise ConfigError("An interview needs a question and a --user; with neither, everybody is asked at the end.")
    prompt = interview_prompt(Run(folder), user, question, after)
    answer = make_llm(_writer(llm)).generate([prompt])[0].text.strip()
    print(answer)
    if said := doubt("\n".join((prompt.system, prompt.context, prompt.question)), answer):
        print(said, file=sys.stderr)


def _writer(llm: str) -> str:
    writer = writer_of(llm)
    if writer != llm:
        print(f"{llm} was tuned to answer by labels; {writer}, which it began with, writes.", file=sys.stderr)
    return writer


def interview_everybody(folder: Path, llm: str) -> None:
    """Ask everybody how satisfied they are; print the mean and where the answers are."""
    counts = AnswerCounts()
    answers = exit_interviews(Run(folder), make_llm(_writer(llm)), counts)
    ratings = [a.rating for a in answers if a.rating is not None]
    mean = f"mean satisfaction {sum(ratings) / len(ratings):.2f} of 10" if ratings else "no usable answer"
    print(f"{len(answers)} people asked, {len(ratings)} usable answers, {counts.reasked} asked again: {mean}.")
    print(f"Every rating with its reason is in {folder / EXIT_FILE}")
