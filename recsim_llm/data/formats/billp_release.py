"""Reader of BiLLP's release (Shi et al., SIGIR 2024, arXiv 2403.00843): catalogues of Steam and Amazon.

    datamaps.json     {"id2item_dict": {"0": title, ...}, "item2id_dict": {title: 0, ...}}; the second is optional
    list_genre.json   {title: genres}; genres are a list, or a list written as text: "['Action', 'Indie']"
    train.json, test.json   optional: [{"userid_encoded": 21, "pos_seq_name": [liked titles], ...}, ...]

Transformations, counted in `BillpFolder`:

- Titles and genres are cleaned of HTML: entities are decoded, tags and truncated tags are removed.
- Two ids with one title stay two items. A liked title that two ids share means the id that `item2id_dict` gives, else
  the lowest.
- A like is a rating of 5 on a scale of 1 to 5: a *declared* level, since the release has no stars. A title that a
  person likes several times counts once, at its first position. There are no times, so a temporal split is random.
- A person in both files has the likes of both, those of `train.json` first.
- Statistical users cannot be fitted on likes alone, as they need low ratings too: that raises a DataError. Likes are
  enough for policies and for users who are language models.
- A folder without people, such as Steam's, gets people invented over the real catalogue (`invented_people`):
  FOLDER for 1000 of them, FOLDER:USERS or FOLDER:USERS:SEED for others. With numbers in the name people are invented
  even if the folder has real ones. `Dataset.licence` and every invented person's raw id say so.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from recsim_llm.data.checksum import content_checksum
from recsim_llm.data.dataset import Catalogue, Dataset, Person, Ratings
from recsim_llm.data.worlds.invented_people import NUM_USERS, invent_people
from recsim_llm.data.worlds.synthetic import SyntheticWorld
from recsim_llm.errors import DataError
from recsim_llm.types import Item
from recsim_llm.untrusted import read_json

LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)
CATALOGUE_LICENCE = "Not stated with the catalogue; the owner's terms apply."
LIKES_LICENCE = "Likes were made ratings of 5. Not stated with the data; the owner's terms apply."

_MAPS, _GENRES, _PEOPLE = "datamaps.json", "list_genre.json", ("train.json", "test.json")
# A tag, or the tail of a truncated one: 'Books" />' is a title of the Amazon catalogue.
_TAG = re.compile(r"""</?[A-Za-z][^<>]*>|["']?\s*/>\s*$""")


@dataclass(frozen=True, slots=True)
class BillpFolder:
    """Content of a folder.

    Attributes:
        catalogue: The items, in the order of their ids.
        people: Raw id of each person and the distinct items they like, in the order of the file; () without people.
        cleaned_titles, cleaned_genres: Titles and distinct genres that contained HTML.
        shared_titles: Items whose cleaned title another item has too.
        without_genres: Items that `list_genre.json` does not list.
        repeated_likes: Likes left out because the person likes the item already.
    """

    catalogue: Catalogue
    people: tuple[tuple[str, tuple[int, ...]], ...]
    cleaned_titles: int
    cleaned_genres: int
    shared_titles: int
    without_genres: int
    repeated_likes: int


def is_billp_folder(folder: Path) -> bool:
    """Whether the folder contains a catalogue in BiLLP's layout."""
    return (folder / _MAPS).is_file()


def load_billp(folder: Path) -> Dataset:
    """Read a folder (see the module); without people, 1000 are invented.

    Raises:
        DataError: A file is missing or broken; the message names file and field.
    """
    if not _has_people(folder):
        return _invented(folder, NUM_USERS, 0).dataset
    read = read_billp(folder)
    people = tuple(Person(u, raw) for u, (raw, _) in enumerate(read.people))
    counts = [len(likes) for _, likes in read.people]
    log = Ratings(
        np.repeat(np.arange(len(people)), counts),
        np.array([item for _, likes in read.people for item in likes], dtype=np.int64),
        np.full(sum(counts), LEVELS[-1], dtype=np.float32),
        np.zeros(sum(counts), dtype=np.int64),
        len(people),
        len(read.catalogue),
    )
    checksum = content_checksum(read.catalogue, log, people, LEVELS)
    return Dataset(folder.resolve().name, read.catalogue, log, people, LEVELS, checksum, LIKES_LICENCE)


