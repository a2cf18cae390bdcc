"""Resolves a written title to an item of the page, using only the page's labels.

A title is looked for only among the K labels of the page, in three steps, each of which must be unambiguous: the same
words (up to case, punctuation, diacritics, HTML, articles and year), then one containing the other, then a close match.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

CLOSE_RATIO = 0.8
"""Least similarity (`difflib.SequenceMatcher.ratio` of normalised titles, 0..1) of a close match."""
CLOSE_MARGIN = 0.1
"""How much closer the best label must be than the next."""
MAX_TITLE = 300
"""Characters; a longer text is prose, not a title, and is not matched."""

_ARTICLES = frozenset(
    ("the", "a", "an", "le", "la", "les", "l", "un", "une", "el", "los", "las", "il", "lo", "gli", "der", "die", "das")
)
_YEAR = re.compile(r"[\[(]\s*((?:18|19|20)\d\d)\s*[\])]")
_BRACKET = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_TAG = re.compile(r"<[^<>]{0,40}>")
_BROKEN = re.compile("\u00ef\u00bf\u00bd|\ufffd")  # U+FFFD, or its UTF-8 bytes read as Latin-1
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class _Title:
    """A parsed title.

    Attributes:
        words: Words without leading or moved article and year.
        short: The same without bracketed parts ("Postman, The (Il Postino)").
        inner: Words of each bracketed part.
        year: The year, None where not written.
    """

    words: tuple[str, ...]
    short: tuple[str, ...]
    inner: tuple[tuple[str, ...], ...]
    year: int | None

    @property
    def forms(self) -> frozenset[tuple[str, ...]]:
        """Every form that the title may be written in."""
        return frozenset(form for form in (self.words, self.short, *self.inner) if form)


def resolve_title(text: str, labels: Sequence[str]) -> int | None:
    """Find the item that a title means.

    Args:
        text: A title as written in a text.
        labels: Labels of the page's items.

    Returns:
        Position in `labels`, or None where no label, or more than one, fits.

    >>> resolve_title("the LION king", ["Lion King, The (1994)", "The Jungle Book (1967)"])
    0
    >>> resolve_title("Star Wars", ["Star Wars: Episode IV (1977)", "Star Wars: Episode V (1980)"]) is None
    True
    """
    if len(text) > MAX_TITLE:
        return None
    asked, titles = _title(text), [_title(label[:MAX_TITLE]) for label in labels]
    if not asked.words:
        return None
    same = [i for i, title in enumerate(titles) if asked.forms & title.forms]
    if same:
        return _only(_of_year(asked, titles, same))
    inside = [i for i, title in enumerate(titles) if _contains(asked, title)]
    if inside:
        return _only(_of_year(asked, titles, inside))
    return _close(asked, titles)


def mentioned(text: str, labels: Sequence[str]) -> list[int]:
    """Positions of all labels named somewhere in a text, ascending; a title within a longer one named there is not."""
    rest = f" {' '.join(words(_YEAR.sub(' ', text)))} "
    found = []
    keys = {i: _mention_keys(label[:MAX_TITLE]) for i, label in enumerate(labels)}
    for length in sorted({len(key) for some in keys.values() for key in some}, reverse=True):
        named = {i: key for i, some in keys.items() for key in some if len(key) == length and f" {key} " in rest}
        found += [i for i in named if i not in found]
        for key in named.values():
            rest = rest.replace(f" {key} ", " | ")
    return sorted(found)


def words(text: str) -> tuple[str, ...]:
    """The words of a text without case, punctuation, diacritics, apostrophes and HTML.

    >>> words("Amélie &amp; the Devil's Advocate!")
    ('amelie', 'and', 'the', 'devils', 'advocate')
    """
    plain = unicodedata.normalize("NFKD", _TAG.sub(" ", html.unescape(_BROKEN.sub("", text))))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).casefold().replace("&", " and ")
    return tuple(_WORD.findall(plain.replace("'", "").replace("\u2019", "").replace("\u2018", "").replace("`", "")))


def forms(label: str) -> frozenset[tuple[str, ...]]:
    """The words under which a title is known: whole, without its brackets, each bracket; without year and article.

    >>> sorted(forms("Postman, The (Il Postino) (1994)"))
    [('postino',), ('postman',), ('postman', 'the', 'il', 'postino')]
    """
    return _title(label[:MAX_TITLE]).forms


def _only(candidates: Sequence[int]) -> int | None:
    return candidates[0] if len(candidates) == 1 else None


def _of_year(asked: _Title, titles: Sequence[_Title], candidates: list[int]) -> list[int]:
    """Those of the written year where several fit; a year decides between namesakes and never excludes a lone title."""
    if len(candidates) < 2 or asked.year is None:
        return candidates
    return [i for i in candidates if titles[i].year == asked.year] or candidates


def _contains(asked: _Title, title: _Title) -> bool:
    """Whether the label begins or holds what is asked, or is most of it."""
    for form in title.forms:
        if _run(asked.words, form):
            return True
        # "Babe, the film" names Babe; "The Big Lebowski" does not name Big.
        if _run(form, asked.words) and 2 * len(form) > len(asked.words):
            return True
    return False


def _close(asked: _Title, titles: Sequence[_Title]) -> int | None:
    ratios = sorted(((_ratio(asked, title), i) for i, title in enumerate(titles)), reverse=True)
    if not ratios or ratios[0][0] < CLOSE_RATIO:
        return None
    if len(ratios) > 1 and ratios[0][0] - ratios[1][0] < CLOSE_MARGIN:
        return None
    return ratios[0][1]


def _ratio(asked: _Title, title: _Title) -> float:
    written = "".join(asked.words)
    forms = ("".join(form) for form in title.forms)
    return max((SequenceMatcher(None, written, form, autojunk=False).ratio() for form in forms), default=0.0)


def _run(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    """Whether the words of `part` stand in `whole` one after another."""
    size = len(part)
    return any(whole[i : i + size] == part for i in range(len(whole) - size + 1))


@lru_cache(maxsize=4096)
def _title(text: str) -> _Title:
    text = _BROKEN.sub("", html.unescape(text))
    years = _YEAR.findall(text)
    text = _YEAR.sub(" ", text)
    inner = tuple(_bare(words(part)) for part in _BRACKET.findall(text))
    return _Title(_bare(words(text)), _bare(words(_BRACKET.sub(" ", text))), inner, int(years[-1]) if years else None)


def _bare(words: tuple[str, ...]) -> tuple[str, ...]:
    """Without an article at the front or moved to the end, unless nothing else is left."""
    while len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    while len(words) > 1 and words[-1] in _ARTICLES:
        words = words[:-1]
    return words


@lru_cache(maxsize=4096)
def _mention_keys(label: str) -> frozenset[str]:
    return frozenset(" ".join(form) for form in forms(label))
