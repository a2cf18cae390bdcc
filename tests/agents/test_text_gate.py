"""The gate for texts that people read: worked examples of what is refused, and why, and of what passes."""

from __future__ import annotations

import pytest

from recsim_llm.agents.llm import text_gate
from recsim_llm.agents.llm.text_gate import mentions_of, refusal
from recsim_llm.types import Item

PROMPT = (
    "You play one person who visits a recommendation site. The person has just seen this page: "
    "1. Heat (1995), Action, Crime; 2. Lion King, The (1994), Animation, Musical. "
    "Watched Heat (1995) and gave it 4 of 5. In one short sentence, what does the person think of it?"
)
SHOWN = ("Heat", "Lion King, The", "Terminator 2: Judgment Day", "It", "Big", "54", "action", "crime", "comedy")


@pytest.mark.parametrize(
    "text",
    [
        "I loved Heat, the robbery scene is great",
        "I liked Heat",
        "Heat (1995) is ok",
        "Heat was far too long for me.",
        "The Lion King made me cry again!",
        "Lion King, The (1994) made me cry",
        "Too much crime on this page for my taste.",
        "I wish there were more comedies here.",
        "Terminator 2 is still the best of them.",
        '"It" scared me to death',
        "I could not sleep after It (1990).",
        "Big is so funny, I watched it twice",
        "Heat était très bien, mais un peu long",
    ],
)
def test_a_sentence_about_what_was_shown_passes(text: str) -> None:
    assert refusal(text, PROMPT, SHOWN) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", text_gate.EMPTY_TEXT),
        (" \n", text_gate.EMPTY_TEXT),
        ("(3) (2) (5)", text_gate.NO_WORDS),
        ("4", text_gate.NO_WORDS),
        ("Heat 4 5 3 2 1 4 5", text_gate.FEW_LETTERS),
        ("I liked Heat " + "so very much " * 40, text_gate.TOO_LONG),
        ("As an AI language model I cannot watch Heat.", text_gate.ASSISTANT),
        ("I am a helpful assistant and like Heat", text_gate.ASSISTANT),
        ("Heat (1995)", text_gate.NOTHING_OWN),
        ("Heat (1995), Action, Crime", text_gate.NOTHING_OWN),
        ("Heat: 4 stars", text_gate.NOTHING_OWN),
        ("Heat 真的 很好看 我 喜欢", text_gate.OTHER_SCRIPT),
        ("I love Heat I love Heat I love Heat I love Heat I love Heat", text_gate.REPEATS),
        ("Watched Heat and gave it 4 of 5", text_gate.ECHO),
        ("You play one person who visits a recommendation site and Heat", text_gate.ECHO),
        ("In one short sentence, what does the person think of Heat?", text_gate.ECHO),
        ("Awesome! I'll just copy and paste the text", text_gate.NAMES_NOTHING),
        ("It was really good, I think", text_gate.NAMES_NOTHING),
        ("I made a big mistake there", text_gate.NAMES_NOTHING),
        ("I gave all of them 54 points", text_gate.NAMES_NOTHING),
        ("I loved Casablanca, what a classic", text_gate.NAMES_NOTHING),
    ],
)
def test_what_says_nothing_about_the_page_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert refusal(text, PROMPT, SHOWN) == reason


def test_the_worked_examples_do_not_depend_on_the_prompt() -> None:
    assert refusal("(3) (2) (5)", "", ["Heat"]) == "digits or signs only"
    assert refusal("Awesome! I'll just copy and paste the text", "", ["Heat"]) == "names nothing that was shown"
    assert refusal("I loved Heat, the robbery scene is great", "", ["Heat"]) == ""


def test_where_nothing_can_be_named_nothing_need_be() -> None:
    assert refusal("I have not seen a film for weeks", PROMPT, ()) == ""


def test_a_prompt_in_another_script_allows_texts_in_it() -> None:
    prompt = "Вы играете человека, который посещает сайт с фильмами."
    assert refusal("Мне очень понравился фильм Heat", prompt, ["Heat"]) == ""
    assert refusal("Мне очень понравился фильм Heat", PROMPT, ["Heat"]) == text_gate.OTHER_SCRIPT


def test_a_long_title_is_no_echo_although_it_stands_in_the_prompt() -> None:
    title = "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1963)"
    assert refusal(f"I laughed at {title} to the end", f"1. {title}, War", [title]) == ""


def test_items_are_named_by_title_or_genre_and_unknown_is_no_genre() -> None:
    items = [Item(0, "Heat", 1995, ("Action", "Crime")), Item(1, "Mystery Film", None, ("unknown", "Action"))]
    assert mentions_of(items) == ("Heat", "Mystery Film", "action", "crime")
