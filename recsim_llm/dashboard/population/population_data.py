"""Simulated and real behaviour of everybody in a run, or of a segment. All sums are SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from recsim_llm.dashboard.view import RunView
from recsim_llm.types import Persona

if TYPE_CHECKING:
    import pandas as pd

SIMULATED, REAL = "simulated", "real"
TRAITS = ("activity", "conformity", "diversity")
_AGES = ((0, 24, "under 25"), (25, 34, "25 to 34"), (35, 49, "35 to 49"), (50, 200, "50 and older"))
_SHOWN = """
FROM (SELECT unnest(items) AS item, unnest(watch) AS watch, unnest(watched) AS watched, unnest(ratings) AS stars,
    unnest(range(len(items))) AS slot, "user" FROM steps WHERE {who})
WHERE item >= 0
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """A filter for people; "" or 0 leaves a property unrestricted.

    Attributes:
        activity, conformity, diversity: Trait levels 1..3.
        gender, occupation: Values as in the data.
        age: Name of an age group.
    """

    activity: int = 0
    conformity: int = 0
    diversity: int = 0
    gender: str = ""
    age: str = ""
    occupation: str = ""

    @property
    def everybody(self) -> bool:
        """Whether no property is restricted."""
        return not any(getattr(self, f.name) for f in fields(self))

    def holds(self, person: Persona) -> bool:
        """Whether a person belongs to the segment."""
        wanted = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}
        known = {name: getattr(person, name) for name in wanted if name != "age"} | {"age": age_group(person.age)}
        return all(known[name] == value for name, value in wanted.items())


def age_group(age: int | None) -> str:
    """The group of an age; "" if it is unknown."""
    return next((name for low, high, name in _AGES if age is not None and low <= age <= high), "")


def options(people: Sequence[Persona]) -> dict[str, list[str]]:
    """Values by property for the filters besides traits, without those that nobody has."""
    ages = [name for _, _, name in _AGES if any(age_group(p.age) == name for p in people)]
    found = {"gender": sorted({p.gender for p in people if p.gender}), "age": ages}
    return found | {"occupation": sorted({p.occupation for p in people if p.occupation})}


def members(view: RunView, segment: Segment) -> list[int] | None:
    """User ids of a segment; None for everybody."""
    if segment.everybody:
        return None
    return [user for user, person in view.people.items() if segment.holds(person)]


def count(view: RunView, users: list[int] | None) -> int:
    """Number of people of a segment who occur in the run."""
    who, values = _who(users)
    return int(view.frame(f'SELECT count(DISTINCT "user") AS n FROM steps WHERE {who}', *values)["n"][0])


def traits(view: RunView, users: list[int] | None) -> pd.DataFrame:
    """Columns trait, level (1..3), people."""
    import pandas as pd

    wanted = None if users is None else set(users)
    people = [p for user, p in view.people.items() if wanted is None or user in wanted]
    rows = [(t.capitalize(), k, sum(getattr(p, t) == k for p in people)) for t in TRAITS for k in (1, 2, 3)]
    return pd.DataFrame(rows, columns=["trait", "level", "people"])


def ratings(view: RunView, users: list[int] | None) -> pd.DataFrame:
    """Columns source, stars, share: distribution of ratings, simulated and real."""
    who, values = _who(users)
    simulated = f"SELECT stars, count(*) AS n {_SHOWN.format(who=who)} AND watched GROUP BY stars"
    real = f"SELECT stars, count(*) AS n FROM history WHERE {who} GROUP BY stars"
    return _both(view, simulated, real, "stars", values)


def lengths(view: RunView, users: list[int] | None) -> pd.DataFrame:
    """Columns pages, share: ended sessions by their number of pages."""
    who, values = _who(users)
    sql = f"""SELECT pages, count(*) AS n FROM (SELECT session, count(*) AS pages, bool_or("left" OR truncated) AS ended
        FROM steps WHERE {who} GROUP BY session) WHERE ended GROUP BY pages ORDER BY pages"""
    frame = view.frame(sql, *values)
    return frame.assign(share=frame["n"] / max(1, frame["n"].sum()))


