"""Byte budgets of texts, enforced by construction, so that a prompt can never overflow.

Budgets are bytes of UTF-8: a byte-level tokenizer produces at most one token per byte, so a limit in bytes is a limit
in tokens for every language and every model of that kind (all models since GPT-2 that were used with this package).
"""

from __future__ import annotations

from collections.abc import Iterable

from recsim_llm.agents.llm.memory.memory_protocol import Event

_MORE = "…"


def size(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))


def cut(text: str, max_bytes: int) -> str:
    """The text, or as many of its words as fit, followed by "…"; "" where nothing fits.

    A quote that the cut leaves open is closed: what follows must not seem to be part of it.
    """
    if size(text) <= max_bytes:
        return text
    room = max_bytes - size(_MORE)
    if room <= 0:
        return ""
    kept = text.encode("utf-8", "surrogatepass")[:room].decode("utf-8", "ignore")
    words = kept.rpartition(" ")[0].rstrip()
    kept = words or kept
    if kept.count('"') % 2 and text.count('"') % 2 == 0:
        kept = kept[:-1] + '"' if size(kept) == room else kept + '"'
    return kept + _MORE


def fit(events: Iterable[Event], max_bytes: int) -> str:
    """The events as lines `- text`, at most `max_bytes` in all; the latest are kept, the earlier dropped.

    Args:
        events: In the order they happened.
        max_bytes: The budget.

    Returns:
        The lines in the order they happened; "" for none. An only event that is too long is cut.
    """
    lines: list[str] = []
    room = max_bytes
    for event in reversed(list(events)):
        line = "- " + " ".join(event.text.split())
        need = size(line) + (1 if lines else 0)
        if need > room:
            break
        lines.append(line)
        room -= need
    else:
        return "\n".join(lines[::-1])
    return "\n".join(lines[::-1]) if lines else cut(line, max_bytes)
