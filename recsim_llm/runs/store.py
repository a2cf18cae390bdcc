"""Writer of run folders: appends complete, immutable parts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsim_llm.errors import DamagedRunError, RecordingError
from recsim_llm.runs.calls import CallBatch
from recsim_llm.runs.catalogue import read_catalogue, write_catalogue
from recsim_llm.runs.events import first_different_event
from recsim_llm.runs.manifest import FILE, Manifest, check_same, read_manifest
from recsim_llm.runs.run import (
    CALLS,
    EVENTS,
    KINDS,
    STEPS,
    Run,
    find_runs,
    part_numbers,
    part_path,
    read_calls,
    read_events,
    read_steps,
)
from recsim_llm.runs.run_files import (
    TEMPORARY,
    Lock,
    make_folder,
    parquet_bytes,
    read_parquet,
    sync_folder,
    write_durably,
)
from recsim_llm.runs.side_files import ASIDE, checksums, damaged_files
from recsim_llm.runs.steps import StepBatch, check_schema, first_difference

__all__ = ["Manifest", "Run", "RunWriter", "find_runs", "read_catalogue", "repair", "write_catalogue"]


class RunWriter:
    """Writes a run. Created by `create` or `resume`; `finish` or `interrupt` ends it.

    A part is written under a temporary name, synced and then renamed, so it is either complete or absent. The calls of
    a round are written before its steps, so that recorded steps can always be replayed.

    Attributes:
        folder: The run folder.
        warnings: Sentences about damage that was set aside when resuming.
    """

    def __init__(self, folder: Path, manifest: Manifest, lock: Lock, warnings: tuple[str, ...] = ()) -> None:
        self.folder, self.warnings = folder, warnings
        self._manifest, self._lock = manifest, lock
        self._rounds = 0
        manifest.write(folder)

    @classmethod
    def create(cls, folder: str | Path, manifest: Manifest) -> RunWriter:
        """Begin a run.

        Raises:
            RecordingError: The folder holds a run already, has another writer, or cannot be written to.
        """
        folder = Path(folder)
        make_folder(folder)
        lock = Lock(folder)
        if (folder / FILE).exists() or part_numbers(folder, STEPS) or part_numbers(folder, CALLS):
            lock.release()
            raise RecordingError(
                f"{folder} already holds a run. Go on with --resume (resume=True in Python), or choose another folder."
            )
        for kind in (STEPS, CALLS):
            make_folder(folder / kind)
        created = manifest.created or datetime.now(UTC).isoformat(timespec="microseconds")
        return cls(folder, replace(manifest, created=created, status="running"), lock)

    @classmethod
    def resume(cls, folder: str | Path, manifest: Manifest, repaired: bool = False) -> RunWriter:
        """Resume a run after repairing it (see `repair`).

        The caller executes the run again from the start; `write_round` compares recorded rounds. If `run.json` was
        lost, only these comparisons can detect other settings.

        Args:
            folder: The run folder.
            manifest: The manifest, as when the run was begun.
            repaired: True if the caller has just called `repair`, so that all parts need not be read again.

        Raises:
            RecordingError: The folder is not a run, was begun with other settings, or has another writer.
        """
        folder = Path(folder)
        lock = _lock_run(folder)
        try:
            there = _manifest(folder)
            check_same(folder, there or manifest, manifest)
            warnings = () if repaired else _repair(folder)
        except RecordingError:
            lock.release()
            raise
        created = there.created if there else datetime.now(UTC).isoformat(timespec="microseconds")
        return cls(folder, replace(manifest, created=created, status="running"), lock, warnings)

    @property
    def num_parts(self) -> int:
        """Number of recorded parts of steps."""
        return len(part_numbers(self.folder, STEPS))

    def record_side_files(self) -> None:
        """Record the checksums of the side files, so that damage to them is detected.

        Raises:
            RecordingError: The disk is full, or the writer has ended.
        """
        self._check_open()
        self._manifest = replace(self._manifest, files=checksums(self.folder))
        self._manifest.write(self.folder)

    def write_round(
        self, index: int, steps: StepBatch, calls: CallBatch | None = None, notes: Mapping[str, pa.Table] | None = None
    ) -> None:
        """Record a round, or check it against the recording.

        Args:
            index: Number of the round, from 0, without gaps.
            steps: Steps of the round.
            calls: New model calls; calls already recorded may be missing.
            notes: Notes about the steps, by kind (WHY, ASKED, MEMORIES, THOUGHTS; `runs.step_notes`); existing notes
                of a recorded round are not changed.

        Raises:
            RecordingError: The round is recorded and differs, the disk is full, or the writer has ended.
        """
        self._check_open()
        path = part_path(self.folder, STEPS, index)
        if index > 0 and not part_path(self.folder, STEPS, index - 1).exists():
            raise RecordingError(f"Part {index} of {self.folder} cannot be written before part {index - 1}.")
        recorded = path.exists()
        if recorded:
            self._compare(path, steps)
        if calls is not None:
            self.write_calls(index, calls)
        self.write_notes(index, notes or {})
        if not recorded:
            write_durably(path, parquet_bytes(steps.to_table()))
        self._rounds = max(self._rounds, index + 1)

    def write_calls(self, index: int, calls: CallBatch) -> None:
        """Add calls to a round, finished or not.

        An interrupted round is not paid for twice: after `write_calls(index, recorder.drain())`, resuming finds
        its answers.

        Raises:
            RecordingError: The disk is full, or the writer has ended.
        """
        self._check_open()
        path = part_path(self.folder, CALLS, index)
        if not len(calls):
            return
        table = calls.to_table(index)
        if path.exists():
            table = pa.concat_tables([read_calls(path), table]).unify_dictionaries()
        write_durably(path, parquet_bytes(table))

    def write_notes(self, index: int, notes: Mapping[str, pa.Table]) -> None:
        """Record notes; existing notes are not replaced, and empty tables are skipped.

        Args:
            index: Number of the part.
            notes: As in `write_round`.

        Raises:
            RecordingError: The disk is full, or the writer has ended.
        """
        self._check_open()
        for kind, table in notes.items():
            path = part_path(self.folder, kind, index)
            if table.num_rows and not path.exists():
                make_folder(path.parent)
                write_durably(path, parquet_bytes(table))

    def write_events(self, round_: int, events: pa.Table) -> None:
        """Record the diary of a society's round, or check it against the recording.

        Args:
            round_: Number of the round of simulated time, from 0.
            events: Rows of the schema `events.SCHEMA`.

        Raises:
            RecordingError: The round is recorded and differs, the disk is full, or the writer has ended.
        """
        self._check_open()
        path = part_path(self.folder, EVENTS, round_)
        if not path.exists():
            make_folder(path.parent)
            write_durably(path, parquet_bytes(events))
            return
        difference = first_different_event(read_events(path), events)
        if difference is not None:
            raise RecordingError(f"{path}: executed again, the run differs from its recording: {difference}.")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run as finished and release the lock.

        Args:
            summary: JSON values for `Manifest.summary`.

        Raises:
            RecordingError: The recording holds rounds that were not executed again, or the disk is full.
        """
        self._check_open()
        if self.num_parts != self._rounds:
            raise RecordingError(
                f"{self.folder} holds {self.num_parts} parts, but the run executed again has {self._rounds}. "
                "Choose another folder."
            )
        self._end(status="finished", summary=dict(summary), parts=self._rounds)

    def interrupt(self, reason: str) -> None:
        """Mark the run as interrupted and release the lock. Does nothing after `finish`.

        Raises:
            RecordingError: The disk is full; the status then stays "running", and the run can still be resumed.
        """
        if self._lock.held:
            self._end(status="interrupted", stopped_by=reason)

    def _end(self, **progress: Any) -> None:
        try:
            replace(self._manifest, **progress).write(self.folder)
        finally:
            self._lock.release()

    def _check_open(self) -> None:
        if not self._lock.held:
            raise RecordingError(f"The writer of {self.folder} has ended. Make another one with RunWriter.resume.")

    def _compare(self, path: Path, steps: StepBatch) -> None:
        difference = first_difference(read_steps(path), steps)
        if difference is not None:
            raise RecordingError(
                f"{path}: executed again, the run differs from its recording: {difference}. The model or the code "
                "answers differently than then; record the run again in another folder."
            )


