"""Reads and writes logs of impressions: what was shown in which slot, what was watched, and when people left.

The table `impressions` of the plain folder format: user, item, session, page, slot (both from 1), watched (1 or 0),
optional rating (empty where none), optional left (1 on the rows of the page after which the person left, else 0).
Sessions are numbered by user, then by name (as numbers where all names are whole numbers, else as text).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recsim_llm.data import checks
from recsim_llm.data.dataset import Catalogue, Impressions, Person
from recsim_llm.data.tables import Table, numbers
from recsim_llm.types import Bools, Floats, Floats32, Ints

MOST_SLOTS = 1000
"""More slots than this count as a mistake, such as positions in a session instead of on a page."""


def read_impressions(
    table: Table, catalogue: Catalogue, people: Sequence[Person], levels: Sequence[float]
) -> Impressions:
    """Read and check a log of impressions, sorted by user, session, page and slot.

    Args:
        table: The columns named above.
        catalogue: The items.
        people: The people.
        levels: (R,) rating levels.

    Raises:
        DataError: A column is missing, an id is unknown, or a value breaks a rule.
    """
    checks.require_columns(table, "user", "item", "session", "page", "slot", "watched")
    users = checks.positions(table, "user", checks.ids(table, "user"), [p.raw_id for p in people], "the people")
    items = checks.positions(table, "item", checks.ids(table, "item"), catalogue.raw_ids, "the items")
    pages, slots = _counted(table, "page") - 1, _counted(table, "slot") - 1
    watched = _yes(table, "watched")
    stars = _stars(table, watched, levels)
    left = _yes(table, "left") if "left" in table else np.zeros(len(table), dtype=np.bool_)
    sessions = _sessions(table, users)
    order = np.lexsort((slots, pages, sessions))
    log = Impressions(users, items, sessions, pages, slots, watched, stars, left, "left" in table).take(order)
    _check_pages(table, log, order)
    return log


def impression_columns(log: Impressions, people: Sequence[Person], catalogue: Catalogue) -> dict[str, object]:
    """The columns of the table that `read_impressions` reads."""
    raw_users, raw_items = np.array([p.raw_id for p in people]), np.array(catalogue.raw_ids)
    columns = {
        "user": raw_users[log.users],
        "item": raw_items[log.items],
        "session": log.sessions,
        "page": log.pages + 1,
        "slot": log.slots + 1,
        "watched": log.watched.astype(np.int64),
        "rating": pa.array(log.ratings, mask=log.ratings == 0),
    }
    return columns | ({"left": log.left.astype(np.int64)} if log.has_exits else {})


def _sessions(table: Table, users: Ints) -> Ints:
    """(M,) number of each visit, by user and then by name, so that it does not depend on the file's order."""
    raw = checks.ids(table, "session")
    names = checks.number_ids(raw)
    name = checks.positions(table, "session", raw, names, "the sessions")
    numbered: Ints = np.unique(users * len(names) + name, return_inverse=True)[1].astype(np.int64)
    return numbered


def _stars(table: Table, watched: Bools, levels: Sequence[float]) -> Floats32:
    ratings = numbers(table, "rating", optional=True) if "rating" in table else np.full(len(table), np.nan)
    rated = ~np.isnan(ratings)
    strange = rated & ~np.isin(ratings.astype(np.float32), np.array(levels, dtype=np.float32))
    for wrong, why in ((strange, "is not among the rating levels"), (rated & ~watched, "is of an item not watched")):
        if wrong.any():
            row = int(wrong.argmax())
            table.fail(row, "rating", float(ratings[row]), why, "Correct it, or leave it empty.")
    return np.where(rated, ratings, 0.0).astype(np.float32)


def _counted(table: Table, name: str) -> Ints:
    values = numbers(table, name)
    wrong = (values < 1) | (values != np.rint(values))
    if wrong.any():
        row = int(wrong.argmax())
        table.fail(row, name, float(values[row]), "is not a whole number from 1", "Count pages and slots from 1.")
    if name == "slot" and values.max() > MOST_SLOTS:
        row, why = int(values.argmax()), f"is more than {MOST_SLOTS} slots a page"
        table.fail(row, name, float(values[row]), why, "Count slots anew on each page.")
    return values.astype(np.int64)


def _yes(table: Table, name: str) -> Bools:
    values: Floats = numbers(table, name)
    wrong = ~np.isin(values, [0.0, 1.0])
    if wrong.any():
        row = int(wrong.argmax())
        table.fail(row, name, float(values[row]), "is neither 1 nor 0", "Write 1 for yes, 0 for no.")
    return values.astype(np.bool_)


def _check_pages(table: Table, log: Impressions, order: Ints) -> None:
    """Check that pages are complete and contiguous, as satisfaction and repetition depend on earlier pages.

    Args:
        table: The source, for messages.
        log: Its rows, sorted by session, page and slot.
        order: Row of each of them in the source.
    """
    same = np.diff(log.sessions) == 0
    step = np.diff(log.pages)
    begins = np.flatnonzero(np.append(True, ~same) & (log.pages > 0))
    _fail_at(table, order, begins, "page", "is the first of its session", "Number pages 1, 2, ... in each session.")
    jumps = np.flatnonzero(same & (step > 1)) + 1
    _fail_at(table, order, jumps, "page", "comes without the page before", "Number pages 1, 2, ... in each session.")
    twice = np.flatnonzero(same & (step == 0) & (np.diff(log.slots) == 0)) + 1
    _fail_at(table, order, twice, "slot", "is there twice on this page", "Keep one of the two rows.")
    differs = np.flatnonzero(same & (step == 0) & (log.left[1:] != log.left[:-1])) + 1
    _fail_at(table, order, differs, "left", "differs from the rest of the page", "Give all rows of a page the same.")
    early = np.flatnonzero(same & (step > 0) & log.left[:-1])
    _fail_at(table, order, early, "left", "is followed by a later page of the session", "Mark the last page alone.")


def _fail_at(table: Table, order: Ints, places: Ints, name: str, why: str, way_out: str) -> None:
    """Fail at the first of these rows, as the source orders them."""
    if len(places):
        row = int(order[places].min())
        table.fail(row, name, float(numbers(table, name)[row]), why, way_out)
