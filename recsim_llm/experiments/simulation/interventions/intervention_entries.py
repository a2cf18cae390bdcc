"""Strict reader of one table of an interventions file: types, ranges, names. The meaning of tables is elsewhere."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NoReturn

from recsim_llm.agents.society.graph.graph import closeness_fault, relation_fault
from recsim_llm.data.dataset import Dataset
from recsim_llm.errors import ConfigError
from recsim_llm.plugins import is_class_path
from recsim_llm.spec import without_options


@dataclass(frozen=True)
class Names:
    """Names of users, items, genres and policies.

    Attributes:
        dataset: Data set with the users, items and genres.
        policies: Names of policies.
    """

    dataset: Dataset
    policies: Collection[str]

    @cached_property
    def users(self) -> dict[str, int]:
        """User id by raw id."""
        return {person.raw_id: person.user for person in self.dataset.people}

    @cached_property
    def items(self) -> dict[str, list[int]]:
        """Item ids by raw id or label; if one item's label is another's raw id, the raw id takes precedence."""
        by_label: dict[str, list[int]] = {}
        for item in self.dataset.catalogue:
            by_label.setdefault(item.label, []).append(item.id)
        return by_label | {raw: [item] for item, raw in enumerate(self.dataset.catalogue.raw_ids)}


def near(name: str, known: Iterable[str]) -> str:
    """A sentence, after a space, that suggests a similar known name; "" if none is similar."""
    found = difflib.get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(repr(one) for one in found)}?" if found else ""


@dataclass(frozen=True, slots=True)
class InterventionEntry:
    """One table of the file. All methods raise ConfigError where a value breaks a rule.

    Attributes:
        place: File and number, as named in errors.
        kind: Name of the table.
        table: Its keys and values.
        names: The existing names.
    """

    place: str
    kind: str
    table: dict[str, Any]
    names: Names

    def __contains__(self, key: str) -> bool:
        return key in self.table

    def fail(self, key: str, value: object, why: str, way_out: str) -> NoReturn:
        """Raise the ConfigError of one value."""
        raise ConfigError(f"{self.place}, key '{key}': {value!r} {why}. {way_out}")

    def check_keys(self, known: Collection[str]) -> None:
        """Check that every key is one of these."""
        for key in self.table:
            if key not in known:
                raise ConfigError(
                    f"{self.place}: the key '{key}' is not known.{near(key, known)} Keys are: {', '.join(known)}."
                )

    def needed(self, key: str) -> Any:
        """The value of a required key."""
        if key not in self.table:
            raise ConfigError(f"{self.place}: the key '{key}' is missing. Add it.")
        return self.table[key]

    def whole(self, key: str, low: int, high: int | None = None) -> int:
        """A whole number, low <= it <= high."""
        value = self.needed(key)
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(key, value, "is no whole number", "Write one, without quotes and without a point.")
        if value < low or (high is not None and value > high):
            bounds = f"less than {low}" if high is None else f"not in {low} to {high}"
            self.fail(key, value, f"is {bounds}", f"Give at least {low}{'' if high is None else f', at most {high}'}.")
        return value

    def round(self) -> int:
        """The round, from 1."""
        return self.whole("round", 1)

    def text(self, key: str, most: int) -> str:
        """A text that is not blank, of at most `most` bytes."""
        value = self._string(key)
        if not value.strip() or len(value.encode("utf-8")) > most:
            self.fail(key, value[:60], f"is blank, or longer than {most} bytes", "Write something shorter, or at all.")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.needed(key)
        if not isinstance(value, bool):
            self.fail(key, value, "is neither true nor false", "Write true or false, without quotes.")
        return value

    def relation(self) -> str:
        """The name of a relation."""
        value = self._string("relation")
        if fault := relation_fault(value):
            self.fail("relation", value, fault, "Give a word such as 'friend'.")
        return value

    def closeness(self) -> float:
        """A closeness, in (0, 1]."""
        value = self.needed("closeness")
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.fail("closeness", value, "is no number", "Give a number above 0, at most 1.")
        if fault := closeness_fault(value):
            self.fail("closeness", value, fault, "Give a number above 0, at most 1.")
        return float(value)

    def stars(self) -> float:
        """One of the rating levels of the data set."""
        value, levels = self.needed("stars"), self.names.dataset.rating_levels
        if isinstance(value, bool) or value not in levels:
            known = ", ".join(f"{level:g}" for level in levels)
            self.fail("stars", value, "is no rating of this data set", f"Give one of {known}, without quotes.")
        return float(value)

    def user(self, key: str) -> int:
        """The id of the user with this raw id."""
        return self._user(key, self.needed(key))

    def item(self) -> int:
        """The id of the item with this raw id or label."""
        raw = self._raw("item", self.needed("item"))
        found = self.names.items.get(raw)
        if found is None:
            way_out = f"Give a raw id of the data set, or a title with its year.{near(raw, self.names.items)}"
            self.fail("item", raw, "is no item", way_out)
        if len(found) > 1:
            raws = ", ".join(repr(self.names.dataset.catalogue.raw_ids[item]) for item in found)
            self.fail("item", raw, f"is the title of {len(found)} items", f"Give the raw id of one: {raws}.")
        return found[0]

    def policy(self) -> str:
        """A policy, as --policy takes it; options, files and classes (module:Class) are not checked."""
        text = self._string("policy")
        name = without_options(text)
        if not name.endswith(".npz") and not is_class_path(name):
            self._among("policy", name, self.names.policies, "policy")
        return text

    def genres(self, key: str) -> tuple[str, ...]:
        """A list of genres of the catalogue, none twice; it may be empty."""
        known = self.names.dataset.catalogue.genres
        value = self.needed(key)
        if not isinstance(value, list) or not all(isinstance(genre, str) for genre in value):
            self.fail(key, value, "is no list of texts", f'Write {key} = ["{next(iter(known), "Drama")}"].')
        for place, genre in enumerate(value):
            self._among(key, genre, known, "genre")
            if genre in value[:place]:
                self.fail(key, genre, "is there twice", "Remove one of the two.")
        return tuple(value)

    def readers(self) -> tuple[int, ...] | Literal["everybody", "neighbours"]:
        """Who reads a post: everybody, neighbours, or a list of users, none twice."""
        value = self.needed("to")
        if isinstance(value, list) and value:
            users = tuple(self._user("to", raw) for raw in value)
            for place, user in enumerate(users):
                if user in users[:place]:
                    self.fail("to", value[place], "is there twice", "Remove one of the two.")
            return users
        if value == "everybody":
            return "everybody"
        if value == "neighbours":
            return "neighbours"
        self.fail("to", value, "says nobody", 'Write "everybody", "neighbours", or a list of raw ids of users.')

    def _user(self, key: str, value: object) -> int:
        raw = self._raw(key, value)
        self._among(key, raw, self.names.users, "user")
        return self.names.users[raw]

    def _among(self, key: str, value: str, known: Collection[str], what: str) -> str:
        if value not in known:
            few = f" There are: {', '.join(known)}." if len(known) <= 20 else ""
            self.fail(key, value, f"is no {what}", f"Name one that exists.{near(value, known)}{few}")
        return value

    def _raw(self, key: str, value: object) -> str:
        """A raw id, which may be written as a whole number."""
        if isinstance(value, bool) or not isinstance(value, str | int):
            self.fail(key, value, "is no id", "Write a text in quotes, or a whole number.")
        return str(value)

    def _string(self, key: str) -> str:
        value = self.needed(key)
        if not isinstance(value, str):
            self.fail(key, value, "is no text", "Put it in quotes.")
        return value
