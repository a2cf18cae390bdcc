"""Context of the pages of a session: its beginning, the policy's knowledge, and the prompts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from recsim_llm.dashboard.replay.replay_data import Session, rows_of
from recsim_llm.dashboard.view import RunView
from recsim_llm.types import EMPTY

THIS_SESSION, EARLIER, REAL = "this session", "an earlier visit", "real rating"
LATEST = 50  # impressions that `simulate` shows a policy (`PageRules.history_length`); with a quit rule, all

_VISIT = "SELECT hour, action, text FROM events WHERE session = ? AND action <> 'hear' ORDER BY part LIMIT 1"
_EARLIER = """
SELECT items, ratings FROM steps WHERE "user" = ? AND session < ? AND part <= ? ORDER BY session, page
"""
_HISTORY = 'SELECT item, stars, time FROM history WHERE "user" = ?'
# A prompt is recorded at its first use, which may be before the page but never after it.
_CALLS = """
SELECT c.system, c.context, c.question, c.choices, c.schema, c.slots, c.text, c.logprobs, c.prompt_tokens,
    c.output_tokens, c.refused
FROM (
    SELECT key, min(place) AS place
    FROM (SELECT key, row_number() OVER () AS place FROM asked WHERE part = ? AND session = ? AND page = ?)
    GROUP BY key
) AS a JOIN (SELECT * FROM calls WHERE part <= ?) AS c USING (key)
ORDER BY a.place
"""
_COUNT = "SELECT count(DISTINCT key) AS calls FROM asked WHERE part = ? AND session = ? AND page = ?"


@dataclass(frozen=True, slots=True)
class RecordedVisit:
    """Start of a session in a society: the hour since the run began, browse or search, and the query."""

    hour: float
    action: str
    text: str


@dataclass(frozen=True, slots=True)
class Impression:
    """An impression known to a policy: title, stars (0: shown but not watched), and source."""

    title: str
    stars: float
    source: str


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A prompt for this person at this page, and its answer.

    Attributes:
        system, context, question: The prompt.
        schema: JSON schema of the answer, "" without one.
        text: The answer; "" if the model refused.
        refused: Why the model could not answer, "" for an answer.
        prompt_tokens, output_tokens: Tokens read and written.
        chances: Per label of the answer, the probability of each choice among all tokens, 0..1; () for a text answer.
    """

    system: str
    context: str
    question: str
    schema: str
    text: str
    refused: str
    prompt_tokens: int
    output_tokens: int
    chances: tuple[dict[str, float], ...]


def visit_of(view: RunView, number: int) -> RecordedVisit | None:
    """Start of a session in a society; None outside societies."""
    rows = rows_of(view.frame(_VISIT, number))
    return RecordedVisit(float(rows[0]["hour"]), str(rows[0]["action"]), str(rows[0]["text"])) if rows else None


def known(view: RunView, visit: Session, page: int) -> tuple[Impression, ...]:
    """Impressions known to a policy before a page, newest first, as far back as `simulate` shows them.

    Impressions of this session; before them, in a society, those of earlier visits; before them, real ratings.

    Args:
        view: The run.
        visit: The session.
        page: Number of the page.
    """
    mine = [(card.item, card.stars, THIS_SESSION) for step in visit.steps[:page] for card in step.cards]
    config = view.manifest.config
    most = max(LATEST, config["pages"] * config["page_size"]) if config.get("quit") else LATEST
    society = bool(view.manifest.config.get("rounds"))
    earlier = _earlier(view, visit) if society and len(mine) < most else []
    real = _real(view, visit.user) if len(mine) + len(earlier) < most else []
    newest = [*real, *earlier, *mine][-most:][::-1]
    return tuple(Impression(view.title(item), stars, source) for item, stars, source in newest if item != EMPTY)


def _earlier(view: RunView, visit: Session) -> list[tuple[int, float, str]]:
    rows = rows_of(view.frame(_EARLIER, visit.user, visit.number, visit.steps[-1].part))
    pairs = [pair for row in rows for pair in zip(row["items"], row["ratings"], strict=True)]
    return [(int(item), float(stars), EARLIER) for item, stars in pairs]


def _real(view: RunView, user: int) -> list[tuple[int, float, str]]:
    frame = view.frame(_HISTORY, user).sort_values("time", kind="stable")
    return [(int(item), float(stars), REAL) for item, stars in zip(frame["item"], frame["stars"], strict=True)]


def count_calls(view: RunView, part: int, session: int, page: int) -> int:
    """Number of distinct prompts for a person at a page, including the policy's; `part` contains the page."""
    return int(view.frame(_COUNT, part, session, page)["calls"].iloc[0])


def calls(view: RunView, part: int, session: int, page: int) -> tuple[RecordedCall, ...]:
    """The prompts for a person at a page, in order, with their answers; `part` contains the page."""
    rows = rows_of(view.frame(_CALLS, part, session, page, part))
    return tuple(_call(row) for row in rows)


def _call(row: dict[str, Any]) -> RecordedCall:
    texts = {name: str(row[name]) for name in ("system", "context", "question", "schema", "text", "refused")}
    choices, logprobs = [str(choice) for choice in row["choices"]], [float(value) for value in row["logprobs"]]
    starts = range(0, len(logprobs), len(choices)) if choices else range(0)
    chances = tuple(
        {choice: math.exp(value) for choice, value in zip(choices, logprobs[start:], strict=False)} for start in starts
    )
    read, wrote = int(row["prompt_tokens"]), int(row["output_tokens"])
    return RecordedCall(**texts, prompt_tokens=read, output_tokens=wrote, chances=chances)
