"""HTML fragments of the replay page; every text of a run is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from recsim_llm.dashboard.replay.replay_context import EARLIER, REAL, THIS_SESSION, Impression
from recsim_llm.dashboard.replay.replay_data import ABSENT, SKIPPED, WATCHED, Card, ShownMemory, Step
from recsim_llm.dashboard.theme import escaped

_STYLE = """
<style>
.rp-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0.2rem 1rem; }
.rp-name { font-size: 2rem; font-weight: 700; line-height: 1.2; }
.rp-head a { color: inherit; text-underline-offset: 0.2rem; text-decoration-thickness: 1px; }
.rp-page { display: grid; grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); gap: 1rem; }
.rp-card { display: flex; flex-direction: column; padding: 1rem 1.1rem; position: relative; overflow: hidden;
  min-height: 19rem; }
.rp-card.watched { border-color: var(--watched); box-shadow: inset 0 0.28rem 0 var(--watched); }
.rp-card.empty { align-items: center; justify-content: center; border-style: dashed; opacity: 0.6; }
.rp-top { display: flex; justify-content: space-between; font-size: 0.78rem; opacity: 0.65;
  font-variant-numeric: tabular-nums; }
.rp-title { font-weight: 650; font-size: 1.08rem; line-height: 1.3; margin-top: 0.35rem; display: -webkit-box;
  -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }
.rp-genres { font-size: 0.82rem; opacity: 0.7; margin-top: 0.25rem; display: -webkit-box; -webkit-line-clamp: 2;
  -webkit-box-orient: vertical; overflow: hidden; }
.rp-fill { flex: 1; min-height: 0.9rem; }
.rp-label { display: flex; justify-content: space-between; font-size: 0.82rem; margin-bottom: 0.2rem;
  font-variant-numeric: tabular-nums; }
.rp-bar { height: 0.45rem; border-radius: 0.3rem; overflow: hidden;
  background: color-mix(in srgb, currentColor 12%, transparent); }
.rp-bar > div { height: 100%; border-radius: 0.3rem; background: var(--watched); }
.rp-levels { display: flex; align-items: flex-end; gap: 0.25rem; height: 2.8rem; }
.rp-then { margin: 0.7rem 0 0.3rem; }
.rp-level { flex: 1; height: 100%; display: flex; align-items: flex-end; }
.rp-level > div { width: 100%; border-radius: 0.2rem 0.2rem 0 0; min-height: 2px;
  background: color-mix(in srgb, currentColor 28%, transparent); }
.rp-level.given > div { background: var(--watched); }
.rp-numbers { display: flex; gap: 0.25rem; font-size: 0.7rem; opacity: 0.8; text-align: center;
  font-variant-numeric: tabular-nums; }
.rp-numbers > span { flex: 1; }
.rp-numbers > .given { font-weight: 700; }
.rp-did { margin-top: 0.8rem; font-weight: 600; display: flex; justify-content: space-between; }
.rp-did.skipped { font-weight: 400; opacity: 0.65; }
.rp-leave { display: flex; flex-wrap: wrap; align-items: center; gap: 0.4rem 1rem; padding: 0.8rem 1.1rem;
  margin-top: 0.2rem; }
.rp-leave .rp-bar { flex: 1; min-width: 8rem; }
.rp-leave .rp-bar > div { background: var(--left); }
.rp-leave b.left { color: var(--left); }
.rp-said { border-left: 0.25rem solid color-mix(in srgb, currentColor 25%, transparent); padding: 0.1rem 0 0.1rem 1rem;
  margin: 0.2rem 0 0.8rem; max-height: 16rem; overflow: auto; white-space: pre-wrap; }
.rp-list { max-height: 19rem; overflow: auto; padding: 0.3rem 0.9rem; }
.rp-entry { display: flex; justify-content: space-between; gap: 1rem; padding: 0.35rem 0; font-size: 0.9rem;
  border-bottom: 1px solid color-mix(in srgb, currentColor 9%, transparent); }
