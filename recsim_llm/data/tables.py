"""Strict readers of delimited text and Parquet that keep the position of each value for error messages."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from recsim_llm.errors import DataError
from recsim_llm.types import Floats
from recsim_llm.untrusted import check_parquet


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one source file.

    Attributes:
        source: The file, as named in errors.
        data: The columns (a `pyarrow.Table`), under the names of the source.
        fields: Map from our column names to the source's.
        first: Number of the first data row, as a person would count in the source.
        unit: "line" or "row": the unit of that number.
    """

    source: str
    data: Any
    fields: dict[str, str]
    first: int = 2
    unit: str = "line"

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def column(self, name: str) -> Any:
        """The column (a `pyarrow.Array`) for our name `name`."""
        return self.data.column(self.fields[name]).combine_chunks()

    def place(self, row: int) -> str:
        """File and number of a row, for messages."""
        broken = 0  # a quoted field may contain line breaks, which shift the line numbers below it
        if self.unit == "line":
            above = self.data.slice(0, row)
            broken = sum(pc.sum(pc.count_substring(c, "\n")).as_py() or 0 for c in above.columns)
        return f"{self.source}, {self.unit} {self.first + row + broken}"

    def fail(self, row: int, name: str, value: object, why: str, way_out: str) -> NoReturn:
        """Raise a DataError about one value."""
        raise DataError(f"{self.place(row)}, field '{self.fields[name]}': {value!r} {why}. {way_out}")

    def with_fields(self, **fields: Sequence[str]) -> Table:
        """Map our names to source columns: for each, the first candidate that exists.

        Args:
            fields: Our name to possible names in the source.
        """
        present = set(self.data.column_names)
        found = {ours: next((n for n in names if n in present), None) for ours, names in fields.items()}
        return replace(self, fields={ours: name for ours, name in found.items() if name is not None})

    def with_column(self, name: str, values: Sequence[Any]) -> Table:
        """Add or replace a column of ours, under our name."""
        column = pa.array(values)
        kept = self.data.drop_columns([name]) if name in self.data.column_names else self.data
        return replace(self, data=kept.append_column(name, column), fields={**self.fields, name: name})


def read_text(
    source: str,
    content: bytes,
    *,
    delimiter: str = ",",
    names: Sequence[str] = (),
    encoding: str = "utf-8-sig",
    quoted: bool = True,
) -> Table:
    """Read delimited text; every column stays text, no types are guessed.

    Args:
        source: The file, as named in errors.
        content: Its bytes.
        delimiter: One character.
        names: Column names of a file without a header; () if the first line is the header.
        encoding: Encoding of the text; a byte order mark is skipped.
        quoted: Whether values may be in double quotes.

    Raises:
        DataError: The file is empty, not text in that encoding, or has a line with too many or too few values.
    """
    text = _decode(source, content, encoding)
    if not text.strip():
        raise DataError(f"{source} is empty. It needs {'data' if names else 'a header line and data'}.")
    header, body = (list(names), text) if names else _split_header(text, delimiter, quoted)
    _check_header(source, header)
    first = 1 if names else 2
    if not body:
        data = pa.table({name: pa.array([], pa.string()) for name in header})
    else:
        data = _parse(source, body, header, delimiter, quoted, first)
    return Table(source, data, {name: name for name in header}, first)


def _decode(source: str, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{source}, line {line}: not {encoding} text. Save the file as UTF-8.") from error


def _split_header(text: str, delimiter: str, quoted: bool) -> tuple[list[str], str]:
    head, _, body = text.partition("\n")
    cells = next(csv.reader([head], delimiter=delimiter)) if quoted else head.split(delimiter)
    return [cell.strip() for cell in cells], body


def _check_header(source: str, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{source}, line 1: the column '{twice[0]}' is there twice. Rename or remove one of them.")


def _parse(source: str, body: str, header: list[str], delimiter: str, quoted: bool, first: int) -> Any:
    parse = pv.ParseOptions(
        delimiter=delimiter,
        quote_char='"' if quoted else False,
        newlines_in_values=quoted and '"' in body,
        ignore_empty_lines=False,
    )
    types = dict.fromkeys(header, pa.string())
    try:
        return pv.read_csv(
            pa.BufferReader(body.encode()),
            pv.ReadOptions(use_threads=False, column_names=header, block_size=min(4 * len(body) + 1024, 2**30)),
            parse,
            pv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        found = re.search(r"Row #(\d+): (Expected \d+ columns, got \d+)", str(error))
        row, why = (int(found[1]) - 1, found[2]) if found else (0, str(error))
        line = first + _lines_above(body, row, delimiter, quoted)
        raise DataError(
            f"{source}, line {line}: {why} ({delimiter!r} separates values). Correct or remove that line."
        ) from error


def _lines_above(body: str, row: int, delimiter: str, quoted: bool) -> int:
    """Number of lines above a row: more than rows if quoted values contain line breaks."""
    if not quoted:
        return row
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter)
    for _ in range(row):
        next(reader)
    return reader.line_num


def read_parquet(path: Path) -> Table:
    """Read a Parquet file.

    Raises:
        DataError: It is not a Parquet file.
    """
    try:
        with pq.ParquetFile(path) as file:
            check_parquet(path, file)
        data = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}). Write it again.") from error
    return Table(str(path), data, {name: name for name in data.column_names}, 1, "row")


def text(table: Table, name: str) -> Any:
    """A column as trimmed text (a `pyarrow.Array` of strings), "" for missing values."""
    column = table.column(name)
    if pa.types.is_floating(column.type):
        whole = column.cast(pa.int64(), safe=False)  # pandas turns ids with gaps into floats
        column = whole if pc.all(pc.equal(whole.cast(column.type), column)).as_py() else column
    try:
        column = pc.fill_null(column.cast(pa.string()), "")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{table.source}, field '{table.fields[name]}': cannot be read as text ({error}). Write it as text."
        ) from error
    return pc.utf8_trim_whitespace(column)


def numbers(table: Table, name: str, *, optional: bool = False) -> Floats:
    """A column as finite numbers.

    Args:
        table: The table.
        name: Our name of the column.
        optional: Whether values may be missing; they become NaN.

    Raises:
        DataError: A value is missing or not a number.
    """
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        result = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        missing = pc.is_null(column).to_numpy(zero_copy_only=False)
    else:
        words = text(table, name)
        missing = pc.equal(words, "").to_numpy(zero_copy_only=False)
        result = _to_float(table, name, pc.if_else(pc.equal(words, ""), pa.scalar(None, pa.string()), words))
    bad = ~np.isfinite(result) & ~(missing if optional else np.False_)
    if bad.any():
        row = int(bad.argmax())
        why, value = ("is missing", "") if missing[row] else ("is not a finite number", str(result[row]))
        table.fail(row, name, value, why, "Give a number.")
    return np.asarray(result, dtype=np.float64)


def _to_float(table: Table, name: str, words: Any) -> Any:
    if not _are_numbers(words):
        row, end = 0, len(words)  # bisect for the first value that is not a number
        while end - row > 1:
            middle = (row + end) // 2
            row, end = (middle, end) if _are_numbers(words.slice(row, middle - row)) else (row, middle)
        table.fail(row, name, words[row].as_py(), "is not a number", "Give a number, with a point for decimals.")
    return words.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _are_numbers(words: Any) -> bool:
    try:
        words.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
