"""The gate for generated texts that people will read: one pure function returns why a text is not usable.

It judges form, not truth: that a text consists of words, in the language of its prompt, not copied from it, and names
something that was shown. "I loved Heat" passes whether or not the person loved it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from recsim_llm.agents.llm.pages.page_titles import forms, words
from recsim_llm.types import Item

EMPTY_TEXT = "empty"
NO_WORDS = "digits or signs only"
FEW_LETTERS = "mostly digits or signs"
TOO_LONG = "too long"
ASSISTANT = "speaks as an assistant"
NOTHING_OWN = "no words of its own"
OTHER_SCRIPT = "another script"
REPEATS = "repeats itself"
ECHO = "repeats the prompt"
NAMES_NOTHING = "names nothing that was shown"

MOST_CHARACTERS = 400
"""A message of a society has at most as many bytes."""
_LEAST_LETTERS = 0.6  # share of letters among non-space characters; plain English has more than 0.9
_LEAST_ASCII = 0.8  # share of ASCII letters in a text whose prompt is written in them
_LEAST_OWN = 2  # words besides names: "I laughed"
_MANY_WORDS, _LEAST_DISTINCT = 8, 0.5  # from so many words on, at least this share must be different ones
_ECHO_WORDS, _MOST_ECHO = 5, 0.5  # words in a row that also stand in the prompt; the share of them that is too much
_SPEAKS = re.compile(r"\b(language model|chatbot|an? (?:\w+ )?assistant|as an ai)\b", re.IGNORECASE)
_YEAR = re.compile(r"[(\[]\d{4}[)\]]")
_GAP = "|"  # stands for a name; never a word itself
_NO_GENRES = frozenset({"unknown", "none", "(no genres listed)"})
# Titles that are also ordinary words ("It", "Her", "Go") are named only in quotes or with their year.
_ORDINARY = frozenset(words(
    "a all an and any are at be but by do for from go had has have he her here him his how i if in is it its me my no "
    "not now of on one or our out she so some that the them then there they this to up us was we what when who why "
    "with yes you"
))  # fmt: skip


def refusal(text: str, prompt: str, mentions: Sequence[str]) -> str:
    """Why a text cannot be shown to people; "" where it can.

    Args:
        text: What a model wrote.
        prompt: The whole prompt: system text, context and question.
        mentions: Names of which the text must contain at least one: titles as written, with or without
            their year; genres in lower case (`mentions_of`). A one-word name that begins with a capital must be
            written with one, so that "a big film" does not name Big. () where there is nothing to name.

    Returns:
        One of the reasons above, as people read it.

    >>> refusal("(3) (2) (5)", "", ["Heat"])
    'digits or signs only'
    >>> refusal("Awesome! I'll just copy and paste the text", "", ["Heat"])
    'names nothing that was shown'
    >>> refusal("I loved Heat, the robbery scene is great", "", ["Heat"])
    ''
    """
    text = text.strip()
    signs = [c for c in _YEAR.sub("", text) if not c.isspace()]
    letters = sum(c.isalpha() for c in signs)
    if not letters:
        return NO_WORDS if signs else EMPTY_TEXT
    if letters < _LEAST_LETTERS * len(signs):
        return FEW_LETTERS
    if len(text) > MOST_CHARACTERS:
        return TOO_LONG
    if _SPEAKS.search(text):
        return ASSISTANT
    rest = _without_names(text, mentions)
    own = [word for word in rest if word != _GAP and not word.isdigit()]
    if len(own) < _LEAST_OWN:
        return NOTHING_OWN
    if _ascii_share("".join(own)) < _LEAST_ASCII <= _ascii_share(prompt or "a"):
        return OTHER_SCRIPT
    if len(own) >= _MANY_WORDS and len(set(own)) < _LEAST_DISTINCT * len(own):
        return REPEATS
    if _is_echo(text, rest, prompt):
        return ECHO
    return NAMES_NOTHING if mentions and _GAP not in rest else ""


def mentions_of(items: Iterable[Item]) -> tuple[str, ...]:
    """What a text about these items may name: their titles, and their genres in lower case.

    >>> mentions_of([Item(0, "Heat", 1995, ("Action", "Crime"))])
    ('Heat', 'action', 'crime')
    """
    items = list(items)
    genres = (genre.lower() for item in items for genre in item.genres)
    return tuple(dict.fromkeys([*(item.title for item in items), *(g for g in genres if g not in _NO_GENRES)]))


def _without_names(text: str, mentions: Sequence[str]) -> list[str]:
    """The words of a text with a gap for each name; longer names first, as "Star Trek" may stand in a longer one."""
    # A film of a series is mostly named by the part before the colon.
    names = {name for mention in mentions for name in (mention, mention.partition(":")[0])}
    keys = sorted({(form, name[:1].isupper()) for name in names for form in forms(name)}, key=lambda k: (-len(k[0]), k))
    rest = f" {' '.join(words(text))} "
    for form, is_name in keys:
        if len(form) == 1 and not _written(form[0], is_name, text):
            continue
        if len(form) == 1 and not is_name:
            rest = " ".join([_GAP if form[0] in (word, _singular(word)) else word for word in rest.split(" ")])
        rest = rest.replace(f" {' '.join(form)} ", f" {_GAP} ")
    return rest.split()


def _written(word: str, is_name: bool, text: str) -> bool:
    """Whether a one-word name is meant where the word occurs."""
    if word in _ORDINARY or word.isdigit():
        return re.search(rf"""["'“‘]{word}["'”’]|\b{word}"?\s?[(\[]\d{{4}}""", text, re.IGNORECASE) is not None
    if not is_name:
        return True
    return any(c[:1].isupper() and words(c) == (word,) for c in re.findall(r"[\w'’]+", text))


def _singular(word: str) -> str:
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")


def _ascii_share(text: str) -> float:
    """The share of ASCII letters among letters, 1 where there is none."""
    letters = [c.isascii() for c in text if c.isalpha()]
    return sum(letters) / len(letters) if letters else 1.0


def _is_echo(text: str, rest: Sequence[str], prompt: str) -> bool:
    """Whether the prompt contains a text, or more than half of its words other than names in runs of five or more."""
    told = words(prompt)
    if f" {' '.join(words(text))} " in f" {' '.join(told)} ":
        return True
    known = {told[i : i + _ECHO_WORDS] for i in range(len(told) - _ECHO_WORDS + 1)}
    heard = total = 0
    for is_gap, run in groupby(rest, key=_GAP.__eq__):
        if is_gap:
            continue
        part = tuple(run)
        starts = [i for i in range(len(part) - _ECHO_WORDS + 1) if part[i : i + _ECHO_WORDS] in known]
        heard += len({i + k for i in starts for k in range(_ECHO_WORDS)})
        total += len(part)
    return heard > _MOST_ECHO * total
