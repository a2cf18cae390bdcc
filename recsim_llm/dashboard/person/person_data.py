"""Data of one person of a run: profile, real history, and simulated behaviour. Draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsim_llm.dashboard.view import RunView
from recsim_llm.experiments.metrics import METRICS
from recsim_llm.runs.run_tables import Totals
from recsim_llm.types import Item, Persona

if TYPE_CHECKING:
    import pandas as pd

REAL, SIMULATED = "real", "simulated"
NOT_TIMED = -1  # `page` of a memory that belongs to no page
MOST_GENRES = 12

# Every slot of every page shown to the person, in order. BIGINT[], as an empty table has arrays, not lists.
_SHOWN = """
SELECT * FROM (
    SELECT session, page, unnest(range(len(items::BIGINT[]))) AS slot, unnest(items::BIGINT[]) AS item,
        unnest(watch::DOUBLE[]) AS watch, unnest(watched::BOOL[]) AS watched, unnest(ratings::DOUBLE[]) AS stars,
        leave, "left", truncated, reward
    FROM steps WHERE "user" = ?
) ORDER BY session, page, slot
"""
_HISTORY = 'SELECT item, stars, time FROM history WHERE "user" = ? ORDER BY time, item'
_MEMORIES = """
SELECT session, page, hour, kind, importance, text FROM memories WHERE "user" = ? ORDER BY part, hour, session, page
"""
_THOUGHTS = """
SELECT session, page, kind, text FROM thoughts WHERE "user" = ?
UNION ALL SELECT session, page, 'answer' AS kind, steps.thoughts AS text FROM steps
    WHERE "user" = ? AND steps.thoughts <> ''
ORDER BY session, page, kind, text
"""
_DIARY = """
SELECT hour, action, other, item, stars, text, session FROM events WHERE "user" = ? AND action <> 'hear'
ORDER BY part, hour
"""


@dataclass(frozen=True, slots=True)
class Trait:
    """A trait of a person.

    Attributes:
        name: Name in one word.
        level: 1..3.
        words: Description of a person of this level.
        meaning: What the trait measures, and the cuts between levels.
    """

    name: str
    level: int
    words: str
    meaning: str


# Cuts and formulas are those of `agents.personas.persona`, which a reader of recorded runs may not import.
_TRAITS = {
    "activity": (
        ("rates little", "rates often", "rates very often"),
        "How many ratings the person has given. Level 1: the 60 % with the fewest; level 3: the 10 % with most.",
    ),
    "conformity": (
        ("goes with the crowd", "is sometimes of another opinion", "goes their own way"),
        "How far the ratings lie from what others think of the same items (mean squared distance). Level 1: the "
        "closest 25 %; level 3: the farthest 20 %.",
    ),
    "diversity": (
        ("stays with few genres", "likes some variety", "tries many genres"),
        "How many genres make up four fifths of what the person has rated. Level 1: the third with the fewest; "
        "level 3: the third with the most.",
    ),
}


def traits(persona: Persona) -> tuple[Trait, ...]:
    """The three traits of a person, in words (levels are clipped to 1..3)."""
    found = []
    for name, (words, meaning) in _TRAITS.items():
        level = min(max(int(getattr(persona, name)), 1), 3)
        found.append(Trait(name, level, words[level - 1], meaning))
    return tuple(found)


def about(persona: Persona | None) -> str:
    """Age, gender and occupation as far as known: "34 · F · lawyer"; "" if none is."""
    if persona is None:
        return ""
    known = (persona.age, persona.gender, persona.occupation)
    return " · ".join(str(value) for value in known if value not in {None, ""})


def visitors(view: RunView) -> dict[str, int]:
    """User id by the data set's own id, for everybody in the run, in natural order (2 before 10).

    For runs without personas, the recorded users, named by user id.
    """
    ids = view.raw_ids
    if not ids:
        users = view.frame('SELECT DISTINCT "user" AS who FROM steps')["who"].tolist()
        ids = {user: str(user) for user in users}
    ordered = sorted(ids, key=lambda user: _natural(ids[user]))
    return {ids[user]: user for user in ordered}


def _natural(text: str) -> tuple[int, int, str]:
    # isdecimal accepts exactly the digits that int() reads in every script, so this never raises.
    return (0, int(text), text) if text.isdecimal() and len(text) < 19 else (1, 0, text)


def shown(view: RunView, user: int) -> pd.DataFrame:
    """Impressions and actions of the person.

    Returns:
        One row per shown item, by session, page and slot: session, page, slot, item, watch (probability), watched,
        stars (0 if not watched), leave (probability), left, truncated, reward (of the page), title.

    Raises:
        RecordingError: A part is damaged.
    """
    frame = view.frame(_SHOWN, user)
    frame = frame[frame["item"] >= 0].reset_index(drop=True)
    return frame.assign(title=[view.title(item) for item in frame["item"]])


def history(view: RunView, user: int) -> pd.DataFrame:
    """The person's real (training) ratings, oldest first: item, stars, time, title, genres (joined by commas)."""
    frame = view.frame(_HISTORY, user)
    items = frame["item"].tolist()
    return frame.assign(title=[view.title(i) for i in items], genres=[", ".join(genres_of(view, i)) for i in items])


