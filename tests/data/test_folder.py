"""Plain and atomic folders that are in order, and what comes back from `save_folder`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsim_llm.data import load_dataset
from recsim_llm.data.formats.folder import save_folder
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.errors import DataError
from recsim_llm.types import Item


def test_plain_folder(plain) -> None:
    data = load_dataset(plain())
    assert data.catalogue.items == (
        Item(0, "Lamp, The", 1999, ("Drama", "Comedy"), "About a lamp."),
        Item(1, "Kite"),
    )
    assert data.catalogue.raw_ids == ("10", "11")
    assert data.people[0].age == 30
    assert data.people[1].occupation is None
    assert data.rating_levels == (1, 2, 3, 4, 5)
    assert data.ratings.users.tolist() == [0, 0, 1]
    assert data.ratings.items.tolist() == [0, 1, 0]
    assert data.ratings.values.tolist() == [4, 5, 3]
    assert data.ratings.times.tolist() == [100, 200, 150]


def test_order_of_lines_changes_nothing(plain) -> None:
    before = load_dataset(plain())
    shuffled = plain(
        ratings_csv="item,user,rating,time\n10,2,3,150\n11,1,5,200\n10,1,4,100\n",
        people_csv="user,age,gender,occupation\n2,,,\n1,30,F,writer\n",
    )
    assert load_dataset(shuffled).checksum == before.checksum


def test_checksum_depends_on_content_alone(plain) -> None:
    before = load_dataset(plain()).checksum
    assert load_dataset(plain(dataset_json='{"name": "other", "licence": "mine"}')).checksum == before
    ratings = "user,item,rating,time\n1,10,4,100\n1,11,5,200\n2,10,3,151\n"
    assert load_dataset(plain(ratings_csv=ratings)).checksum != before


def test_numbers_sort_as_numbers_and_words_as_words(plain) -> None:
    ratings = "user,item,rating\n10,b,1\n9,a10,1\n100,a9,1\n"
    data = load_dataset(plain(ratings_csv=ratings, items_csv="item,title\nb,B\na9,C\na10,D\n", people_csv=None))
    assert [person.raw_id for person in data.people] == ["9", "10", "100"]
    assert data.catalogue.raw_ids == ("a10", "a9", "b")
    assert not data.ratings.times.any()


def test_half_stars(plain) -> None:
    data = load_dataset(plain(ratings_csv="user,item,rating\n1,10,2.5\n2,10,3\n"))
    assert data.rating_levels == (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)


def test_declared_levels_name_and_licence(plain) -> None:
    about = '{"name": "lamps", "rating_levels": [0.1, 3, 4, 5], "licence": "mine"}'
    data = load_dataset(plain(dataset_json=about, ratings_csv="user,item,rating\n1,10,0.1\n2,10,3\n"))
    assert (data.name, data.licence, data.rating_levels) == ("lamps", "mine", (0.1, 3.0, 4.0, 5.0))


def test_parquet_types_of_other_programs(plain) -> None:
    """Float ids (pandas, where some were missing), timestamps, float32 stars and dictionaries are all understood."""
    folder = plain(ratings_csv=None, people_csv=None, dataset_json='{"rating_levels": [0.1, 0.2, 0.3]}')
    columns = {
        "user": pa.array(["x", "y"]).dictionary_encode(),
        "item": pa.array([10.0, 11.0]),
        "rating": pa.array([0.1, 0.3], pa.float32()),
        "time": pa.array([1_000_000_000, 2_000_000_000], pa.timestamp("s")),
    }
    pq.write_table(pa.table(columns), folder / "ratings.parquet")
    data = load_dataset(folder)
    assert data.ratings.times.tolist() == [1_000_000_000, 2_000_000_000]
    assert data.ratings.items.tolist() == [0, 1]


def test_byte_order_mark_and_windows_line_ends(plain) -> None:
    data = load_dataset(plain(ratings_csv="\ufeffuser,item,rating\r\n1,10,4\r\n2,11,2\r\n\r\n"))
    assert data.ratings.values.tolist() == [4, 2]


def test_round_trip(plain, tmp_path) -> None:
    for data in (load_dataset(plain()), make_world().dataset):
        save_folder(data, tmp_path / f"new-{data.name}")
        again = load_dataset(tmp_path / f"new-{data.name}")
        assert dataclasses.replace(again, ratings=data.ratings) == data
        for field in ("users", "items", "values", "times"):
            np.testing.assert_array_equal(getattr(again.ratings, field), getattr(data.ratings, field))


def test_save_overwrites_nothing_and_leaves_nothing_half(plain, tmp_path, monkeypatch) -> None:
    folder = plain()
    data = load_dataset(folder)
    with pytest.raises(DataError, match="not an empty folder"):
        save_folder(data, folder)

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        save_folder(data, tmp_path / "to" / "new")
    assert list((tmp_path / "to").iterdir()) == []


def test_atomic_files(atomic) -> None:
    data = load_dataset(atomic())
    assert data.name == "tiny"
    assert data.catalogue.items == (Item(0, "Lamp", 1999, ("Drama", "Comedy")), Item(1, "Kite"))
    assert (data.people[0].age, data.people[1].age, data.people[1].gender) == (30, None, "M")
    assert data.ratings.values.tolist() == [4, 5, 3]


def test_atomic_ratings_alone(atomic) -> None:
    data = load_dataset(atomic(tiny_item=None, tiny_user=None))
    assert [item.title for item in data.catalogue] == ["10", "11"]
    assert not data.catalogue.has_titles


def test_atomic_genres_with_bars(atomic) -> None:
    items = "item_id:token\tname:token_seq\tgenres:token\tyear:float\n10\tA\tFilm Noir|War\t1999.0\n11\tB\tWar\t\n"
    data = load_dataset(atomic(tiny_item=items))
    assert data.catalogue.items == (Item(0, "A", 1999, ("Film Noir", "War")), Item(1, "B", None, ("War",)))
