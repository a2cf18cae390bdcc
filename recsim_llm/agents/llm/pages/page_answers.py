"""Parser of the text that an agent generated about a page. It needs only the page's labels.

Two forms are read: JSON under `page_schema`, items by number; and the lines of Agent4Rec's published prompt (Zhang et
al., SIGIR 2024), items by title:

    MOVIE: <title>; ALIGN: <yes or no>; REASON: <text>
    NUM: <number>; WATCH: <titles>; REASON: <text>
    MOVIE: <title>; RATING: <level>; FEELING: <text>

A title counts only as one of the page's own (`page_titles`); what cannot be resolved is returned, never guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from recsim_llm.agents.llm.pages.page_titles import mentioned, resolve_title

_KEYS = "MOVIE|ALIGN|REASON|NUM|WATCH|RATING|FEELING"
_FIELD = re.compile(rf'(?:^|[;\n])[\s\-*\u2022\d.)"]{{0,12}}\b({_KEYS})\b[\s*]*:[ \t*]*', re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])(\d{1,3})(?:\.0+)?(?![\w.]*\d)")
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_NO_TITLE = frozenset({"n/a", "na", "none", "-"})
_REMARKS = frozenset({"REASON", "FEELING"})
_FEELING_LENGTH = 200  # characters, in the schema
_JSON_TRIES = 8  # a model may repeat the schema, or begin again, before it answers


@dataclass(frozen=True, slots=True)
class ItemAnswer:
    """What a text says about one item of the page.

    Attributes:
        align: Whether it fits the person's taste, None where the text does not say.
        watch: Whether the person watches it.
        rating: Level 1..R, None where the text gives none or one outside the range.
        feeling: After watching, "" where the text has none.
        reason: For or against it, "" where the text has none.
    """

    align: bool | None = None
    watch: bool = False
    rating: int | None = None
    feeling: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PageAnswerText:
    """What a text says about a page.

    Attributes:
        items: One for each label, in their order.
        unresolved: Lines about something that is not an item of the page, or is not told apart from another one.
    """

    items: tuple[ItemAnswer, ...]
    unresolved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One line of the published form.

    Attributes:
        kind: "align" or "rating".
        title: The title as written.
        item: Its position among the labels, None where it is not resolved.
        value: What follows the key ("Yes", "4").
        remark: The reason or the feeling.
    """

    kind: str
    title: str
    item: int | None
    value: str
    remark: str

    def __str__(self) -> str:
        return f"MOVIE: {self.title}; {self.kind.upper()}: {self.value}; {self.remark}"


def page_schema(num_items: int, num_levels: int) -> str:
    """The JSON schema of an answer about a page, as text.

    Args:
        num_items: Items listed, numbered from 1.
        num_levels: R.
    """
    # All fields are required: servers with strict schemas refuse optional ones.
    fields = {
        "item": {"type": "integer", "minimum": 1, "maximum": num_items},
        "align": {"type": "boolean"},
        "watch": {"type": "boolean"},
        "rating": {"type": "integer", "minimum": 1, "maximum": num_levels},
        "feeling": {"type": "string", "maxLength": _FEELING_LENGTH},
    }
    entry = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    items = {"type": "array", "items": entry, "minItems": num_items, "maxItems": num_items}
    whole = {"type": "object", "properties": {"items": items}, "required": ["items"], "additionalProperties": False}
    return json.dumps(whole)


def parse_page_answer(text: str, labels: Sequence[str], num_levels: int) -> PageAnswerText | None:
    """Read a text in either form.

    JSON must answer for every item exactly once and keep all ranges; words and code fences around it do not matter.
    Of lines about the same item, the first counts. Watched is what a WATCH line names or what is rated.

    Args:
        text: Anything a model wrote.
        labels: (K,) labels of the listed items.
        num_levels: R.

    Returns:
        None where nothing in the text can be used.
    """
    found = _json_items(text)
    if found is not None:
        return _from_json(found, len(labels), num_levels)
    return _from_lines(text, labels, num_levels)


def answer_lines(text: str, labels: Sequence[str]) -> list[AnswerLine]:
    """The align and rating lines of a text in the published form, in order, with their titles resolved."""
    return [line for line, _ in _records(text, labels) if line is not None]


def _from_json(entries: list[Any], num_items: int, num_levels: int) -> PageAnswerText | None:
    answers: dict[int, ItemAnswer] = {}
    strange = []
    for entry in entries:
        number: Any = entry.get("item") if isinstance(entry, dict) else None
        if type(number) is not int or not 1 <= number <= num_items:  # not isinstance: True is an int
            strange.append(f'{{"item": {number}}}' if isinstance(number, int | str) else "an entry without a number")
            continue
        answer = _json_answer(entry, num_levels)
        if answer is None or number - 1 in answers:
            return None
        answers[number - 1] = answer
    if len(answers) != num_items:
        return None
    return PageAnswerText(tuple(answers[i] for i in range(num_items)), tuple(strange))


