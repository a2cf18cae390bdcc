"""Every way a data set can be broken is an error that names file, line, field, value and the way out."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsim_llm.data import load_dataset
from recsim_llm.errors import DataError

HEAD = "user,item,rating,time\n"
ITEMS = "item,title,year\n"

BAD = {
    "missing column": (
        {"ratings_csv": "user,item,time\n1,10,100\n"},
        ["ratings.csv", "'rating' is missing", "user, item, time", "Add or rename"],
    ),
    "missing title": ({"items_csv": "item,year\n10,1999\n"}, ["items.csv", "'title' is missing"]),
    "column twice": ({"ratings_csv": "user,user,item,rating\n"}, ["ratings.csv, line 1", "'user' is there twice"]),
    "unknown item": (
        {"ratings_csv": HEAD + "1,10,4,1\n2,99,4,1\n"},
        ["ratings.csv, line 3", "field 'item'", "'99'", "items.csv", "Add it there"],
    ),
    "unknown user": (
        {"ratings_csv": HEAD + "1,10,4,1\n2,10,4,1\n7,11,4,1\n"},
        ["ratings.csv, line 4", "field 'user'", "'7'", "people.csv"],
    ),
    "rating zero": ({"ratings_csv": HEAD + "1,10,4,1\n2,10,0,1\n"}, ["line 3", "'rating'", "0.0 is not positive"]),
    "rating below zero": ({"ratings_csv": HEAD + "1,10,-2,1\n2,10,1,1\n"}, ["line 2", "-2.0 is not positive"]),
    "odd rating": (
        {"ratings_csv": HEAD + "1,10,4,1\n2,10,3.7,1\n"},
        ["line 3", "3.7 is no multiple of 0.5", "dataset.json"],
    ),
    "play count": ({"ratings_csv": HEAD + "1,10,4,1\n2,10,5000,1\n"}, ["line 3", "5000.0", "100 rating levels"]),
    "not a level": (
        {"dataset_json": '{"rating_levels": [1, 2, 3, 4]}'},
        ["ratings.csv, line 3", "5.0 is not among the rating levels 1, 2, 3, 4"],
    ),
    "levels descend": ({"dataset_json": '{"rating_levels": [2, 1]}'}, ["dataset.json", "'rating_levels'", "ascending"]),
    "levels at zero": ({"dataset_json": '{"rating_levels": [0, 1]}'}, ["dataset.json", "positive"]),
    "levels no numbers": ({"dataset_json": '{"rating_levels": ["a", 1]}'}, ["dataset.json", "not all numbers"]),
    "levels no list": ({"dataset_json": '{"rating_levels": 5}'}, ["dataset.json", "not a list"]),
    "no JSON": ({"dataset_json": "{"}, ["dataset.json is not JSON"]),
    "strange JSON field": ({"dataset_json": '{"levels": 5}'}, ["dataset.json", "'levels'", "rating_levels"]),
    "JSON no object": ({"dataset_json": "[]"}, ["dataset.json", "not an object"]),
    "rated twice": (
        {"ratings_csv": HEAD + "1,10,4,1\n2,10,4,1\n1,10,3,2\n"},
        ["ratings.csv, line 4", "'user' and 'item'", "user '1'", "item '10'", "ratings.csv, line 2", "Keep one"],
    ),
    "empty user": (
        {"people_csv": "user,age\n1,30\n2,31\n3,32\n"},
        ["people.csv, line 4", "'user'", "'3' is a person without ratings", "Remove"],
    ),
    "word for a rating": ({"ratings_csv": HEAD + "1,10,four,1\n"}, ["line 2", "'rating'", "'four' is not a number"]),
    "missing rating": ({"ratings_csv": HEAD + "1,10,4,1\n1,11,,1\n"}, ["line 3", "'rating'", "'' is missing"]),
    "infinite rating": ({"ratings_csv": HEAD + "1,10,inf,1\n"}, ["line 2", "'inf' is not a finite number"]),
    "nan rating": ({"ratings_csv": HEAD + "1,10,nan,1\n"}, ["line 2", "'nan' is not a finite number"]),
    "date for a time": ({"ratings_csv": HEAD + "1,10,4,2020-01-01\n"}, ["line 2", "'time'", "'2020-01-01'"]),
    "word for a year": ({"items_csv": ITEMS + "10,Lamp,MCM\n"}, ["items.csv, line 2", "'year'", "'MCM'"]),
    "half a year": ({"items_csv": ITEMS + "10,Lamp,1999.5\n"}, ["items.csv, line 2", "1999.5 is not a whole number"]),
    "word for an age": ({"people_csv": "user,age\n1,30\n2,old\n"}, ["people.csv, line 3", "'age'", "'old'"]),
    "no user id": ({"ratings_csv": HEAD + "1,10,4,1\n,10,4,1\n"}, ["ratings.csv, line 3", "'user'", "'' is no id"]),
    "no title": ({"items_csv": ITEMS + "10,Lamp,\n11, ,\n"}, ["items.csv, line 3", "'title'"]),
    "item twice": (
        {"items_csv": ITEMS + "10,Lamp,\n11,Kite,\n10,Lamp,\n"},
        ["items.csv, line 4", "'item'", "'10' is there twice", "items.csv, line 2"],
    ),
    "person twice": ({"people_csv": "user\n1\n2\n2\n"}, ["people.csv, line 4", "'2' is there twice"]),
    "empty file": ({"ratings_csv": ""}, ["ratings.csv is empty"]),
    "only blank lines": ({"ratings_csv": "\n\n"}, ["ratings.csv is empty"]),
    "only a header": ({"ratings_csv": HEAD}, ["ratings.csv has no rows"]),
    "only a header of items": ({"items_csv": ITEMS}, ["items.csv has no rows"]),
    "only a header of people": ({"people_csv": "user\n"}, ["people.csv has no rows"]),
    "too few values": (
        {"ratings_csv": HEAD + "1,10,4,1\n1,11\n"},
        ["ratings.csv, line 3", "Expected 4 columns, got 2"],
    ),
    "too many values": ({"items_csv": ITEMS + "10,Lamp, The,1\n"}, ["items.csv, line 2", "Expected 3 columns, got 4"]),
    "blank line": ({"ratings_csv": HEAD + "1,10,4,1\n\n1,11,4,1\n"}, ["ratings.csv, line 3"]),
    "no items": ({"items_csv": None}, ["no items.csv or items.parquet"]),
}


@pytest.mark.parametrize("case", BAD)
def test_plain_folder(plain, case: str) -> None:
    files, told = BAD[case]
    folder = plain(**files)
    with pytest.raises(DataError) as error:
        load_dataset(folder)
    for words in told:
        assert words in str(error.value)


def test_lines_are_counted_below_quoted_line_breaks(plain) -> None:
    items = 'item,title,year\n10,"Lamp\nand\nShade",\n11,Kite,x\n'
    with pytest.raises(DataError, match=r"items\.csv, line 5, field 'year'"):
        load_dataset(plain(items_csv=items))
    items = 'item,title,year\n10,"Lamp\nand\nShade",\n11,Kite\n'
    with pytest.raises(DataError, match=r"items\.csv, line 5: Expected 3 columns, got 2"):
        load_dataset(plain(items_csv=items))


@pytest.mark.parametrize("bad", [{0}, {499}, {999}, {3, 700}, {1, 2}, {500, 501}])
def test_the_first_of_several_bad_values_is_named(plain, bad: set[int]) -> None:
    rows = [f"1,{item},{'x' if item in bad else 3}" for item in range(1000)]
    items = ["item,title", *(f"{item},T{item}" for item in range(1000))]
    folder = plain(ratings_csv="\n".join(["user,item,rating", *rows]), items_csv="\n".join(items), people_csv=None)
    with pytest.raises(DataError, match=rf"ratings\.csv, line {min(bad) + 2}, field 'rating': 'x'"):
        load_dataset(folder)


def test_not_text(plain) -> None:
    folder = plain()
    (folder / "items.csv").write_bytes(b"item,title\n10,Lamp\n11,Caf\xe9\n")
    with pytest.raises(DataError, match=r"items\.csv, line 3: not utf-8.*Save the file as UTF-8"):
        load_dataset(folder)


def test_both_kinds_of_file(plain) -> None:
    folder = plain()
    (folder / "ratings.parquet").touch()
    with pytest.raises(DataError, match=r"both ratings\.csv and ratings\.parquet"):
        load_dataset(folder)


def test_parquet_names_rows(plain) -> None:
    folder = plain(ratings_csv=None)
    columns = {"user": [1, 2], "item": [10, 10], "rating": pa.array([4.0, None])}
    pq.write_table(pa.table(columns), folder / "ratings.parquet")
    with pytest.raises(DataError, match=r"ratings\.parquet, row 2, field 'rating': '' is missing"):
        load_dataset(folder)


def test_not_parquet(plain) -> None:
    folder = plain(ratings_csv=None)
    (folder / "ratings.parquet").write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"ratings\.parquet cannot be read as Parquet"):
        load_dataset(folder)


def test_atomic_files_name_their_fields(atomic) -> None:
    ratings = "user_id:token\titem_id:token\trating:float\n1\t10\t4\n2\t10\tx\n"
    with pytest.raises(DataError, match=r"tiny\.inter, line 3, field 'rating': 'x' is not a number"):
        load_dataset(atomic(tiny_inter=ratings))
    with pytest.raises(DataError, match=r"tiny\.inter: the column 'rating' is missing"):
        load_dataset(atomic(tiny_inter="user_id:token\titem_id:token\n1\t10\n"))
    with pytest.raises(DataError, match=r"tiny\.inter, line 1: the header 'user_id' has no type"):
        load_dataset(atomic(tiny_inter="user_id\titem_id:token\trating:float\n1\t10\t3\n"))
    ratings = "user_id:token\titem_id:token\trating:float\n1\t10\t4\n2\t99\t3\n"
    with pytest.raises(DataError, match=r"tiny\.inter, line 3, field 'item_id': '99' is not in .*tiny\.item"):
        load_dataset(atomic(tiny_inter=ratings))


def test_two_atomic_data_sets_in_a_folder(atomic) -> None:
    folder = atomic()
    (folder / "other.inter").touch()
    with pytest.raises(DataError, match=r"one \.inter file is needed, there are: other\.inter, tiny\.inter"):
        load_dataset(folder)


def test_unknown_names_are_told_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'ml-10m'.*synthetic.*ml-100k.*ml-1m.*ml-latest-small.*ratings\.csv.*\.inter"):
        load_dataset("ml-10m")
    with pytest.raises(DataError, match=r"holds no data set.*ratings\.csv"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match=r"'synthetic:x': seed and number of users are whole numbers"):
        load_dataset("synthetic:x")
