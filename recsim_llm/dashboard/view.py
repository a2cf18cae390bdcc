"""SQL view of one recorded run: DuckDB over the Parquet parts, so that no table is loaded as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recsim_llm.certificate import FILE as CERTIFICATE
from recsim_llm.certificate import Certificate, read_certificate
from recsim_llm.errors import MissingExtraError, RecordingError
from recsim_llm.runs import Run, read_catalogue
from recsim_llm.runs.calls import SCHEMA as CALL_SCHEMA
from recsim_llm.runs.catalogue import FILE as CATALOGUE
from recsim_llm.runs.events import SCHEMA as EVENT_SCHEMA
from recsim_llm.runs.recorded_context import HISTORY, HISTORY_SCHEMA, LINKS, LINKS_SCHEMA, PEOPLE, load_people
from recsim_llm.runs.run import (
    ASKED,
    CALLS,
    EVENTS,
    KINDS,
    MEMORIES,
    STEPS,
    THOUGHTS,
    WHY,
    part_numbers,
    part_path,
)
from recsim_llm.runs.run_tables import Totals
from recsim_llm.runs.side_files import check_side_files
from recsim_llm.runs.step_notes import ASKED_SCHEMA, MEMORY_SCHEMA, THOUGHT_SCHEMA, WHY_SCHEMA
from recsim_llm.runs.steps import schema
from recsim_llm.types import Item, Persona

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_TOTALS = """
SELECT "user" AS users,
    sum(list_count(list_filter(items, lambda i: i >= 0)))::DOUBLE AS shown,
    sum(list_sum(list_transform(list_zip(items, watched), lambda z: (z[1] >= 0 AND z[2])::INT)))::DOUBLE AS watched,
    sum(list_sum(list_transform(watched, lambda w: w::INT)))::DOUBLE AS rated,
    sum(list_sum(list_transform(list_zip(ratings, watched), lambda z: CASE WHEN z[2] THEN z[1] ELSE 0 END))) AS stars,
    count(*)::DOUBLE AS pages,
    count(DISTINCT session)::DOUBLE AS sessions,
    sum(reward) AS reward
