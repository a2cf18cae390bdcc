"""Reads AgentCF's released CDs split: users, histories, candidates, published memories and recorded choices.

Expects FOLDER/CDs-100-user-dense/ as released (.train.inter, .valid.inter, .test.inter, .random,
final_user_memories.tsv, llmrank_2.json) and, converted from the released pickles, FOLDER/item_memories_dense.jsonl
({"item": raw id, "memories": [texts, oldest first]}) and FOLDER/train_examples_dense.jsonl ({"user", "user_memory",
"pos_title", "neg_title", "pos_desc", "neg_desc", "correct", "explanation"}).
"""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.data import Catalogue
from recsim_llm.errors import DataError
from recsim_llm.types import Item

_START = re.compile(r"^The CD is called '(.*)'\. The category of this CD is: '(.*)'\.$", re.DOTALL)
_SPLIT = "CDs-100-user-dense"


@dataclass(frozen=True)
class AgentCFData:
    """The split, with users 0..U-1 and items 0..N-1.

    Attributes:
        catalogue: Titles and categories, entities resolved.
        raw_users: The source's user ids.
        train: Items of each user in the training part, oldest first.
        histories: `train` plus the validation item: what is known when the test item is ranked.
        truths: The test item of each user.
        pools: The 100 random items of each user, as released.
        memories: Published final memories with all recorded earlier versions.
        llmrank: Released rankings of a language model without memories, best first, by user.
        examples: Recorded choices.
    """

    catalogue: Catalogue
    raw_users: list[str]
    train: list[list[int]]
    histories: list[list[int]]
    truths: list[int]
    pools: list[list[int]]
    memories: AgentCFMemories
    llmrank: list[list[int]]
    examples: list[dict[str, Any]]

    def candidates(self, user: int) -> list[int]:
        """The first nine of the user's random items that are not the truth, and the truth."""
        others = [item for item in self.pools[user] if item != self.truths[user]]
        return [*others[:9], self.truths[user]]


def read_agentcf(folder: Path) -> AgentCFData:
    """Read the split.

    Raises:
        DataError: A file is missing.
    """
    versions = {row["item"]: row["memories"] for row in _jsonl(folder / "item_memories_dense.jsonl") if row["memories"]}
    catalogue = _catalogue(versions)
    number = {raw: item for item, raw in enumerate(catalogue.raw_ids)}
    tables = {part: _interactions(folder, part) for part in ("train", "valid", "test")}
    users = [row[0] for row in tables["test"]]
    # The longest history with its target is the user's whole training sequence.
    longest = {user: f"{history} {target}".split() for user, history, target in tables["train"]}
    examples = _jsonl(folder / "train_examples_dense.jsonl")
    pools = dict(line.split("\t") for line in _lines(folder / _SPLIT / f"{_SPLIT}.random"))
    ranks = {row["user"]: row["ranking"] for row in json.loads(_text(folder / _SPLIT / "llmrank_2.json"))}
    return AgentCFData(
        catalogue,
        users,
        [[number[raw] for raw in longest[user]] for user in users],
        [[number[raw] for raw in history.split()] for _, history, _ in tables["test"]],
        [number[target] for _, _, target in tables["test"]],
        [[number[raw] for raw in pools[user].split()] for user in users],
        _published(folder, catalogue, users, versions, examples),
        [[number[raw] for raw in ranks[user]] for user in users],
        examples,
    )


def _catalogue(versions: dict[str, list[str]]) -> Catalogue:
    items: list[Item] = []
    for raw, texts in versions.items():
        found = _START.match(texts[0])
        if found is None:
            raise DataError(f"The first memory of item {raw} does not tell title and category: {texts[0][:80]!r}.")
        title, genres = (html.unescape(text) for text in found.groups())
        items.append(Item(len(items), title, genres=tuple(g.strip() for g in genres.split(";") if g.strip())))
    return Catalogue(tuple(items), tuple(versions))


def _published(
    folder: Path,
    catalogue: Catalogue,
    users: list[str],
    versions: dict[str, list[str]],
    examples: list[dict[str, Any]],
) -> AgentCFMemories:
    final = dict(line.split("\t", 1) for line in _lines(folder / _SPLIT / "final_user_memories.tsv")[1:])
    recorded: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        recorded[example["user"]].append(example["user_memory"].strip())
    written = {place: list(dict.fromkeys([*recorded[user], final[user].strip()])) for place, user in enumerate(users)}
    items = {item: [html.unescape(t) for t in versions[raw][1:]] for item, raw in enumerate(catalogue.raw_ids)}
    return AgentCFMemories(catalogue, "CD", written, {item: texts for item, texts in items.items() if texts})


def _interactions(folder: Path, part: str) -> list[list[str]]:
    return [line.split("\t") for line in _lines(folder / _SPLIT / f"{_SPLIT}.{part}.inter")[1:]]


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    # Not splitlines, as memories contain other line separators.
    return [line for line in _text(path).split("\n") if line]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). FOLDER must hold AgentCF's released CDs split.") from error
