"""Validation rules for ratings, items and people from any file format, vectorised over rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsim_llm.data.tables import Table, text
from recsim_llm.errors import DataError
from recsim_llm.types import Floats, Ints

MOST_LEVELS = 100
"""More rating levels than this count as a mistake, such as play counts or raw scores."""


def require_columns(table: Table, *names: str) -> None:
    """Check that the table has all these columns and at least one row.

    Raises:
        DataError: A column is missing, or there are no rows.
    """
    missing = [name for name in names if name not in table]
    if missing:
        there = ", ".join(table.data.column_names)
        raise DataError(f"{table.source}: the column '{missing[0]}' is missing (there are: {there}). Add or rename it.")
    if not len(table):
        raise DataError(f"{table.source} has no rows below its header. Add data, or leave an optional file out.")


def ids(table: Table, name: str) -> Any:
    """A column of non-empty raw ids (a `pyarrow.Array` of strings)."""
    column = text(table, name)
    empty = pc.equal(column, "").to_numpy(zero_copy_only=False)
    if empty.any():
        table.fail(int(empty.argmax()), name, "", "is no id", "Every row needs one; correct or remove the row.")
    return column


def unique_ids(table: Table, name: str) -> Any:
    """A column of distinct raw ids."""
    column = ids(table, name)
    codes = _codes(column)
    row = _first_repeat(codes)
    if row is not None:
        first = table.place(int((codes == codes[row]).argmax()))
        table.fail(row, name, column[row].as_py(), f"is there twice (first at {first})", "Remove one of the two.")
    return column


def _codes(column: Any) -> Ints:
    codes: Ints = column.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _first_repeat(codes: Ints) -> int | None:
    """The first row whose code occurs in an earlier row, or None."""
    if len(codes) < 2:
        return None
    order = np.argsort(codes, kind="stable")
    repeats = order[1:][codes[order[1:]] == codes[order[:-1]]]
    return int(repeats.min()) if len(repeats) else None


def number_ids(column: Any) -> list[str]:
    """Distinct raw ids in sorted order: by number if all are whole numbers, else as text."""
    distinct: list[str] = pc.unique(column).to_pylist()
    if all(raw.isdecimal() and raw.isascii() for raw in distinct):
        return sorted(distinct, key=lambda raw: (int(raw), raw))
    return sorted(distinct)


def positions(table: Table, name: str, column: Any, known: Sequence[str], listed_in: str) -> Ints:
    """Position of each raw id in `known`.

    Raises:
        DataError: An id is not in `known`.
    """
    found = pc.index_in(column, value_set=pa.array(known, pa.string()))
    unknown = pc.is_null(found).to_numpy(zero_copy_only=False)
    if unknown.any():
        row = int(unknown.argmax())
        table.fail(
            row, name, column[row].as_py(), f"is not in {listed_in}", f"Add it there, or remove this {table.unit}."
        )
    result: Ints = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return result


def check_no_repeat(table: Table, users: Ints, items: Ints, num_items: int) -> None:
    """Check that no user rates an item twice."""
    pairs = users * num_items + items
    row = _first_repeat(pairs)
    if row is not None:
        first = int((pairs == pairs[row]).argmax())
        user, item = (text(table, name)[row].as_py() for name in ("user", "item"))
        raise DataError(
            f"{table.place(row)}, fields '{table.fields['user']}' and '{table.fields['item']}': user {user!r} rates "
            f"item {item!r} a second time (first at {table.place(first)}). Keep one of the two, the latest say."
        )


def check_ratings(table: Table, values: Floats, levels: Sequence[float]) -> None:
    """Check that every rating is one of the levels."""
    # Compared as float32, the stored type, so that a float32 Parquet file may contain 0.1.
    allowed = np.isin(values.astype(np.float32), np.array(levels, dtype=np.float32))
    if not allowed.all():
        row = int((~allowed).argmax())
        _fail_rating(table, row, values[row], f"is not among the rating levels {_brief(levels)}")


def find_levels(table: Table, values: Floats) -> tuple[float, ...]:
    """Infer rating levels if none are declared: 1, 2, ... or 0.5, 1, ... up to the largest rating.

    Raises:
        DataError: A rating is not positive, not a multiple of 0.5, or too large to be stars.
    """
    for bad, why in (
        (values <= 0, "is not positive"),
        (values * 2 != np.rint(values * 2), "is no multiple of 0.5"),
        (values > MOST_LEVELS, f"would make more than {MOST_LEVELS} rating levels"),
    ):
        if bad.any():
            row = int(bad.argmax())
            _fail_rating(table, row, values[row], why)
    step = 1.0 if bool((values == np.rint(values)).all()) else 0.5
    return tuple(float(level) for level in np.arange(step, values.max() + step / 2, step))


def _fail_rating(table: Table, row: int, value: float, why: str) -> None:
    way_out = 'Correct it, or declare "rating_levels" in dataset.json (plain folder format); levels are positive.'
    table.fail(row, "rating", float(value), why, way_out)


def check_levels(source: str, levels: Iterable[Any]) -> tuple[float, ...]:
    """Check declared rating levels: at least two numbers, positive, ascending."""
    listed = list(levels)
    if not all(isinstance(level, int | float) and not isinstance(level, bool) for level in listed):
        raise DataError(
            f"{source}, field 'rating_levels': {listed!r} are not all numbers. Give a list such as [1, 2, 3]."
        )
    if len(listed) < 2 or listed[0] <= 0 or any(a >= b for a, b in zip(listed, listed[1:], strict=False)):
        raise DataError(
            f"{source}, field 'rating_levels': {listed!r} are not two or more positive, ascending numbers. "
            "Give a list such as [1, 2, 3, 4, 5]; shift ratings that start at 0 or below."
        )
    return tuple(float(level) for level in listed)


def check_everyone_rates(table: Table, people: Sequence[str], rows: Ints, rated: Ints) -> None:
    """Check that everybody listed as a person has ratings.

    Args:
        table: The table of people.
        people: Raw ids, by user id.
        rows: (U,) row of each person in the table.
        rated: (U,) number of ratings of each person.
    """
    if not rated.all():
        user = int((rated == 0).argmax())
        why = "is a person without ratings"
        table.fail(int(rows[user]), "user", people[user], why, "Remove this person, or add ratings.")


def _brief(levels: Sequence[float]) -> str:
    shown = [f"{level:g}" for level in levels]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:3], "...", shown[-1]])
