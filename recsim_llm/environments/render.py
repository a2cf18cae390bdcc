"""Renders a page as the user sees it, as text or as an image. Read-only."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Person
from recsim_llm.environments.sessions import Outcome
from recsim_llm.types import EMPTY

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_CARD_W, _CARD_H, _GAP, _HEAD = 190, 150, 12, 44
_INK, _PALE, _PAPER, _CARD, _STAR = (32, 33, 36), (95, 99, 104), (246, 247, 249), (255, 255, 255), (214, 130, 0)
_COLUMNS = 5


def page_text(catalogue: Catalogue, person: Person, outcome: Outcome | None) -> str:
    """Return the last page as text, one line per item."""
    if outcome is None:
        return f"{_name(person)} has just arrived.\n"
    lines = [f"{_name(person)}, page {int(outcome.page_numbers[0]) + 1}"]
    for slot, item in enumerate(outcome.pages[0].tolist()):
        lines.append(f"{slot + 1:>3}  {_line(catalogue, item)}  {_deed(outcome, slot)}".rstrip())
    return "\n".join([*lines, _ending(outcome)]) + "\n"


def draw_page(catalogue: Catalogue, person: Person, outcome: Outcome | None, page_size: int) -> NDArray[np.uint8]:
    """Return the last page as an image, (height, width, 3); the size depends on `page_size` alone."""
    from PIL import Image, ImageDraw

    columns = min(page_size, _COLUMNS)
    rows = -(-page_size // _COLUMNS)
    size = (columns * (_CARD_W + _GAP) + _GAP, _HEAD + rows * (_CARD_H + _GAP) + _HEAD)
    image = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(image)
    title = (
        f"{_name(person)}, page {int(outcome.page_numbers[0]) + 1}" if outcome else f"{_name(person)} has just arrived"
    )
    draw.text((_GAP, _GAP), title, fill=_INK, font_size=18)
    if outcome is not None:
        for slot, item in enumerate(outcome.pages[0].tolist()):
            corner = (_GAP + slot % _COLUMNS * (_CARD_W + _GAP), _HEAD + slot // _COLUMNS * (_CARD_H + _GAP))
            _draw_card(draw, corner, catalogue, item, outcome, slot)
        draw.text((_GAP, size[1] - _HEAD + _GAP), _ending(outcome), fill=_INK, font_size=15)
    return np.array(image)


def _draw_card(
    draw: ImageDraw, corner: tuple[int, int], catalogue: Catalogue, item: int, outcome: Outcome, slot: int
) -> None:
    x, y = corner
    watched = bool(outcome.responses.watched_BK[0, slot])
    draw.rounded_rectangle(
        (x, y, x + _CARD_W, y + _CARD_H), 8, fill=_CARD, outline=_STAR if watched else _PALE, width=3 if watched else 1
    )
    if item == EMPTY:
        draw.text((x + 10, y + 10), "(empty)", fill=_PALE, font_size=14)
        return
    title = "\n".join(textwrap.wrap(catalogue[item].label, 20)[:3])
    draw.multiline_text((x + 10, y + 10), title, fill=_INK, font_size=15, spacing=3)
    genres = "\n".join(textwrap.wrap(", ".join(catalogue[item].genres), 26)[:2])
    draw.multiline_text((x + 10, y + 76), genres, fill=_PALE, font_size=12, spacing=2)
    draw.text((x + 10, y + _CARD_H - 28), _deed(outcome, slot), fill=_STAR if watched else _PALE, font_size=15)


def _name(person: Person) -> str:
    facts = [str(fact) for fact in (person.age, person.gender, person.occupation) if fact is not None]
    return f"User {person.raw_id}" + (f" ({', '.join(facts)})" if facts else "")


def _line(catalogue: Catalogue, item: int) -> str:
    if item == EMPTY:
        return "(empty)"
    genres = ", ".join(catalogue[item].genres)
    return f"{catalogue[item].label} [{genres}]" if genres else catalogue[item].label


def _deed(outcome: Outcome, slot: int) -> str:
    if not outcome.responses.watched_BK[0, slot]:
        return ""
    return f"watched, rated {outcome.responses.ratings_BK[0, slot]:g}"


def _ending(outcome: Outcome) -> str:
    if outcome.left[0]:
        return "The user leaves."
    return "The session is cut off here." if outcome.truncated[0] else "The user asks for the next page."