def _json_answer(entry: dict[str, Any], num_levels: int) -> ItemAnswer | None:
    align, watch, rating = entry.get("align"), entry.get("watch"), entry.get("rating")
    if not isinstance(watch, bool) or not (align is None or isinstance(align, bool)):
        return None
    if rating is not None and not (type(rating) is int and 1 <= rating <= num_levels):
        return None
    feeling, reason = entry.get("feeling") or "", entry.get("reason") or ""
    if not isinstance(feeling, str) or not isinstance(reason, str):
        return None
    return ItemAnswer(align, watch, rating, feeling.strip(), reason.strip())


def _json_items(text: str) -> list[Any] | None:
    """The "items" of the first JSON object in a text that has them."""
    decoder = json.JSONDecoder()
    # Only the first objects that begin like ours are tried: each try may read a text of nested braces to its end.
    for start in islice(re.finditer(r'\{\s*"items"', text), _JSON_TRIES):
        try:
            value, _ = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value["items"], list):
            return list(value["items"])
    return None


def _from_lines(text: str, labels: Sequence[str], num_levels: int) -> PageAnswerText | None:
    records = list(_records(text, labels))
    lines = [line for line, _ in records if line is not None]
    listed = [titles for _, titles in records if titles is not None]
    aligns, ratings = _first(lines, "align"), _first(lines, "rating")
    # A rated item counts as watched whatever the WATCH line says, as in the published run.
    watched = set(ratings) | {i for titles in listed for i in mentioned(titles, labels)}
    if not aligns and not watched:
        return None
    items = tuple(_line_answer(aligns.get(i), ratings.get(i), i in watched, num_levels) for i in range(len(labels)))
    return PageAnswerText(items, tuple(str(line) for line in lines if line.item is None))


def _line_answer(align: AnswerLine | None, rating: AnswerLine | None, watch: bool, num_levels: int) -> ItemAnswer:
    yes = _YES_NO.search(align.value) if align else None
    number = _NUMBER.search(rating.value) if rating else None
    level = int(number[1]) if number else 0
    return ItemAnswer(
        yes[1].lower() == "yes" if yes else None,
        watch,
        level if 1 <= level <= num_levels else None,
        rating.remark if rating else "",
        align.remark if align else "",
    )


def _first(lines: Sequence[AnswerLine], kind: str) -> dict[int, AnswerLine]:
    """The first line of a kind about each item."""
    found: dict[int, AnswerLine] = {}
    for line in lines:
        if line.kind == kind and line.item is not None:
            found.setdefault(line.item, line)
    return found


def _records(text: str, labels: Sequence[str]) -> Iterator[tuple[AnswerLine | None, str | None]]:
    """Align and rating lines, and the titles of WATCH lines, in the order of the text."""
    title = ""
    fields = [*_fields(text), ("", "")]
    for (key, value), (after, remark) in pairwise(fields):
        if key == "MOVIE" or (key == "RATING" and _is_title(value, labels)):
            title = value
        elif key in {"NUM", "WATCH"}:
            title = ""
            if key == "WATCH":
                yield None, value
        elif key in {"ALIGN", "RATING"} and title.lower() not in _NO_TITLE:
            yield _line(key, title, value, remark if after in _REMARKS else "", labels), None
            title = "" if key == "RATING" else title


def _line(key: str, title: str, value: str, remark: str, labels: Sequence[str]) -> AnswerLine:
    if title:
        return AnswerLine(key.lower(), title, resolve_title(title, labels), value, remark)
    # A line without a title is about the item that its remark names, if it names one.
    named = mentioned(remark, labels)
    return AnswerLine(key.lower(), "", named[0] if len(named) == 1 else None, value, remark)


def _is_title(value: str, labels: Sequence[str]) -> bool:
    """Whether a value is a title, a slip of the published run's model: "RATING: Apollo 13; RATING: 4"."""
    return not value.isdigit() and resolve_title(value, labels) is not None


def _fields(text: str) -> list[tuple[str, str]]:
    """Keys in capitals with their values, in order."""
    marks = list(_FIELD.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    return [
        (mark[1].upper(), _tidy(text[mark.end() : end], first_line=mark[1].upper() != "WATCH"))
        for mark, end in zip(marks, ends, strict=True)
    ]


def _tidy(value: str, first_line: bool) -> str:
    value = value.strip()
    if first_line:
        value = value.partition("\n")[0]
    return value.strip(' \t;"*[]')
