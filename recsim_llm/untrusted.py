"""Readers of untrusted files and bytes: with memory limits, and never a pickle.

A limit applies to what a file declares (shapes, unpacked sizes), and is checked before anything is allocated.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import tomllib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from struct import error as StructError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.errors import ConfigError, DataError, TooLargeError

LIMIT = "RECSIM_LLM_MOST_GIB"
"""Environment variable with the GiB that one file may take in memory."""

MOST_GIB = 4.0
"""Default in GiB. The largest file that the project writes in practice takes 3.7: scores of 10,000 items for 100,000
people, in single precision."""

UNPACKED = 4
"""A file may always unpack to this multiple of its size: packed numbers hardly shrink, zip bombs 1,000-fold."""

MOST_TOML = 8 << 20
"""Most bytes of a TOML file: a list of a million people by number takes 7 million (and tomllib 15 s)."""

MOST_DEPTH = 64
"""Deepest nesting of lists and objects; files of the project have 6 at most."""

_TEXT_SHARE = 2  # divisor of the limit: JSON takes some four times its text in memory, at worst 25 times
_BROKEN = (  # observed errors of zipfile, numpy and torch for broken files, beside their own
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, TypeError, AttributeError, LookupError,
    OverflowError, SyntaxError, AssertionError, StructError, pickle.UnpicklingError,
)  # fmt: skip
# tomllib is quadratic in the parts of a dotted name.
_DOTTED = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){65}""")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may allocate memory before the first byte


def most_bytes() -> int:
    """Most bytes that one file may take in memory.

    Raises:
        ConfigError: The environment variable `RECSIM_LLM_MOST_GIB` is not a number above 0.
    """
    text = os.environ.get(LIMIT) or str(MOST_GIB)
    try:
        gib = float(text)
    except ValueError:
        gib = 0.0
    if not 0 < gib < 2**20:
        raise ConfigError(f"{LIMIT}={text} is not a number above 0: GiB that one file may take in memory.")
    return int(gib * 2**30)


def check_size(source: object, wanted: int, most: int | None = None, on_disk: int = 0) -> None:
    """Refuse a source that takes too much memory.

    Args:
        source: The source, as named in the error.
        wanted: Bytes that it needs.
        most: Limit in bytes; None for `most_bytes()`.
        on_disk: Bytes of the file; `UNPACKED` times as many are always allowed, as that much was really sent.

    Raises:
        TooLargeError: `wanted` exceeds both limits.
    """
    limit = max(most_bytes() if most is None else most, UNPACKED * on_disk)
    if wanted > limit:
        raise TooLargeError(
            f"{source} asks for {wanted / 2**20:,.1f} MiB; {limit / 2**20:,.1f} MiB are allowed. If you trust where it "
            f"comes from, allow more with the environment variable {LIMIT}=GIB (now {most_bytes() / 2**30:g})."
        )


def _on_disk(status: os.stat_result) -> int:
    """Bytes that a file occupies on disk; a sparse file may look far larger."""
    return min(status.st_size, 512 * getattr(status, "st_blocks", status.st_size))


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Read a whole file.

    Args:
        path: The file.
        most: Limit in bytes; None for `most_bytes()`.

    Raises:
        OSError: It cannot be read.
        TooLargeError: It is larger.
    """
    limit = most_bytes() if most is None else most
    with path.open("rb") as file:
        check_size(path, os.fstat(file.fileno()).st_size, limit)
        content = file.read(limit + 1)  # a device has no size and may never end
    check_size(path, len(content), limit)
    return content


def parse_json(content: str | bytes, source: object) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: It is not JSON, or not UTF-8.
        TooLargeError: It is nested more than `MOST_DEPTH` deep.
    """
    text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise _too_deep(source) from error
    _check_depth(values, source)
    return values


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, or not UTF-8.
        TooLargeError: It is larger than half of `most_bytes()`, or nested more than `MOST_DEPTH` deep.
    """
    return parse_json(read_bytes(path, most_bytes() // _TEXT_SHARE), path)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not TOML (`tomllib.TOMLDecodeError`), or not UTF-8 (`UnicodeDecodeError`).
        TooLargeError: It is larger than `MOST_TOML`, or nested more than `MOST_DEPTH` deep.
    """
    text = read_bytes(path, MOST_TOML).decode("utf-8")
    if _DOTTED.search(text):
        raise _too_deep(path)
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise _too_deep(path) from error
    _check_depth(tables, path)
    return tables


def _too_deep(source: object) -> TooLargeError:
    return TooLargeError(f"{source} is nested too deep: more than {MOST_DEPTH} lists or tables in each other.")


