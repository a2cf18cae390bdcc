"""Loader of the MovieLens data sets (Harper and Konstan, ACM TiiS 2015), from GroupLens' own archives.

GroupLens allows research use but no redistribution, so this package contains none of them: each user downloads them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from recsim_llm.data.dataset import Dataset
from recsim_llm.data.formats import atomic
from recsim_llm.data.formats.assemble import assemble
from recsim_llm.data.tables import Table, read_text, text
from recsim_llm.data.titles import split_title
from recsim_llm.errors import DownloadError
from recsim_llm.fetch import download_path, fetch_from_wheel, fetch_url, read_member, wheel_paths

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

STARS = (1.0, 2.0, 3.0, 4.0, 5.0)
HALF_STARS = tuple(level / 2 for level in range(1, 11))

_TERMS = "GroupLens terms: for research; no redistribution and no commercial use without GroupLens' permission."


def _words(joined: str) -> tuple[str, ...]:
    return tuple(joined.split("|"))


# In the order of the flags of u.item (README of ml-100k); the first flag means "no genre known".
_GENRES_100K = _words(
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|Horror|Musical|"
    "Mystery|Romance|Sci-Fi|Thriller|War|Western"
)
_NO_GENRE = {"unknown", "(no genres listed)"}

# ML-1M gives age bands by their lower bound, 1 for "under 18" (its README); a persona gets the middle of the band.
_AGES_1M = {"1": 15, "18": 21, "25": 30, "35": 40, "45": 47, "50": 53, "56": 62}
_JOBS_1M = _words(
    "other|academic/educator|artist|clerical/admin|college/grad student|customer service|doctor/health care|"
    "executive/managerial|farmer|homemaker|K-12 student|lawyer|programmer|retired|sales/marketing|scientist|"
    "self-employed|technician/engineer|tradesman/craftsman|unemployed|writer"
)


@dataclass(frozen=True, slots=True)
class WheelCopy:
    """A copy of a data set inside a wheel on the package index, as atomic files.

    Attributes:
        requirement: The wheel, pinned.
        sha256: Checksum of the wheel.
        members: The .inter, .item and .user files in it.
        catalogue: Digest of the items in it (`Catalogue.vouched`).
    """

    requirement: str
    sha256: str
    members: tuple[str, str, str]
    catalogue: str


@dataclass(frozen=True, slots=True)
class MovieLens:
    """One of the data sets.

    Attributes:
        name: Its name.
        sha256: Checksum of the official archive.
        users, items, ratings: Sizes.
        levels: Rating levels.
        read: Reads the tables of ratings, items and people from the archive.
        copy: Fallback source, None if there is none.
    """

    name: str
    sha256: str
    users: int
    items: int
    ratings: int
    levels: tuple[float, ...]
    read: Callable[[Path], tuple[Table, Table, Table | None]]
    copy: WheelCopy | None = None

    @property
    def url(self) -> str:
        """The official archive."""
        return f"https://files.grouplens.org/datasets/movielens/{self.name}.zip"

    @property
    def licence(self) -> str:
        """Terms in a sentence."""
        return _TERMS

    def is_present(self, cache: Path | None = None) -> bool:
        """Whether it can be loaded without a network."""
        return download_path(self.url, cache).is_file() or self._has_copy(cache)

    def _has_copy(self, cache: Path | None) -> bool:
        return self.copy is not None and all(path.is_file() for path in self._copy_paths(cache))

    def _copy_paths(self, cache: Path | None) -> list[Path]:
        assert self.copy is not None  # callers ask first
        return wheel_paths(self.copy.requirement, self.copy.sha256, self.copy.members, cache)

    def files(self, cache: Path | None = None) -> list[Path]:
        """The files, downloaded unless they are in the cache: the official archive, else the wheel's copy.

        Raises:
            DownloadError: Neither can be downloaded.
        """
        by_hand = download_path(self.url, cache).is_file()
        if not by_hand and self._has_copy(cache):
            return self._copy_paths(cache)
        try:
            return [fetch_url(self.url, self.sha256, cache)]
        except DownloadError as official:
            if self.copy is None or by_hand:  # a wrong file that was placed by hand must not go unnoticed
                raise
            _log.warning("%s cannot be had; taking the copy inside the wheel %s.", self.url, self.copy.requirement)
            _log.info("%s", official)
            return self._fetch_copy(official, cache)

    def _fetch_copy(self, official: DownloadError, cache: Path | None) -> list[Path]:
        assert self.copy is not None
        try:
            return fetch_from_wheel(self.copy.requirement, self.copy.sha256, self.copy.members, cache)
        except DownloadError as error:
            raise DownloadError(f"{official} The copy on the package index cannot be had either: {error}") from error

    def load(self, cache: Path | None = None) -> Dataset:
        """Download if needed, read and check.

        Raises:
            DownloadError: It cannot be downloaded.
            DataError: The files are broken.
        """
        files = self.files(cache)
        ratings, items, people = self.read(files[0]) if len(files) == 1 else read_copy(files)
        data = assemble(self.name, self.licence, ratings, items, people, self.levels)
        catalogue = data.catalogue.vouch()
        # The archive's checksum was just compared; the files from the wheel may have been in the cache for long.
        is_known = len(files) == 1 or (self.copy is not None and catalogue.vouched == self.copy.catalogue)
        return replace(data, catalogue=catalogue) if is_known else data


def read_100k(archive: Path) -> tuple[Table, Table, Table]:
    """Tables of ml-100k.zip: u.data, u.item and u.user."""
    ratings = _read(archive, "ml-100k/u.data", "user item rating time", "\t")
    columns = ["item", "title", "released", "video", "imdb", *_GENRES_100K]
    items = _read(archive, "ml-100k/u.item", columns, "|", "latin-1")
    flags = [text(items, genre).to_pylist() for genre in _GENRES_100K]
    genres = [
        "|".join(genre for genre, flag in zip(_GENRES_100K, row, strict=True) if flag == "1")
        for row in zip(*flags, strict=True)
    ]
    people = _read(archive, "ml-100k/u.user", "user age gender occupation zip", "|")
    return ratings, _clean(items.with_column("genres", genres)), people


def read_1m(archive: Path) -> tuple[Table, Table, Table]:
    """Tables of ml-1m.zip: ratings.dat, movies.dat and users.dat."""
    ratings = _read(archive, "ml-1m/ratings.dat", "user item rating time", "::")
    items = _read(archive, "ml-1m/movies.dat", "item title genres", "::", "latin-1")
    people = _read(archive, "ml-1m/users.dat", "user gender age occupation zip", "::")
    ages = [_decoded(people, "age", row, code, _AGES_1M) for row, code in enumerate(text(people, "age").to_pylist())]
    names = {str(code): name for code, name in enumerate(_JOBS_1M)}
    jobs = text(people, "occupation").to_pylist()
    jobs = [_decoded(people, "occupation", row, code, names) for row, code in enumerate(jobs)]
    return ratings, _clean(items), people.with_column("age", ages).with_column("occupation", jobs)


def _decoded(people: Table, field: str, row: int, code: str, meaning: Mapping[str, _T]) -> _T:
    if code not in meaning:
        people.fail(row, field, code, "is not a code of ml-1m", "Delete the archive and download it again.")
    return meaning[code]


def read_latest_small(archive: Path) -> tuple[Table, Table, None]:
    """Tables of ml-latest-small.zip: ratings.csv and movies.csv; it has no table of people."""
    ratings = _read(archive, "ml-latest-small/ratings.csv", (), ",")
    items = _read(archive, "ml-latest-small/movies.csv", (), ",")
    ratings = ratings.with_fields(user=["userId"], item=["movieId"], rating=["rating"], time=["timestamp"])
    return ratings, _clean(items.with_fields(item=["movieId"], title=["title"], genres=["genres"])), None


def read_copy(files: Sequence[Path]) -> tuple[Table, Table, Table]:
    """Tables of RecBole's atomic files of ml-100k, titles and years as in the official archive.

    RecBole split "Title (1995) (V)" at its last bracket and calls the one unknown film "unkonwn (unkonwn)".
    """
    inter, item, user = files
    items = atomic.read_items(item)
    pairs = zip(text(items, "title").to_pylist(), text(items, "year").to_pylist(), strict=True)
    titles = ["unknown" if year == "unkonwn" else f"{title} ({year})" for title, year in pairs]
    genres = ["|".join(value.split()) for value in text(items, "genres").to_pylist()]
    items = items.with_column("title", titles).with_column("genres", genres)
    return atomic.read_ratings(inter), _clean(items), atomic.read_people(user)


def _read(archive: Path, member: str, names: str | Sequence[str], delimiter: str, encoding: str = "utf-8") -> Table:
    content = read_member(archive, member)
    if len(delimiter) > 1:  # "::", which no fast reader supports; these files contain no tabs
        content, delimiter = content.replace(delimiter.encode(), b"\t"), "\t"
    columns = names.split() if isinstance(names, str) else names
    source = f"{archive}/{member}"
    return read_text(source, content, delimiter=delimiter, names=columns, encoding=encoding, quoted=not columns)


def _clean(items: Table) -> Table:
    """Natural titles, years in their own column, and no placeholder genre."""
    split = [split_title(raw) for raw in text(items, "title").to_pylist()]
    genres = [
        "|".join(genre for genre in joined.split("|") if genre not in _NO_GENRE)
        for joined in text(items, "genres").to_pylist()
    ]
    items = items.with_column("title", [title for title, _ in split])
    years = ["" if year is None else str(year) for _, year in split]
    return items.with_column("year", years).with_column("genres", genres)


_ATOMIC_100K = "recbole/dataset_example/ml-100k/ml-100k"

MOVIELENS = {
    data.name: data
    for data in (
        MovieLens(
            "ml-100k",
            "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            943,
            1682,
            100_000,
            STARS,
            read_100k,
            WheelCopy(
                "recbole==1.2.1",
                "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                (f"{_ATOMIC_100K}.inter", f"{_ATOMIC_100K}.item", f"{_ATOMIC_100K}.user"),
                "772af0271787a45693f9dcfb2cd560b28301158c019c2499f386bb0ce761e929",
            ),
        ),
        MovieLens(
            "ml-1m",
            "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            6040,
            3883,
            1_000_209,
            STARS,
            read_1m,
        ),
        MovieLens(
            "ml-latest-small",
            "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
            610,
            9742,
            100_836,
            HALF_STARS,
            read_latest_small,
        ),
    )
}