.rp-entry:last-child { border-bottom: none; }
.rp-entry > span:last-child { white-space: nowrap; }
.rp-seen { display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; overflow: hidden; }
.rp-entry.rp-memory { flex-direction: column; gap: 0.1rem; }
.rp-memory > span:last-child { font-size: 0.8rem; }
.rp-mark { display: inline-block; width: 0.55rem; height: 0.55rem; border-radius: 50%; margin-inline-end: 0.55rem; }
</style>
"""
_SOURCE = {THIS_SESSION: "var(--simulated)", EARLIER: "var(--skipped)", REAL: "var(--real)"}


def style() -> str:
    """The style sheet; needed once per page."""
    return _STYLE


def headline(number: int, who: str, address: str, notes: Sequence[str]) -> str:
    """The session as a headline, with the person and a line of notes.

    Args:
        number: Number of the session.
        who: The person, in words.
        address: Address of the person's page.
        notes: Further notes, in reading order.
    """
    rest = " · ".join(escaped(note) for note in notes)
    return (
        f"<div class='rp-head'><span class='rp-name'>Session {number}</span>"
        f"<a class='rs-text' dir='auto' href='{escaped(address)}'>{escaped(who)}</a></div>"
        f"<div class='rs-faint rs-text' dir='auto'>{rest}</div>"
    )


def page(step: Step, levels: Sequence[float]) -> str:
    """A page as the person saw it: one card per slot.

    Args:
        step: The page.
        levels: (R,) stars of each rating level.
    """
    cards = "".join(_card(slot, card, levels) for slot, card in enumerate(step.cards, start=1))
    return f"<div class='rp-page'>{cards}</div>"


def _card(slot: int, card: Card, levels: Sequence[float]) -> str:
    if card.outcome == ABSENT:
        return "<div class='rp-card rs-line empty'>empty slot</div>"
    score = "" if card.score is None else f"<span title='The policy’s score'>score {number(card.score)}</span>"
    about = " · ".join([*([str(card.year)] if card.year is not None else []), ", ".join(card.genres)]).strip(" ·")
    return (
        f"<div class='rp-card rs-line {card.outcome}'>"
        f"<div class='rp-top'><span>slot {slot}</span>{score}</div>"
        f"<div class='rp-title rs-text' dir='auto' title='{escaped(card.title)}'>{escaped(card.title)}</div>"
        f"<div class='rp-genres rs-text' dir='auto' title='{escaped(about)}'>{escaped(about)}</div>"
        f"<div class='rp-fill'></div>"
        f"<div class='rp-label'><span>would watch</span><span>{escaped(percent(card.watch))}</span></div>"
        f"{_bar(card.watch)}{_levels(card, levels)}{_did(card, levels)}</div>"
    )


def _bar(share: float) -> str:
    return f"<div class='rp-bar'><div style='width: {100 * share:.1f}%'></div></div>"


def _levels(card: Card, levels: Sequence[float]) -> str:
    """The rating distribution as small bars; the drawn level is highlighted."""
    top = max(0.5, *card.rating_probs)  # so that an even distribution looks low, not certain
    given = [card.watched and level == card.stars for level in levels]
    said = [escaped(f"{level:g} ★: {percent(p)}") for level, p in zip(levels, card.rating_probs, strict=True)]
    bars = "".join(
        f"<div class='rp-level{' given' * chosen}' title='{hint}'>"
        f"<div style='height: {100 * p / top:.1f}%'></div></div>"
        for chosen, hint, p in zip(given, said, card.rating_probs, strict=True)
    )
    numbers = "".join(
        f"<span class='{'given' * chosen}'>{level:g}</span>" for chosen, level in zip(given, levels, strict=True)
    )
    label = f"If watched, the rating would be {', '.join(said)}"
    return (
        "<div class='rp-label rp-then'><span>if so, would rate</span></div>"
        f"<div class='rp-levels' role='img' aria-label='{label}'>{bars}</div><div class='rp-numbers'>{numbers}</div>"
    )


def _did(card: Card, levels: Sequence[float]) -> str:
    if card.outcome == SKIPPED:
        return f"<div class='rp-did {SKIPPED}'>skipped</div>"
    return f"<div class='rp-did {WATCHED}'><span>watched</span><span>{stars(card.stars, levels)}</span></div>"


def stars(given: float, levels: Sequence[float]) -> str:
    """Stars as symbols if there are at most five whole levels, else as numbers."""
    top = max(levels)
    if top > 5 or given != int(given):
        return f"★ {given:g} of {top:g}"
    full = int(given)
    return f"<span aria-label='{full} of {top:g} stars'>{'★' * full}{'☆' * (int(top) - full)}</span>"


def percent(share: float) -> str:
    """Format a probability: whole percents, with 0 % and 100 % only for exact certainty."""
    if 0 < share < 0.005:
        return "< 1 %"
    return "> 99 %" if 0.995 <= share < 1 else f"{share:.0%}".replace("%", " %")


def number(score: float) -> str:
    """Format a score, with three decimals if it is of a usual size."""
    return f"{score:.3f}" if 0.001 <= abs(score) < 1000 else f"{score:.3g}"


def leaving(step: Step, after: str) -> str:
    """The probability of leaving after a page, and what happened.

    Args:
        step: The page.
        after: What happened, in words.
    """
    kind = " class='left'" if step.left else ""
    return (
        f"<div class='rp-leave rs-soft'><span>would leave after this page</span>{_bar(step.leave)}"
        f"<span>{escaped(percent(step.leave))}</span><b{kind}>{escaped(after)}</b></div>"
    )


def said(text: str) -> str:
    """A thought, as a quotation."""
    return f"<div class='rp-said rs-text' dir='auto'>{escaped(text)}</div>"


def memories(added: Sequence[ShownMemory]) -> str:
    """Memories added, in order."""
    rows = "".join(
        f"<div class='rp-entry rp-memory'><span class='rs-text' dir='auto'>{escaped(memory.text)}</span>"
        f"<span class='rs-faint'>{escaped(memory.kind)} · importance {memory.importance:.2f}</span></div>"
        for memory in added
    )
    return f"<div class='rp-list rs-line'>{rows}</div>"


def impressions(seen: Sequence[Impression]) -> str:
    """Impressions known to a policy, newest first; the colour of the mark is the source."""
    rows = "".join(
        f"<div class='rp-entry'><span class='rs-text rp-seen' dir='auto' title='{escaped(one.source)}'>"
        f"<span class='rp-mark' style='background: {_SOURCE[one.source]}'></span>{escaped(one.title)}</span>"
        f"<span class='rs-faint'>{f'★ {one.stars:g}' if one.stars else 'not watched'}</span></div>"
        for one in seen
    )
    return f"<div class='rp-list rs-line'>{rows}</div>"


def legend(sources: Sequence[str]) -> str:
    """Legend for the marks of `impressions`."""
    marks = "".join(
        f"<span style='margin-inline-end: 1.2rem'><span class='rp-mark' style='background: {_SOURCE[source]}'></span>"
        f"<span class='rs-faint'>{escaped(source)}</span></span>"
        for source in sources
    )
    return f"<div style='font-size: 0.85rem; margin-top: 0.5rem'>{marks}</div>"
