"""Loads a `Dataset` from a name or a folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from recsim_llm.checked import Name, check_value, near, shown
from recsim_llm.data.dataset import Dataset
from recsim_llm.errors import DataError
from recsim_llm.spec import first_name


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row of `list_datasets`.

    Attributes:
        name: Name for `load_dataset`.
        users, items, ratings: Sizes.
        licence: Terms in a sentence.
        present: Whether it loads without a network.
    """

    name: str
    users: int
    items: int
    ratings: int
    licence: str
    present: bool


def list_datasets(cache: Path | None = None) -> tuple[DatasetRow, ...]:
    """All data sets that have a name."""
    from recsim_llm.data.formats.movielens import MOVIELENS
    from recsim_llm.data.worlds.synthetic import LICENCE, make_world

    world = make_world().dataset
    sizes = (len(world.people), len(world.catalogue), len(world.ratings))
    return (
        DatasetRow("synthetic", *sizes, LICENCE, True),
        *(DatasetRow(m.name, m.users, m.items, m.ratings, m.licence, m.is_present(cache)) for m in MOVIELENS.values()),
    )


def get_dataset_files(name: str, cache: Path | None = None) -> list[Path]:
    """Download the files of a named data set unless they are in the cache.

    Args:
        name: One of `list_datasets`.
        cache: Folder to use in place of `fetch.cache_dir()`.

    Returns:
        The files; none for "synthetic".

    Raises:
        DataError: No such name.
        DownloadError: The files cannot be downloaded.
    """
    from recsim_llm.data.formats.movielens import MOVIELENS

    if first_name(name) == "synthetic":
        return []
    if name not in MOVIELENS:
        raise DataError(
            f"There is no data set {shown(name)} to download.{near(name, MOVIELENS)} There are: {', '.join(MOVIELENS)}."
        )
    return MOVIELENS[name].files(cache)


def load_dataset(name_or_path: str | Path, cache: Path | None = None) -> Dataset:
    """Load a data set.

    Args:
        name_or_path: "synthetic", "synthetic:SEED" or "synthetic:SEED:USERS" (invented, no download), "ml-100k",
            "ml-1m", "ml-latest-small" (downloaded once), or a folder in the plain format (`folder`), of atomic
            files (`atomic`), of Coat (`coat`), or of BiLLP's release (`billp`; FOLDER:USERS or
            FOLDER:USERS:SEED invents people over its catalogue).
        cache: Folder for downloads in place of `fetch.cache_dir()`.

    Raises:
        DataError: No such name or folder, or its files break a rule.
        DownloadError: The data set cannot be downloaded.
    """
    check_value("dataset", str(name_or_path) if isinstance(name_or_path, Path) else name_or_path, Name)
    data = _load(str(name_or_path), cache)
    people = tuple(person.raw_id for person in data.people)
    return dataclasses.replace(data, ratings=dataclasses.replace(data.ratings, raw_users=people))


def _load(name: str, cache: Path | None) -> Dataset:
    if first_name(name) == "synthetic":
        return _synthetic(name)
    from recsim_llm.data.formats.movielens import MOVIELENS

    if name in MOVIELENS:
        return MOVIELENS[name].load(cache)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(folder)
    from recsim_llm.data.formats.billp_release import invented_world

    world = invented_world(name)
    if world is not None:
        return world.dataset
    meant = near(name, ["synthetic", *MOVIELENS])
    raise DataError(
        f"There is no data set or folder {name!r}.{meant} Names: synthetic, synthetic:SEED, synthetic:SEED:USERS, "
        f"{', '.join(MOVIELENS)}. {_FORMATS}"
    )


_FORMATS = (
    "A folder holds ratings.csv and items.csv (or .parquet), or RecBole's NAME.inter and NAME.item, or Coat's "
    "train.ascii and test.ascii, or BiLLP's datamaps.json and list_genre.json; docs/data.md has the formats."
)


def _synthetic(name: str) -> Dataset:
    from recsim_llm.data.worlds.synthetic import named_world

    world = named_world(name)
    assert world is not None
    return dataclasses.replace(world.dataset, name=name)


def _folder(folder: Path) -> Dataset:
    from recsim_llm.data.formats.atomic import find_atomic, load_atomic
    from recsim_llm.data.formats.billp_release import is_billp_folder, load_billp
    from recsim_llm.data.formats.coat import is_coat_folder, load_coat
    from recsim_llm.data.formats.folder import is_plain_folder, load_folder

    if is_plain_folder(folder):
        return load_folder(folder)
    if is_coat_folder(folder):
        return load_coat(folder)
    if is_billp_folder(folder):
        return load_billp(folder)
    if find_atomic(folder):
        return load_atomic(folder)
    raise DataError(f"{folder} holds no data set. {_FORMATS}")