def slots(view: RunView, users: list[int] | None) -> pd.DataFrame:
    """Columns slot (from 1), shown, watched (share), expected (mean probability), per slot of the page."""
    who, values = _who(users)
    sql = f"""SELECT slot + 1 AS slot, count(*) AS shown, avg(watched::INT) AS watched, avg(watch) AS expected
        {_SHOWN.format(who=who)} GROUP BY slot ORDER BY slot"""
    return view.frame(sql, *values)


def item_counts(view: RunView, users: list[int] | None) -> pd.DataFrame:
    """Columns item, shown, watched, real: counts per item of impressions, watches, and ratings in the log."""
    who, values = _who(users)
    shown = (
        f"SELECT item, count(*) AS shown, count(*) FILTER (watched) AS watched {_SHOWN.format(who=who)} GROUP BY item"
    )
    sql = f"""SELECT coalesce(s.item, h.item) AS item, coalesce(shown, 0) AS shown, coalesce(watched, 0) AS watched,
        coalesce(n, 0) AS real FROM ({shown}) s FULL JOIN
        (SELECT item, count(*) AS n FROM history WHERE {who} GROUP BY item) h ON s.item = h.item ORDER BY item"""
    return view.frame(sql, *values, *values)


def genres(view: RunView, counts: pd.DataFrame) -> pd.DataFrame:
    """Columns genre, source, share: genres of watched and of really rated items; an item counts for each genre."""
    import pandas as pd

    rows: dict[str, dict[str, float]] = {}
    for item, watched, real in counts[["item", "watched", "real"]].itertuples(index=False):
        for genre in view.items[item].genres if item < len(view.items) else ():
            sums = rows.setdefault(genre, {SIMULATED: 0.0, REAL: 0.0})
            sums[SIMULATED] += watched
            sums[REAL] += real
    totals = {source: sum(row[source] for row in rows.values()) for source in (SIMULATED, REAL)}
    flat = [(g, s, row[s] / totals[s]) for g, row in sorted(rows.items()) for s in (SIMULATED, REAL) if totals[s]]
    return pd.DataFrame(flat, columns=["genre", "source", "share"])


def popularity(counts: pd.DataFrame) -> pd.DataFrame:
    """Shares of shown, watched and rated items by popularity: tenth (1: most rated), source, share.

    Items are ordered by their number of real ratings from the selected people; ties by id.
    """
    import pandas as pd

    ordered = counts.sort_values(["real", "item"], ascending=[False, True])
    tenth = 1 + np.arange(len(ordered)) * 10 // max(1, len(ordered))
    names = {"shown": "shown", "watched": "watched", "real": "rated in the log"}
    parts = [
        pd.DataFrame({"tenth": range(1, 11), "source": label, "share": _shares(ordered[name].to_numpy(), tenth)})
        for name, label in names.items()
        if ordered[name].sum()
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["tenth", "source", "share"])


def _shares(values: np.ndarray, tenth: np.ndarray) -> np.ndarray:
    sums: np.ndarray = np.bincount(tenth, weights=values, minlength=11)[1:] / values.sum()
    return sums


def _who(users: list[int] | None) -> tuple[str, list[object]]:
    return ("true", []) if users is None else ('"user" IN (SELECT unnest(?::BIGINT[]))', [users])


def _both(view: RunView, simulated: str, real: str, name: str, values: list[object]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for source, sql in ((SIMULATED, simulated), (REAL, real)):
        frame = view.frame(f"{sql} ORDER BY {name}", *values)
        if len(frame):
            parts.append(frame.assign(source=source, share=frame["n"] / frame["n"].sum()))
    return pd.concat(parts) if parts else pd.DataFrame(columns=[name, "n", "source", "share"])
