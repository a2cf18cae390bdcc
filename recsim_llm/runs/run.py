"""Reader of run folders: finished, interrupted, or still being written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from recsim_llm.errors import RecordingError
from recsim_llm.runs.calls import ANSWER_COLUMNS, SCHEMA, completions
from recsim_llm.runs.events import SCHEMA as EVENT_SCHEMA
from recsim_llm.runs.events import check_events
from recsim_llm.runs.manifest import FILE, read_manifest
from recsim_llm.runs.run_files import read_parquet
from recsim_llm.runs.run_tables import item_table, session_table, user_table
from recsim_llm.runs.step_notes import THOUGHT_SCHEMA
from recsim_llm.runs.steps import StepBatch, content_hash, schema, to_numpy
from recsim_llm.types import Completion

if TYPE_CHECKING:
    import pandas as pd

STEPS, CALLS, EVENTS = "steps", "calls", "events"
ASKED, WHY, MEMORIES, THOUGHTS = "asked", "why", "memories", "thoughts"
KINDS = (STEPS, CALLS, EVENTS, ASKED, WHY, MEMORIES, THOUGHTS)


def part_path(folder: Path, kind: str, index: int) -> Path:
    """Return the path of part `index` of `kind` (STEPS, CALLS, ...), existing or not."""
    return folder / kind / f"part-{index:06d}.parquet"


def part_numbers(folder: Path, kind: str) -> list[int]:
    """Return the numbers of the existing parts, ascending."""
    names = (path.stem.removeprefix("part-") for path in (folder / kind).glob("part-*.parquet"))
    return sorted(int(name) for name in names if name.isdigit())


def read_steps(path: Path) -> StepBatch:
    """Read a part of steps.

    Raises:
        RecordingError: It is missing, damaged, or not a part of steps.
    """
    table = read_parquet(path)
    try:
        return StepBatch.from_table(table)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error


def read_calls(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a part of calls; `bounds` are empty in parts from before that column existed.

    Raises:
        RecordingError: It is missing, damaged, or not a part of calls.
    """
    table = read_parquet(path, columns)
    wanted = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    if set(wanted.names) - set(table.column_names) == {"bounds"}:
        none: list[list[int]] = [[]] * table.num_rows
        table = table.append_column(SCHEMA.field("bounds"), pa.array(none, SCHEMA.field("bounds").type))
        table = table.select([name for name in wanted.names if name in table.column_names])
    if not table.schema.equals(wanted):
        raise RecordingError(f"{path} is no table of calls; it has the columns {', '.join(table.schema.names)}.")
    return table


def read_events(path: Path) -> pa.Table:
    """Read a part of a society's diary.

    Raises:
        RecordingError: It is missing, damaged, or no such part.
    """
    return check_events(read_parquet(path), str(path))


def recorded_completions(folder: Path) -> dict[bytes, Completion]:
    """Return all recorded answers of a folder, by the key of the prompt; does not need `run.json`.

    Raises:
        RecordingError: A part is damaged.
    """
    answers: dict[bytes, Completion] = {}
    for path in _call_paths(folder):
        answers |= completions(read_calls(path, ANSWER_COLUMNS))
    return answers


def _call_paths(folder: Path) -> list[Path]:
    return [part_path(folder, CALLS, index) for index in part_numbers(folder, CALLS)]


