"""Builds a `Dataset` from source tables: checks every rule, then numbers users and items.

Users and items are numbered in the order of their raw ids (as numbers if all are whole numbers, else as text), and
ratings are sorted by user, then time, then position in the file; so the numbering does not depend on the file's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsim_llm.data import checks
from recsim_llm.data.checksum import content_checksum
from recsim_llm.data.dataset import Catalogue, Dataset, Person, Ratings
from recsim_llm.data.formats.impressions import read_impressions
from recsim_llm.data.tables import Table, numbers, text
from recsim_llm.types import Floats, Ints, Item

Levels = tuple[float, ...]

YEARS, AGES = (-9_999, 9_999), (0, 150)
MOST_SECONDS = 10**14


def assemble(
    name: str,
    licence: str,
    ratings: Table,
    items: Table | None = None,
    people: Table | None = None,
    levels: Levels = (),
) -> Dataset:
    """Build a checked data set.

    Args:
        name: Name of the data set.
        licence: Its terms in a sentence.
        ratings: Columns user, item, rating, optional time (seconds since 1970, or timestamps in Parquet).
        items: Columns item, title, optional year, genres (separated by "|"), description. Without the table, items
            are those rated, named by their raw ids.
        people: Columns user, optional age, gender, occupation. Without the table, users are those who rate.
        levels: Rating levels; inferred from the ratings if not given (see `checks.find_levels`).

    Raises:
        DataError: A rule is broken; the message names file, line, field, value and the remedy.
    """
    checks.require_columns(ratings, "user", "item", "rating")
    catalogue = _catalogue(ratings, items)
    persons = _people(ratings, people)
    log, levels = _ratings(ratings, items, people, catalogue, persons, levels)
    if people is not None:
        raw = [person.raw_id for person in persons]
        rows = checks.positions(ratings, "user", _strings(raw), text(people, "user").to_pylist(), people.source)
        checks.check_everyone_rates(people, raw, rows, np.bincount(log.users, minlength=len(persons)))
    checksum = content_checksum(catalogue, log, persons, levels)
    return Dataset(name, catalogue, log, persons, levels, checksum, licence)


def with_impressions(dataset: Dataset, table: Table) -> Dataset:
    """Add a log of impressions to a data set, which changes its checksum.

    Raises:
        DataError: See `impressions.read_impressions`.
    """
    shown = read_impressions(table, dataset.catalogue, dataset.people, dataset.rating_levels)
    checksum = content_checksum(dataset.catalogue, dataset.ratings, dataset.people, dataset.rating_levels, shown)
    return replace(dataset, impressions=shown, checksum=checksum)


def read_ratings(table: Table, dataset: Dataset) -> Ratings:
    """Read further ratings of a data set's people and items.

    Raises:
        DataError: A rule is broken.
    """
    checks.require_columns(table, "user", "item", "rating")
    return _ratings(table, None, None, dataset.catalogue, dataset.people, dataset.rating_levels)[0]


def _strings(values: Sequence[str]) -> object:
    import pyarrow as pa

    return pa.array(values, pa.string())


def _ratings(
    table: Table,
    items: Table | None,
    people: Table | None,
    catalogue: Catalogue,
    persons: Sequence[Person],
    levels: Levels,
) -> tuple[Ratings, Levels]:
    raw_users = [person.raw_id for person in persons]
    user_ids, item_ids = checks.ids(table, "user"), checks.ids(table, "item")
    users = checks.positions(table, "user", user_ids, raw_users, (people or table).source)
    items_ = checks.positions(table, "item", item_ids, catalogue.raw_ids, (items or table).source)
    values = numbers(table, "rating")
    levels = levels or checks.find_levels(table, values)
    checks.check_ratings(table, values, levels)
    checks.check_no_repeat(table, users, items_, len(catalogue))
    times = _times(table)
    log = Ratings(users, items_, values.astype(np.float32), times, len(persons), len(catalogue))
    return log.take(np.lexsort((times, users))), levels


def _times(table: Table) -> Ints:
    """(M,) seconds since 1970; milliseconds are in range too, but nothing beyond 64-bit integers."""
    if "time" not in table:
        return np.zeros(len(table), dtype=np.int64)
    values = numbers(table, "time")
    _check_range(table, "time", values, -MOST_SECONDS, MOST_SECONDS)
    return values.astype(np.int64)


def _check_range(table: Table, name: str, values: Floats, low: int, high: int) -> None:
    """Refuse numbers outside a range; missing values (NaN) are outside every range."""
    beyond = (values < low) | (values > high)
    if beyond.any():
        row = int(beyond.argmax())
        table.fail(row, name, float(values[row]), f"is not between {low} and {high}", "Correct it.")


def _catalogue(ratings: Table, table: Table | None) -> Catalogue:
    if table is None:
        raw_ids = checks.number_ids(checks.ids(ratings, "item"))
        return Catalogue(tuple(Item(i, raw) for i, raw in enumerate(raw_ids)), tuple(raw_ids))
    checks.require_columns(table, "item", "title")
    column = checks.unique_ids(table, "item")
    raw_ids = checks.number_ids(column)
    rows = {raw: row for row, raw in enumerate(column.to_pylist())}
    titles, years = checks.ids(table, "title").to_pylist(), _whole(table, "year", *YEARS)
    genres, descriptions = _texts(table, "genres"), _texts(table, "description")
    items = tuple(
        Item(i, titles[row], years[row], _genres(genres[row]), descriptions[row])
        for i, row in enumerate(rows[raw] for raw in raw_ids)
    )
    return Catalogue(items, tuple(raw_ids))


def _people(ratings: Table, table: Table | None) -> tuple[Person, ...]:
    if table is None:
        raw_ids = checks.number_ids(checks.ids(ratings, "user"))
        return tuple(Person(u, raw) for u, raw in enumerate(raw_ids))
    checks.require_columns(table, "user")
    column = checks.unique_ids(table, "user")
    rows = {raw: row for row, raw in enumerate(column.to_pylist())}
    ages, genders, jobs = _whole(table, "age", *AGES), _texts(table, "gender"), _texts(table, "occupation")
    return tuple(
        Person(u, raw, ages[rows[raw]], genders[rows[raw]] or None, jobs[rows[raw]] or None)
        for u, raw in enumerate(checks.number_ids(column))
    )


def _texts(table: Table, name: str) -> list[str]:
    return list(text(table, name).to_pylist()) if name in table else [""] * len(table)


def _whole(table: Table, name: str, low: int, high: int) -> list[int | None]:
    """Optional whole numbers of a range, such as years."""
    if name not in table:
        return [None] * len(table)
    values = numbers(table, name, optional=True)
    broken = ~np.isnan(values) & (values != np.rint(values))
    if broken.any():
        row = int(broken.argmax())
        table.fail(row, name, float(values[row]), "is not a whole number", "Round it, or leave it empty.")
    _check_range(table, name, values, low, high)
    return [None if np.isnan(value) else int(value) for value in values]


def _genres(joined: str) -> tuple[str, ...]:
    parts = (part.strip() for part in joined.split("|"))
    return tuple(dict.fromkeys(part for part in parts if part))
