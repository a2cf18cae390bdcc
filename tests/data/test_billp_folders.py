"""Folders in BiLLP's layout: catalogue, likes, HTML, shared titles, invented people, broken files."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.data import load_dataset
from recsim_llm.data.formats.billp_release import invented_world, read_billp
from recsim_llm.data.worlds.invented_people import invent_people
from recsim_llm.errors import DataError

RELEASE = Path(os.environ.get("RECSIM_LLM_BILLP_RELEASE", "(not given)"))
"""A copy of BiLLP's data, for the one test that reads the real files; nothing of it is in this project."""
GENRES = ("Action", "Indie", "Racing", "Art &amp; Design")


def _write(folder: Path, likes: dict[str, list[list[str]]] | None = None, num_items: int = 30) -> Path:
    """A catalogue of invented titles: item 1 has an entity, 2 a tag, 3 what is left of one, and 4 and 5 share one."""
    titles = [f"Title {i}" for i in range(num_items)]
    titles[1:6] = ["Salt &amp; Sand", "<i>Blue</i> Hour", 'Rivers" />', "Twice", "Twice"]
    maps = {
        "id2item_dict": {str(i): title for i, title in enumerate(titles)},
        "item2id_dict": {title: i for i, title in enumerate(titles)},
    }
    genres = {title: str([GENRES[i % 4], GENRES[(i // 4) % 4]]) for i, title in enumerate(titles) if i != 7}
    folder.mkdir()
    (folder / "datamaps.json").write_text(json.dumps(maps))
    (folder / "list_genre.json").write_text(json.dumps(genres | {"Not here": "['Action']"}))
    for name, people in (likes or {}).items():
        rows = [{"userid_encoded": 40 - u, "pos_seq_name": liked, "question": "?"} for u, liked in enumerate(people)]
        (folder / name).write_text(json.dumps(rows))
    return folder


def test_catalogue_is_cleaned_and_shared_titles_stay_apart(tmp_path):
    read = read_billp(_write(tmp_path / "shop"))
    titles = [item.title for item in read.catalogue]
    assert titles[:6] == ["Title 0", "Salt & Sand", "Blue Hour", "Rivers", "Twice", "Twice"]
    assert (read.cleaned_titles, read.cleaned_genres, read.shared_titles, read.without_genres) == (3, 1, 2, 1)
    assert read.catalogue.raw_ids == tuple(str(i) for i in range(30))
    assert read.catalogue.genres == ("Action", "Art & Design", "Indie", "Racing")
    assert read.catalogue[0].genres == ("Action",)
    assert read.catalogue[7].genres == ()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Jesus &gt; Religion", "Jesus > Religion"),
        ("1 < 2, 3 > 2", "1 < 2, 3 > 2"),
        ("A <br/>B", "A B"),
        ("Caf&eacute; ", "Café"),
        ("I <3 You", "I <3 You"),
    ],
)
def test_what_is_no_html_is_left_alone(tmp_path, raw, clean):
    folder = _write(tmp_path / "shop")
    maps = json.loads((folder / "datamaps.json").read_text())
    maps["id2item_dict"]["0"] = raw
    del maps["item2id_dict"]
    (folder / "datamaps.json").write_text(json.dumps(maps))
    assert read_billp(folder).catalogue[0].title == clean


def test_likes_are_the_highest_level(tmp_path):
    likes = {"train.json": [["Twice", "Title 9"]], "test.json": [["Title 8", "Title 9", "Title 8"], ["Title 6"]]}
    folder = _write(tmp_path / "shop", likes)
    data = load_dataset(folder)
    assert [person.raw_id for person in data.people] == ["39", "40"]
    assert data.rating_levels == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert set(data.ratings.values.tolist()) == {5.0}
    # The release's own map sends the shared title to its later id; person 40 stands in both files.
    assert list(zip(data.ratings.users.tolist(), data.ratings.items.tolist(), strict=True)) == [
        (0, 6), (1, 5), (1, 9), (1, 8),
    ]  # fmt: skip
    assert read_billp(folder).repeated_likes == 2
    assert "made ratings of 5" in data.licence
    assert "INVENTED" not in data.licence


def test_a_catalogue_alone_gets_invented_people_who_are_declared(tmp_path):
    folder = _write(tmp_path / "shop")
    data = load_dataset(folder)
    assert (data.name, len(data.people)) == ("shop:1000:0", 1000)
    assert "PEOPLE ARE INVENTED" in data.licence
    assert all(person.raw_id.startswith("invented-") for person in data.people)
    assert data.catalogue == read_billp(folder).catalogue
    few = load_dataset(f"{folder}:25:3")
    assert len(few.people) == 25
    assert few.checksum == load_dataset(f"{folder}:25:3").checksum
    assert few.checksum != load_dataset(f"{folder}:25:4").checksum


def test_numbers_in_the_name_invent_people_even_where_there_are_real_ones(tmp_path):
    folder = _write(tmp_path / "shop", {"test.json": [["Title 8"]]})
    assert invented_world(str(folder)) is None
    world = invented_world(f"{folder}:12")
    assert world is not None
    assert world.dataset.checksum == load_dataset(f"{folder}:12").checksum
    assert "INVENTED" in world.dataset.licence


def test_a_changed_catalogue_is_read_again(tmp_path):
    folder = _write(tmp_path / "shop")
    before = load_dataset(f"{folder}:9").checksum
    shutil.rmtree(folder)
    _write(folder, num_items=31)
    assert load_dataset(f"{folder}:9").checksum != before


def test_invented_people_have_the_tastes_they_were_drawn_from(tmp_path):
    world = invented_world(f"{_write(tmp_path / 'shop')}:400")
    assert world is not None
    log, truth = world.dataset.ratings, world.truth
    expected = truth.expected_ratings(truth.scores())
    assert np.corrcoef(log.values, expected[log.users, log.items])[0, 1] > 0.6
    pairs = log.users * log.num_items + log.items
    assert len(np.unique(pairs)) == len(pairs)
    assert (np.bincount(log.users, minlength=400) >= 5).all()
    assert expected[log.users, log.items].mean() > expected.mean(), "people rate what they like"


def test_genres_drive_tastes(tmp_path):
    world = invented_world(f"{_write(tmp_path / 'shop', num_items=200)}:50")
    assert world is not None
    alike = world.truth.item_factors @ world.truth.item_factors.T
    genres = world.dataset.catalogue.genre_matrix
    same = (genres[:, None] == genres[None]).all(axis=-1) & ~np.eye(200, dtype=bool)
    disjoint = ~(genres[:, None] & genres[None]).any(axis=-1)
    assert alike[same].mean() > 0.6
    assert alike[same].mean() > alike[disjoint].mean() + 0.4


def test_everybody_rates_and_times_go_on_across_blocks(tmp_path):
    catalogue = read_billp(_write(tmp_path / "shop")).catalogue
    data = invent_people("many", catalogue, "x", 300, 1).dataset
    assert np.array_equal(np.unique(data.ratings.users), np.arange(300))
    assert (np.diff(data.ratings.times)[np.diff(data.ratings.users) == 0] > 0).all()


def _break(file: str, change):
    def apply(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return apply


BROKEN = {
    "no genres": (lambda f: (f / "list_genre.json").unlink(), "list_genre.json is missing"),
    "no JSON": (lambda f: (f / "datamaps.json").write_text("{"), "datamaps.json is not JSON"),
    "no UTF-8": (lambda f: (f / "datamaps.json").write_bytes(b'{"\xff": 1}'), "datamaps.json is not JSON"),
    "not an object": (lambda f: (f / "datamaps.json").write_text("[]"), "not an object"),
    "no titles": (_break("datamaps.json", lambda m: m.pop("id2item_dict")), "id2item_dict"),
    "an id": (_break("datamaps.json", lambda m: m["id2item_dict"].update(x="A")), "'x' is not a whole number"),
    "a title": (_break("datamaps.json", lambda m: m["id2item_dict"].update({"3": 5})), "id 3: 5 is not a title"),
    "only a tag": (
        _break("datamaps.json", lambda m: m["id2item_dict"].update({"3": "<b></b>"})),
        "item2id_dict|no title",
    ),
    "crossed maps": (_break("datamaps.json", lambda m: m["item2id_dict"].update({"Title 8": 9})), "another's"),
    "strange genres": (_break("list_genre.json", lambda g: g.update({"Title 8": "Action"})), "no list of genres"),
    "genres of numbers": (_break("list_genre.json", lambda g: g.update({"Title 8": [1]})), "no list of genres"),
    "an unknown title": (_break("test.json", lambda t: t[0]["pos_seq_name"].append("?")), "entry 1.*'\\?' is no title"),
    "no likes": (_break("test.json", lambda t: t[1].update(pos_seq_name=[])), "entry 2, field 'pos_seq_name'"),
    "no user": (_break("test.json", lambda t: t[0].pop("userid_encoded")), "entry 1, field 'userid_encoded'"),
    "twice": (_break("test.json", lambda t: t.append(t[0])), "is there twice"),
    "nobody": (lambda f: (f / "test.json").write_text("[]"), "not a list of people"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_files_are_named(tmp_path, what):
    folder = _write(tmp_path / "shop", {"test.json": [["Title 8"], ["Title 9"]]})
    change, message = BROKEN[what]
    change(folder)
    with pytest.raises(DataError, match=message):
        load_dataset(folder)


@pytest.mark.parametrize(("tail", "message"), [(":0", "0 people"), (":9999999", "There can be")])
def test_impossible_numbers_of_people(tmp_path, tail, message):
    with pytest.raises(DataError, match=message):
        load_dataset(f"{_write(tmp_path / 'shop')}{tail}")


def test_a_catalogue_too_small_for_people(tmp_path):
    with pytest.raises(DataError, match="8 items"):
        load_dataset(_write(tmp_path / "shop", num_items=8))


@pytest.mark.parametrize("name", ["nowhere", "nowhere:10", ".:10"])
def test_other_names_invent_nobody(name):
    assert invented_world(name) is None
    with pytest.raises(DataError):
        load_dataset(name)


@pytest.mark.skipif(not RELEASE.is_dir(), reason="RECSIM_LLM_BILLP_RELEASE names no folder")
def test_the_release(tmp_path):
    steam, folder = read_billp(RELEASE / "env" / "steam"), tmp_path / "amazon"
    assert (len(steam.catalogue), steam.shared_titles, steam.cleaned_titles) == (6012, 2, 74)
    folder.mkdir()
    for source in (*(RELEASE / "env" / "amazon").iterdir(), RELEASE / "amazon" / "test.json"):
        shutil.copy(source, folder)
    amazon = read_billp(folder)
    assert (len(amazon.catalogue), len(amazon.people), amazon.cleaned_titles) == (13_864, 1049, 9)
    assert not any("&amp;" in item.title for item in (*steam.catalogue, *amazon.catalogue))


PAGE = Path(__file__).parents[2] / "docs" / "billp_data.md"


@pytest.mark.skipif(not PAGE.exists(), reason="tests run outside the repository")
def test_the_example_of_the_docs_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    exec(compile(code, PAGE.name, "exec"), {})
    assert "shop:25:3 25 Salt & Sand 0" in capsys.readouterr().out