FROM steps GROUP BY "user" ORDER BY "user"
"""


class RunView:
    """A snapshot of one run: reads only the parts that existed when the object was created.

    Args:
        folder: A run folder.

    Attributes:
        folder: The folder as given.
        run: The run.
        stamp: Changes whenever something is recorded; the key of cached results.

    Raises:
        RecordingError: The folder is not a run, has another version, or lacks a part.
        MissingExtraError: duckdb is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, Run(folder)
        self.manifest = self.run.manifest
        self._parts = {kind: part_numbers(folder, kind) for kind in KINDS}
        self._parts[STEPS] = list(range(self.run.num_parts))
        counts = [len(numbers) for numbers in self._parts.values()]
        # The last part of calls may be completed later, under the same name.
        size = part_path(folder, CALLS, self._parts[CALLS][-1]).stat().st_size if self._parts[CALLS] else 0
        self.stamp: tuple[str | int, ...] = (self.manifest.created, self.manifest.status, *counts, size)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The catalogue; () if the run has none."""
        return tuple(read_catalogue(self.folder)[0]) if (self.folder / CATALOGUE).exists() else ()

    @cached_property
    def _visitors(self) -> tuple[dict[int, Persona], dict[int, str]]:
        if not (self.folder / PEOPLE).exists():
            return {}, {}
        personas, raw_ids = load_people(self.folder)
        ids = {persona.user: raw for persona, raw in zip(personas, raw_ids, strict=True)}
        return {persona.user: persona for persona in personas}, ids

    @property
    def people(self) -> dict[int, Persona]:
        """Personas of the visitors, by user id; {} if the run has none."""
        return self._visitors[0]

    @property
    def raw_ids(self) -> dict[int, str]:
        """The data set's own ids of the visitors, by user id."""
        return self._visitors[1]

    @cached_property
    def certificate(self) -> Certificate | None:
        """The certificate of the users; None if there is none.

        Raises:
            RecordingError: The file is damaged.
        """
        path = self.folder / CERTIFICATE
        return read_certificate(path) if path.exists() else None

    def title(self, item: int) -> str:
        """Title and year, or "item 17" if the run has no catalogue."""
        return self.items[item].label if 0 <= item < len(self.items) else f"item {item}"

    def frame(self, sql: str, *values: object) -> pd.DataFrame:
        """Run a query.

        Args:
            sql: DuckDB SQL over steps, calls, events, why, asked, memories, thoughts, history and links
                (docs/runs.md); tables that are recorded in parts have a column `part`. A table that the run lacks is
                empty.
            values: Values for the `?` placeholders.

        Raises:
            RecordingError: A part is damaged.
        """
        with self._connection(sql) as connection:
            frame: pd.DataFrame = connection.execute(sql, list(values)).df()
            return frame

    def totals(self) -> Totals:
        """Totals of impressions and actions per user (`runs.run_tables.totals_of`)."""
        frame = self.frame(_TOTALS)
        numbers = {name: frame[name].to_numpy(np.float64) for name in frame.columns if name != "users"}
        return Totals(users=frame["users"].to_numpy(np.int64), **numbers)

    @contextmanager
    def _connection(self, sql: str) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            import duckdb
        except ImportError as error:
            raise MissingExtraError("duckdb", "dashboard", "Reading runs with SQL") from error
        try:
            with duckdb.connect() as connection:
                for name, empty in self._tables().items():
                    if name in sql:
                        self._open(connection, name, empty)
                yield connection
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise RecordingError(
                f"{self.folder} cannot be read: {str(error).splitlines()[0]} Go on with the command that made the run "
                "and --resume: a damaged part is computed again."
            ) from error

    def _tables(self) -> dict[str, pa.Schema]:
        steps = schema(self.manifest.page_size, len(self.manifest.rating_levels))
        parts = {STEPS: steps, CALLS: CALL_SCHEMA, EVENTS: EVENT_SCHEMA, WHY: WHY_SCHEMA, ASKED: ASKED_SCHEMA}
        notes = {MEMORIES: MEMORY_SCHEMA, THOUGHTS: THOUGHT_SCHEMA}
        return {**parts, **notes, "history": HISTORY_SCHEMA, "links": LINKS_SCHEMA}

    def _open(self, connection: duckdb.DuckDBPyConnection, name: str, empty: pa.Schema) -> None:
        if name in self._parts:
            paths = [part_path(self.folder, name, number) for number in self._parts[name]]
            columns = "* EXCLUDE (filename), parse_filename(filename, true)[6:]::BIGINT AS part"
            options, empty = ", filename = true", empty.append(pa.field("part", pa.int64()))
        else:
            path = self.folder / {"history": HISTORY, "links": LINKS}[name]
            paths, columns, options = [path] if path.exists() else [], "*", ""
            if paths:
                check_side_files(self.folder, path.name)
        if paths:
            files = ", ".join(_quoted(str(path)) for path in paths)
            if name == CALLS:  # older parts lack the column `bounds`, so every part is opened
                options += ", union_by_name = true"
            rows = f"SELECT {columns} FROM read_parquet([{files}]{options})"
            if name == CALLS:
                connection.register("no_calls", empty.empty_table())
                rows = f"SELECT * FROM no_calls UNION ALL BY NAME {rows}"
            connection.execute(f"CREATE VIEW {name} AS {rows}")
        else:
            connection.register(name, empty.empty_table())


def open_view(folder: Path) -> RunView:
    """A view of a run (see `RunView`)."""
    return RunView(folder)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def sentence(error: Exception) -> str:
    """An error message on one line."""
    return " ".join(str(error).split())


def values_of(frame: pd.DataFrame, column: str) -> list[Any]:
    """A column as Python values."""
    values: list[Any] = frame[column].tolist()
    return values
