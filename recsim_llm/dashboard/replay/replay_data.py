"""Data of one session of a run, page by page: impressions, actions and reasons. Draws nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsim_llm.dashboard.view import RunView
from recsim_llm.types import EMPTY

if TYPE_CHECKING:
    import pandas as pd

WATCHED, SKIPPED, ABSENT = "watched", "skipped", "empty"

# A session lies in a few parts. One query of a narrow column finds them, which restricts all others to those files.
_SPANS = "SELECT part, min(session) AS low, max(session) AS high FROM steps GROUP BY part ORDER BY part"
_STEPS = """
SELECT "user" AS who, page, part, items, watch, rating_probs, watched, ratings, leave, "left" AS gone, truncated,
    reward, thoughts
FROM steps WHERE part BETWEEN ? AND ? AND session = ? ORDER BY page
"""
_WHY = """
SELECT page, scores, thought FROM why WHERE part BETWEEN ? AND ? AND session = ? AND "user" = ?
"""
_MEMORIES = """
SELECT page, kind, importance, text FROM memories WHERE part BETWEEN ? AND ? AND session = ? ORDER BY part, hour
"""
_THOUGHTS = """
SELECT page, text FROM thoughts WHERE part BETWEEN ? AND ? AND session = ? ORDER BY part
"""
_SESSIONS = 'SELECT DISTINCT session FROM steps WHERE "user" = ? ORDER BY session'


@dataclass(frozen=True, slots=True)
class Card:
    """A slot of a page.

    Attributes:
        item: Item id, EMPTY if nothing was shown.
        title: Title without the year.
        year: Year of release, None if unknown.
        genres: Genres.
        score: The policy's score of the item, None if it has or records none.
        watch: Probability of watching, 0..1.
        rating_probs: (R,) probability of each rating level if watched.
        watched: Whether it was watched.
        stars: Stars given, 0 where not watched.
    """

    item: int
    title: str
    year: int | None
    genres: tuple[str, ...]
    score: float | None
    watch: float
    rating_probs: tuple[float, ...]
    watched: bool
    stars: float

    @property
    def outcome(self) -> str:
        """WATCHED, SKIPPED or ABSENT."""
        if self.item == EMPTY:
            return ABSENT
        return WATCHED if self.watched else SKIPPED


@dataclass(frozen=True, slots=True)
class ShownMemory:
    """A memory added after a page: its kind, importance 0..1, and text."""

    kind: str
    importance: float
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A page of a session.

    Attributes:
        page: Number in the session, from 0.
        part: Number of the part that contains it.
        cards: K slots.
        leave: Probability of leaving after it, 0..1.
        left, truncated: Whether the user left, or was cut off at the page limit.
        reward: Reward of the page.
        thoughts: Thoughts of the person: with its answer, asked for afterwards, or written to its memory.
        policy_thought: Thought of the policy before the page, "" for none.
        memories: Memories that the person added.
    """

    page: int
    part: int
    cards: tuple[Card, ...]
    leave: float
    left: bool
    truncated: bool
    reward: float
    thoughts: tuple[str, ...]
    policy_thought: str
    memories: tuple[ShownMemory, ...]

    @property
    def shown(self) -> int:
        """Number of items shown."""
        return sum(card.item != EMPTY for card in self.cards)

    @property
    def watched(self) -> int:
        """Number of items watched."""
        return sum(card.outcome == WATCHED for card in self.cards)


@dataclass(frozen=True, slots=True)
class Session:
    """A session: its number in the run, the user id, and its pages so far."""

    number: int
    user: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Spans:
    """Index of sessions by part.

    Attributes:
        rows: (part, lowest session, highest session), by part.
    """

    rows: tuple[tuple[int, int, int], ...]

    @property
    def last(self) -> int:
        """The highest session number; -1 if nothing is recorded."""
        return max((high for _, _, high in self.rows), default=-1)

    def parts_of(self, session: int) -> tuple[int, int] | None:
        """First and last part that may contain a session; None if none can."""
        found = [part for part, low, high in self.rows if low <= session <= high]
        return (found[0], found[-1]) if found else None