def is_begun(folder: Path) -> bool:
    """Whether a folder holds a run, or the remains of one whose `run.json` was lost."""
    return (folder / FILE).exists() or any(part_numbers(folder, kind) for kind in (STEPS, CALLS))


def repair(folder: str | Path) -> tuple[str, ...]:
    """Repair a run as far as possible; `RunWriter.resume` calls this first.

    Temporary files are removed. Damaged parts, side files and a damaged `run.json` are moved aside in the run folder;
    executing the run again rewrites them with the recorded answers that are left.

    Returns:
        A sentence per file that was moved aside or is missing; empty for an undamaged run.

    Raises:
        RecordingError: The folder is not a run, or is being written to.
    """
    folder = Path(folder)
    if _whole(folder):
        return ()  # without taking the lock
    lock = _lock_run(folder)
    try:
        return _repair(folder)
    finally:
        lock.release()


def _whole(folder: Path) -> bool:
    manifest = _manifest(folder)
    if manifest is None or manifest.status != "finished":
        return False
    return not (_damaged_parts(folder) or damaged_files(folder, manifest.files))


def _lock_run(folder: Path) -> Lock:
    if not is_begun(folder):
        read_manifest(folder)  # its error says what is wrong with the folder
    return Lock(folder)


def _manifest(folder: Path) -> Manifest | None:
    """Return the manifest; None if `run.json` is missing or damaged."""
    try:
        return read_manifest(folder) if (folder / FILE).exists() else None
    except DamagedRunError:
        return None


