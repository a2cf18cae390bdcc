"""Reader of RecBole's atomic files: tab-separated NAME.inter, optional NAME.item and NAME.user, with typed headers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from recsim_llm.data.dataset import Dataset
from recsim_llm.data.formats.assemble import assemble
from recsim_llm.data.tables import Table, read_text, text
from recsim_llm.errors import DataError
from recsim_llm.untrusted import read_bytes

UNKNOWN_LICENCE = "Not stated with the data; the owner's terms apply."

_TYPES = {"token", "token_seq", "float", "float_seq"}


def find_atomic(folder: Path) -> list[Path]:
    """The .inter files of a folder."""
    return sorted(folder.glob("*.inter"))


def load_atomic(folder: Path) -> Dataset:
    """Read a folder of atomic files.

    Columns read: `.inter` user_id, item_id, rating, optional timestamp; `.item` item_id, a title (movie_title, title,
    item_title or name), optional year (release_year or year) and genres (class, genre, genres or categories);
    `.user` user_id, optional age, gender, occupation. Fields of type `token` that should be numbers (a year "V")
    count as unknown if they are not; fields of type `float` must be numbers.

    Raises:
        DataError: There is not exactly one .inter file, or a file breaks a rule (see `assemble`).
    """
    found = find_atomic(folder)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: one .inter file is needed, there are: {names}. Keep one data set a folder.")
    inter = found[0]
    ratings = read_ratings(inter)
    items, people = inter.with_suffix(".item"), inter.with_suffix(".user")
    return assemble(
        inter.stem,
        UNKNOWN_LICENCE,
        ratings,
        _read_items(items) if items.exists() else None,
        read_people(people) if people.exists() else None,
    )


def read_ratings(path: Path) -> Table:
    """The columns of an .inter file under our names."""
    table = _read(path)
    return table.with_fields(user=["user_id"], item=["item_id"], rating=["rating"], time=["timestamp"])


def read_items(path: Path) -> Table:
    """The columns of an .item file under our names, values untouched."""
    return _read(path).with_fields(
        item=["item_id"],
        title=["movie_title", "title", "item_title", "name"],
        year=["release_year", "year"],
        genres=["class", "genre", "genres", "categories"],
    )


def read_people(path: Path) -> Table:
    """The columns of a .user file under our names."""
    table = _read(path)
    named = table.with_fields(user=["user_id"], age=["age"], gender=["gender"], occupation=["occupation"])
    return _blank_tokens(named, "age")


def _read_items(path: Path) -> Table:
    table = _blank_tokens(read_items(path), "year")
    if "genres" not in table:
        return table
    joined = text(table, "genres").to_pylist()
    if not any("|" in value for value in joined):  # RecBole separates sequences by spaces
        joined = ["|".join(value.split()) for value in joined]
    return table.with_column("genres", joined)


def _read(path: Path) -> Table:
    """Read one file; types are removed from the column names but kept in `fields` for error messages."""
    table = read_text(str(path), read_bytes(path), delimiter="\t", quoted=False)
    names = []
    for head in table.data.column_names:
        name, _, kind = head.partition(":")
        if kind not in _TYPES:
            raise DataError(
                f"{path}, line 1: the header '{head}' has no type. Write it as '{name}:token' or '{name}:float'."
            )
        names.append(name)
    tokens = {name for name, head in zip(names, table.data.column_names, strict=True) if head.endswith(":token")}
    data = table.data.rename_columns(names).replace_schema_metadata({name: "token" for name in tokens})
    return replace(table, data=data, fields={name: name for name in names})


def _blank_tokens(table: Table, name: str) -> Table:
    """Blank out values that are not whole numbers in a column of type token."""
    if name not in table or table.fields[name].encode() not in (table.data.schema.metadata or {}):
        return table
    column = text(table, name)
    kept = pc.if_else(pc.match_substring_regex(column, r"^\d+$"), column, "")
    return table.with_column(name, kept)
