"""Runs as flat tables with one row per shown item, session or user, for pandas, spreadsheets and statistics programs.

In Python, sums over pages are computed here only, so that tables and measures of a run agree to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv

from recsim_llm.errors import ConfigError
from recsim_llm.runs.catalogue import FILE as CATALOGUE
from recsim_llm.runs.catalogue import read_catalogue
from recsim_llm.runs.recorded_context import PEOPLE, load_people
from recsim_llm.runs.run_files import parquet_bytes, write_durably
from recsim_llm.runs.steps import StepBatch, text_array
from recsim_llm.types import EMPTY, Bools, Floats, Ints

if TYPE_CHECKING:
    from recsim_llm.runs.run import Run

_TRY_AGAIN = "Mend the cause, or choose another place, and export again."


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals per user of a run, from which all measures are computed.

    Attributes:
        users: (U,) user ids, ascending.
        shown: (U,) items shown.
        watched: (U,) shown items that were watched.
        rated: (U,) ratings given, one per watched item.
        stars: (U,) sums of the stars.
        pages: (U,) pages.
        sessions: (U,) sessions.
        reward: (U,) sums of rewards.
    """

    users: Ints
    shown: Floats
    watched: Floats
    rated: Floats
    stars: Floats
    pages: Floats
    sessions: Floats
    reward: Floats


def totals_of(steps: StepBatch) -> Totals:
    """Add up steps by user.

    Args:
        steps: Steps of one run, in any order.
    """
    # Sorted first, because sums of floats depend on the order of rows.
    steps = steps.take(np.lexsort((steps.page, steps.session, steps.user)))
    users, row_user = np.unique(steps.user, return_inverse=True)
    first = np.ones(len(steps), dtype=np.bool_)
    first[1:] = (steps.session[1:] != steps.session[:-1]) | (steps.user[1:] != steps.user[:-1])
    sessions = _sum(row_user, first, len(users))
    return Totals(users=users, sessions=sessions, **_added_up(steps, row_user, len(users)))


def _added_up(steps: StepBatch, group: Ints, count: int) -> Mapping[str, Floats]:
    """Return (count,) sums over the rows of each group; `group` (S,) is the group of each row."""
    shown = steps.items != EMPTY
    columns = {
        "shown": shown.sum(axis=1),
        "watched": (steps.watched & shown).sum(axis=1),
        "rated": steps.watched.sum(axis=1),
        "stars": np.where(steps.watched, steps.ratings, 0.0).sum(axis=1),
        "pages": np.ones(len(steps)),
        "reward": steps.reward,
    }
    return {name: _sum(group, rows, count) for name, rows in columns.items()}


def _sum(group: Ints, rows: Floats | Ints | Bools, count: int) -> Floats:
    sums: Floats = np.bincount(group, weights=rows, minlength=count).astype(np.float64)
    return sums


def item_table(steps: StepBatch, folder: Path) -> pa.Table:
    """One row per shown item; the columns are those of `Run.steps`.

    Args:
        steps: Steps of one run, in any order.
        folder: The run folder, for titles and the data set's own ids.

    Raises:
        RecordingError: The files with titles or people are damaged.
    """
    steps = steps.in_order()
    row, slot = np.nonzero(steps.items != EMPTY)
    items, watched = steps.items[row, slot], steps.watched[row, slot]
    titles, item_ids = _names_of_items(folder, items)
    return pa.table(
        {
            "session": steps.session[row],
            "user": steps.user[row],
            "user_id": _names_of_users(folder, steps.user[row]),
            "page": steps.page[row],
            "slot": slot,
            "item": items,
            "item_id": item_ids,
            "title": titles,
            "watch_probability": steps.watch[row, slot],
            "watched": watched,
            "rating": pa.array(steps.ratings[row, slot], mask=~watched),
            "leave_probability": steps.leave[row],
            "left": steps.left[row],
            "page_reward": steps.reward[row],
        }
    )


def session_table(steps: StepBatch, folder: Path) -> pa.Table:
    """One row per session; the columns are those of `Run.sessions`. Arguments and errors as in `item_table`."""
    steps = steps.in_order()
    sessions, start, row_session = np.unique(steps.session, return_index=True, return_inverse=True)
    sums = _added_up(steps, row_session, len(sessions))
    # The last page of a session is the row before the next session's first.
    last = np.append(start[1:], len(steps))[: len(sessions)] - 1
    return pa.table(
        {
            "session": sessions,
            "user": steps.user[start],
            "user_id": _names_of_users(folder, steps.user[start]),
            **_counted(sums),
            "left": steps.left[last],
            "truncated": steps.truncated[last],
        }
    )


def user_table(steps: StepBatch, folder: Path) -> pa.Table:
    """One row per visiting user; the columns are those of `Run.users`. Arguments and errors as in `item_table`."""
    totals = totals_of(steps)
    sums = {name: getattr(totals, name) for name in ("pages", "shown", "watched", "stars", "reward")}
    return pa.table(
        {
            "user": totals.users,
            "user_id": _names_of_users(folder, totals.users),
            "sessions": totals.sessions.astype(np.int64),
            **_counted(sums),
        }
    )


def _counted(sums: Mapping[str, Floats]) -> dict[str, Floats | Ints]:
    counts = {name: sums[name].astype(np.int64) for name in ("pages", "shown", "watched")}
    return {**counts, "stars": sums["stars"], "reward": sums["reward"]}


def _names_of_items(folder: Path, items: Ints) -> tuple[pa.Array, pa.Array]:
    """Return title and raw id of each item; "" if the run has no catalogue."""
    if not (folder / CATALOGUE).exists():
        none = text_array([""] * len(items))
        return none, none
    catalogue, raw_ids = read_catalogue(folder)
    rows = pa.array(items)
    return text_array(item.title for item in catalogue).take(rows), text_array(raw_ids).take(rows)


def _names_of_users(folder: Path, users: Ints) -> pa.Array:
    """Return the raw id of each user; "" if the run does not hold it."""
    if not (folder / PEOPLE).exists():
        return text_array([""] * len(users))
    people, raw_ids = load_people(folder)
    known = {persona.user: raw_id for persona, raw_id in zip(people, raw_ids, strict=True)}
    return text_array(known.get(user, "") for user in users.tolist())


def export(run: Run, path: str | Path) -> None:
    """Write the table of `Run.steps` to a file.

    Args:
        run: A recorded run.
        path: Ends in .csv or .parquet; an existing file is replaced.

    Raises:
        ConfigError: Another ending.
        RecordingError: Nothing is recorded yet, a part is damaged, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in {".csv", ".parquet"}:
        raise ConfigError(f"Runs are exported to .csv or .parquet, not to '{path.name}'.")
    table = run.steps_arrow()
    if path.suffix == ".parquet":
        write_durably(path, parquet_bytes(table), _TRY_AGAIN)
    else:
        sink = pa.BufferOutputStream()
        pa.csv.write_csv(table, sink)
        write_durably(path, memoryview(sink.getvalue()), _TRY_AGAIN)
