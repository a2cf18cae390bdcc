"""The recorded diary of a society: one row per action, and one per delivered message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from recsim_llm.errors import RecordingError
from recsim_llm.runs.steps import text_array

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("round", pa.int64()),
            ("hour", pa.float64()),
            ("user", pa.int64()),
            ("action", pa.string()),
            ("other", pa.int64()),
            ("item", pa.int64()),
            ("stars", pa.float64()),
            ("text", pa.string()),
            ("session", pa.int64()),
        )
    ]
)


def events_table(rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Return an Arrow table of the schema `SCHEMA` from rows in column order."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(SCHEMA)
    arrays = [
        text_array(column) if field.type == pa.string() else pa.array(column, field.type)
        for field, column in zip(SCHEMA, columns, strict=True)
    ]
    return pa.table(arrays, schema=SCHEMA)


def first_different_event(recorded: pa.Table, now: pa.Table) -> str | None:
    """Describe the first row in which two diaries differ; None if they are equal."""
    if recorded.equals(now):
        return None
    pairs = zip(recorded.to_pylist(), now.to_pylist(), strict=False)
    for number, (a, b) in enumerate(pairs):
        if a != b:
            return f"event {number}: {a} recorded, {b} now"
    return f"{recorded.num_rows} events recorded, {now.num_rows} now"


def check_events(table: pa.Table, where: str) -> pa.Table:
    """Check that a table is a part of a diary, and return it.

    Raises:
        RecordingError: It is not.
    """
    if not table.schema.equals(SCHEMA):
        raise RecordingError(f"{where} is no table of events; it has the columns {', '.join(table.schema.names)}.")
    return table
