"""AgentCF's verbal memories of users and items, saved and loaded as JSON. Independent of any language model."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from recsim_llm.agents.llm.prompts_text import phrases
from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import DataError
from recsim_llm.untrusted import read_json as read_values

KIND = "agentcf"
USER_WORDS, ITEM_WORDS = 180, 50
"""Most words of a rewritten memory, as the published prompts ask; 69 of 100 published users exceed them."""
STATE_FILE = "agentcf.json"
"""File that `learn_agentcf` writes into its folder."""
_VERSION = 1
_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*(?=\s|$)")


class AgentCFMemories:
    """Every version of every user's and item's memory, oldest first. An item's memory is shared by all users.

    Memories that were never rewritten are not stored: such users have the start memory, one sentence that is the same
    for all, and such items their title and categories.

    Args:
        catalogue: The items.
        noun: What one of them is called in prompts and memories: "item", "movie", "CD".
        users: Rewritten user memories: user id to versions, without the start memory.
        items: Rewritten item memories, likewise.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        noun: str = "item",
        users: Mapping[int, Sequence[str]] | None = None,
        items: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        self.catalogue, self.noun = catalogue, noun
        self._users = {user: list(texts) for user, texts in (users or {}).items()}
        self._items = {item: list(texts) for item, texts in (items or {}).items()}

    @property
    def learned_users(self) -> list[int]:
        """Users whose memory was rewritten at least once, ascending."""
        return sorted(self._users)

    @property
    def learned_items(self) -> list[int]:
        """Items whose memory was rewritten at least once, ascending."""
        return sorted(self._items)

    def user(self, user: int) -> str:
        """The current memory of a user."""
        return self._users[user][-1] if user in self._users else self.start_user()

    def item(self, item: int) -> str:
        """The current memory of an item."""
        return self._items[item][-1] if item in self._items else self.start_item(item)

    def user_versions(self, user: int) -> list[str]:
        """All versions of a user's memory, the start memory first."""
        return [self.start_user(), *self._users.get(user, ())]

    def rewrite_user(self, user: int, text: str) -> None:
        """Add a version."""
        self._users.setdefault(user, []).append(text)

    def rewrite_item(self, item: int, text: str) -> None:
        """Add a version."""
        self._items.setdefault(item, []).append(text)

    def start_user(self) -> str:
        """The memory that every user begins with."""
        return phrases(KIND)["start user"].substitute(noun=self.noun)

    def start_item(self, item: int) -> str:
        """The memory that an item begins with: its title and categories."""
        shown = self.catalogue.shown
        genres = shown.genres(item)
        say = phrases(KIND)["start item" if genres else "start item without genres"]
        return say.substitute(noun=self.noun, title=shown.name[item], genres=genres)

    def content(self) -> dict[str, Any]:
        """The stored memories as JSON values; `from_content` is the inverse."""
        return {
            "version": _VERSION,
            "catalogue": catalogue_digest(self.catalogue),
            "noun": self.noun,
            "users": {str(user): self._users[user] for user in self.learned_users},
            "items": {str(item): self._items[item] for item in self.learned_items},
        }

    @classmethod
    def from_content(cls, content: Mapping[str, Any], catalogue: Catalogue, where: str) -> AgentCFMemories:
        """Memories from what `content` returned.

        Args:
            content: JSON values.
            catalogue: The catalogue that the memories were learned on.
            where: Source of the content, for error messages.

        Raises:
            DataError: The content is of another catalogue or version, or is malformed.
        """
        try:
            version, digest, noun = content["version"], content["catalogue"], content["noun"]
            users = {int(user): _texts(texts) for user, texts in content["users"].items()}
            items = {int(item): _texts(texts) for item, texts in content["items"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where} holds no AgentCF memories ({error!r}). Learn them anew.") from error
        if version != _VERSION:
            raise DataError(f"{where} has format version {version}, this program reads {_VERSION}. Learn anew.")
        if digest != catalogue_digest(catalogue):
            raise DataError(f"{where} was learned on another catalogue. Load the data set it was learned on.")
        return cls(catalogue, str(noun), users, items)

    def save(self, path: Path | str) -> None:
        """Write a JSON file atomically: a reader sees the old file or the new one."""
        write_json(path, self.content())

    @classmethod
    def load(cls, path: Path | str, catalogue: Catalogue) -> AgentCFMemories:
        """Read a file written by `save` or by `learn_agentcf`.

        Args:
            path: The file, or the folder.
            catalogue: The catalogue that the memories were learned on.

        Raises:
            DataError: No such file, not JSON, another catalogue or another version.
        """
        where = Path(path) / STATE_FILE if Path(path).is_dir() else Path(path)
        content = read_json(where)
        if isinstance(content, dict):
            content = content.get("memories", content)
        return cls.from_content(content, catalogue, str(where))


def _texts(texts: Iterable[Any]) -> list[str]:
    found = list(texts)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in found):
        raise ValueError("a memory is a list of texts")
    return found


def catalogue_digest(catalogue: Catalogue) -> str:
    """A checksum of ids, titles and genres, from which start memories are made."""
    rows = [(raw, item.label, *item.genres) for raw, item in zip(catalogue.raw_ids, catalogue, strict=True)]
    return sha256(json.dumps(rows).encode()).hexdigest()[:16]


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON atomically, so that a killed process leaves the old file or the new one."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.part")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)


def read_json(path: Path | str) -> Any:
    """Read JSON.

    Raises:
        DataError: No such file, or not JSON.
    """
    try:
        return read_values(Path(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). Learn memories with learn_agentcf first.") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}). Learn the memories anew.") from error


def limit_words(text: str, most: int) -> tuple[str, bool]:
    """At most `most` words, cut at the end of a sentence; a first sentence that is longer is cut between words.

    Returns:
        The text, and whether it was cut.

    >>> limit_words("Likes jazz. Hates long, long speeches.", 4)
    ('Likes jazz.', True)
    """
    words = text.split()
    if len(words) <= most:
        return " ".join(words), False
    kept = " ".join(words[:most])
    ends = [match.end() for match in _SENTENCE_END.finditer(kept)]
    return (kept[: ends[-1]] if ends else kept), True
