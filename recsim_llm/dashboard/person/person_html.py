"""HTML fragments of the person page; every text of a run is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recsim_llm.dashboard.person.person_data import Trait
from recsim_llm.dashboard.theme import escaped

if TYPE_CHECKING:
    import pandas as pd

_PILL = "<span class='rs-soft rs-text' dir='auto' style='padding: 0.2rem 0.75rem; {style}'>{text}</span>"
_STYLE = """
<style>
.rs-row { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: baseline; }
.rs-cells { display: inline-flex; gap: 0.2rem; padding: 0.3rem; margin-right: 0.5rem; text-decoration: none !important;
  color: inherit !important; }
.rs-cells:hover { background: color-mix(in srgb, currentColor 12%, transparent); }
.rs-cell { width: 1.55rem; height: 1.55rem; line-height: 1.55rem; border-radius: 0.4rem; text-align: center;
  font-size: 0.72rem; font-variant-numeric: tabular-nums; }
.rs-cell.watched { background: var(--watched); color: #fff; font-weight: 600; }
.rs-cell.skipped { border: 1px solid color-mix(in srgb, currentColor 28%, transparent); }
</style>
"""


def headline(name: str, about: str, notes: Sequence[str]) -> str:
    """The person's id as a headline, with notes about the person."""
    known = f"<div dir='auto' class='rs-text' style='font-size: 1.15rem'>{escaped(about)}</div>" if about else ""
    rest = "".join(f"<div class='rs-faint'>{escaped(note)}</div>" for note in notes)
    return (
        f"<div><div class='rs-text' dir='auto' style='font-size: 2.2rem; font-weight: 700; line-height: 1.2'>"
        f"Person {escaped(name)}</div>{known}{rest}</div>"
    )


def figure(label: str, value: str, beside: str, meaning: str) -> str:
    """A large number with its label above and a comparison below."""
    return (
        f"<div title='{escaped(meaning)}'><div>{escaped(label)}</div>"
        f"<div style='font-size: 2rem; line-height: 1.3; font-variant-numeric: tabular-nums'>{escaped(value)}</div>"
        f"<div class='rs-faint' style='font-size: 0.85rem'>{escaped(beside)}</div></div>"
    )


def trait_card(trait: Trait) -> str:
    """A trait: three dots, filled up to its level, and the meaning of the level."""
    dots = "".join(
        f"<span style='color: {'var(--simulated)' if number < trait.level else 'inherit'};"
        f" opacity: {1 if number < trait.level else 0.25}'>&#9679;</span>"
        for number in range(3)
    )
    return (
        f"<div class='rs-line' style='padding: 0.8rem 1rem; height: 100%' title='{escaped(trait.meaning)}'>"
        f"<div style='display: flex; justify-content: space-between'><b>{trait.name.capitalize()}</b>"
        f"<span aria-label='level {trait.level} of 3' style='letter-spacing: 0.15rem'>{dots}</span></div>"
        f"<div style='margin: 0.25rem 0 0.35rem'>{escaped(trait.words)}</div>"
        f"<div class='rs-faint' style='font-size: 0.8rem'>{escaped(trait.meaning)}</div></div>"
    )


def pills(texts: Sequence[str], nothing: str, colour: str) -> str:
    """Short texts side by side with a coloured mark; the sentence `nothing` if there are none."""
    if not texts:
        return f"<span class='rs-faint'>{escaped(nothing)}</span>"
    style = f"border-left: 0.3rem solid {colour};"
    return f"<div class='rs-row'>{''.join(_PILL.format(style=style, text=escaped(text)) for text in texts)}</div>"


def titles(texts: Sequence[str], nothing: str) -> str:
    """A list of titles; the sentence `nothing` if there are none."""
    if not texts:
        return f"<span class='rs-faint'>{escaped(nothing)}</span>"
    rows = (f"<li class='rs-text' dir='auto'>{escaped(text)}</li>" for text in texts)
    return f"<ul style='margin: 0; padding-inline-start: 1.2rem'>{''.join(rows)}</ul>"


def style() -> str:
    """The style sheet of `strip`; needed once per page."""
    return _STYLE


def strip(seen: pd.DataFrame, links: Sequence[str]) -> str:
    """One session as a row of pages, each a row of cells: stars where the item was watched, empty where not.

    Args:
        seen: Rows of `person_data.shown` of one session.
        links: One address per page, in page order.
    """
    pages = []
    for address, (number, page) in zip(links, seen.groupby("page", sort=True), strict=True):
        cells = "".join(
            _cell(str(title), bool(watched), float(stars), float(watch))
            for title, watched, stars, watch in page[["title", "watched", "stars", "watch"]].to_numpy().tolist()
        )
        label = f"page {int(str(number)) + 1}"
        pages.append(f"<a class='rs-cells rs-line' href='{escaped(address)}' aria-label='{label}'>{cells}</a>")
    return f"<div class='rs-row'>{''.join(pages)}</div>"


def _cell(title: str, watched: bool, stars: float, watch: float) -> str:
    kind, text = ("watched", f"{stars:g}") if watched else ("skipped", "")
    did = f"watched, {stars:g} stars" if watched else "skipped"
    hint = escaped(f"{title}: {did} (probability of watching {watch:.0%})")
    return f"<span class='rs-cell {kind}' title='{hint}'>{text}</span>"


def memory_rows(frame: pd.DataFrame, times: Sequence[str]) -> str:
    """A list of memories: time, kind, importance, text.

    Args:
        frame: Rows of `person_data.memories`.
        times: Time of each memory, in words.
    """
    rows = [
        _note(f"{when} · {row['kind']} · importance {row['importance']:.2f}", str(row["text"]))
        for when, row in zip(times, frame.to_dict("records"), strict=True)
    ]
    return f"<div>{''.join(rows)}</div>"


def thought_rows(frame: pd.DataFrame) -> str:
    """A list of thoughts: page, origin, text.

    Args:
        frame: Rows of `person_data.thoughts`.
    """
    rows = [
        _note(f"session {row['session']}, page {row['page'] + 1} · {_HOW.get(row['kind'], row['kind'])}", row["text"])
        for row in frame.to_dict("records")
    ]
    return f"<div>{''.join(rows)}</div>"


_HOW = {"page": "asked after the choice", "answer": "said with the choice"}


def _note(heading: str, text: str) -> str:
    return (
        "<div style='padding: 0.55rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent)'>"
        f"<div class='rs-faint' style='font-size: 0.8rem'>{escaped(heading)}</div>"
        f"<div class='rs-text' dir='auto'>{escaped(text)}</div></div>"
    )
