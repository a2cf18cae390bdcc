"""Reader of AgentCF's release: ordered interactions, ten candidates per user, and published memories.

A folder NAME holds NAME.train.inter, NAME.test.inter (histories under `item_id_list`, as RecBole writes sequences),
NAME.random (a hundred random items per user) and, if released, final_user_memories.tsv. Titles come from an `.item`
file (item_id, title, category) of the folder or its parent; without one, from the first of an item's memories in
item_memories_*.jsonl, else from the quoted beginning of its text in `.pretrained_item`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recsim_llm.data.checksum import content_checksum
from recsim_llm.data.dataset import Catalogue, Dataset, Person, Ratings
from recsim_llm.data.formats.ranking_task import CANDIDATES, RankingTask
from recsim_llm.data.tables import Table, read_text
from recsim_llm.errors import DataError
from recsim_llm.types import Item
from recsim_llm.untrusted import parse_json, read_bytes

LICENCE = "Academic use only; Amazon's reviews under their own terms."
_START = re.compile(r"^The \w+ is called '(.*)'\. The category of this \w+ is: '(.*)'\.$", re.DOTALL)
_QUOTED = re.compile(r"^\s*['\"“](.+?)['\"”](?=\s(?:is|by|features|stands|offers|from|,)|,)")
_PAD = "[PAD]"


@dataclass(frozen=True)
class AgentCFRelease:
    """A released split with its published texts.

    Attributes:
        task: Training data and the ranking task.
        users: Published self-descriptions by user id, oldest first; empty if none are released.
        items: Published descriptions by item id, oldest first, without the initial text.
    """

    task: RankingTask
    users: Mapping[int, Sequence[str]] = field(default_factory=dict)
    items: Mapping[int, Sequence[str]] = field(default_factory=dict)


def is_agentcf_folder(folder: Path) -> bool:
    """Whether a folder contains a split in the released format."""
    return folder.is_dir() and any(folder.glob("*.train.inter")) and any(folder.glob("*.random"))


def load_agentcf(folder: Path) -> AgentCFRelease:
    """Read a released split. Stars are not released: each interaction counts as 1.

    Raises:
        DataError: A file is missing, or breaks a rule; the message names file, line and value.
    """
    parts = {part: _one(folder, f"*.{part}.inter") for part in ("train", "test")}
    train, test = (_sequences(parts[part]) for part in ("train", "test"))
    # A user's history grows by one per row, so the longest one is the whole training sequence.
    longest: dict[str, list[str]] = {}
    for user, history, target in train:
        if len(history) + 1 > len(longest.get(user, ())):
            longest[user] = [*history, target]
    pools = dict(_pools(_one(folder, "*.random")))
    raw_users = [user for user, _, _ in test]
    _check_users(parts["test"], raw_users, longest, pools)
    used = {item for rows in (longest, pools) for items in rows.values() for item in items}
    used |= {item for _, history, target in test for item in (*history, target)}
    written = _item_memories(folder, used)
    catalogue = _catalogue(folder, used, written)
    number = {raw: item for item, raw in enumerate(catalogue.raw_ids)}
    dataset = _dataset(folder.name, catalogue, raw_users, [[number[i] for i in longest[u]] for u in raw_users])
    truths = [number[target] for _, _, target in test]
    task = RankingTask(
        dataset,
        tuple(range(len(raw_users))),
        tuple(tuple(number[i] for i in history) for _, history, _ in test),
        tuple(truths),
        tuple(_candidates([number[i] for i in pools[u]], truths[user]) for user, u in enumerate(raw_users)),
    )
    texts = {number[raw]: rest for raw, (_, *rest) in written.items() if rest}
    return AgentCFRelease(task, dict(_user_memories(folder, raw_users)), texts)


def _candidates(pool: list[int], truth: int) -> tuple[int, ...]:
    others = [item for item in pool if item != truth][: CANDIDATES - 1]
    return (*others, truth)


def _dataset(name: str, catalogue: Catalogue, raw_users: list[str], rows: list[list[int]]) -> Dataset:
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    times = np.concatenate([np.arange(1, len(row) + 1) for row in rows])  # only the order is released
    log = Ratings(users, items, np.ones(len(users), dtype=np.float32), times, len(rows), len(catalogue))
    people = tuple(Person(user, raw) for user, raw in enumerate(raw_users))
    levels = (1.0,)
    return Dataset(name, catalogue, log, people, levels, content_checksum(catalogue, log, people, levels), LICENCE)


def _check_users(path: Path, users: Sequence[str], longest: Mapping[str, object], pools: Mapping[str, object]) -> None:
    if len(set(users)) < len(users):
        raise DataError(f"{path}: a user has two rows. Leave one test item a user.")
    for where, known in ((".train.inter", longest), (".random", pools)):
        missing = [user for user in users if user not in known]
        if missing:
            raise DataError(f"{path}: user {missing[0]} has no row in the {where} file. Add it, or leave the user out.")


def _sequences(path: Path) -> list[tuple[str, list[str], str]]:
    """Rows of user, history (oldest first) and the next item."""
    table = _table(path)
    columns = [_column(table, name) for name in ("user_id", "item_id_list", "item_id")]
    return [(user, history.split(), item) for user, history, item in zip(*columns, strict=True)]


def _pools(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(_lines(path), 1):
        user, tab, items = line.partition("\t")
        if not tab or len(items.split()) < CANDIDATES:
            raise DataError(f"{path}, line {number}: a user, a tab and at least {CANDIDATES} items are needed.")
        yield user, items.split()


def _item_memories(folder: Path, used: set[str]) -> dict[str, list[str]]:
    """Versions of items' memories, the initial text first, as converted from the release; {} if there are none.

    Memories belong to one split: those of a dense split do not apply to a sparse one.
    """
    split = folder.name.rpartition("-")[2]
    for path in sorted({*folder.glob("item_memories*.jsonl"), *folder.parent.glob(f"item_memories_{split}.jsonl")}):
        rows = [_row(path, number, line) for number, line in enumerate(_lines(path), 1)]
        return {raw: [html.unescape(text) for text in texts] for raw, texts in rows if texts and raw in used}
    return {}


def _row(path: Path, number: int, line: str) -> tuple[str, list[str]]:
    try:
        row = parse_json(line, path)
        return str(row["item"]), [str(text) for text in row["memories"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}, line {number}: no item with its memories ({error!r}). Correct or remove it."
        ) from error


def _user_memories(folder: Path, raw_users: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    path = folder / "final_user_memories.tsv"
    if not path.exists():
        return
    final = dict(line.partition("\t")[::2] for line in _lines(path)[1:])
    yield from ((user, [final[raw].strip()]) for user, raw in enumerate(raw_users) if final.get(raw, "").strip())


def _catalogue(folder: Path, used: set[str], written: Mapping[str, Sequence[str]]) -> Catalogue:
    named = _titles(folder, written)
    raw_ids = sorted(used, key=lambda raw: (len(raw), raw))  # sorts whole numbers by value
    missing = [raw for raw in raw_ids if raw not in named]
    if missing:
        raise DataError(
            f"{folder}: item {missing[0]} and {len(missing) - 1} others have no title. Put the release's .item file "
            "(item_id, title, category) beside the other files."
        )
    items = [Item(i, named[raw][0], genres=named[raw][1]) for i, raw in enumerate(raw_ids)]
    return Catalogue(tuple(items), tuple(raw_ids))


def _titles(folder: Path, written: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Title and categories by raw id, from the first available source."""
    for path in sorted([*folder.glob("*.item"), *folder.parent.glob("*.item")]):
        return {raw: (title, _genres(kind)) for raw, title, kind in _item_rows(path)}
    if written:
        found = {raw: _START.match(texts[0]) for raw, texts in written.items()}
        return {raw: (m[1], _genres(m[2])) for raw, m in found.items() if m}
    for path in sorted(folder.glob("*.pretrained_item")):
        texts = dict(line.partition("\t")[::2] for line in _lines(path)[1:])
        return {raw: (_quoted(html.unescape(text)), ()) for raw, text in texts.items() if raw != _PAD}
    return {}


