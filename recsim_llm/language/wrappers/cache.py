"""On-disk cache of answers, keyed by the content of the prompt.

One SQLite file in write-ahead mode: it survives a killed process, and several processes may share it. Each chunk of
prompts is one transaction, so that after a kill a chunk is either complete or missing, and a resumed run asks the
model for exactly the batch that was lost.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from recsim_llm.errors import LLMError, SetAsideWarning
from recsim_llm.language.protocol import LLM, Usage
from recsim_llm.prompt_key import prompt_keys
from recsim_llm.types import Completion, Prompt, storable
from recsim_llm.untrusted import check_size

T = TypeVar("T")

_VERSION = 2
_MOST_BYTES = 16 << 20
"""Bytes of one row: four million tokens of text, or two million log-probabilities."""
_BUSY_S = 60.0
_CREATE = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, logprobs BLOB NOT NULL, prompt_tokens INT NOT NULL,
    output_tokens INT NOT NULL, bounds BLOB NOT NULL
) WITHOUT ROWID
"""
_INSERT = "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)"

_Row = tuple[bytes, str, bytes, int, int, bytes]


class CachedLLM:
    """Sends to the wrapped model only prompts whose answers are not cached.

    A file of another version, a file that is not a database, and one that proves damaged in use are renamed with a
    `SetAsideWarning`: it is only a cache. (Version 1 did not record which labels a server had returned, so its answers
    cannot be judged.) Refused prompts are not cached: another version of the server, or of the model's settings, may
    accept them.

    The key is a hash of the wrapped model's name and of every field of the prompt; a sampled text is cached too, since
    its seed is part of the prompt. For prompts with choices the distribution is stored, so every agent still draws its
    own answer. If two processes send the same prompt at once, the first to commit wins and both return its answer.

    Args:
        llm: The model to ask.
        path: The cache file, created if missing; its folder must exist.
        chunk_size: Prompts per transaction. Chunks are cut by position; a chunk grows by up to three chunk sizes so
            as not to split a run of prompts that share system and context.

    Raises:
        LLMError: The file cannot be opened, created or renamed.
    """

    def __init__(self, llm: LLM, path: str | Path, chunk_size: int = 512) -> None:
        self._llm = llm
        self._path = Path(path)
        self._chunk_size = chunk_size
        self._lock = threading.Lock()
        with _explained(self._path):
            try:
                self._db = _open(self._path)
            except (_OtherVersionError, sqlite3.DatabaseError) as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise  # locked, read-only, disk full: the file itself is sound
                _set_aside(self._path, error)
                self._db = _open(self._path)

    @property
    def name(self) -> str:
        """Name of the wrapped model, since a cache does not change answers."""
        return self._llm.name

    @property
    def usage(self) -> Usage:
        """Counters of the wrapped model, plus cache hits and duplicates."""
        return self._llm.usage

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt, from the file where possible.

        Raises:
            LLMError: The wrapped model failed, or the file cannot be read or written.
        """
        completions: list[Completion] = []
        for chunk in _chunks(prompts, self._chunk_size):
            with self._lock, _explained(self._path):
                completions += self._answer(chunk)
        return completions

    def close(self) -> None:
        """Close the file; all answers are already in it."""
        self._db.close()

    def _answer(self, prompts: Sequence[Prompt]) -> list[Completion]:
        keys = prompt_keys(self._llm.name, prompts)
        distinct = dict(zip(keys, prompts, strict=True))
        known = self._on_file(lambda: self._look_up(list(distinct)))
        self.usage.cache_hits += len(known)
        self.usage.duplicates += len(keys) - len(distinct)
        missing = [key for key in distinct if key not in known]
        if missing:
            answers = self._llm.generate([distinct[key] for key in missing])
            storable_answers = [self._storable(answer) for answer in answers]
            known.update(self._on_file(lambda: self._store(missing, storable_answers)))
        return [known[key] for key in keys]

    def _on_file(self, do: Callable[[], T]) -> T:
        """Run an operation on the file; if a page is damaged, on a new file. Answers just given are not lost."""
        try:
            return do()
        except (sqlite3.DatabaseError, _UnreadableError) as error:
            # Its subclasses concern the operation (locked, disk full, ...), not the content of the file.
            if isinstance(error, sqlite3.DatabaseError) and type(error) is not sqlite3.DatabaseError:
                raise
            self._db.close()
            _set_aside(self._path, error)
            self._db = _open(self._path)
            return do()

    def _look_up(self, keys: list[bytes]) -> dict[bytes, Completion]:
        marks = ",".join("?" * len(keys))
        rows = self._db.execute(f"SELECT * FROM answers WHERE key IN ({marks})", keys)
        found, size = {}, 0
        for row in rows:
            size += _checked_size(row)
            check_size(self._path, size)
            found[row[0]] = _completion(row)
        return found

    def _storable(self, answer: Completion) -> Completion:
        text = storable(answer.text)
        if text == answer.text:
            return answer
        self.usage.mended += 1
        return answer._replace(text=text)

    def _store(self, keys: list[bytes], answers: Sequence[Completion]) -> dict[bytes, Completion]:
        if len(answers) != len(keys):
            raise LLMError(f"'{self.name}' was asked {len(keys)} prompts and returned {len(answers)} completions.")
        given = dict(zip(keys, answers, strict=True))
        # Rows above the size limit for reading are not stored; their prompts are asked again.
        rows = [_row(key, answer) for key, answer in given.items() if not answer.refused and _is_kept(answer)]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            written = self._db.executemany(_INSERT, rows).rowcount
        # Fewer rows inserted than given: another process was first, and its answers count.
        return given | self._look_up(keys) if written < len(rows) else given


class _explained:  # noqa: N801 - reads as a statement
    """Turns SQLite's errors into one sentence with a remedy."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.OperationalError):
            raise LLMError(
                f"The cache file {self._path} cannot be opened, read or written ({error}). Check that its folder "
                "exists, is writable and has space left, and that no other program holds the file."
            ) from error
        if isinstance(error, sqlite3.Error):
            raise LLMError(
                f"The file {self._path} is not a usable answer cache ({error}). "
                "Delete it (it is only a cache: answers will be asked again) or name another file."
            ) from error


