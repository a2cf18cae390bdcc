"""Files of interventions: the documented example loads, JSON gives them back, and every mistake is named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.agents.personas.persona import build_personas
from recsim_llm.agents.society.graph import SocialGraph
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.simulation.interventions.interventions import (
    KINDS,
    PLATFORM,
    Advert,
    Link,
    NewItem,
    PolicySwitch,
    Post,
    Profile,
    from_json,
    load_interventions,
    to_json,
)

POLICIES = ("random", "popularity", "ease")
DOCS = Path(__file__).parents[2] / "docs" / "interventions.md"


@pytest.fixture(scope="module")
def dataset():
    made = make_world().dataset
    items = list(made.catalogue.items)
    items[7] = replace(items[6], id=7)  # two items of one title
    items[9] = replace(items[9], title="12", year=None)  # titled like another one's raw id
    return replace(made, catalogue=replace(made.catalogue, items=tuple(items)))


@pytest.fixture
def load(tmp_path, dataset):
    def loaded(text):
        path = tmp_path / "plan.toml"
        path.write_text(text, "utf-8")
        return load_interventions(path, dataset, POLICIES)

    return loaded


EXAMPLE = (
    Profile(2, 17, activity=3, age=41, occupation="librarian", likes=("Drama", "Mystery"), dislikes=()),
    Link(2, 17, 18, "friend", 0.8),
    Post(2, PLATFORM, "Award night: the winners are here.", "everybody", 12, 5.0),
    Advert(3, 12, 5, "Everybody talks about it"),
    NewItem(4, 3),
    Link(5, 17, 18, removed=True),
    PolicySwitch(6, "ease"),
)


@pytest.mark.skipif(not DOCS.exists(), reason="tests run outside the repository")
def test_the_documented_example_loads(load):
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), flags=re.DOTALL)
    found = load(example)
    assert found == EXAMPLE
    assert {type(one) for one in found} == set(KINDS.values())


@pytest.mark.skipif(not DOCS.exists(), reason="tests run outside the repository")
def test_the_documented_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), flags=re.DOTALL)
    exec(compile(code, "interventions.md", "exec"), {})
    assert capsys.readouterr().out == f"{(NewItem(4, 12),)}\n"


ROUNDS, IDS = st.integers(1, 50), st.integers(0, 99)
ANY = st.one_of(
    st.builds(Advert, ROUNDS, IDS, ROUNDS, st.text()),
    st.builds(NewItem, ROUNDS, IDS),
    st.builds(PolicySwitch, ROUNDS, st.sampled_from(POLICIES)),
    st.builds(Profile, ROUNDS, IDS, age=st.none() | IDS, likes=st.none() | st.lists(st.text()).map(tuple)),
    st.builds(Link, ROUNDS, IDS, IDS, st.text(), st.floats(0, 1), st.booleans()),
    st.builds(
        Post, ROUNDS, IDS, st.text(), st.sampled_from(["everybody", "neighbours"]) | st.lists(IDS).map(tuple), IDS
    ),
)


@given(st.lists(ANY))
def test_json_gives_them_back(interventions):
    assert from_json(json.loads(json.dumps(to_json(interventions)))) == tuple(interventions)


@pytest.mark.parametrize(
    "value",
    [{}, {"kind": "adverts", "round": 1}, {"kind": "new_item", "round": 1}, {"kind": "new_item", "day": 1, "item": 2}],
)
def test_damaged_json_is_refused(value):
    with pytest.raises(RecordingError, match="cannot be read"):
        from_json([value])


def test_an_empty_file_plans_nothing(load):
    assert load("# later\n") == ()


def test_they_come_by_round_then_kind_then_place(load):
    text = (
        '[[post]]\nround=1\nauthor=3\ntext="b"\nto="neighbours"\n'
        '[[post]]\nround=1\nauthor="3"\ntext="a"\nto=[4, "5"]\n'
        "[[advert]]\nround=2\nitem=1\nuntil=2\n"
        "[[advert]]\nround=1\nitem=2\nuntil=1\n"
    )
    posts = Post(1, 3, "b", "neighbours"), Post(1, 3, "a", (4, 5))
    assert load(text) == (Advert(1, 2, 1), *posts, Advert(2, 1, 2))


def test_a_raw_id_goes_before_a_title(load):
    assert load('[[new_item]]\nround=1\nitem="12"') == (NewItem(1, 12),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[advrt]]\nround=1", ["'advrt'", "Did you mean 'advert'", "new_item"]),
        ("[advert]\nround=1", ["[[advert]]"]),
        ("advert=3", ["[[advert]]"]),
        ("[[advert]\n", ["not TOML", "line 1"]),
        ("[[new_item]]\nround=1\nitm=3", ["new_item", "number 1", "'itm'", "Did you mean 'item'"]),
        ("[[new_item]]\nround=1\nitem=3\n[[new_item]]\nround=1", ["number 2", "'item' is missing"]),
        ("[[new_item]]\nitem=3", ["'round' is missing"]),
        ("[[new_item]]\nround=0\nitem=3", ["'round'", "0 is less than 1"]),
        ("[[new_item]]\nround=1.0\nitem=3", ["'round'", "1.0", "whole number"]),
        ("[[new_item]]\nround=true\nitem=3", ["'round'", "True", "whole number"]),
        ("[[new_item]]\nround='1'\nitem=3", ["'round'", "'1'", "whole number"]),
        ("[[new_item]]\nround=1\nitem=3.5", ["'item'", "3.5", "no id"]),
        ("[[new_item]]\nround=1\nitem=true", ["'item'", "True", "no id"]),
        ("[[new_item]]\nround=1\nitem=500", ["'item'", "'500' is no item"]),
        (
            "[[new_item]]\nround=1\nitem='The Holow Clock of Ulloquet (1961)'",
            ["is no item", "Did you mean 'The Hollow Clock of Ulloquet (1961)'"],
        ),
        ("[[advert]]\nround=3\nitem=1\nuntil=2", ["'until'", "2 is less than 3"]),
        ("[[advert]]\nround=3\nitem=1\nuntil=3\nslogan=4", ["'slogan'", "4 is no text"]),
        (f"[[advert]]\nround=3\nitem=1\nuntil=3\nslogan='{'x' * 1025}'", ["'slogan'", "1024 bytes"]),
        ("[[policy]]\nround=3\npolicy='eases'", ["'policy'", "'eases' is no policy", "Did you mean 'ease'"]),
        ("[[policy]]\nround=3\npolicy=3", ["'policy'", "3 is no text"]),
        ("[[profile]]\nround=3\nuser=200\nage=3", ["'user'", "'200' is no user", "Did you mean"]),
        ("[[profile]]\nround=3\nuser=2", ["'user'", "is not changed", "activity"]),
        ("[[profile]]\nround=3\nuser=2\nactivity=4", ["'activity'", "4 is not in 1 to 3"]),
        ("[[profile]]\nround=3\nuser=2\ndiversity=0", ["'diversity'", "0 is not in 1 to 3"]),
        ("[[profile]]\nround=3\nuser=2\nconformity=2.5", ["'conformity'", "2.5", "whole"]),
        ("[[profile]]\nround=3\nuser=2\nage=-1", ["'age'", "-1 is not in 0 to 150"]),
        ("[[profile]]\nround=3\nuser=2\noccupation=' '", ["'occupation'", "blank"]),
        ("[[profile]]\nround=3\nuser=2\nlikes='Drama'", ["'likes'", "no list", "likes = ["]),
        ("[[profile]]\nround=3\nuser=2\nlikes=['Drma']", ["'likes'", "'Drma' is no genre", "Did you mean 'Drama'"]),
        ("[[profile]]\nround=3\nuser=2\nlikes=['Drama','Drama']", ["'likes'", "'Drama' is there twice"]),
        ("[[profile]]\nround=3\nuser=2\nlikes=['Drama']\ndislikes=['Drama']", ["'dislikes'", "likes as well"]),
        ("[[profile]]\nround=3\nuser=2\ngender='F'", ["'gender' is not known"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2='2'\nrelation='friend'\ncloseness=0.5", ["'user_2'", "same person"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2=3\nrelation='friend'", ["'closeness' is missing"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2=3\ncloseness=0.5", ["'relation' is missing"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2=3\nrelation='friend'\ncloseness=nan", ["'closeness'", "nan"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2=3\nrelation='friend'\ncloseness=0", ["'closeness'", "0 is not in"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2=3\nrelation='friend'\ncloseness='1'", ["'closeness'", "no number"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2=3\nrelation=''\ncloseness=1", ["'relation'", "empty"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2=3\nremoved='yes'", ["'removed'", "neither true nor false"]),
        ("[[link]]\nround=3\nuser_1=2\nuser_2=3\nremoved=true\ncloseness=1", ["'closeness'", "means nothing"]),
        ("[[post]]\nround=3\nauthor=1\ntext='x'\nto='everybody'\nstars=4", ["'stars'", "without an item"]),
        (
            "[[post]]\nround=3\nauthor=1\ntext='x'\nto='everybody'\nitem=3\nstars=7",
            ["'stars'", "no rating", "1, 2, 3, 4, 5"],
        ),
        ("[[post]]\nround=3\nauthor='me'\ntext='x'\nto='everybody'", ["'author'", "'me' is no user"]),
        ("[[post]]\nround=3\nauthor=1\ntext='  '\nto='everybody'", ["'text'", "blank"]),
        ("[[post]]\nround=3\nauthor=1\ntext='x'", ["'to' is missing"]),
        ("[[post]]\nround=3\nauthor=1\ntext='x'\nto='all'", ["'to'", "'all'", "everybody"]),
        ("[[post]]\nround=3\nauthor=1\ntext='x'\nto=[]", ["'to'", "[]"]),
        ("[[post]]\nround=3\nauthor=1\ntext='x'\nto=[2, 900]", ["'to'", "'900' is no user"]),
        ("[[post]]\nround=3\nauthor=1\ntext='x'\nto=[2, '2']", ["'to'", "'2' is there twice"]),
        ("[[post]]\nround=3\nauthor='platform'\ntext='x'\nto='neighbours'", ["'to'", "everybody"]),
        ("[[advert]]\nround=3\nitem=1\nuntil=5\n[[advert]]\nround=5\nitem=2\nuntil=6", ["round 5", "until = 5"]),
        (
            "[[policy]]\nround=3\npolicy='ease'\n[[policy]]\nround=3\npolicy='random'",
            ["'ease' and 'random'", "round 3"],
        ),
        ("[[new_item]]\nround=1\nitem=3\n[[new_item]]\nround=2\nitem='3'", ["rounds 1 and 2", "new once"]),
        ("[[new_item]]\nround=4\nitem=3\n[[advert]]\nround=2\nitem=3\nuntil=5", ["in round 2", "in round 4"]),
    ],
)
def test_mistakes_are_named(load, text, said):
    with pytest.raises(ConfigError) as caught:
        load(text)
    for words in ("plan.toml", *said):
        assert words in str(caught.value)


def test_a_title_of_two_items_needs_a_raw_id(load, dataset):
    with pytest.raises(ConfigError, match="is the title of 2 items.*'6', '7'"):
        load(f'[[new_item]]\nround=1\nitem="{dataset.catalogue[6].label}"')


def test_files_that_cannot_be_read_are_named(tmp_path, dataset):
    with pytest.raises(ConfigError, match=r"away\.toml cannot be read"):
        load_interventions(tmp_path / "away.toml", dataset, POLICIES)
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_interventions(tmp_path / "latin.toml", dataset, POLICIES)


def test_a_profile_changes_what_it_names(dataset):
    persona = build_personas(dataset, dataset.ratings)[0]
    persona = replace(persona, likes=("Drama", "Comedy"), dislikes=("Horror",))
    changed = Profile(1, 0, activity=3, likes=("Horror", "Comedy")).apply(persona)
    assert changed == replace(persona, activity=3, likes=("Horror", "Comedy"), dislikes=())
    assert Profile(1, 0, dislikes=("Comedy",)).apply(persona).likes == ("Drama",)
    assert Profile(1, 0, likes=()).apply(persona).likes == ()


def test_a_link_changes_the_graph():
    graph = SocialGraph.from_edges(4, [])
    linked = Link(1, 3, 1, "friend", 0.8).apply(graph)
    assert linked.neighbours(1).tolist() == [3]
    assert Link(2, 1, 3, removed=True).apply(linked).summary().edges == 0
    with pytest.raises(ConfigError, match="no edge"):
        Link(2, 0, 1, removed=True).apply(linked)