def invented_world(name: str) -> SyntheticWorld | None:
    """The data set and ground truth of FOLDER, FOLDER:USERS or FOLDER:USERS:SEED; None if no people are invented.

    Raises:
        DataError: The folder's files are broken, or the number of people is out of range.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        wanted = is_billp_folder(folder) and not _has_people(folder)
        return _invented(folder, NUM_USERS, 0) if wanted else None
    match = re.fullmatch(r"(.+?):([0-9]{1,7})(?::([0-9]{1,9}))?", name)
    if match is None or not is_billp_folder(folder := Path(match[1]).expanduser()):
        return None
    return _invented(folder, int(match[2]), int(match[3] or 0))


def read_billp(folder: Path) -> BillpFolder:
    """Read the files, without inventing people.

    Raises:
        DataError: A file is missing or broken; the message names file and field.
    """
    maps = _object(folder / _MAPS)
    titles = _titles(folder / _MAPS, maps)
    genres = {title: _genre_list(folder / _GENRES, title, v) for title, v in _object(folder / _GENRES).items()}
    places = _places(folder / _MAPS, titles, maps.get("item2id_dict", {}))
    clean = [_clean_title(folder / _MAPS, raw, title) for raw, title in titles.items()]
    items = tuple(
        Item(i, clean[i], genres=tuple(dict.fromkeys(map(_clean, genres.get(title, ())))))
        for i, title in enumerate(titles.values())
    )
    people, repeated = _people(folder, places)
    distinct = {genre for title in titles.values() for genre in genres.get(title, ())}
    return BillpFolder(
        Catalogue(items, tuple(titles)),
        people,
        sum(new != old.strip() for new, old in zip(clean, titles.values(), strict=True)),
        sum(_clean(genre) != genre.strip() for genre in distinct),
        _num_shared(clean),
        sum(title not in genres for title in titles.values()),
        repeated,
    )


def _has_people(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _PEOPLE)


def _invented(folder: Path, num_users: int, seed: int) -> SyntheticWorld:
    folder = folder.resolve()
    stamps = tuple((folder / name).stat().st_mtime_ns for name in (_MAPS, _GENRES) if (folder / name).is_file())
    return _kept(folder, num_users, seed, stamps)


@lru_cache(maxsize=4)
def _kept(folder: Path, num_users: int, seed: int, stamps: tuple[int, ...]) -> SyntheticWorld:
    """The world, cached until a file of the catalogue changes."""
    catalogue = read_billp(folder).catalogue
    return invent_people(f"{folder.name}:{num_users}:{seed}", catalogue, CATALOGUE_LICENCE, num_users, seed)


def _json(path: Path) -> object:
    if not path.is_file():
        raise DataError(
            f"{path} is missing. A folder in BiLLP's layout holds {_MAPS} and {_GENRES}; see docs/billp_data.md."
        )
    try:
        content: object = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error}). Copy it again from the release.") from error
    return content


def _object(path: Path) -> dict[str, object]:
    content = _json(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: not an object with entries. Copy it again from the release.")
    return content


def _titles(path: Path, maps: Mapping[str, object]) -> dict[str, str]:
    """Raw id to title as in the file, in the order of the ids as numbers."""
    titles = maps.get("id2item_dict")
    if not isinstance(titles, dict) or not titles:
        raise DataError(f"{path}, field 'id2item_dict': missing or empty. It maps each id to a title.")
    for raw, title in titles.items():
        if not (raw.isdecimal() and raw.isascii()):
            raise DataError(f"{path}, field 'id2item_dict': the id {raw!r} is not a whole number. Number the items.")
        if not isinstance(title, str):
            raise DataError(f"{path}, field 'id2item_dict', id {raw}: {title!r} is not a title. Write it as text.")
    return {raw: titles[raw] for raw in sorted(titles, key=lambda raw: (int(raw), raw))}


def _places(path: Path, titles: Mapping[str, str], by_title: object) -> dict[str, int]:
    """Title as in the file to item; of a shared title, the item that the release's own map names."""
    if not isinstance(by_title, dict):
        raise DataError(f"{path}, field 'item2id_dict': not an object. It maps each title to an id; or leave it out.")
    numbers = {raw: i for i, raw in enumerate(titles)}
    places: dict[str, int] = {}
    for raw, title in titles.items():
        named = numbers.get(str(by_title.get(title, raw)))
        if named is None or titles[str(by_title.get(title, raw))] != title:
            raise DataError(f"{path}, field 'item2id_dict': {title!r} has an id that is another's in 'id2item_dict'.")
        places.setdefault(title, named)
    return places