def _check_depth(values: Any, source: object) -> None:
    level = [values] if isinstance(values, dict | list) else []
    for _ in range(MOST_DEPTH):
        if not level:
            return
        level = [one for each in level for one in _content(each) if isinstance(one, dict | list)]
    if level:
        raise _too_deep(source)


def _content(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an `.npz` file, by name.

    Raises:
        OSError: It cannot be read.
        DataError: It is not an `.npz` file, damaged, or contains Python objects.
        TooLargeError: Its arrays together need more than `most_bytes()`.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            wanted = sum(_declared(path, archive, member) for member in members)
            check_size(path, wanted, on_disk=_on_disk(os.fstat(file.fileno())))
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except (DataError, OSError):
        raise
    except MemoryError as error:
        raise TooLargeError(f"{path} asks for more memory than this machine has.") from error
    except _BROKEN as error:
        raise DataError(f"{path} is no .npz file of plain arrays, or damaged ({error}).") from error


def _declared(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Bytes of an array according to its header; nothing is allocated."""
    if member.compress_type not in _METHODS:
        raise ValueError(f"{member.filename} is packed by method {member.compress_type}")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in {(1, 0), (2, 0)}:
            raise ValueError(f"{member.filename} has version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError(f"{path}: '{member.filename}' holds Python objects, which only a pickle could hold: refused.")
    if any(length < 0 for length in shape):
        raise ValueError(f"{member.filename} has shape {shape}")
    return math.prod(shape) * max(dtype.itemsize, 1)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def check_member(source: object, member: zipfile.ZipInfo, on_disk: int = 0) -> None:
    """Refuse a member of a zip file that unpacks to too many bytes, or with a method that needs extra memory.

    Raises:
        TooLargeError: It unpacks to more than `most_bytes()`.
        DataError: Its compression method is neither "stored" nor "deflated".
    """
    if member.compress_type not in _METHODS:
        raise DataError(
            f"{source}: '{member.filename}' is packed by method {member.compress_type}. Pack it by deflate."
        )
    check_size(f"{source}: '{member.filename}'", member.file_size, on_disk=on_disk)


def read_tensors(path: Path) -> Any:
    """Read a file of `torch.save` with plain types and tensors, onto the CPU.

    Raises:
        OSError: It cannot be read.
        DataError: It is damaged, or contains objects of other types: torch's weights-only reader runs no code.
        TooLargeError: Its tensors need more than `most_bytes()`.
    """
    import torch

    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            size = _on_disk(os.fstat(file.fileno()))
            for member in archive.infolist():
                check_member(path, member, size)
            check_size(path, sum(member.file_size for member in archive.infolist()), on_disk=size)
            file.seek(0)
            held = torch.load(file, map_location="cpu", weights_only=True)
        check_size(path, _tensor_bytes(held), on_disk=size)
    except (DataError, OSError):
        raise
    except MemoryError as error:
        raise TooLargeError(f"{path} asks for more memory than this machine has.") from error
    except _BROKEN as error:
        raise DataError(f"{path} is no file of plain tensors, or damaged ({str(error).splitlines()[0]}).") from error
    return held


def _tensor_bytes(held: Any) -> int:
    """Bytes of all tensors as if each had its own memory, as a view may be larger than its storage."""
    import torch

    total, level = 0, [held]
    while level:
        total += sum(one.numel() * one.element_size() for one in level if isinstance(one, torch.Tensor))
        level = [one for each in level if isinstance(each, dict | list | tuple) for one in _content(each)]
    return total


def check_parquet(path: Path, file: Any) -> None:
    """Refuse a Parquet file whose footer declares too much memory.

    Not covered: a footer with false sizes of texts and variable-length lists, and a long text that is stored once in a
    dictionary and referenced by many rows. pyarrow kills the process when a broken footer is queried per column.

    Args:
        path: The file.
        file: The same file as an open `pyarrow.parquet.ParquetFile`.

    Raises:
        TooLargeError: It takes more than `most_bytes()`.
    """
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    rows = max(file.metadata.num_rows, sum(max(0, group.num_rows) for group in groups))
    unpacked = sum(max(0, group.total_byte_size) for group in groups)
    wanted = max(unpacked, rows * sum(_width(kind) for kind in file.schema_arrow.types))
    check_size(path, wanted, on_disk=_on_disk(path.stat()))


def _width(kind: Any) -> int:
    """Bytes per value of an Arrow type; for texts and variable-length lists, those of the offset."""
    count = 1
    while getattr(kind, "list_size", None) is not None:  # fixed-size lists
        count, kind = count * kind.list_size, kind.value_type
    try:
        return count * max(1, int(kind.bit_width) // 8)
    except ValueError:
        return count * 8
