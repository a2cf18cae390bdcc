"""Converts titles in MovieLens' form ("Matrix, The (1999)") into natural ones."""

from __future__ import annotations

import re

_YEAR = re.compile(r"\s*\((\d{4})(?:[-\u2013]\d{0,4})?\)(?:\s*\([A-Z]+\))?$")  # "(1995)", "(2006-2007)", "(1995) (V)"
_ARTICLES = "The A An Le La Les L' Un Une El Los Las Una Il Lo I Gli Der Die Das Ein Eine Den Det De Het O Os As Um Uma"
_MOVED = re.compile(rf"^(?P<rest>.+), (?P<article>{'|'.join(_ARTICLES.split())})$")
_PARTS = re.compile(r"(?<= )\(([^()]*)\)")


def split_title(raw: str) -> tuple[str, int | None]:
    """Move the article to the front and split off the year.

    Returns:
        The title, and the year or None.

    >>> split_title("Matrix, The (1999)")
    ('The Matrix', 1999)
    >>> split_title("Eye of Vichy, The (Oeil de Vichy, L') (1993)")
    ("The Eye of Vichy (L'Oeil de Vichy)", 1993)
    """
    raw = " ".join(raw.split())
    found = _YEAR.search(raw)
    title, year = (raw[: found.start()], int(found[1])) if found else (raw, None)
    head, bracket, tail = title.partition(" (")
    tail = _PARTS.sub(lambda part: f"({_front(part[1])})", f"{bracket}{tail}")
    return (_front(head) + tail if head else title), year


def _front(title: str) -> str:
    found = _MOVED.match(title)
    if not found:
        return title
    gap = "" if found["article"].endswith("'") else " "
    return f"{found['article']}{gap}{found['rest']}"