def _genre_list(path: Path, title: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise DataError(f"{path}, title {title!r}: {value!r} is no list of genres.") from error
    if not isinstance(value, list) or not all(isinstance(genre, str) for genre in value):
        raise DataError(f"{path}, title {title!r}: {value!r} is no list of genres. Write ['Action', 'Indie'].")
    return tuple(value)


def _clean_title(path: Path, raw: str, title: str) -> str:
    clean = _clean(title)
    if not clean:
        raise DataError(f"{path}, field 'id2item_dict', id {raw}: {title!r} is no title. Give it one, or leave it out.")
    return clean


def _clean(text: str) -> str:
    # Tags first: a decoded entity in a title ("Jesus &gt; Religion") must not be read as part of a tag.
    return html.unescape(_TAG.sub("", text)).strip()


def _num_shared(titles: list[str]) -> int:
    """Number of items that share their title with another item."""
    _, counts = np.unique(np.array(titles), return_counts=True)
    return int(counts[counts > 1].sum())


def _people(folder: Path, places: Mapping[str, int]) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], int]:
    """Raw id and liked items of each person, in the order of ids, and the number of repeated likes."""
    likes: dict[int, list[int]] = {}
    for path in (folder / name for name in _PEOPLE if (folder / name).is_file()):
        rows = _json(path)
        if not isinstance(rows, list) or not rows:
            raise DataError(f"{path}: not a list of people. Copy it again from the release, or leave it out.")
        here: set[int] = set()
        for number, row in enumerate(rows, start=1):
            user, liked = _person(f"{path}, entry {number}", row, places)
            if user in here:
                raise DataError(f"{path}, entry {number}, field 'userid_encoded': {user} is there twice. Remove one.")
            here.add(user)
            likes.setdefault(user, []).extend(liked)
    people = tuple((str(user), tuple(dict.fromkeys(likes[user]))) for user in sorted(likes))
    return people, sum(map(len, likes.values())) - sum(len(liked) for _, liked in people)


def _person(place: str, row: object, places: Mapping[str, int]) -> tuple[int, list[int]]:
    user = row.get("userid_encoded") if isinstance(row, dict) else None
    titles = row.get("pos_seq_name") if isinstance(row, dict) else None
    if not isinstance(user, int) or isinstance(user, bool):
        raise DataError(f"{place}, field 'userid_encoded': {user!r} is not a whole number. Number the people.")
    if not isinstance(titles, list) or not titles:
        raise DataError(f"{place}, field 'pos_seq_name': {titles!r} is no list of liked titles. Remove the entry.")
    for title in titles:
        if not isinstance(title, str) or title not in places:
            raise DataError(f"{place}, field 'pos_seq_name': {title!r} is no title of {_MAPS}. Add it there.")
    return user, [places[title] for title in titles]
