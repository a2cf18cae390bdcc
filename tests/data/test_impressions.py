"""Logs of impressions as tables: read whatever the order of rows, written back unchanged, refused where they lie."""

from dataclasses import replace

import numpy as np
import pytest

from recsim_llm.data import Dataset
from recsim_llm.data.formats.folder import load_folder, save_folder
from recsim_llm.errors import DataError

HEAD = "user,item,session,page,slot,watched,rating,left\n"
ROWS = [
    "1,10,a,1,1,1,4,0",
    "1,11,a,1,2,0,,0",
    "1,11,a,2,1,1,,1",
    "2,11,a,1,1,0,,0",
    *(f"2,10,{visit},1,1,1,5,1" for visit in range(2, 13)),
]


def log_of(data: Dataset):
    assert data.impressions is not None
    return data.impressions


def test_a_table_is_read(plain) -> None:
    log = log_of(load_folder(plain(impressions_csv=HEAD + "\n".join(ROWS))))
    assert log.has_exits
    assert log.users.tolist()[:4] == [0, 0, 0, 1]
    assert log.items.tolist()[:3] == [0, 1, 1]
    assert log.pages.tolist()[:3] == [0, 0, 1]
    assert log.slots.tolist()[:3] == [0, 1, 0]
    assert log.watched.tolist()[:3] == [True, False, True]
    assert log.ratings.tolist()[:3] == [4.0, 0.0, 0.0]
    assert log.left.tolist()[:3] == [False, False, True]
    assert len(np.unique(log.sessions)) == 13  # "a" of person 1 is not "a" of person 2


def test_the_order_of_rows_does_not_matter(plain) -> None:
    a = load_folder(plain(impressions_csv=HEAD + "\n".join(ROWS)))
    b = load_folder(plain(impressions_csv=HEAD + "\n".join(reversed(ROWS))))
    assert a.checksum == b.checksum


def test_a_log_changes_the_checksum_and_without_one_it_is_as_ever(plain) -> None:
    without = load_folder(plain()).checksum
    assert load_folder(plain(impressions_csv=HEAD + "\n".join(ROWS))).checksum != without
    assert load_folder(plain(impressions_csv=HEAD + "\n".join(ROWS[:-1]))).checksum != without
    # As it was before there were logs of impressions: what was learned on a data set stays valid.
    assert without.startswith("529b6f1abb07a11c")


def test_what_is_written_is_read_back(plain, tmp_path) -> None:
    data = load_folder(plain(impressions_csv=HEAD + "\n".join(ROWS)))
    save_folder(data, tmp_path / "copy")
    back = load_folder(tmp_path / "copy")
    assert back.checksum == data.checksum
    for name in ("users", "items", "sessions", "pages", "slots", "watched", "ratings", "left"):
        np.testing.assert_array_equal(getattr(log_of(back), name), getattr(log_of(data), name))


def test_a_log_without_exits_stays_one(plain, tmp_path) -> None:
    data = load_folder(plain(impressions_csv="user,item,session,page,slot,watched\n1,10,a,1,1,1"))
    assert not log_of(data).has_exits
    save_folder(data, tmp_path / "copy")
    assert not log_of(load_folder(tmp_path / "copy")).has_exits


def test_random_ratings_are_kept_beside(plain, tmp_path) -> None:
    data = load_folder(plain())
    save_folder(replace(data, random_ratings=data.ratings.take(np.arange(2))), tmp_path / "copy")
    back = load_folder(tmp_path / "copy")
    assert back.random_ratings is not None
    assert len(back.random_ratings) == 2


GOOD = "1,10,a,1,1,1,4,0\n"
BAD = {
    "unknown user": ("9,10,s,1,1,1,5,0", 2, "user", "not in the people"),
    "unknown item": ("1,99,s,1,1,1,5,0", 2, "item", "not in the items"),
    "no session": ("1,10,,1,1,1,5,0", 2, "session", "is no id"),
    "page zero": (GOOD + "1,10,s,0,1,1,5,0", 3, "page", "from 1"),
    "half a slot": ("1,10,s,1,1.5,1,5,0", 2, "slot", "from 1"),
    "slot of the session": ("1,10,s,1,40000,1,5,0", 2, "slot", "Count slots anew on each page"),
    "watched twice": ("1,10,s,1,1,2,5,0", 2, "watched", "neither 1 nor 0"),
    "watched unknown": ("1,10,s,1,1,,5,0", 2, "watched", "is missing"),
    "rated unwatched": ("1,10,s,1,1,0,5,0", 2, "rating", "not watched"),
    "no level": ("1,10,s,1,1,1,7,0", 2, "rating", "not among the rating levels"),
    "slot twice": (GOOD + "1,11,a,1,1,0,,0", 3, "slot", "twice on this page"),
    "page missing": ("2,10,b,1,1,1,4,0\n1,11,a,3,1,0,,0\n" + GOOD, 3, "page", "without the page before"),
    "first page missing": ("1,11,a,2,1,0,,0", 2, "page", "first of its session"),
    "exit of half a page": (GOOD + "1,11,a,1,2,0,,1", 3, "left", "differs from the rest"),
    "page after leaving": (
        "2,10,b,1,1,1,4,0\n1,11,a,2,1,0,,0\n1,10,a,1,1,1,5,1",
        4,
        "left",
        "followed by a later page",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_by_line_and_field(case: str, plain) -> None:
    rows, line, field, why = BAD[case]
    folder = plain(impressions_csv=HEAD + rows)
    with pytest.raises(DataError, match=why) as caught:
        load_folder(folder)
    assert f"impressions.csv, line {line}, field '{field}'" in str(caught.value)


def test_a_missing_column_is_named(plain) -> None:
    with pytest.raises(DataError, match=r"impressions\.csv: the column 'slot' is missing"):
        load_folder(plain(impressions_csv="user,item,session,page,watched\n1,10,a,1,1"))
