"""Reads and writes logs of impressions: what was shown in which slot, what was watched, and when people left.

The table `impressions` of the plain folder format: user, item, session, page, slot (both from 1), watched (1 or 0),
optional rating (empty where none), optional left (1 on the rows of the page after which the person left, else 0).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recsim_llm.data import checks
from recsim_llm.data.dataset import Catalogue, Impressions, Person
from recsim_llm.data.tables import Table, numbers, text
from recsim_llm.types import Floats, Ints


def read_impressions(
    table: Table, catalogue: Catalogue, people: Sequence[Person], levels: Sequence[float]
) -> Impressions:
    """A checked log of impressions, sorted by user, session, page and slot.

    Args:
        table: The columns named above.
        catalogue: Whose items are shown.
        people: Who sees them.
        levels: (R,) rating levels.

    Raises:
        DataError: A column is missing, an id is unknown, or a value breaks a rule.
    """
    checks.require_columns(table, "user", "item", "session", "page", "slot", "watched")
    users = checks.positions(table, "user", checks.ids(table, "user"), [p.raw_id for p in people], "the people")
    items = checks.positions(table, "item", checks.ids(table, "item"), catalogue.raw_ids, "the items")
    pages, slots = _counted(table, "page") - 1, _counted(table, "slot") - 1
    watched = _yes(table, "watched")
    ratings = numbers(table, "rating", optional=True) if "rating" in table else np.full(len(table), np.nan)
    rated = ~np.isnan(ratings)
    wrong = rated & (~np.isin(ratings.astype(np.float32), np.array(levels, dtype=np.float32)) | ~watched)
    if wrong.any():
        row = int(wrong.argmax())
        table.fail(row, "rating", float(ratings[row]), "is no level, or of an item not watched", "Correct or empty it.")
    left = _yes(table, "left") if "left" in table else np.zeros(len(table), dtype=np.bool_)
    names = np.unique(np.array(text(table, "session").to_pylist(), dtype=np.str_), return_inverse=True)[1]
    sessions = np.unique(users * (len(table) + 1) + names, return_inverse=True)[1].astype(np.int64)
    stars = np.where(rated, ratings, 0.0).astype(np.float32)
    log = Impressions(users, items, sessions, pages, slots, watched, stars, left, "left" in table)
    log = log.take(np.lexsort((slots, pages, sessions, users)))
    _check_ends(table, log)
    return log


def impression_columns(log: Impressions, people: Sequence[Person], catalogue: Catalogue) -> dict[str, object]:
    """The table that `read_impressions` reads."""
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


def _counted(table: Table, name: str) -> Ints:
    values = numbers(table, name)
    wrong = (values < 1) | (values != np.rint(values))
    if wrong.any():
        row = int(wrong.argmax())
        table.fail(row, name, float(values[row]), "is not a whole number from 1", "Count pages and slots from 1.")
    return values.astype(np.int64)


def _yes(table: Table, name: str) -> np.ndarray:
    values: Floats = numbers(table, name)
    wrong = ~np.isin(values, [0.0, 1.0])
    if wrong.any():
        row = int(wrong.argmax())
        table.fail(row, name, float(values[row]), "is neither 1 nor 0", "Write 1 for yes, 0 for no.")
    return values.astype(np.bool_)


def _check_ends(table: Table, log: Impressions) -> None:
    """Nobody sees a page after leaving."""
    last = np.zeros(int(log.sessions.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(last, log.sessions, log.pages)
    wrong = log.left & (log.pages < last[log.sessions])
    if wrong.any():
        row = int(wrong.argmax())
        table.fail(row, "left", 1, "is followed by a later page of the session", "Mark the last page alone.")
