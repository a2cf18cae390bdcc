"""Small data sets in files, which tests damage one value at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PLAIN = {
    "ratings.csv": "user,item,rating,time\n1,10,4,100\n1,11,5,200\n2,10,3,150\n",
    "items.csv": 'item,title,year,genres,description\n10,"Lamp, The",1999,Drama|Comedy,About a lamp.\n11,Kite,,,\n',
    "people.csv": "user,age,gender,occupation\n1,30,F,writer\n2,,,\n",
}

ATOMIC = {
    "tiny.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "1\t10\t4\t100\n1\t11\t5\t200\n2\t10\t3\t5\n",
    "tiny.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "10\tLamp\t1999\tDrama Comedy\n11\tKite\tV\t\n",
    "tiny.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "1\t30\tF\twriter\t9\n2\t\tM\t\t8\n",
}

Writer = Callable[..., Path]


def _writer(tmp_path: Path, files: dict[str, str]) -> Writer:
    def write(**changed: str | None) -> Path:
        """Write the files; keywords replace (or, as None, leave out) those of that name, "_" standing for the dot."""
        replaced = {name.replace("_", ".", 1): content for name, content in changed.items()}
        for name, content in {**files, **replaced}.items():
            if content is not None:
                (tmp_path / name).write_text(content, "utf-8")
        return tmp_path

    return write


@pytest.fixture
def plain(tmp_path: Path) -> Writer:
    return _writer(tmp_path, PLAIN)


@pytest.fixture
def atomic(tmp_path: Path) -> Writer:
    return _writer(tmp_path, ATOMIC)
