"""Readers of files and bytes that a stranger may have written: capped, and never a pickle. Knows not what they mean.

A cap is on what a file asks for (declared shapes, unpacked sizes), and it is checked before anything is allocated.
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
"""Environment variable: GiB that one file may take in memory."""

MOST_GIB = 4.0
"""Where it is not set. The largest file that the project writes in earnest takes 3.7: scores of 10,000 items for
100,000 people, in single precision."""

UNPACKED = 4
"""Times its own size that a file may take, however large: packed numbers hardly shrink, bombs by 1,000 times."""

MOST_TOML = 8 << 20
"""Bytes: a list of a million people by number takes 7 million (and tomllib 15 s)."""

MOST_DEPTH = 64
"""Lists and objects in each other; what the project writes has 6 at most."""

_TEXT_SHARE = 2  # of the limit: JSON takes some four times its text in memory, at worst 25 times
_BROKEN = (  # what zipfile, numpy and torch were seen to raise for broken files, beside their own
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, TypeError, AttributeError, LookupError,
    OverflowError, SyntaxError, AssertionError, StructError, pickle.UnpicklingError,
)  # fmt: skip
# tomllib takes the square of the parts of a dotted name as time.
_DOTTED = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){65}""")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for memory of their own before the first byte


def most_bytes() -> int:
    """Bytes that one file may take in memory.

    Raises:
        ConfigError: The environment variable `RECSIM_LLM_MOST_GIB` holds no number above 0.
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
    """Refuse what takes too much memory.

    Args:
        source: What asks for it, as named in the error.
        wanted: Bytes.
        most: Bytes; None for `most_bytes()`.
        on_disk: Bytes of the file: `UNPACKED` times as many are never too many, since whoever sent it sent so much.

    Raises:
        TooLargeError: `wanted` is above both.
    """
    limit = max(most_bytes() if most is None else most, UNPACKED * on_disk)
    if wanted > limit:
        raise TooLargeError(
            f"{source} asks for {wanted / 2**20:,.1f} MiB; {limit / 2**20:,.1f} MiB are allowed. If you trust where it "
            f"comes from, allow more with the environment variable {LIMIT}=GIB (now {most_bytes() / 2**30:g})."
        )


def _on_disk(status: os.stat_result) -> int:
    """Bytes that a file really has there: one with holes may look far larger."""
    return min(status.st_size, 512 * getattr(status, "st_blocks", status.st_size))


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """A whole file.

    Args:
        path: The file.
        most: Bytes; None for `most_bytes()`.

    Raises:
        OSError: It cannot be read.
        TooLargeError: It is larger.
    """
    limit = most_bytes() if most is None else most
    with path.open("rb") as file:
        check_size(path, os.fstat(file.fileno()).st_size, limit)
        content = file.read(limit + 1)  # a device has no size, and no end
    check_size(path, len(content), limit)
    return content


def parse_json(content: str | bytes, source: object) -> Any:
    """JSON values of a text.

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
    """JSON values of a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, or not UTF-8.
        TooLargeError: It is larger than half of `most_bytes()`, or nested more than `MOST_DEPTH` deep.
    """
    return parse_json(read_bytes(path, most_bytes() // _TEXT_SHARE), path)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

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
    """The arrays of an `.npz` file, by name.

    Raises:
        OSError: It cannot be read.
        DataError: It is no `.npz` file, damaged, or holds Python objects.
        TooLargeError: Its arrays together ask for more than `most_bytes()`.
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
    """Bytes that an array asks for by its header; nothing is allocated."""
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
    """Refuse a member of a zip file that unpacks to too much, or in a way that needs memory of its own.

    Raises:
        TooLargeError: It unpacks to more than `most_bytes()`.
        DataError: It is packed otherwise than by "stored" or "deflated".
    """
    if member.compress_type not in _METHODS:
        raise DataError(
            f"{source}: '{member.filename}' is packed by method {member.compress_type}. Pack it by deflate."
        )
    check_size(f"{source}: '{member.filename}'", member.file_size, on_disk=on_disk)


def read_tensors(path: Path) -> Any:
    """What `torch.save` wrote, of plain types and tensors, on the CPU.

    Raises:
        OSError: It cannot be read.
        DataError: It is damaged, or holds objects of other types: torch's weights-only reader runs no code.
        TooLargeError: Its tensors ask for more than `most_bytes()`.
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
    """Bytes of all tensors were each of its own memory: a view may be larger than what it looks at."""
    import torch

    total, level = 0, [held]
    while level:
        total += sum(one.numel() * one.element_size() for one in level if isinstance(one, torch.Tensor))
        level = [one for each in level if isinstance(each, dict | list | tuple) for one in _content(each)]
    return total


def check_parquet(path: Path, file: Any) -> None:
    """Refuse a Parquet file whose footer says that it takes too much memory.

    Not covered: a footer that lies about its texts and lists of any length, and a long text that a dictionary holds
    once and many rows name. pyarrow ends the process on broken footers that are asked about single columns.

    Args:
        path: The file.
        file: The same, as an open `pyarrow.parquet.ParquetFile`.

    Raises:
        TooLargeError: It takes more than `most_bytes()`.
    """
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    rows = max(file.metadata.num_rows, sum(max(0, group.num_rows) for group in groups))
    unpacked = sum(max(0, group.total_byte_size) for group in groups)
    wanted = max(unpacked, rows * sum(_width(kind) for kind in file.schema_arrow.types))
    check_size(path, wanted, on_disk=_on_disk(path.stat()))


def _width(kind: Any) -> int:
    """Bytes of a value of an Arrow type; of a text or a list of any length, what points to it."""
    count = 1
    while getattr(kind, "list_size", None) is not None:  # of a list whose length is part of the type
        count, kind = count * kind.list_size, kind.value_type
    try:
        return count * max(1, int(kind.bit_width) // 8)
    except ValueError:
        return count * 8
