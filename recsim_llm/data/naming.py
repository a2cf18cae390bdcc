"""Renames the items of a catalogue, so that a language model cannot use what it has memorised about titles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.worlds.synthetic_texts import invent_places, invent_titles
from recsim_llm.errors import ConfigError
from recsim_llm.types import Item

NAMINGS = ("titles", "ids", "invented")
"""Namings that a certificate compares; "masked" is only for models that were tuned under it."""
MASKED = "A title"


def renamed(catalogue: Catalogue, naming: str) -> Catalogue:
    """The catalogue under other names; ids and raw ids stay.

    Args:
        catalogue: The items.
        naming: "titles": unchanged. "ids": "Item 17", without year, genres and description. "invented": an invented
            title and no description; year and genres stay. "masked": only year and genres.

    Raises:
        ConfigError: No such naming.
    """
    if naming == "titles":
        return catalogue
    if naming == "ids":
        return replace(catalogue, items=tuple(Item(item.id, f"Item {item.id + 1}") for item in catalogue)).vouch()
    if naming == "masked":
        return _with(catalogue, tuple(replace(item, title=MASKED, description="") for item in catalogue))
    if naming == "invented":
        rng = np.random.default_rng(0)
        titles = invent_titles(rng, len(catalogue), invent_places(rng, len(catalogue)))
        items = (replace(item, title=titles[item.id], description="") for item in catalogue)
        return _with(catalogue, tuple(items))
    raise ConfigError(f"There is no naming '{naming}'; there are: {', '.join(NAMINGS)}, masked.")


def with_words(catalogue: Catalogue, words: Mapping[int, str]) -> Catalogue:
    """Append words to some titles; the result is no longer vouched for, even if the words are empty.

    Args:
        catalogue: The items.
        words: Words per item; {} leaves the catalogue unchanged.
    """
    if not words:
        return catalogue
    items = (replace(item, title=f"{item.title}{words.get(item.id, '')}") for item in catalogue)
    return replace(catalogue, items=tuple(items), vouched="")


def _with(catalogue: Catalogue, items: tuple[Item, ...]) -> Catalogue:
    """A catalogue of items with names from this package; vouched for if the given catalogue is."""
    changed = replace(catalogue, items=items)
    return changed.vouch() if catalogue.is_vouched else changed
