"""Queries over the LLM calls of a run: sums, searches, single calls. All in SQL, as contexts can be large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recsim_llm.dashboard.view import RunView
from recsim_llm.errors import RecordingError

if TYPE_CHECKING:
    import pandas as pd

KINDS = {
    "labels": "len(choices) > 0",
    "text": "len(choices) = 0 AND schema = ''",
    "schema": "len(choices) = 0 AND schema <> ''",
}
"""SQL condition per kind of answer: a choice among labels, a free text, a text with a JSON schema."""
PAGE = 20
_SEARCHED = ("question", "context", "system", "text")
_ROUNDS = """
SELECT round, count(*) AS calls, sum(prompt_tokens) AS read, sum(output_tokens) AS written,
    count(*) FILTER (refused <> '') AS refused
FROM calls GROUP BY round ORDER BY round
"""
_SIZES = """
SELECT greatest(1, 2 ** floor(log2(greatest(prompt_tokens, 1))))::BIGINT AS tokens, count(*) AS calls
FROM calls GROUP BY 1 ORDER BY 1
"""
_ANSWERS = """
SELECT array_to_string(choices, ' | ') AS asked, text AS answer, count(*) AS calls
FROM calls WHERE len(choices) > 0 AND slots = 1 AND refused = '' GROUP BY 1, 2 ORDER BY 1, 2
"""
_MASS = """
SELECT least(19, floor(20 * coalesce(list_sum(list_transform(logprobs, lambda p, i:
    if(list_contains(coalesce(bounds, []), i - 1), 0, exp(p)))), 0) / slots)) / 20.0 AS mass, count(*) AS calls
FROM calls WHERE len(choices) > 0 AND refused = '' AND len(logprobs) > 0 GROUP BY 1 ORDER BY 1
"""
_LIST = """
SELECT lower(hex(key)) AS id, round, question, text, refused, prompt_tokens, output_tokens, len(choices) AS labels
FROM calls WHERE {where} ORDER BY round, key LIMIT ? OFFSET ?
"""
_ONE = "SELECT * FROM calls WHERE lower(hex(key)) = ? LIMIT 1"
_PLACES = """
SELECT DISTINCT session, "user" AS person, page FROM asked WHERE lower(hex(key)) = ? ORDER BY session, person, page
LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Search:
    """Filter for calls.

    Attributes:
        words: Substring of question, context, system or answer, case-insensitive; "" finds all.
        kind: A name in `KINDS`; "" for all.
        round: Number of the part; None for all.
        refused: Only prompts that the model could not answer.
    """

    words: str = ""
    kind: str = ""
    round: int | None = None
    refused: bool = False

    @property
    def where(self) -> tuple[str, list[object]]:
        """The condition in SQL, and the values of its `?`."""
        conditions: list[str] = []
        values: list[object] = []
        if self.words:
            conditions.append("(" + " OR ".join(f"contains(lower({name}), lower(?))" for name in _SEARCHED) + ")")
            values += [self.words] * len(_SEARCHED)
        if self.kind:
            conditions.append(KINDS[self.kind])
        if self.round is not None:
            conditions.append("round = ?")
            values.append(self.round)
        if self.refused:
            conditions.append("refused <> ''")
        return " AND ".join(conditions) or "true", values


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals of the model's calls in a run.

    Attributes:
        calls, read, written: Recorded calls, and their tokens.
        refused: Calls that the model could not answer.
        seconds: Wall time inside the model of a finished run, None before.
        counters: Counters of answers and backend in a finished run's summary, by name.
    """

    calls: int
    read: int
    written: int
    refused: int
    seconds: float | None
    counters: Mapping[str, float] = field(default_factory=dict)


def rounds(view: RunView) -> pd.DataFrame:
    """Columns round, calls, read, written, refused; one row per part."""
    return view.frame(_ROUNDS)


def sums(view: RunView) -> Sums:
    """Totals over the run's calls."""
    rows, summary = rounds(view), view.manifest.summary
    counters: dict[str, float] = {}
    for part in ("llm", "policy_llm", "answers"):
        for name, value in summary.get(part, {}).items():
            counters[name] = counters.get(name, 0.0) + float(value)
    seconds = counters.pop("seconds", None)
    calls, read, written, refused = (int(rows[name].sum()) for name in ("calls", "read", "written", "refused"))
    return Sums(calls, read, written, refused, seconds, counters)


def sizes(view: RunView) -> pd.DataFrame:
    """Columns tokens, calls: histogram of prompt lengths in powers of two (lower ends)."""
    return view.frame(_SIZES)


def answers(view: RunView) -> pd.DataFrame:
    """Columns asked, answer, calls: how often each label was the likeliest, by the labels offered."""
    return view.frame(_ANSWERS)


def label_mass(view: RunView) -> pd.DataFrame:
    """Columns mass, calls: histogram of the total probability of returned labels, in twentieths (lower ends)."""
    return view.frame(_MASS)


def found(view: RunView, search: Search) -> int:
    """Number of calls that a search finds."""
    where, values = search.where
    return int(view.frame(f"SELECT count(*) AS n FROM calls WHERE {where}", *values)["n"][0])


def listed(view: RunView, search: Search, page: int) -> pd.DataFrame:
    """`PAGE` calls of a search, by round: id, round, question, text, refused, prompt_tokens, output_tokens, labels."""
    where, values = search.where
    return view.frame(_LIST.format(where=where), *values, PAGE, page * PAGE)


def call(view: RunView, key: str) -> dict[str, Any]:
    """One complete call, by its hexadecimal key.

    Raises:
        RecordingError: The run has no such call.
    """
    rows = view.frame(_ONE, key).to_dict("records")
    if not rows:
        raise RecordingError(f"{view.folder} holds no call {key}.")
    return {str(name): value for name, value in rows[0].items()}


def places(view: RunView, key: str, count: int = 10) -> list[tuple[int, int, int]]:
    """The first `count` (session, user, page) at which a call was made; session and page are -1 outside a visit."""
    rows = view.frame(_PLACES, key, count)
    return [(int(s), int(u), int(p)) for s, u, p in rows.itertuples(index=False)]
