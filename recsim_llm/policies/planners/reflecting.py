"""Steps after a round: match feedback to running sessions, and ask for the lesson of an ended session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recsim_llm.language.converse import Turn
from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.planners.asking import ask_text
from recsim_llm.policies.planners.planner import PlannedVisit, Planner
from recsim_llm.policies.planners.texts import KIND, Case, one_line, real, say

MAX_LESSON = 400
"""Most characters of a lesson; the rest is cut."""

_LESSON_TOKENS = 96


def known_rows(visits: Mapping[int, PlannedVisit], batch: Feedback) -> list[int]:
    """Return the rows whose page this policy made, by user id, so that their order in the batch does not matter."""
    rows = [row for row, user in enumerate(batch.users.tolist()) if user in visits and visits[user].case is not None]
    return sorted(rows, key=lambda row: int(batch.users[row]))


def after(case: Case, batch: Feedback, row: int) -> Case:
    """Return the case after the page was seen."""
    shown = real(batch.pages[row].tolist(), batch.ratings[row].tolist())
    return replace(case, page=case.page + 1, turns=(*case.turns, shown))


def reflect(planner: Planner, visit: PlannedVisit, batch: Feedback, row: int) -> Turn[str]:
    """Ask for the lesson of a row's session; the fallback is an empty one."""
    assert visit.case is not None
    case = visit.case
    last = after(case, batch, row).turns[-1]
    text = planner.texts.turn(case.page, last, visit.thoughts.get(case.page, ""))
    question = say(KIND, "reflect", last=text.rstrip("\n"), turn=case.page + 1)
    prompt = planner.prompt(case, planner.context(case, visit), question, "reflect", _LESSON_TOKENS)
    read = yield from ask_text(prompt, _read_lesson, say(KIND, "remind_text"), planner.asking)
    return read or ""


def _read_lesson(text: str) -> str | None:
    return one_line(text, MAX_LESSON) if any(c.isalnum() for c in text) else None
