"""Interviews recorded agents, who answer from their persona and their memory at a chosen moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from recsim_llm.agents.llm.page_texts import PageTexts
from recsim_llm.agents.llm.prompts_text import prompt_text, template
from recsim_llm.agents.llm.text_gate import MOST_CHARACTERS, refusal
from recsim_llm.agents.llm.thoughts import PAGE, told
from recsim_llm.agents.named_users import brought_name, has_memories
from recsim_llm.data import Catalogue
from recsim_llm.data.shown import NOTE
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.restore import relive
from recsim_llm.language.converse import converse
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.language.protocol import LLM
from recsim_llm.language.text_reads import ask_text
from recsim_llm.runs import Run, read_catalogue
from recsim_llm.runs.recorded_context import load_people
from recsim_llm.types import Prompt
from recsim_llm.untrusted import parse_json

_MAX_TOKENS, _TEMPERATURE = 120, 0.7
_THOUGHTS_TOLD = 10
_EXIT_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "rating": {"type": "integer", "minimum": 1, "maximum": 10},
            "reason": {"type": "string", "maxLength": 300},
        },
        "required": ["rating", "reason"],
        "additionalProperties": False,
    }
)
EXIT_QUESTION = "How satisfied are you with the recommendations you were shown, and why?"
EXIT_FILE = "exit_interviews.json"


@dataclass(frozen=True, slots=True)
class ExitAnswer:
    """One person's answer at the end (Agent4Rec's interview).

    Attributes:
        user: The data set's raw id of the person.
        rating: Satisfaction, 1..10; None if the model gave no usable answer.
        reason: The reason in words.
    """

    user: str
    rating: int | None
    reason: str


def interview(run: Run, raw_id: str, question: str, llm: LLM, after: int | None = None) -> str:
    """Return the agent's answer as free text; `doubt` checks whether it is one.

    Args:
        run: A recorded run.
        raw_id: The person's id in the data set.
        question: The question.
        llm: The model that answers; need not be the one that played the agent.
        after: Ask after this page of the session, from 1, or this round of a society; None is after the last.

    Raises:
        ConfigError: Nobody with that id is in the run, or the session has no such page.
    """
    prompt = interview_prompt(run, raw_id, question, after)
    return llm.generate([prompt])[0].text.strip()


def doubt(prompt: str, text: str) -> str:
    """Why a text is hardly an answer, in a sentence; "" if it may be one.

    Args:
        prompt: The whole prompt of the model.
        text: The model's text (`agents.llm.text_gate` judges its beginning, and form only).

    >>> doubt("Loved: Heat, Alien, Jaws, Ran, Brazil. Well?", "Loved: Heat, Alien, Jaws, Ran, Brazil.")
    'This is hardly an answer (repeats the prompt): small models often have none. Ask again, or name a larger one.'
    """
    why = refusal(text[:MOST_CHARACTERS], prompt, ())
    return why and f"This is hardly an answer ({why}): small models often have none. Ask again, or name a larger one."


def interview_prompt(run: Run, raw_id: str, question: str, after: int | None = None) -> Prompt:
    """The prompt that `interview` sends."""
    context = _context(run, raw_id, question, after)
    asked = template("page", "interview").substitute(question=question)
    # Sampled, not greedy: small models repeat themselves endlessly when greedy. The seed is part of the prompt.
    return Prompt(_system(), context, asked, max_tokens=_MAX_TOKENS, temperature=_TEMPERATURE)


def exit_interviews(run: Run, llm: LLM, counts: AnswerCounts | None = None) -> list[ExitAnswer]:
    """Ask everybody in a run how satisfied they are at the end, and store the answers in the run's folder.

    Args:
        run: A recorded run of agents with memories.
        llm: The model that answers.
        counts: Counters to add to.

    Returns:
        One answer per person, in the order of the run's visitors.

    Raises:
        ConfigError: The run's users have no memories.
    """
    counts = counts if counts is not None else AnswerCounts()
    personas, raw_ids = load_people(run.folder)
    users = np.array([p.user for p in personas], dtype=np.int64)
    people = relive(run, users)
    said = _thoughts(run, None)
    contexts = [told(people.context(user, EXIT_QUESTION), said.get(user, ())) for user in users.tolist()]
    prompts = [
        Prompt(_system(), context, prompt_text("social", "exit"), schema=_EXIT_SCHEMA, max_tokens=_MAX_TOKENS)
        for context in contexts
    ]
    remind = prompt_text("social", "remind")
    answers = converse(llm, [ask_text([prompt], parse_exit, remind, counts) for prompt in prompts])
    found = [_exit_answer(raw_id, answer[0]) for raw_id, answer in zip(raw_ids, answers, strict=True)]
    _keep(run.folder, found)
    return found


def parse_exit(text: str) -> tuple[int, str] | None:
    """Rating and reason of an exit interview; None if the text is no such JSON object."""
    try:
        value = parse_json(text[text.index("{") : text.rindex("}") + 1], "The answer")
        rating, reason = value["rating"], value["reason"]
    except (ValueError, KeyError, TypeError):
        return None
    whole = isinstance(rating, int) and not isinstance(rating, bool) and 1 <= rating <= 10
    return (rating, reason) if whole and isinstance(reason, str) else None


def _exit_answer(raw_id: str, answer: tuple[int, str] | None) -> ExitAnswer:
    return ExitAnswer(raw_id, None, "") if answer is None else ExitAnswer(raw_id, *answer)


def _keep(folder: Path, answers: Sequence[ExitAnswer]) -> None:
    rows = [{"user": a.user, "rating": a.rating, "reason": a.reason} for a in answers]
    (folder / EXIT_FILE).write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")


def _system() -> str:
    return f"{prompt_text('page', 'system_interview')} {NOTE}"


def check_foreign_users(user_model: str) -> None:
    """Refuse user models that are not built in, for the dashboard, where a run must not choose what is imported.

    Raises:
        ConfigError: The user model is not built in.
    """
    if name := brought_name(user_model):
        raise ConfigError(
            f"The people of this run are '{name}', which is not in this package, and looking at a run imports no such "
            "code. If you trust it, use the command line: recsim-llm interview."
        )


def _context(run: Run, raw_id: str, question: str, after: int | None) -> str:
    personas, raw_ids = load_people(run.folder)
    if raw_id not in raw_ids:
        shown = ", ".join(raw_ids[:10]) + (", …" if len(raw_ids) > 10 else "")
        raise ConfigError(f"User {raw_id} is not in {run.folder}. Users of this run: {shown}")
    person = personas[raw_ids.index(raw_id)]
    said = _thoughts(run, after).get(person.user, ())
    if has_memories(run.manifest.user_model):
        return told(relive(run, np.array([person.user]), after).context(person.user, question), said)
    items, raw_items = read_catalogue(run.folder)
    texts = PageTexts(
        Catalogue(tuple(items), tuple(raw_items)), {p.user: p for p in personas}, run.manifest.rating_levels
    )
    items_shown, stars = _impressions(run, person.user, after)
    return told(texts.context(person.user, items_shown, stars, run.manifest.page_size), said)


def _thoughts(run: Run, after: int | None) -> dict[int, list[str]]:
    """Latest thoughts of people about pages when they were asked, by user id.

    Texts that agents wrote of their own accord are in their memories.

    Args:
        run: The run.
        after: Up to this page of the session, or round of a society; None: to the end.
    """
    rows = [row for part in range(run.num_parts) for row in run.thoughts(part).to_pylist() if row["kind"] == PAGE]
    if after is not None and run.manifest.config.get("rounds"):
        seen = {row["session"] for table in islice(run.iter_events(), after) for row in table.to_pylist()}
        rows = [row for row in rows if row["session"] in seen]
    elif after is not None:
        rows = [row for row in rows if row["page"] < after]
    said: dict[int, list[str]] = {}
    for row in rows:
        said[row["user"]] = [*said.get(row["user"], []), row["text"]][-_THOUGHTS_TOLD:]
    return said


def _impressions(run: Run, user: int, after: int | None) -> tuple[list[int], list[float]]:
    steps = run.user_steps(user)
    pages = len(steps.page)
    if after is not None and not 0 <= after <= pages:
        raise ConfigError(f"This session has {pages} pages: --after must be within 0..{pages}, not {after}.")
    rows = slice(0, pages if after is None else after)
    return steps.items[rows].ravel().tolist(), steps.ratings[rows].ravel().tolist()