def _item_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    for line in _lines(path)[1:]:
        raw, title, kind, *_ = [*line.split("\t"), "", ""]
        yield raw, html.unescape(title).strip() or raw, html.unescape(kind)


def _genres(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in html.unescape(text).split(";") if part.strip()))


def _quoted(text: str) -> str:
    """The title that a description begins with: in quotes, or all before " is "."""
    found = _QUOTED.match(text)
    return found[1] if found else text.partition(" is ")[0].strip("'\" ")[:120]


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: one {pattern} is needed, there are: {names}. Give a folder of AgentCF's release.")
    return found[0]


def _table(path: Path) -> Table:
    table = read_text(str(path), read_bytes(path), delimiter="\t", quoted=False)
    return Table(
        table.source,
        table.data.rename_columns([name.partition(":")[0] for name in table.data.column_names]),
        {name.partition(":")[0]: name.partition(":")[0] for name in table.data.column_names},
    )


def _column(table: Table, name: str) -> list[str]:
    if name not in table:
        raise DataError(
            f"{table.source}, line 1: the column '{name}' is missing. Its header is {name}:token or token_seq."
        )
    return [str(value) for value in table.column(name).to_pylist()]


def _lines(path: Path) -> list[str]:
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Save it as UTF-8.") from error
    # Not splitlines, as memories contain other line separators.
    return [line for line in text.split("\n") if line]
