"""The catalogue file of a run, so that readers do not need the data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from recsim_llm.errors import RecordingError
from recsim_llm.runs.run_files import parquet_bytes, read_parquet, write_durably
from recsim_llm.runs.side_files import check_side_files
from recsim_llm.runs.steps import text_array
from recsim_llm.types import Item

FILE = "catalogue.parquet"


def write_catalogue(folder: Path, items: Sequence[Item], raw_ids: Sequence[str]) -> None:
    """Write `catalogue.parquet`, one row per item.

    Args:
        folder: A run folder.
        items: The catalogue.
        raw_ids: The source's own id of each item.

    Raises:
        RecordingError: It cannot be written.
    """
    table = pa.table(
        {
            "item": pa.array([item.id for item in items], pa.int64()),
            "raw_id": text_array(raw_ids),
            "title": text_array(item.title for item in items),
            "year": pa.array([item.year for item in items], pa.int64()),
            "genres": pa.array([list(item.genres) for item in items], pa.list_(pa.string())),
            "description": text_array(item.description for item in items),
        }
    )
    write_durably(folder / FILE, parquet_bytes(table))


def read_catalogue(folder: Path) -> tuple[list[Item], list[str]]:
    """Return the items and raw ids of a run.

    Raises:
        RecordingError: The file is missing or damaged.
    """
    check_side_files(folder, FILE)
    table = read_parquet(folder / FILE)
    try:
        columns = [table[name].to_pylist() for name in ("item", "title", "year", "genres", "description")]
        rows = zip(*columns, strict=True)
        items = [Item(i, title, year, tuple(genres), text) for i, title, year, genres, text in rows]
        return items, table["raw_id"].to_pylist()
    except (KeyError, TypeError) as error:
        raise RecordingError(f"{folder / FILE} is no catalogue of a run ({error}). Record the run again.") from error
