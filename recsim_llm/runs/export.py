"""Runs as flat tables, for pandas, spreadsheets and statistics programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv

from recsim_llm.errors import ConfigError
from recsim_llm.runs.catalogue import FILE, read_catalogue
from recsim_llm.runs.run import Run
from recsim_llm.runs.run_files import parquet_bytes, write_durably
from recsim_llm.runs.steps import text_array
from recsim_llm.types import EMPTY, Ints

if TYPE_CHECKING:
    import pandas as pd

_TRY_AGAIN = "Mend the cause, or choose another place, and export again."


def to_pandas(run: Run) -> pd.DataFrame:
    """One row a shown item, by session, page and slot; empty slots are left out.

    Columns: session, user, page, slot (all from 0), item, title ("" where the run has no catalogue),
    watch_probability, watched, rating (stars, missing where not watched), leave_probability and left (of the page).

    Raises:
        RecordingError: Nothing is recorded yet, or a part is damaged.
    """
    frame: pd.DataFrame = _items(run).to_pandas()
    return frame


def export(run: Run, path: str | Path) -> None:
    """Write the table of `to_pandas` to a file.

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
    table = _items(run)
    if path.suffix == ".parquet":
        write_durably(path, parquet_bytes(table), _TRY_AGAIN)
    else:
        sink = pa.BufferOutputStream()
        pa.csv.write_csv(table, sink)
        write_durably(path, memoryview(sink.getvalue()), _TRY_AGAIN)


def _items(run: Run) -> pa.Table:
    steps = run.step_batch().in_order()
    row, slot = np.nonzero(steps.items != EMPTY)
    items, watched = steps.items[row, slot], steps.watched[row, slot]
    return pa.table(
        {
            "session": steps.session[row],
            "user": steps.user[row],
            "page": steps.page[row],
            "slot": slot,
            "item": items,
            "title": _titles(run, items),
            "watch_probability": steps.watch[row, slot],
            "watched": watched,
            "rating": pa.array(steps.ratings[row, slot], mask=~watched),
            "leave_probability": steps.leave[row],
            "left": steps.left[row],
        }
    )


def _titles(run: Run, items: Ints) -> pa.Array:
    if not (run.folder / FILE).exists():
        return text_array([""] * len(items))
    catalogue, _ = read_catalogue(run.folder)
    return text_array(item.title for item in catalogue).take(pa.array(items))
