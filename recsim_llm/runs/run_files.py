"""Files that are there wholly or not at all, survive a power cut, and have one writer. Knows nothing of runs."""

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
    """Write a file so that it is either wholly there, and stays so after a power cut, or not there at all.

    Args:
        path: Where; a file that is there already is replaced.
        content: What.
        advice: What to do if it fails.

    Raises:
        RecordingError: The disk is full, or the file cannot be written.
    """
    # The dot keeps tools that read a folder of Parquet files from seeing it.
    partial = path.with_name(f".{path.name}{TEMPORARY}")
    try:
        _write_and_sync(partial, content)
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        # Best effort: what is left over is removed when the run is resumed.
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
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cause(error: OSError) -> str:
    return "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else error.strerror or str(error)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably.

    Raises:
        RecordingError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise RecordingError(f"The folder {folder} cannot be made: {_cause(error)}. Choose another one.") from error


def parquet_bytes(table: pa.Table) -> memoryview:
    """A table as the bytes of a Parquet file: the same bytes whenever the same version of pyarrow writes it.

    zstd level 1 with floats split by byte was measured smallest at hardly any more time: probabilities fill their
    mantissas with noise, and the only thing to gain is in sign and exponent.
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
        # A round's contexts must fit into one dictionary page, or each would be written as often as it was used.
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
        # One file, not a data set: no folder names become columns, nothing is guessed.
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
    # Headers have no checksum: single flipped bits were seen to cut rows off and to empty dictionaries, silently.
    table.validate(full=True)
    # Names are decoded when they are first looked at, and damaged ones must be found here.
    table.schema.to_string()
    if table.num_rows != num_rows:
        raise pa.ArrowInvalid(f"{table.num_rows} rows where {num_rows} were written")


class Lock:
    """The right to write to a folder. The system takes it back when the process ends, however it ends.

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
        # Not closed by name alone: a writer that is forgotten without `finish` must not block the next one.
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
        """Whether this object still holds the right."""
        return self._close.alive

    def release(self) -> None:
        """Give it back; again is harmless."""
        self._close()