def spans(view: RunView) -> Spans:
    """Index the sessions of a run by reading one column of the steps."""
    frame = view.frame(_SPANS)
    return Spans(tuple(zip(*(frame[name].tolist() for name in ("part", "low", "high")), strict=True)))


def session(view: RunView, places: Spans, number: int) -> Session | None:
    """A session of a run; None if it is not recorded.

    Raises:
        RecordingError: A part is damaged.
    """
    parts = places.parts_of(number)
    if parts is None:
        return None
    frame = view.frame(_STEPS, *parts, number)
    if frame.empty:
        return None
    user = int(frame["who"].iloc[0])
    why = {row["page"]: row for row in rows_of(view.frame(_WHY, *parts, number, user))}
    memories = rows_of(view.frame(_MEMORIES, *parts, number))
    thoughts = rows_of(view.frame(_THOUGHTS, *parts, number))
    steps = [_step(view, row, why.get(row["page"]), memories, thoughts) for row in rows_of(frame)]
    return Session(number, user, tuple(steps))


def _step(
    view: RunView,
    row: dict[str, Any],
    why: dict[str, Any] | None,
    memories: list[dict[str, Any]],
    thoughts: list[dict[str, Any]],
) -> Step:
    page = int(row["page"])
    scores = [] if why is None else [float(score) for score in why["scores"]]
    mine = (memory for memory in memories if memory["page"] == page)
    return Step(
        page=page,
        part=int(row["part"]),
        cards=tuple(_card(view, row, slot, scores) for slot in range(len(row["items"]))),
        leave=float(row["leave"]),
        left=bool(row["gone"]),
        truncated=bool(row["truncated"]),
        reward=float(row["reward"]),
        thoughts=tuple(filter(None, [str(row["thoughts"]), *(str(t["text"]) for t in thoughts if t["page"] == page)])),
        policy_thought="" if why is None else str(why["thought"]),
        memories=tuple(ShownMemory(str(m["kind"]), float(m["importance"]), str(m["text"])) for m in mine),
    )


def _card(view: RunView, row: Mapping[Any, Any], slot: int, scores: list[float]) -> Card:
    number = int(row["items"][slot])
    item = view.items[number] if 0 <= number < len(view.items) else None
    score = scores[slot] if slot < len(scores) else math.nan
    return Card(
        item=number,
        title=item.title if item else view.title(number),
        year=item.year if item else None,
        genres=item.genres if item else (),
        score=None if math.isnan(score) else score,
        watch=float(row["watch"][slot]),
        rating_probs=tuple(float(p) for p in row["rating_probs"][slot]),
        watched=bool(row["watched"][slot]),
        stars=float(row["ratings"][slot]),
    )


def ending(visit: Session, status: str) -> str:
    """How a session ended, as a clause.

    Args:
        visit: The session.
        status: Status of the run: running, interrupted or finished.
    """
    last = visit.steps[-1]
    if last.left:
        return f"left after page {last.page + 1}"
    if last.truncated:
        return f"cut off at the page limit, after page {last.page + 1}"
    return "still going on" if status == "running" else f"the recording stops after page {last.page + 1}"


def user_named(view: RunView, raw: str) -> int | None:
    """The user with this id in the data set; runs without personas name users by number. None if there is none."""
    if not view.raw_ids:
        return int(raw) if raw.isdecimal() and len(raw) < 19 else None
    return next((user for user, name in view.raw_ids.items() if name == raw), None)


def sessions_of(view: RunView, user: int) -> list[int]:
    """The numbers of a user's sessions, ascending."""
    return [int(number) for number in view.frame(_SESSIONS, user)["session"].tolist()]


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dictionaries; lists stay arrays."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
