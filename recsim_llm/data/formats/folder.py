"""The plain folder format, for your own data.

A folder with these files, each as `.csv` (comma-separated, UTF-8, with a header) or as `.parquet`:

    ratings   user, item, rating, optional time (seconds since 1970; in Parquet a timestamp will do)
    items     item, title, optional year, genres (separated by "|"), description
    people    optional file: user, optional age, gender, occupation

    impressions      optional file: what was shown, and when people left (`data.formats.impressions`)
    random_ratings   optional file: ratings of items shown at random, columns as `ratings`; never fitted on

and an optional `dataset.json`: {"name": "...", "rating_levels": [1, 2, 3, 4, 5], "licence": "..."}.

Without `rating_levels`, the levels are 1, 2, ... up to the largest rating if all ratings are whole numbers, 0.5, 1, ...
if they are multiples of 0.5; other ratings need declared levels. Other columns are ignored.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsim_llm.data.checks import check_levels
from recsim_llm.data.dataset import Dataset
from recsim_llm.data.formats.assemble import assemble, read_ratings, with_impressions
from recsim_llm.data.formats.atomic import UNKNOWN_LICENCE
from recsim_llm.data.formats.impressions import impression_columns
from recsim_llm.data.tables import Table, read_parquet, read_text
from recsim_llm.errors import DataError
from recsim_llm.untrusted import read_bytes, read_json


def is_plain_folder(folder: Path) -> bool:
    """Whether the folder contains ratings in the plain format."""
    return any((folder / f"ratings.{kind}").is_file() for kind in ("csv", "parquet"))


def load_folder(folder: Path) -> Dataset:
    """Read a folder in the plain format (see the module).

    Raises:
        DataError: A file is missing or breaks a rule (see `assemble`).
    """
    ratings, items = _needed(folder, "ratings"), _needed(folder, "items")
    about = _about(folder / "dataset.json")
    levels = about.get("rating_levels")
    dataset = assemble(
        str(about.get("name", folder.resolve().name)),
        str(about.get("licence", UNKNOWN_LICENCE)),
        ratings,
        items,
        _table(folder, "people"),
        check_levels(str(folder / "dataset.json"), levels) if levels is not None else (),
    )
    shown, random = _table(folder, "impressions"), _table(folder, "random_ratings")
    if random is not None:
        dataset = replace(dataset, random_ratings=read_ratings(random, dataset))
    return dataset if shown is None else with_impressions(dataset, shown)


def _needed(folder: Path, name: str) -> Table:
    table = _table(folder, name)
    if table is None:
        raise DataError(f"{folder}: there is no {name}.csv or {name}.parquet. Add one; docs/data.md has the format.")
    return table


def _table(folder: Path, name: str) -> Table | None:
    text, parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
    if text.is_file() and parquet.is_file():
        raise DataError(f"{folder} has both {text.name} and {parquet.name}. Remove one of them.")
    if parquet.is_file():
        return read_parquet(parquet)
    return read_text(str(text), read_bytes(text)) if text.is_file() else None


def _about(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        about = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error}). Correct it, or leave the file out.") from error
    known = {"name", "rating_levels", "licence"}
    strange = sorted(set(about) - known) if isinstance(about, dict) else ["(not an object)"]
    if strange:
        raise DataError(f"{path}, field '{strange[0]}': not known. Fields are: {', '.join(sorted(known))}.")
    for name in ("name", "licence"):
        if not isinstance(about.get(name, ""), str):
            raise DataError(f"{path}, field '{name}': {about[name]!r} is not text. Write it in quotes.")
    if not isinstance(about.get("rating_levels", []), list):
        raise DataError(f"{path}, field 'rating_levels': not a list. Give a list such as [1, 2, 3, 4, 5].")
    return dict(about)


def save_folder(dataset: Dataset, path: Path) -> None:
    """Write a data set as a plain folder of Parquet files; `load_folder` reads back the same data set.

    Args:
        dataset: The data set.
        path: The folder to create; it must not exist, or be empty.

    Raises:
        DataError: `path` exists and is not an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path} exists and is not an empty folder. Name another, or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        _write(dataset, beside)
        beside.chmod(0o755)  # mkdtemp creates folders that only the owner can read
        os.replace(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(dataset: Dataset, folder: Path) -> None:
    log, items, people = dataset.ratings, dataset.catalogue.items, dataset.people
    raw_users, raw_items = np.array([p.raw_id for p in people]), np.array(dataset.catalogue.raw_ids)
    ratings = {"user": raw_users[log.users], "item": raw_items[log.items], "rating": log.values, "time": log.times}
    catalogue = {
        "item": dataset.catalogue.raw_ids,
        "title": [item.title for item in items],
        "year": pa.array([item.year for item in items], pa.int64()),
        "genres": ["|".join(item.genres) for item in items],
        "description": [item.description for item in items],
    }
    persons = {
        "user": raw_users,
        "age": pa.array([person.age for person in people], pa.int64()),
        "gender": pa.array([person.gender for person in people], pa.string()),
        "occupation": pa.array([person.occupation for person in people], pa.string()),
    }
    tables: dict[str, dict[str, Any]] = {"ratings": ratings, "items": catalogue, "people": persons}
    if dataset.impressions is not None:
        tables["impressions"] = impression_columns(dataset.impressions, people, dataset.catalogue)
    if dataset.random_ratings is not None:
        extra = dataset.random_ratings
        columns = {"user": raw_users[extra.users], "item": raw_items[extra.items], "rating": extra.values}
        tables["random_ratings"] = {**columns, "time": extra.times}
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    about = {"name": dataset.name, "rating_levels": list(dataset.rating_levels), "licence": dataset.licence}
    (folder / "dataset.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