def genres_of(view: RunView, item: int) -> tuple[str, ...]:
    """Genres of an item; () where the run has no catalogue."""
    catalogue: tuple[Item, ...] = view.items
    return catalogue[item].genres if 0 <= item < len(catalogue) else ()


def memories(view: RunView, user: int) -> pd.DataFrame:
    """Memories of the person, in order: session, page, hour, kind, importance, text, step (from 1)."""
    frame = view.frame(_MEMORIES, user)
    return frame.assign(step=np.arange(1, len(frame) + 1))


def thoughts(view: RunView, user: int) -> pd.DataFrame:
    """Thoughts of the person about pages, in order: session, page, kind, text.

    `kind` is "page" if the thought was asked for afterwards, "answer" if it came with the answer about the page, else
    the kind of the memory that contains it.
    """
    return view.frame(_THOUGHTS, user, user)


def diary(view: RunView, user: int) -> pd.DataFrame:
    """Actions of the person in a society, in order: hour, action, other, item, stars, text, session."""
    return view.frame(_DIARY, user)


def sessions(seen: pd.DataFrame) -> pd.DataFrame:
    """One row per session of `shown`: session, pages, shown, watched, reward, end.

    `end` is "left", "cut off at the page limit", or "going on" if neither is recorded yet.
    """
    by = seen.groupby("session", sort=True)
    frame = by.agg(pages=("page", "nunique"), shown=("item", "size"), watched=("watched", "sum")).reset_index()
    pages = seen.drop_duplicates(["session", "page"])
    frame["reward"] = pages.groupby("session")["reward"].sum().to_numpy()
    last = pages.groupby("session")[["left", "truncated"]].any()
    ends = np.where(last["left"], "left", np.where(last["truncated"], "cut off at the page limit", "going on"))
    return frame.assign(end=ends)


def rating_shares(real: pd.DataFrame, seen: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """Rating distribution of the person: stars, who (`REAL`, `SIMULATED`), count, share of that side's ratings, 0..1.

    A side without ratings is left out.

    Args:
        real: Result of `history`.
        seen: Result of `shown`.
        levels: The run's rating levels, in stars. The result has every level, and any stars between them.
    """
    import pandas as pd

    sides = {REAL: real["stars"], SIMULATED: seen.loc[seen["watched"], "stars"]}
    stars_given = sorted({*levels, *sides[REAL], *sides[SIMULATED]})
    rows = [
        (level, who, int((stars == level).sum()), float((stars == level).mean()))
        for who, stars in sides.items()
        if len(stars)
        for level in stars_given
    ]
    return pd.DataFrame(rows, columns=["stars", "who", "count", "share"])


def genre_shares(view: RunView, real: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    """Genres that the person rates or watches: genre, who, count, share of that side's items with the genre, 0..1.

    The `MOST_GENRES` commonest genres of both sides together, commonest first; a side without items is left out.
    """
    import pandas as pd

    sides = {REAL: real["item"].tolist(), SIMULATED: seen.loc[seen["watched"], "item"].tolist()}
    rows = [
        (genre, who, count, count / len(items))
        for who, items in sides.items()
        for genre, count in _counted(genre for item in items for genre in set(genres_of(view, item))).items()
    ]
    frame = pd.DataFrame(rows, columns=["genre", "who", "count", "share"])
    order = frame.groupby("genre")["share"].sum().sort_values(ascending=False, kind="stable").index[:MOST_GENRES]
    place = {genre: number for number, genre in enumerate(order)}
    frame = frame[frame["genre"].isin(place)]
    return frame.sort_values("genre", key=lambda genres: genres.map(place), kind="stable").reset_index(drop=True)


def _counted(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure of one person and its mean over everybody.

    Attributes:
        value: Value of the person; NaN if undefined.
        everybody: Mean over everybody with a value; NaN if nobody has one.
    """

    value: float
    everybody: float


def measures(totals: Totals, user: int) -> dict[str, Measured]:
    """The measures of `compare` for one person; {} if nothing was shown to the person."""
    place = int(np.searchsorted(totals.users, user))
    if place == len(totals.users) or totals.users[place] != user:
        return {}
    found = {}
    for name, metric in METRICS.items():
        values = metric(totals)
        has = ~np.isnan(values)
        found[name] = Measured(float(values[place]), float(values[has].mean()) if has.any() else float("nan"))
    return found
