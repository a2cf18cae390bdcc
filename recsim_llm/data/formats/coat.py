"""Reader of Coat (Schnabel et al., ICML 2016): ratings of coats that people chose, and of randomly shown ones.

A folder with these files, as its owners publish them; none of them is part of this package:

    train.ascii          U lines of N whole numbers: stars 1..5 of the coats a person chose to rate, 0 elsewhere
    test.ascii           likewise for 16 coats per person, drawn at random
    user_item_features/  optional: item_features.ascii and user_features.ascii (0 and 1, one line per item or user),
                         each with NAME_map.txt: the meaning of a column, as "jackettype:parkas", one per line

The data have no ids: users and items are named by their line and column, counted from 0. They have no times.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsim_llm.data.checksum import content_checksum
from recsim_llm.data.dataset import Catalogue, Dataset, Person, Ratings
from recsim_llm.errors import DataError
from recsim_llm.types import Ints, Item
from recsim_llm.untrusted import read_bytes

LICENCE = "Coat (Schnabel et al., ICML 2016): no licence is stated; the data stay their owners'. Do not pass them on."
LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)

_Features = list[dict[str, str]]

_NOUNS = {
    "other": "coat",
    "packable": "packable jacket",
    "parkas": "parka",
    "pea": "pea coat",
    "shells": "shell",
    "trench": "trench coat",
    "vests": "vest",
}
_GENDERS = {"men": ("Men's", "M"), "women": ("Women's", "F")}
# Ages are given as bands; a band is read as one age near its middle, as for MovieLens.
_AGES = {"under 20": 18, "20-30": 25, "30-40": 35, "40-50": 45, "50-60": 55, "over 60": 65}


def is_coat_folder(folder: Path) -> bool:
    """Whether the folder holds a train.ascii and a test.ascii."""
    return all((folder / name).is_file() for name in ("train.ascii", "test.ascii"))


def load_coat(folder: Path) -> Dataset:
    """Read a folder of the Coat data (see the module).

    Returns:
        `ratings` are those of train.ascii, `random_ratings` those of test.ascii. On Coat, 366 of the latter are of
        coats that the person had chosen too, with the same stars; exclude them from measurements.

    Raises:
        DataError: A file is not a table of whole numbers, has a rating outside 0..5 or an unexpected shape, a person
            has no ratings, or a map of features does not fit its table.
    """
    chosen = _stars(folder / "train.ascii")
    shown = _stars(folder / "test.ascii")
    if shown.shape != chosen.shape:
        raise DataError(
            f"{folder / 'test.ascii'} has {_size(shown)}, train.ascii {_size(chosen)}. They must be of the same users "
            "and items: take both from the same place."
        )
    users, items = chosen.shape
    people = _people(_features(folder, "user", users), users)
    catalogue = _catalogue(_features(folder, "item", items), items)
    log = _log(chosen)
    _check_everyone_rates(folder / "train.ascii", log)
    checksum = content_checksum(catalogue, log, people, LEVELS)
    return Dataset("coat", catalogue, log, people, LEVELS, checksum, LICENCE, random_ratings=_log(shown))


def _log(stars_UN: Ints) -> Ratings:
    users, items = np.nonzero(stars_UN)
    values = stars_UN[users, items].astype(np.float32)
    return Ratings(users, items, values, np.zeros(len(users), dtype=np.int64), *stars_UN.shape)


def _stars(path: Path) -> Ints:
    table = _whole_numbers(path)
    bad = np.argwhere((table < 0) | (table > LEVELS[-1]))
    if len(bad):
        row, column = bad[0].tolist()
        raise DataError(
            f"{path}, line {row + 1}, value {column + 1}: {table[row, column]} is no rating. Ratings are 1 to 5, and 0 "
            "stands for none; correct it."
        )
    return table


def _whole_numbers(path: Path) -> Ints:
    """(lines, values) table, all lines of equal length."""
    rows: list[list[int]] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            rows.append([int(word) for word in line.split()])
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: values are whole numbers with spaces between ({error}). Correct that line."
            ) from error
        if len(rows[-1]) != len(rows[0]):
            raise DataError(
                f"{path}, line {number}: {len(rows[-1])} values, the first line has {len(rows[0])}. Correct that line, "
                "or fetch the file again."
            )
    return np.array(rows, dtype=np.int64)


def _lines(path: Path) -> list[str]:
    try:
        lines = read_bytes(path).decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not utf-8 text. Save it as UTF-8, or fetch it again.") from error
    if not lines:
        raise DataError(f"{path} is empty. Fetch it again.")
    return lines


def _check_everyone_rates(path: Path, log: Ratings) -> None:
    silent = np.flatnonzero(np.bincount(log.users, minlength=log.num_users) == 0)
    if len(silent):
        raise DataError(
            f"{path}, line {silent[0] + 1}: a person without ratings. Remove this line here, in test.ascii and in "
            "user_features.ascii."
        )


def _features(folder: Path, kind: str, count: int) -> _Features:
    """Features of each item or user, as {"jackettype": "parkas"}; [] if the source has no such files."""
    path = folder / "user_item_features" / f"{kind}_features.ascii"
    names = path.with_name(f"{kind}_features_map.txt")
    if not path.is_file() or not names.is_file():
        return []
    table, columns = _whole_numbers(path), [line.strip().partition(":") for line in _lines(names)]
    if table.shape != (count, len(columns)):
        raise DataError(
            f"{path} has {_size(table)}; {count} lines and {len(columns)} values, one for each line of {names.name}, "
            f"are needed. Fetch both files again, or remove the folder {path.parent.name}."
        )
    return [{columns[c][0]: columns[c][2] for c in np.flatnonzero(row)[::-1]} for row in table]


def _catalogue(features: Sequence[dict[str, str]], count: int) -> Catalogue:
    items = tuple(_item(i, features[i]) if features else Item(i, f"Coat {i}") for i in range(count))
    return Catalogue(items, tuple(str(i) for i in range(count)))


def _item(number: int, known: dict[str, str]) -> Item:
    """An item titled by gender, colour and type of jacket; its number distinguishes coats that share them."""
    gender, kind, colour = (known.get(name, "") for name in ("gender", "jackettype", "color"))
    noun = _NOUNS.get(kind, f"{kind} jacket" if kind else "coat")
    shade = {"other": "", "multi": "multicoloured"}.get(colour, colour)
    words = [_GENDERS[gender][0] if gender in _GENDERS else "", shade, noun]
    title = " ".join(word for word in words if word)
    genres = tuple(word for word in (gender, kind, colour) if word and word != "other")
    return Item(number, f"{title[0].upper()}{title[1:]}, no. {number}", genres=genres)


def _people(features: Sequence[dict[str, str]], count: int) -> tuple[Person, ...]:
    return tuple(_person(u, features[u] if features else {}) for u in range(count))


def _person(user: int, known: dict[str, str]) -> Person:
    gender = _GENDERS[known["gender"]][1] if known.get("gender") in _GENDERS else None
    return Person(user, str(user), _AGES.get(known.get("age", "")), gender)


def _size(table: Ints) -> str:
    return f"{table.shape[0]} lines of {table.shape[1]} values"
