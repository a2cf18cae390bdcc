"""What is known of a run's visitors from elsewhere: real ratings, and who follows whom. Readers need no data set."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from recsim_llm.runs.run_files import parquet_bytes, write_durably
from recsim_llm.types import Floats, Ints

HISTORY, LINKS = "history.parquet", "links.parquet"


def _columns(**kinds: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


HISTORY_SCHEMA = _columns(user=pa.int64(), item=pa.int64(), stars=pa.float64(), time=pa.int64())
LINKS_SCHEMA = _columns(user=pa.int64(), other=pa.int64())


def write_history(folder: Path, users: Ints, items: Ints, stars: Floats, times: Ints) -> None:
    """Write `history.parquet`: the visitors' training ratings, a row a rating.

    Args:
        folder: A run folder.
        users: (M,) user ids.
        items: (M,) item ids.
        stars: (M,) stars.
        times: (M,) when, in seconds since 1970; 0 where unknown.

    Raises:
        RecordingError: It cannot be written.
    """
    arrays = [pa.array(column) for column in (users, items, stars, times)]
    write_durably(folder / HISTORY, parquet_bytes(pa.table(arrays, schema=HISTORY_SCHEMA)))


def write_links(folder: Path, pairs: Ints) -> None:
    """Write `links.parquet`: the social graph when the run began; a friendship is two rows.

    Args:
        folder: A run folder.
        pairs: (L, 2) user ids: a person, and one whom this person is linked to.

    Raises:
        RecordingError: It cannot be written.
    """
    arrays = [pa.array(pairs[:, 0], pa.int64()), pa.array(pairs[:, 1], pa.int64())]
    write_durably(folder / LINKS, parquet_bytes(pa.table(arrays, schema=LINKS_SCHEMA)))
