"""Files about a run's visitors: personas, logged ratings and social links, so that readers do not need the data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsim_llm.errors import RecordingError
from recsim_llm.runs.run_files import parquet_bytes, write_durably
from recsim_llm.runs.side_files import check_side_files
from recsim_llm.types import Floats, Ints, Persona
from recsim_llm.untrusted import read_json

HISTORY, LINKS, PEOPLE = "history.parquet", "links.parquet", "people.json"


def _columns(**kinds: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


HISTORY_SCHEMA = _columns(user=pa.int64(), item=pa.int64(), stars=pa.float64(), time=pa.int64())
LINKS_SCHEMA = _columns(user=pa.int64(), other=pa.int64())


def write_history(folder: Path, users: Ints, items: Ints, stars: Floats, times: Ints) -> None:
    """Write `history.parquet`: the visitors' training ratings, one row per rating.

    Args:
        folder: A run folder.
        users: (M,) user ids.
        items: (M,) item ids.
        stars: (M,) stars.
        times: (M,) seconds since 1970; 0 where unknown.

    Raises:
        RecordingError: It cannot be written.
    """
    arrays = [pa.array(column) for column in (users, items, stars, times)]
    write_durably(folder / HISTORY, parquet_bytes(pa.table(arrays, schema=HISTORY_SCHEMA)))


def write_links(folder: Path, pairs: Ints) -> None:
    """Write `links.parquet`: the social graph when the run began; a friendship is two rows.

    Args:
        folder: A run folder.
        pairs: (L, 2) user ids of linked users, from the first to the second.

    Raises:
        RecordingError: It cannot be written.
    """
    arrays = [pa.array(pairs[:, 0], pa.int64()), pa.array(pairs[:, 1], pa.int64())]
    write_durably(folder / LINKS, parquet_bytes(pa.table(arrays, schema=LINKS_SCHEMA)))


def save_people(folder: Path, personas: Sequence[Persona], raw_ids: Sequence[str]) -> None:
    """Write `people.json`: the personas of a run's visitors.

    Args:
        folder: A run folder.
        personas: The visitors.
        raw_ids: The source's own id of each of them.
    """
    rows = [{"raw_id": raw_id, **asdict(p)} for p, raw_id in zip(personas, raw_ids, strict=True)]
    partial = folder / f"{PEOPLE}.tmp"
    partial.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(folder / PEOPLE)


def load_people(folder: Path) -> tuple[list[Persona], list[str]]:
    """Return the personas and raw ids of a run's visitors.

    Raises:
        RecordingError: The run holds no people, or the file is damaged.
    """
    check_side_files(folder, PEOPLE)
    path = folder / PEOPLE
    try:
        rows = read_json(path)
        names = {f.name for f in fields(Persona)}
        personas = [Persona(**{k: _tuple(v) for k, v in row.items() if k in names}) for row in rows]
        return personas, [row["raw_id"] for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecordingError(
            f"{path} cannot be read ({error}). Go on with the command that made the run and --resume: it is written "
            "again."
        ) from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
