"""Steps of sessions: arrays, Arrow tables, content hashes, and bit-for-bit comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsim_llm.errors import RecordingError
from recsim_llm.types import Bools, Floats, Ints, storable

Array = NDArray[Any]

# Per numeric column: its type on disk and the number of axes per step (1: K values, 2: K x R values).
_COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "session": (np.int64, 0),
    "user": (np.int64, 0),
    "page": (np.int64, 0),
    "items": (np.int64, 1),
    "watch": (np.float64, 1),
    "rating_probs": (np.float64, 2),
    "watched": (np.bool_, 1),
    "ratings": (np.float64, 1),
    "leave": (np.float64, 0),
    "left": (np.bool_, 0),
    "truncated": (np.bool_, 0),
    "reward": (np.float64, 0),
}
COLUMNS = (*_COLUMNS, "thoughts")


@dataclass(frozen=True, slots=True)
class StepBatch:
    """S steps of sessions, one row per page that one user saw, in any order.

    Attributes:
        session: (S,) number of the session in the run, from 0.
        user: (S,) user ids.
        page: (S,) number of the page in the session, from 0.
        items: (S, K) item ids as shown, -1 in empty slots.
        watch: (S, K) probability of watching, [0, 1].
        rating_probs: (S, K, R) probability of each rating level, given that the item is watched.
        watched: (S, K) whether the item was watched.
        ratings: (S, K) stars given, 0 where not watched.
        leave: (S,) probability of leaving after this page, [0, 1].
        left: (S,) whether the user left.
        truncated: (S,) whether the session was cut off at the page limit.
        reward: (S,) reward of the page.
        thoughts: S texts for people to read, or () for none; "" is no thought.

    Raises:
        RecordingError: The shapes of the arrays do not match.
    """

    session: Ints
    user: Ints
    page: Ints
    items: Ints
    watch: Floats
    rating_probs: Floats
    watched: Bools
    ratings: Floats
    leave: Floats
    left: Bools
    truncated: Bools
    reward: Floats
    thoughts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rating_probs.ndim != 3:
            raise RecordingError(f"rating_probs has shape {self.rating_probs.shape}; it must be (S, K, R).")
        for name, (dtype, axes) in _COLUMNS.items():
            array, shape = getattr(self, name), self.rating_probs.shape[: axes + 1]
            if array.dtype != dtype or array.shape != shape:
                raise RecordingError(
                    f"{name} is {array.dtype} of shape {array.shape}; it must be {dtype.__name__} of shape {shape}."
                )
        if len(self.thoughts) not in {0, len(self)}:
            raise RecordingError(f"There are {len(self.thoughts)} thoughts for {len(self)} steps.")

    def __len__(self) -> int:
        return len(self.session)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> StepBatch:
        """Return the given rows (indices or mask)."""
        thoughts = np.array(self.thoughts, dtype=object)[rows].tolist() if self.thoughts else ()
        arrays = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return StepBatch(**arrays, thoughts=tuple(thoughts))

    def numbered(self, sessions: Ints) -> StepBatch:
        """Return the rows with other (S,) session numbers."""
        return replace(self, session=sessions.astype(np.int64))

    def in_order(self) -> StepBatch:
        """Return the rows sorted by session, then page."""
        return self.take(np.lexsort((self.page, self.session)))

    def to_table(self) -> pa.Table:
        """Return an Arrow table of the schema `schema(K, R)`, without rounding."""
        columns = [_to_arrow(getattr(self, name)) for name in _COLUMNS]
        columns.append(text_array(self.thoughts or ("",) * len(self)))
        return pa.table(columns, schema=schema(*self.rating_probs.shape[1:]))

    @classmethod
    def from_table(cls, table: pa.Table) -> StepBatch:
        """Read a table that `to_table` returned.

        Raises:
            RecordingError: The table has other columns or types.
        """
        check_schema(table.schema)
        thoughts = tuple(table["thoughts"].to_pylist())
        arrays: dict[str, Any] = {name: to_numpy(table[name]) for name in _COLUMNS}
        return cls(**arrays, thoughts=thoughts if any(thoughts) else ())

    def digest(self) -> str:
        """Return the sha256 of the content, independent of the order of rows (see `content_hash`)."""
        return content_hash([self])


def schema(page_size: int, num_levels: int) -> pa.Schema:
    """The Arrow schema of steps with K = `page_size` and R = `num_levels`; nothing is ever null."""
    columns = []
    for name, (dtype, axes) in _COLUMNS.items():
        kind = pa.from_numpy_dtype(np.dtype(dtype))
        for size in (page_size, num_levels)[:axes][::-1]:
            kind = _list_of(kind, size)
        columns.append(pa.field(name, kind, nullable=False))
    return pa.schema([*columns, pa.field("thoughts", pa.string(), nullable=False)])


def check_schema(found: pa.Schema) -> None:
    """Check that this is `schema(K, R)` for some K and R.

    Raises:
        RecordingError: It is not; the message names the columns.
    """
    kind = found.field("rating_probs").type if "rating_probs" in found.names else None
    if kind is None or not (pa.types.is_fixed_size_list(kind) and pa.types.is_fixed_size_list(kind.value_type)):
        raise RecordingError(f"A table of steps has no column rating_probs of probabilities; it has {found.names}.")
    wanted = schema(kind.list_size, kind.value_type.list_size)
    if not found.equals(wanted):
        wrong = sorted({f.name for f in found} ^ {f.name for f in wanted}) or [
            f.name for f in wanted if not found.field(f.name).equals(f)
        ]
        raise RecordingError(f"A table of steps has missing, unknown or wrongly typed columns: {', '.join(wrong)}.")


def to_numpy(column: pa.ChunkedArray) -> Array:
    """A column of numbers or of nested fixed-size lists as an array (rows, ...)."""
    shape, array = [len(column)], column.combine_chunks()
    while pa.types.is_fixed_size_list(array.type):
        shape.append(array.type.list_size)
        array = array.flatten()
    return cast(Array, array.to_numpy(zero_copy_only=False).reshape(shape))


def text_array(texts: Iterable[str]) -> pa.Array:
    """Return texts as Arrow strings; lone surrogates, which UTF-8 cannot hold, become question marks."""
    texts = list(texts)
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([storable(text) for text in texts], pa.string())


def row_digests(steps: StepBatch) -> NDArray[np.uint8]:
    """(S, 32) sha256 of each row: its numbers as little-endian bytes in the order of the columns, then its thought."""
    columns = (np.ascontiguousarray(getattr(steps, name)) for name in _COLUMNS)
    little = (array.astype(array.dtype.newbyteorder("<"), copy=False) for array in columns)
    # (S, bytes per row) for each column; the width is computed because -1 does not work for an empty part.
    pieces = [a.reshape(-1).view(np.uint8).reshape(len(a), a.itemsize * math.prod(a.shape[1:])) for a in little]
    rows = np.concatenate(pieces, axis=1)
    width, data = rows.shape[1], rows.tobytes()
    thoughts = [storable(text).encode() for text in steps.thoughts] or [b""] * len(steps)
    digests = [sha256(data[i * width : (i + 1) * width] + text).digest() for i, text in enumerate(thoughts)]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)


def content_hash(parts: Iterable[StepBatch]) -> str:
    """Return the sha256 over the digests of all rows, sorted by (session, page): equal hashes mean equal bits.

    Independent of the order of rows and of their division into parts. Uses 48 bytes of memory per row.

    Args:
        parts: Parts of one run.
    """
    total = sha256()
    sessions: list[Ints] = []
    pages: list[Ints] = []
    digests: list[NDArray[np.uint8]] = []
    for part in parts:
        if not sessions:
            # Hash the shape first: otherwise pages of other sizes could have the same bytes.
            total.update("{} {};".format(*part.rating_probs.shape[1:]).encode())
        sessions.append(part.session)
        pages.append(part.page)
        digests.append(row_digests(part))
    if sessions:
        order = np.lexsort((np.concatenate(pages), np.concatenate(sessions)))
        total.update(np.concatenate(digests)[order].tobytes())
    return total.hexdigest()


def first_difference(a: StepBatch, b: StepBatch) -> str | None:
    """Describe the first difference of two batches, by session and page; None if they are equal in every bit.

    Args:
        a: Recorded steps.
        b: Steps computed now. The order of rows does not matter.

    Returns:
        A clause without a full stop: "session 3, page 0: items, slot 2: 17 recorded, 4 now".
    """
    a, b = a.in_order(), b.in_order()
    if a.rating_probs.shape[1:] != b.rating_probs.shape[1:]:
        (K, R), (L, Q) = a.rating_probs.shape[1:], b.rating_probs.shape[1:]
        return f"{K} items a page and {R} rating levels recorded, {L} and {Q} now"
    size = min(len(a), len(b))
    strangers = np.flatnonzero((a.session[:size] != b.session[:size]) | (a.page[:size] != b.page[:size]))
    rows = int(strangers[0]) if len(strangers) else size
    found = min((_difference(a, b, name, rows) for name in COLUMNS), key=lambda d: d[0])
    if found[0] < rows:
        return found[1]
    return _strange_row(a, b, rows)


def _strange_row(a: StepBatch, b: StepBatch, row: int) -> str | None:
    if row == len(a) == len(b):
        return None
    places = [(int(x.session[row]), int(x.page[row])) if row < len(x) else None for x in (a, b)]
    place = min(p for p in places if p is not None)
    session, page = place
    where = "recorded, but not there now" if place == places[0] else "there now, but not recorded"
    return f"session {session}, page {page}: {where}"


def _difference(a: StepBatch, b: StepBatch, name: str, rows: int) -> tuple[int, str]:
    """Return row and description of a field's first difference in the first `rows` rows; row = `rows` for none."""
    if name == "thoughts":
        x: Any = np.array([storable(t) for t in a.thoughts] or [""] * len(a), dtype=object)[:rows]
        y: Any = np.array([storable(t) for t in b.thoughts] or [""] * len(b), dtype=object)[:rows]
        differs = x != y
    else:
        x, y = getattr(a, name)[:rows], getattr(b, name)[:rows]
        differs = _bits(x) != _bits(y)
    if not differs.any():
        return rows, ""
    place = tuple(int(i) for i in np.argwhere(differs)[0])
    axes = "".join(f", {axis} {i}" for axis, i in zip(("slot", "level"), place[1:], strict=False))
    ours, theirs = (repr(v.item() if isinstance(v, np.generic) else v) for v in (x[place], y[place]))
    where = f"session {a.session[place[0]]}, page {a.page[place[0]]}"
    return place[0], f"{where}: {name}{axes}: {ours} recorded, {theirs} now"


def _bits(array: Array) -> Array:
    # Compare bits: equal NaNs are equal, and 0.0 differs from -0.0.
    return np.ascontiguousarray(array).view(np.int64) if array.dtype == np.float64 else array


def _list_of(kind: pa.DataType, size: int) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False), size)


def _to_arrow(array: Array) -> pa.Array:
    values = pa.array(array.reshape(-1))
    for size in array.shape[:0:-1]:
        values = pa.FixedSizeListArray.from_arrays(values, type=_list_of(values.type, size))
    return values