def _repair(folder: Path) -> tuple[str, ...]:
    for place in (folder, *(folder / kind for kind in KINDS)):
        for leftover in place.glob(f".*{TEMPORARY}"):
            leftover.unlink()
    manifest = _manifest(folder)
    parts = _damaged_parts(folder)
    files = damaged_files(folder, manifest.files) if manifest else [FILE]
    if manifest and (parts or files) and manifest.status == "finished":
        # Before moving files, so that a process killed in between does not leave a run that seems finished.
        replace(manifest, status="interrupted", stopped_by="damage").write(folder)
    return tuple([_set_part_aside(folder, *part) for part in parts] + [_set_file_aside(folder, name) for name in files])


def _damaged_parts(folder: Path) -> list[tuple[str, int]]:
    found = [(kind, i) for kind in KINDS for i in part_numbers(folder, kind) if _damaged(folder, kind, i)]
    # Steps of damaged calls are removed too, because new calls are recorded only together with their round.
    steps = {(STEPS, i) for kind, i in found if kind == CALLS and part_path(folder, STEPS, i).exists()}
    return found + sorted(steps - set(found))


def _damaged(folder: Path, kind: str, index: int) -> bool:
    path = part_path(folder, kind, index)
    try:
        if kind == STEPS:
            check_schema(read_parquet(path).schema)  # cheaper than `read_steps`, whose arrays are not needed
        else:
            {CALLS: read_calls, EVENTS: read_events}.get(kind, read_parquet)(path)
    except RecordingError:
        return True
    return False


def _set_part_aside(folder: Path, kind: str, index: int) -> str:
    path = part_path(folder, kind, index)
    # Moved out of its folder, so that tools that read the whole folder do not find it.
    aside = folder / f"{kind}-{path.name}{ASIDE}"
    os.replace(path, aside)
    sync_folder(path.parent)
    return f"{path} is damaged, or its calls are: it was set aside as {aside} and will be recorded again."


def _set_file_aside(folder: Path, name: str) -> str:
    path = folder / name
    if not path.exists():
        return f"{path} is missing and will be written again."
    aside = path.with_name(f"{path.name}{ASIDE}")
    os.replace(path, aside)
    sync_folder(path.parent)
    lost = " What the run had cost is lost." if name == FILE else ""
    return f"{path} is damaged: it was set aside as {aside} and will be written again.{lost}"
