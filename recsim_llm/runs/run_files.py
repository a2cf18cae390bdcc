"""Atomic, durable file writes, Parquet files with checksums, and a folder lock. Independent of runs."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsim_llm.errors import RecordingError
from recsim_llm.untrusted import check_parquet

TEMPORARY = ".tmp"
LOCK = ".lock"
GO_ON = "Nothing that was recorded is lost; make room or mend the cause, then go on with the same command and --resume."


def write_durably(path: Path, content: bytes | memoryview, advice: str = GO_ON) -> None:
    """Write a file atomically and durably: after a power cut it is either complete or absent.

    Args:
        path: The file; an existing one is replaced.
        content: Its bytes.
        advice: Advice in the error message.

    Raises:
        RecordingError: The disk is full, or the file cannot be written.
    """
    # The leading dot hides the file from tools that read a folder of Parquet files.
    partial = path.with_name(f".{path.name}{TEMPORARY}")
    try:
        _write_and_sync(partial, content)
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        # Best effort: leftovers are removed when the run is resumed.
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise RecordingError(f"{path} cannot be written: {_cause(error)}. {advice}") from error


def _write_and_sync(path: Path, content: bytes | memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that its file names survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cause(error: OSError) -> str:
    return "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else error.strerror or str(error)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably.

    Raises:
        RecordingError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise RecordingError(f"The folder {folder} cannot be made: {_cause(error)}. Choose another one.") from error


def parquet_bytes(table: pa.Table) -> memoryview:
    """Return a table as the bytes of a Parquet file, deterministic for a given version of pyarrow.

    zstd level 1 with byte-split floats was measured smallest at hardly any more time: the mantissas of probabilities
    are noise, and only sign and exponent can be compressed.
    """
    floats = _leaves(table.schema, floats=True)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        version="2.6",
        compression="zstd",
        compression_level=1,
        use_dictionary=_leaves(table.schema, floats=False),
        use_byte_stream_split=floats,
        # A round's contexts must fit into one dictionary page; otherwise each would be written once per use.
        dictionary_pagesize_limit=1 << 28,
        write_page_checksum=True,
    )
    return memoryview(sink.getvalue())


def _leaves(schema: pa.Schema, floats: bool) -> list[str]:
    leaves = []
    for field in schema:
        kind, path = field.type, field.name
        while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            kind, path = kind.value_type, f"{path}.list.element"
        if pa.types.is_floating(kind) is floats:
            leaves.append(path)
    return leaves


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file and check the checksums of its pages.

    Raises:
        RecordingError: The file is missing or damaged.
    """
    try:
        # As one file, not as a data set, so that folder names do not become columns.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            check_parquet(path, file)
            table = file.read(columns=None if columns is None else list(columns))
            _check_whole(table, file.metadata.num_rows)
            return table
    except (OSError, ValueError, pa.ArrowException) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordingError(
            f"{path} is damaged or cannot be read ({cause}). Go on with the command that made the run and --resume: "
            "it is set aside, computed again, and checked against what is left."
        ) from error


def _check_whole(table: pa.Table, num_rows: int) -> None:
    # Headers have no checksum: single flipped bits were seen to drop rows and empty dictionaries silently.
    table.validate(full=True)
    # Names are decoded lazily; force it here to detect damaged ones.
    table.schema.to_string()
    if table.num_rows != num_rows:
        raise pa.ArrowInvalid(f"{table.num_rows} rows where {num_rows} were written")


class Lock:
    """An exclusive write lock on a folder, released by the system however the process ends.

    Args:
        folder: An existing folder.

    Raises:
        RecordingError: Another process (or another writer of this one) holds it.
    """

    def __init__(self, folder: Path) -> None:
        import fcntl  # Linux and macOS only; runs can be read without it.

        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RecordingError(f"{folder} cannot be written to: {_cause(error)}.") from error
        # A finalizer too, because a writer dropped without `finish` must not block the next one.
        self._close = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            self.release()
            raise RecordingError(
                f"{folder} is being written to by process {owner or 'unknown'}. Wait for it, or choose another folder."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    @property
    def held(self) -> bool:
        """Whether this object still holds the lock."""
        return self._close.alive

    def release(self) -> None:
        """Release the lock; repeated calls are harmless."""
        self._close()
