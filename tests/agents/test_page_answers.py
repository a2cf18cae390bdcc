"""Reading generated answers about a page: nothing is guessed, nothing raises, and order does not matter."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.agents.llm.pages.page_answers import ItemAnswer, answer_lines, page_schema, parse_page_answer
from recsim_llm.agents.llm.pages.page_titles import mentioned, resolve_title

PAGE = ["Lion King, The (1994)", "Star Wars: Episode IV - A New Hope (1977)", "Misérables, Les (1995)", "Big (1988)"]

PUBLISHED = """MOVIE: The Lion King; ALIGN: Yes; REASON: Animated; and short.
MOVIE: Star Wars: Episode IV - A New Hope; ALIGN: No; REASON: Space.
MOVIE: Les Miserables (1995); ALIGN: Yes; REASON: History.
MOVIE: Alien (1979); ALIGN: No; REASON: Not on the page.

NUM: 2; WATCH: Lion King, The, Les Miserables; REASON: They fit.

MOVIE: Lion King, The (1994); RATING: 4; FEELING: Touched.
MOVIE: Les Misérables; RATING: 9; FEELING: Long.
MOVIE: Alien (1979); RATING: 5; FEELING: Afraid.
"""

titles = st.lists(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=25) | st.sampled_from(PAGE), min_size=1, max_size=6
)
keys = st.sampled_from(
    [
        "MOVIE:",
        "ALIGN:",
        "RATING:",
        "WATCH:",
        "REASON:",
        "FEELING:",
        "NUM:",
        ";",
        "\n",
        "yes",
        "4",
        '{"items":',
        "[{",
        "}",
    ]
)
texts = st.lists(keys | st.sampled_from(PAGE) | st.text(max_size=15), max_size=20).map(" ".join)


@given(texts | st.text(max_size=200), titles)
def test_any_text_gives_one_entry_an_item_or_none(text: str, labels: list[str]) -> None:
    answer = parse_page_answer(text, labels, 5)
    assert answer is None or len(answer.items) == len(labels)
    assert answer is None or all(item.rating is None or 1 <= item.rating <= 5 for item in answer.items)


@given(st.text(max_size=60) | st.sampled_from(PAGE), titles, st.randoms(use_true_random=False))
def test_a_title_is_resolved_within_the_page_and_whatever_the_order(
    text: str, labels: list[str], rng: random.Random
) -> None:
    found = resolve_title(text, labels)
    assert found is None or 0 <= found < len(labels)
    order = rng.sample(range(len(labels)), len(labels))
    there = resolve_title(text, [labels[i] for i in order])
    assert (None if there is None else order[there]) == found


@given(st.permutations(range(4)))
def test_permuting_the_page_permutes_the_answer(order: list[int]) -> None:
    straight, turned = parse_page_answer(PUBLISHED, PAGE, 5), parse_page_answer(PUBLISHED, [PAGE[i] for i in order], 5)
    assert straight is not None
    assert turned is not None
    assert turned.items == tuple(straight.items[i] for i in order)
    assert turned.unresolved == straight.unresolved


@given(texts, st.permutations(range(4)))
def test_permuting_the_page_permutes_whatever_a_text_says(text: str, order: list[int]) -> None:
    straight, turned = parse_page_answer(text, PAGE, 5), parse_page_answer(text, [PAGE[i] for i in order], 5)
    if straight is None or '"items"' in text:
        assert turned is None or '"items"' in text
    else:
        assert turned is not None
        assert turned.items == tuple(straight.items[i] for i in order)


def test_the_published_lines_are_read_and_strangers_returned() -> None:
    answer = parse_page_answer(PUBLISHED, PAGE, 5)
    assert answer is not None
    assert answer.items == (
        ItemAnswer(True, True, 4, "Touched.", "Animated; and short."),
        ItemAnswer(False, False, None, "", "Space."),
        ItemAnswer(True, True, None, "Long.", "History."),
        ItemAnswer(),
    )
    assert [line.partition(";")[0] for line in answer.unresolved] == ["MOVIE: Alien (1979)"] * 2


def test_a_line_without_a_title_is_about_the_item_that_its_remark_names() -> None:
    text = "NUM: 1; WATCH: Big\nRATING: 3; FEELING: Big made me laugh.\nRATING: 5; FEELING: It was good."
    lines = answer_lines(text, PAGE)
    assert [(line.item, line.value) for line in lines] == [(3, "3"), (None, "5")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lion king", 0),
        ("The Lion King (1995)", 0),
        ('"Lion King, The"', 0),
        ("<i>Lion King</i>, The (1994)", 0),
        ("Star Wars", 1),
        ("Star Wars: Episode IV: A New Hope", 1),
        ("Star Wars: Episode 4 - A New Hope", 1),
        ("Les Mis&eacute;rables", 2),
        ("Les Miserable", 2),
        ("BIG", 3),
        ("The Big Lebowski", None),
        ("Alien", None),
        ("", None),
        ("(1994)", None),
        ("x" * 10_000, None),
    ],
)
def test_titles_as_people_write_them(text: str, found: int | None) -> None:
    assert resolve_title(text, PAGE) == found


def test_what_is_not_told_apart_is_not_resolved() -> None:
    wars = ["Star Wars: Episode IV - A New Hope (1977)", "Star Wars: Episode V - The Empire Strikes Back (1980)"]
    assert resolve_title("Star Wars", wars) is None
    assert resolve_title("Star Wars (1980)", wars) == 1
    remakes = ["Sabrina (1954)", "Sabrina (1995)"]
    assert resolve_title("Sabrina", remakes) is None
    assert resolve_title("Sabrina (1995)", remakes) == 1
    assert resolve_title("Big", ["Big", "Big"]) is None


def test_a_title_within_a_longer_one_is_not_mentioned() -> None:
    labels = ["Alien (1979)", "Alien Nation (1988)"]
    assert mentioned("I watch Alien Nation tonight", labels) == [1]
    assert mentioned("Alien Nation, Alien", labels) == [0, 1]


def entry(number: int, **changes: object) -> dict[str, object]:
    return {"item": number, "align": True, "watch": True, "rating": 4, "feeling": "fine"} | changes


def test_json_is_read_by_number_whatever_stands_around_it() -> None:
    body = json.dumps({"items": [entry(2, watch=False, rating=None), entry(1), entry(7)]})
    answer = parse_page_answer(f"Sure! {{\n```json\n{body}\n```\nDone.", ["A", "B"], 5)
    assert answer is not None
    assert answer.items == (ItemAnswer(True, True, 4, "fine"), ItemAnswer(True, False, None, "fine"))
    assert answer.unresolved == ('{"item": 7}',)


def test_json_is_found_behind_a_beginning_that_broke_off() -> None:
    body = json.dumps({"items": [entry(1)]})
    answer = parse_page_answer(f'{{"items": [{{"item": 1, wait.\n{body}', ["A"], 5)
    assert answer is not None
    assert answer.items == (ItemAnswer(True, True, 4, "fine"),)


@pytest.mark.parametrize(
    "second",
    [
        entry(2, rating=6),
        entry(2, rating=0),
        entry(2, rating="4"),
        entry(2, rating=True),
        entry(2, watch="yes"),
        entry(2, align=1),
        entry(2, feeling=3),
        entry(1),
        entry(3),
        "two",
    ],
)
def test_json_that_breaks_a_range_or_leaves_an_item_out_is_refused(second: object) -> None:
    assert parse_page_answer(json.dumps({"items": [entry(1), second]}), ["A", "B"], 5) is None


@pytest.mark.parametrize(
    "text", ["", "I do not know.", '{"items": [', '{"items": 3}', "[" * 100_000, '{"items":' * 9999]
)
def test_nothing_usable_is_none(text: str) -> None:
    assert parse_page_answer(text, PAGE, 5) is None


def test_the_schema_is_closed_and_says_the_ranges() -> None:
    entries = json.loads(page_schema(4, 5))["properties"]["items"]
    fields = entries["items"]["properties"]
    assert (entries["minItems"], entries["maxItems"], fields["item"]["maximum"], fields["rating"]["maximum"]) == (
        4,
        4,
        4,
        5,
    )
    assert set(entries["items"]["required"]) == set(fields)