class Run:
    """A recorded simulation, read-only. Each call reads the files as they are at that time.

    Args:
        folder: A run folder.

    Attributes:
        folder: As given.
        manifest: Content of `run.json` when this object was created.

    Raises:
        RecordingError: The folder is not a run, or has another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)

    @property
    def num_parts(self) -> int:
        """Number of parts of steps.

        Raises:
            RecordingError: A part in the middle is missing, or a finished run lacks parts at the end.
        """
        numbers = part_numbers(self.folder, STEPS)
        count = max(numbers[-1] + 1 if numbers else 0, self.manifest.parts)
        missing = sorted(set(range(count)) - set(numbers))
        # Listing a growing folder may show a file but not the one before it, so check again by name.
        lost = [path for i in missing if not (path := part_path(self.folder, STEPS, i)).exists()]
        if lost:
            raise RecordingError(
                f"{lost[0]} is missing. Go on with the command that made the run and --resume: it is computed again."
            )
        return count

    @property
    def finished(self) -> bool:
        """Whether the run is complete and all parts exist."""
        there = part_numbers(self.folder, STEPS)
        return self.manifest.status == "finished" and there == list(range(self.manifest.parts))

    def iter_parts(self) -> Iterator[StepBatch]:
        """Iterate over the parts in recording order, each one page of one batch of sessions.

        Raises:
            RecordingError: A part is missing or damaged.
        """
        for index in range(self.num_parts):
            yield read_steps(part_path(self.folder, STEPS, index))

    def __repr__(self) -> str:
        said = self.manifest
        users = f"{said.num_users:,} x {said.user_model}"
        return (
            f"Run({str(self.folder)!r}, policy={said.policy!r}, users={users!r}, dataset={said.dataset!r}, "
            f"status={said.status!r})"
        )

    def steps(self) -> pd.DataFrame:
        """One row per shown item, by session, page and slot; empty slots are left out.

        Returns:
            session, user, page, slot, item (numbers from 0); user_id, item_id (the data set's own ids) and title, ""
            where the run does not hold them; watch_probability, 0..1; watched; rating in stars, missing where not
            watched; and of the whole page, the same in each of its rows: leave_probability, 0..1; left; page_reward.

        Raises:
            RecordingError: Nothing is recorded yet, or a file is damaged.
        """
        frame: pd.DataFrame = self.steps_arrow().to_pandas()
        return frame

    def steps_arrow(self) -> pa.Table:
        """The table of `steps` as Arrow, for runs that are large beside the memory.

        Raises:
            RecordingError: As in `steps`.
        """
        return item_table(self.recorded_pages(), self.folder)

    def sessions(self) -> pd.DataFrame:
        """One row per session, by its number.

        Returns:
            session, user (numbers from 0); user_id (the data set's own id, "" where the run does not hold it); pages,
            shown and watched (counts of pages and items); stars (sum over watched items); reward (sum over pages);
            left (the user left); truncated (cut off at the page limit). Neither: the session is unfinished.

        Raises:
            RecordingError: Nothing is recorded yet, or a file is damaged.
        """
        frame: pd.DataFrame = session_table(self.recorded_pages(), self.folder).to_pandas()
        return frame

    def users(self) -> pd.DataFrame:
        """One row per visiting user, by number; in a society, some may never have visited.

        Returns:
            user, user_id, sessions (their count), pages, shown, watched, stars, reward: sums over all of the user's
            sessions, in the units of `sessions`. `reward / sessions` is what `recsim-llm compare` takes means of.

        Raises:
            RecordingError: Nothing is recorded yet, or a file is damaged.
        """
        frame: pd.DataFrame = user_table(self.recorded_pages(), self.folder).to_pandas()
        return frame

    def recorded_pages(self) -> StepBatch:
        """All steps as arrays, as `step_batch`, but empty for a finished society in which nobody visited.

        Raises:
            RecordingError: Nothing is recorded yet, or a part is damaged.
        """
        if self.manifest.status == "finished" and not self.num_parts:
            levels = len(self.manifest.rating_levels)
            return StepBatch.from_table(schema(self.manifest.page_size, levels).empty_table())
        return self.step_batch()

    def page_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All steps as they are recorded, one row per page, as one Arrow table (columns in docs/runs.md).

        Args:
            columns: Only these; None for all.

        Raises:
            RecordingError: Nothing is recorded yet, a part is damaged, or there is no such column.
        """
        paths = [part_path(self.folder, STEPS, index) for index in range(self._some_parts())]
        tables = [read_parquet(path, columns) for path in paths]
        lacking = set(columns or ()) - set(tables[0].column_names)
        if lacking:
            raise RecordingError(f"Steps have no column {', '.join(sorted(lacking))}.")
        return pa.concat_tables(tables)

    def step_batch(self) -> StepBatch:
        """All steps as arrays.

        Raises:
            RecordingError: Nothing is recorded yet, or a part is damaged.
        """
        return StepBatch.from_table(self.page_table())

    def session(self, session: int) -> StepBatch:
        """The steps of one session, first page first.

        Raises:
            RecordingError: The run has no such session.
        """
        return self._matching("session", session)

    def user_steps(self, user: int) -> StepBatch:
        """The steps of all sessions of one user, by session and page.

        Raises:
            RecordingError: The user is not in the run.
        """
        return self._matching("user", user)

    def calls(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All LLM calls as one Arrow table (columns in docs/runs.md); no rows where there was no model.

        Raises:
            RecordingError: A part is damaged.
        """
        empty = SCHEMA.empty_table()
        tables = [read_calls(path, columns) for path in _call_paths(self.folder)]
        return pa.concat_tables([empty if columns is None else empty.select(list(columns)), *tables])

    def iter_events(self) -> Iterator[pa.Table]:
        """Iterate over a society's diary, one part per round; empty for runs of sessions (columns in docs/runs.md).

        Raises:
            RecordingError: A part is damaged.
        """
        for index in part_numbers(self.folder, EVENTS):
            yield read_events(part_path(self.folder, EVENTS, index))

    def events(self) -> pa.Table:
        """The whole diary as one table.

        Raises:
            RecordingError: A part is damaged.
        """
        return pa.concat_tables([EVENT_SCHEMA.empty_table(), *self.iter_events()])

    def thoughts(self, index: int) -> pa.Table:
        """Return the users' thoughts about the pages of a part of steps; no rows if none were recorded.

        Raises:
            RecordingError: The part is damaged.
        """
        path = part_path(self.folder, THOUGHTS, index)
        if not path.exists():
            return THOUGHT_SCHEMA.empty_table()
        table = read_parquet(path)
        if not table.schema.equals(THOUGHT_SCHEMA):
            raise RecordingError(f"{path} is no table of thoughts; its columns: {', '.join(table.schema.names)}.")
        return table

    def recorded_completions(self) -> dict[bytes, Completion]:
        """Return all recorded answers by the key of the prompt, including those of an unfinished round.

        Raises:
            RecordingError: A part is damaged.
        """
        return recorded_completions(self.folder)

    def trajectory_hash(self) -> str:
        """Return the sha256 over all steps, by session and page (see `steps.content_hash`).

        Raises:
            RecordingError: Nothing is recorded yet, or a part is damaged.
        """
        self._some_parts()
        return content_hash(self.iter_parts())

    def _some_parts(self) -> int:
        count = self.num_parts
        if count == 0 and self.manifest.status == "finished":
            raise RecordingError(
                f"{self.folder} holds no page: nobody visited in its rounds. Record a society of more people or rounds."
            )
        if count == 0:
            raise RecordingError(
                f"{self.folder} holds no page yet: the run is {self.manifest.status}. Wait for its first page, or go "
                "on with the command that made it and --resume."
            )
        return count

    def _matching(self, column: str, value: int) -> StepBatch:
        found = []
        for index in range(self._some_parts()):
            path = part_path(self.folder, STEPS, index)
            # Read one narrow column first: the wide ones are read only if it matches.
            if (to_numpy(read_parquet(path, [column])[column]) == value).any():
                steps = read_steps(path)
                found.append(steps.take(getattr(steps, column) == value).to_table())
        if not found:
            raise RecordingError(f"{self.folder} holds no {column} {value}.")
        return StepBatch.from_table(pa.concat_tables(found)).in_order()


def find_runs(path: str | Path) -> list[Run]:
    """Return the run in a folder, or the runs up to two levels below it, in the order they were begun.

    Raises:
        RecordingError: There are none, or one of them is damaged or of another version.
    """
    top = Path(path)
    if (top / FILE).exists():
        return [Run(top)]
    if not top.is_dir():
        raise RecordingError(
            f"{top} is not a folder of runs. Record some with: recsim-llm simulate --out {top}"
            if not top.exists()
            else f"{top} is a file. Name a run folder, or a folder that holds runs."
        )
    found = [Run(file.parent) for pattern in (f"*/{FILE}", f"*/*/{FILE}") for file in top.glob(pattern)]
    if not found:
        raise RecordingError(f"{top} holds no run, nor do the folders in it. Record one with: recsim-llm simulate")
    return sorted(found, key=lambda run: (run.manifest.created, run.folder))