class _OtherVersionError(Exception):
    """The file was written by another version of this package."""


class _UnreadableError(Exception):
    """A row does not have the format of `_row`."""


def _set_aside(path: Path, reason: Exception) -> None:
    names = (path.with_name(f"{path.name}.aside{i}") for i in count(1))
    aside = next(name for name in names if not name.exists())
    try:
        for suffix in ("", "-wal", "-shm"):  # SQLite's companion files
            with suppress(FileNotFoundError):
                os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    except OSError as error:
        raise LLMError(
            f"The answer cache {path} cannot be used ({reason}), nor set aside ({error.strerror}). Delete it: it is "
            "only a cache."
        ) from error
    warnings.warn(
        f"The answer cache {path} cannot be used: {reason}. It was set aside as {aside}, and a new one was begun.",
        SetAsideWarning,
        stacklevel=3,
    )


def _open(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions are explicit, so that one chunk is one transaction.
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
    try:
        # A file from elsewhere may contain a view or trigger of the table's name, and functions in its schema.
        db.execute("PRAGMA trusted_schema=OFF")
        kinds = db.execute("SELECT type FROM sqlite_master WHERE name = 'answers' OR tbl_name = 'answers'").fetchall()
        if any(kind != ("table",) for kind in kinds):
            raise _OtherVersionError("its table of answers is none that this program made")
        _use_write_ahead_log(db)
        db.execute("PRAGMA synchronous=NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise _OtherVersionError(f"it has format {version}, and this version reads format {_VERSION}")
        db.execute("BEGIN IMMEDIATE")
        db.execute(_CREATE)
        db.execute(f"PRAGMA user_version={_VERSION}")
        db.execute("COMMIT")
    except (sqlite3.Error, _OtherVersionError):
        db.close()
        raise
    db.text_factory = bytes  # decoded by the reader, which handles invalid text
    return db


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    # SQLite does not wait for this one lock, so two processes that create the file at once must retry here.
    for attempt in range(50):
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == 49:
                raise
            time.sleep(0.02)
        else:
            return


def _chunks(prompts: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    start, total = 0, len(prompts)
    while start < total:
        end = min(start + size, total)
        limit = min(start + 4 * size, total)
        while end < limit and prompts[end][:2] == prompts[end - 1][:2]:
            end += 1
        yield prompts[start:end]
        start = end


def _row(key: bytes, answer: Completion) -> _Row:
    packed, bounds = array("d", answer.logprobs).tobytes(), array("q", answer.bounds).tobytes()
    return key, answer.text, packed, answer.prompt_tokens, answer.output_tokens, bounds


def _is_kept(answer: Completion) -> bool:
    return 4 * len(answer.text) + 8 * len(answer.logprobs) < _MOST_BYTES - 1024


def _checked_size(row: tuple[Any, ...]) -> int:
    """Bytes of a row; the file may be untrusted, and SQLite allows any type in any column.

    Raises:
        _UnreadableError: The row does not have the format of `_row`.
    """
    if [type(value) for value in row] != [bytes, bytes, bytes, int, int, bytes] or len(row[2]) % 8 or len(row[5]) % 8:
        raise _UnreadableError("it holds what is no answer")
    return len(row[1]) + len(row[2]) + len(row[5])


def _completion(row: tuple[Any, ...]) -> Completion:
    _, text, packed, read, wrote, bounds = row
    try:
        places = tuple(array("q", bounds))
        return Completion(str(text, "utf-8"), tuple(array("d", packed)), read, wrote, bounds=places)
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"it holds a text that is none ({error})") from error
