"""The Coat folder: a tiny made-up one, what comes out of it, and what is said of a damaged one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.data import load_dataset
from recsim_llm.data.formats.folder import save_folder
from recsim_llm.errors import DataError

FILES = {
    "train.ascii": "0 2 5\n1 0 0\n",
    "test.ascii": "3 2 0\n0 4 1\n",
    "user_item_features/item_features.ascii": "1 0 0 1 0 1\n0 1 1 0 1 0\n0 1 1 0 0 1\n",
    "user_item_features/item_features_map.txt": "gender:men\ngender:women\njackettype:parkas\njackettype:track\n"
    "color:other\ncolor:navy",
    "user_item_features/user_features.ascii": "1 0 0 1 1\n0 1 0 0 1\n",
    "user_item_features/user_features_map.txt": "gender:men\ngender:women\nage:20-30\nage:over 60\nlocation:urban",
}

Writer = Callable[..., Path]


@pytest.fixture
def coat(tmp_path: Path) -> Writer:
    def write(changed: dict[str, str | None] | None = None) -> Path:
        (tmp_path / "user_item_features").mkdir(exist_ok=True)
        for name, content in {**FILES, **(changed or {})}.items():
            if content is not None:
                (tmp_path / name).write_text(content, "utf-8")
        return tmp_path

    return write


def test_ratings_chosen_and_random(coat: Writer) -> None:
    data = load_dataset(coat())
    assert data.name == "coat"
    assert data.rating_levels == (1, 2, 3, 4, 5)
    assert data.ratings.matrix().toarray().tolist() == [[0, 2, 5], [1, 0, 0]]
    assert not data.ratings.times.any()
    assert data.random_ratings is not None
    assert data.random_ratings.matrix().toarray().tolist() == [[3, 2, 0], [0, 4, 1]]
    assert "no licence" in data.licence


def test_features_name_items_and_people(coat: Writer) -> None:
    data = load_dataset(coat())
    assert [item.title for item in data.catalogue] == [
        "Men's navy track jacket, no. 0",
        "Women's parka, no. 1",
        "Women's navy parka, no. 2",
    ]
    assert data.catalogue[0].genres == ("men", "track", "navy")
    assert data.catalogue[1].genres == ("women", "parkas")
    assert [(person.age, person.gender) for person in data.people] == [(65, "M"), (None, "F")]


@pytest.mark.parametrize("absent", ["item_features.ascii", "item_features_map.txt"])
def test_without_features_items_have_numbers(coat: Writer, absent: str) -> None:
    data = load_dataset(coat({f"user_item_features/{absent}": None}))
    assert [item.title for item in data.catalogue] == ["Coat 0", "Coat 1", "Coat 2"]
    assert data.people[0].gender == "M"


def test_random_ratings_are_no_part_of_the_checksum(coat: Writer) -> None:
    before = load_dataset(coat())
    assert load_dataset(coat({"test.ascii": "0 0 1\n1 1 1\n"})).checksum == before.checksum
    assert load_dataset(coat({"train.ascii": "0 2 4\n1 0 0\n"})).checksum != before.checksum


def test_saved_as_a_plain_folder_it_is_the_same(coat: Writer, tmp_path: Path) -> None:
    data = load_dataset(coat())
    save_folder(data, tmp_path / "plain")
    again = load_dataset(tmp_path / "plain")
    assert again.checksum == data.checksum
    assert again.random_ratings is not None
    assert data.random_ratings is not None
    assert (again.random_ratings.matrix() != data.random_ratings.matrix()).nnz == 0


BAD: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "a word": ({"train.ascii": "0 x 5\n1 0 0\n"}, ["train.ascii, line 1", "whole numbers", "'x'"]),
    "half a star": ({"test.ascii": "3 2 0\n0 4.5 1\n"}, ["test.ascii, line 2", "whole numbers"]),
    "six stars": ({"train.ascii": "0 2 5\n1 0 6\n"}, ["train.ascii, line 2, value 3: 6 is no rating", "1 to 5"]),
    "below zero": ({"test.ascii": "3 2 0\n0 -1 1\n"}, ["test.ascii, line 2, value 2: -1"]),
    "a short line": ({"train.ascii": "0 2 5\n1 0\n"}, ["train.ascii, line 2: 2 values", "first line has 3"]),
    "other people": ({"test.ascii": "3 2 0\n"}, ["test.ascii has 1 lines of 3 values", "train.ascii 2 lines"]),
    "other items": ({"test.ascii": "3 2\n0 4\n"}, ["test.ascii has 2 lines of 2 values", "the same place"]),
    "empty": ({"train.ascii": "\n\n"}, ["train.ascii is empty"]),
    "nobody rates": ({"train.ascii": "0 2 5\n0 0 0\n"}, ["train.ascii, line 2", "without ratings", "Remove"]),
    "a feature too few": (
        {"user_item_features/user_features.ascii": "1 0 0 1\n0 1 0 0\n"},
        ["user_features.ascii has 2 lines of 4 values", "5 values", "user_features_map.txt"],
    ),
    "a person too few": ({"user_item_features/user_features.ascii": "1 0 0 1 1\n"}, ["1 lines", "2 lines"]),
    "no features": ({"user_item_features/item_features.ascii": ""}, ["item_features.ascii is empty"]),
}


@pytest.mark.parametrize("case", BAD)
def test_damaged(coat: Writer, case: str) -> None:
    files, told = BAD[case]
    folder = coat(files)
    with pytest.raises(DataError) as error:
        load_dataset(folder)
    for words in told:
        assert words in str(error.value)


def test_not_text(coat: Writer) -> None:
    folder = coat()
    (folder / "train.ascii").write_bytes(b"\xff\xfe1\xe9")
    with pytest.raises(DataError, match=r"train\.ascii is not utf-8 text"):
        load_dataset(folder)


def test_half_a_folder_is_none(coat: Writer) -> None:
    folder = coat({"test.ascii": None})
    with pytest.raises(DataError, match=r"holds no data set.*test\.ascii"):
        load_dataset(folder)


def test_the_real_one() -> None:
    folder = os.environ.get("RECSIM_LLM_COAT", "")
    if not Path(folder, "train.ascii").is_file():
        pytest.skip("RECSIM_LLM_COAT names no Coat folder")
    data = load_dataset(folder)
    assert (len(data.people), len(data.catalogue), len(data.ratings)) == (290, 300, 6960)
    assert data.random_ratings is not None
    assert set(np.bincount(data.random_ratings.users).tolist()) == {16}
    assert len({item.title for item in data.catalogue}) == 300
