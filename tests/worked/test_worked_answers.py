"""What a model's labels and texts about a page mean, number by number (`page_labels`, `page_answers`, `page_texts`)."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from small_world import TITLES, everybodys_wish, write_world

from recsim_llm.agents.llm.pages.page_answers import parse_page_answer
from recsim_llm.agents.llm.pages.page_labels import listing_order, numbered, page_choices, read_page
from recsim_llm.agents.llm.prompts_text import template
from recsim_llm.agents.population import make_population
from recsim_llm.language.converse import converse
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.testing.scripted import FunctionLLM
from recsim_llm.types import EMPTY, Prompt, Responses

ONE = np.zeros(1, dtype=np.int64)

# Of three levels: P(passes over), P(1), P(2), P(3). Of Red Sun the labels have only 0.8 of all probability.
SAID = {"Blue Moon (1999)": (0.5, 0.1, 0.1, 0.3), "Red Sun (2001)": (0.2, 0.0, 0.6, 0.0), "Salt (2015)": (1, 0, 0, 0)}
WATCH = {"Blue Moon (1999)": 0.5, "Red Sun (2001)": 0.75, "Salt (2015)": 0.0}
RATING = {"Blue Moon (1999)": [0.2, 0.2, 0.6], "Red Sun (2001)": [0.0, 1.0, 0.0], "Salt (2015)": [1 / 3] * 3}


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("order", [(0, 2, 3), (3, 0, 2), (2, 3, 0), (3, 2, 0)])
def test_labels_become_probabilities_in_the_slot_of_their_item(one_by_one, order):
    shown = ["Blue Moon (1999)", "", "Red Sun (2001)", "Salt (2015)"]

    def answer(prompt):
        assert prompt.slots == (1 if one_by_one else 3)
        lines = sorted((prompt.question.index(title), title) for title in SAID if title in prompt.question)
        return [p for _, title in lines for p in SAID[title]]

    turn = read_page(
        Prompt("system", "me", ""), template("agent4rec", "page_labels"), shown.__getitem__, [0, EMPTY, 2, 3], order,
        num_levels=3, remind="again", counts=AnswerCounts(), one_by_one=one_by_one,
    )  # fmt: skip
    (page,) = converse(FunctionLLM(answer), [turn])
    assert page.watch == pytest.approx([WATCH.get(title, 0.0) for title in shown], abs=1e-9)
    for slot, title in enumerate(shown):
        assert page.rating[slot] == pytest.approx(RATING.get(title, [1 / 3] * 3), abs=1e-9)


def test_an_empty_page_is_not_asked_about():
    turn = read_page(
        Prompt("", "", ""), template("agent4rec", "page_labels"), str, [EMPTY] * 2, [], 2, "", AnswerCounts()
    )
    (page,) = converse(FunctionLLM(lambda prompt: pytest.fail("asked")), [turn])
    assert page.watch == [0.0, 0.0]
    assert page.rating == [[0.5, 0.5]] * 2


def test_the_order_of_a_list_is_of_the_slots_that_hold_something_and_differs_between_people():
    page = [4, EMPTY, 1, 7, EMPTY, 0]
    orders = {tuple(listing_order(key, 0, page)) for key in range(500)}
    assert {tuple(sorted(order)) for order in orders} == {(0, 2, 3, 5)}
    assert len(orders) == 24, "all 4! orders occur"
    firsts = [listing_order(key, 0, page)[0] for key in range(4000)]
    # Each slot is first in a quarter of the lists: 1000 of 4000, with a standard deviation of 27.
    assert all(abs(firsts.count(slot) - 1000) < 110 for slot in (0, 2, 3, 5))


def test_lists_begin_with_one_and_labels_with_zero():
    assert numbered(["a", "b"]) == "1. a\n2. b"
    assert page_choices(5) == ("0", "1", "2", "3", "4", "5")


def test_json_about_a_page_goes_by_numbers_from_one():
    entry = {"align": True, "watch": False, "rating": 2, "feeling": ""}
    rows = [
        {**entry, "item": 3},
        {**entry, "item": 1, "watch": True, "rating": 4},
        {**entry, "item": 2, "align": False},
    ]
    first, second, third = parse_page_answer(json.dumps({"items": rows}), TITLES[:3], 5).items
    assert (first.watch, first.rating) == (True, 4)
    assert (second.watch, second.align) == (False, False)
    assert (third.watch, third.rating, third.align) == (False, 2, True)


def test_lines_about_a_page_go_by_titles():
    text = (
        "MOVIE: Red Sun; ALIGN: yes; REASON: bright\nMOVIE: Blue Moon; ALIGN: no; REASON: dark\n"
        "NUM: 1; WATCH: Red Sun; REASON: bright\nMOVIE: Red Sun; RATING: 4; FEELING: Warm."
    )
    moon, sun, rising = parse_page_answer(text, TITLES[:3], 5).items
    assert (moon.align, moon.watch, moon.rating) == (False, False, None)
    assert (sun.align, sun.watch, sun.rating, sun.feeling) == (True, True, 4, "Warm.")
    assert (rising.align, rising.watch) == (None, False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("small"))


def after_two_pages(world, kind):
    """What person 1 reads after a page on which item 2 got 3 stars, and one on which nothing was watched."""
    users = make_population(str(world), kind, everybodys_wish()).users
    users.reset(ONE, ONE + 1, np.zeros(1, dtype=np.uint64))
    users.observe(
        ONE, np.array([[1, 2, EMPTY]]), Responses(np.array([[False, True, False]]), np.array([[0.0, 3.0, 0.0]]))
    )
    users.observe(ONE, np.array([[4, 0, 6]]), Responses(np.zeros((1, 3), dtype=bool), np.zeros((1, 3))))
    return users


def test_a_page_agent_reads_what_happened_in_its_order(world):
    # Titles that the package does not vouch for stand in quotes.
    assert (
        after_two_pages(world, "llm")
        .contexts(ONE)[0]
        .endswith(
            "This visit so far:\n"
            'Page 1:\n- "Red Sun (2001)": not watched\n- "Blue Moon Rising (2003)": watched, rated 3 of 5\n'
            'Page 2:\n- "The Mill (1990)": not watched\n- "Blue Moon (1999)": not watched\n'
            '- "Old Bridge (1975)": not watched'
        )
    )


def test_a_dialogue_tells_each_page_with_the_numbers_that_were_given(world):
    users = after_two_pages(world, "dialogue")
    first, second = (event.text for event in users.kind.memory.transcript(0))
    # In whatever order the two were listed, Blue Moon Rising has 3 and Red Sun 0.
    lines, numbers = first.splitlines()[1:3], first.splitlines()[-1].split()
    assert {line.split(". ")[1]: n for line, n in zip(lines, numbers, strict=True)} == {
        '"Red Sun (2001)", "Drama"': "0",
        '"Blue Moon Rising (2003)", "Drama"': "3",
    }
    assert second.splitlines()[-1] == "0 0 0"


def test_a_label_that_nobody_gives_a_chance_is_no_answer():
    # 0.004 + 0.005 of all probability is below one hundredth: asked twice more, then every label is equally likely.
    asked, counts = [], AnswerCounts()

    def hardly(prompt):
        asked.append(prompt.question)
        return [0.004, 0.005]

    turn = read_page(
        Prompt("", "", ""), template("agent4rec", "page_labels"), str, [7], [0], 1, "Please.", counts, one_by_one=True
    )
    (page,) = converse(FunctionLLM(hardly), [turn])
    assert math.isclose(page.watch[0], 0.5)
    assert page.rating == [[1.0]]
    assert len(asked) == 3
    assert asked[1].endswith("Please.")
    assert not asked[0].endswith("Please.")
    assert (counts.asked, counts.reasked, counts.malformed, counts.fallbacks, counts.usable) == (1, 2, 3, 1, 0)
