"""Personas from a file: an experimenter's descriptions, which override those derived from ratings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from recsim_llm.checked import CountOrNone, Name, Text, check_value
from recsim_llm.data.dataset import Dataset
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.types import Persona
from recsim_llm.untrusted import read_json

TRAITS = ("activity", "conformity", "diversity")
_GENRES = ("likes", "dislikes")
_TYPES: dict[str, Any] = {
    **dict.fromkeys(TRAITS, Annotated[int, Ge(1), Le(3)]),
    "age": Annotated[int, Ge(0), Le(150)] | None,
    "gender": Text | None,
    "occupation": Text | None,
    **dict.fromkeys(_GENRES, tuple[Name, ...]),
    **dict.fromkeys(("liked_items", "disliked_items"), tuple[CountOrNone, ...]),
    "mean_rating": Annotated[float, Ge(0.0), Le(1_000.0)],
}
_KNOWN = {f.name for f in fields(Persona)} - {"user"} | {"raw_id"}


def read_personas(path: Path, dataset: Dataset, derived: Sequence[Persona]) -> tuple[Persona, ...]:
    """Personas of all people of a data set: from the file or, for people and fields it leaves out, as derived.

    The file is a JSON list of objects, in the form of a run's `people.json`. Each has `raw_id` and the three traits
    (levels 1..3); age, gender, occupation, likes, dislikes (genres of the catalogue), liked_items, disliked_items (item
    ids) and mean_rating are optional.

    Args:
        path: The file.
        dataset: People and genres.
        derived: `derived[u].user == u` (`agents.personas.persona.build_personas`).

    Raises:
        DataError: The file cannot be read, or an entry names an unknown person, lacks a trait, has one outside 1..3, an
            unknown field, or a genre or item that the catalogue does not have.
    """
    known = {person.raw_id: person.user for person in dataset.people}
    personas, first = list(derived), dict[int, int]()
    for number, entry in enumerate(_entries(path), 1):
        where = f"{path}, person {number}"
        user = known.get(str(entry.get("raw_id")))
        if user is None:
            raise DataError(f"{where}: the data set {dataset.name} has no person '{entry.get('raw_id')}' (raw_id).")
        if user in first:
            raise DataError(f"{where} ('{entry['raw_id']}') is person {first[user]} again. Keep one of the two.")
        first[user] = number
        personas[user] = _described(where, entry, personas[user], dataset)
    return tuple(personas)


def _entries(path: Path) -> list[Mapping[str, Any]]:
    try:
        entries = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"The persona file {path} cannot be read ({error}).") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"The persona file {path} is no JSON list of objects, one a person.")
    return entries


def _described(where: str, entry: Mapping[str, Any], persona: Persona, dataset: Dataset) -> Persona:
    who = f"{where} ('{entry['raw_id']}')"
    missing = [trait for trait in TRAITS if trait not in entry]
    if missing:
        raise DataError(f"{who} lacks the trait {', '.join(missing)}; each is a level 1, 2 or 3.")
    unknown = sorted(set(entry) - _KNOWN - {"user"})
    if unknown:
        raise DataError(f"{who} has unknown fields: {', '.join(unknown)}. Known: {', '.join(sorted(_KNOWN))}.")
    try:
        for name, annotation in _TYPES.items():
            if name in entry:
                check_value(name, entry[name], annotation)
    except ConfigError as error:
        raise DataError(f"{who}: {error} Correct it, or leave the field out to keep what ratings say.") from None
    for name in _GENRES:
        strange = sorted(set(entry.get(name, ())) - set(dataset.catalogue.genres))
        if strange:
            raise DataError(f"{who}: {name} names {', '.join(strange)}, which is no genre of this catalogue.")
    for name in ("liked_items", "disliked_items"):
        wrong = [i for i in entry.get(name, ()) if not (isinstance(i, int) and 0 <= i < len(dataset.catalogue))]
        if wrong:
            raise DataError(f"{who}: {name} has {wrong[0]!r}; item ids are 0..{len(dataset.catalogue) - 1}.")
    given = {name: value for name, value in entry.items() if name in _KNOWN - {"raw_id"}}
    changes: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
    return replace(persona, **changes)
