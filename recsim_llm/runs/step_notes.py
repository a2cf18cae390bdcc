"""Notes about steps for human readers; no reward, replay or hash depends on them.

One part per round, like the steps. Rows belong to a page of a session, or to none (-1) where an agent of a society
plans, talks or listens between visits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsim_llm.prompt_key import KEY_BYTES
from recsim_llm.runs.steps import StepBatch, text_array
from recsim_llm.types import Floats, Ints

_PLACE = (("session", pa.int64()), ("user", pa.int64()), ("page", pa.int64()))


def _columns(*own: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in (*_PLACE, *own)])


_NUMBERS = pa.list_(pa.field("element", pa.float64(), nullable=False))
ASKED_SCHEMA = _columns(("key", pa.binary(KEY_BYTES)))
WHY_SCHEMA = _columns(("scores", _NUMBERS), ("thought", pa.string()))
THOUGHT_SCHEMA = _columns(("kind", pa.string()), ("text", pa.string()))
MEMORY_SCHEMA = _columns(
    ("hour", pa.float64()), ("kind", pa.string()), ("importance", pa.float64()), ("text", pa.string())
)


class Remembered(NamedTuple):
    """One entry added to an agent's memory.

    Attributes:
        user: Owner of the memory.
        hour: Simulated hours since the run began.
        kind, importance, text: As in `agents.llm.memory.memory_protocol.Event`.
    """

    user: int
    hour: float
    kind: str
    importance: float
    text: str


class Thought(NamedTuple):
    """A user's thought about a page, in a model's words.

    Attributes:
        user: User id.
        kind: "page" if it was asked for after the choice; else the kind of the memory that an agent wrote.
        text: The thought.
    """

    user: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Why:
    """A policy's explanation of its pages.

    Attributes:
        users: (B,) user ids of the rows.
        items: (B, W) items of the pages, best first.
        scores: (B, W) scores of these items; NaN where there are none.
        thoughts: B texts, or () for a policy without thoughts.
    """

    users: Ints
    items: Ints
    scores: Floats
    thoughts: tuple[str, ...] = ()


def asked_table(asked: Sequence[tuple[int, bytes]], steps: StepBatch | None) -> pa.Table:
    """Return rows of `ASKED_SCHEMA`: the calls per user.

    Args:
        asked: User ids and keys of calls.
        steps: The pages they belong to; None for none.
    """
    users = [user for user, _ in asked]
    keys = pa.array([key for _, key in asked], pa.binary(KEY_BYTES))
    return pa.table([*_places(users, steps), keys], schema=ASKED_SCHEMA)


def thought_table(thoughts: Sequence[Thought], steps: StepBatch | None) -> pa.Table:
    """Return rows of `THOUGHT_SCHEMA`: the thoughts about these pages."""
    users, kinds, texts = zip(*thoughts, strict=True) if thoughts else ((),) * 3
    return pa.table([*_places(users, steps), text_array(kinds), text_array(texts)], schema=THOUGHT_SCHEMA)


def first_different_thought(recorded: pa.Table, now: pa.Table) -> str | None:
    """Describe the first difference of two tables, as a clause without a full stop; None if they are equal."""
    for a, b in zip_longest(recorded.to_pylist(), now.to_pylist()):
        if a != b:
            row = a or b
            said, says = (repr(one["text"]) if one else "nothing" for one in (a, b))
            return f"session {row['session']}, page {row['page']}: the thought {said} recorded, {says} now"
    return None


def memory_table(remembered: Sequence[Remembered], steps: StepBatch | None) -> pa.Table:
    """Return rows of `MEMORY_SCHEMA`: the entries added to memories."""
    users, hours, kinds, importance, texts = zip(*remembered, strict=True) if remembered else ((),) * 5
    own = [pa.array(hours, pa.float64()), text_array(kinds), pa.array(importance, pa.float64()), text_array(texts)]
    return pa.table([*_places(users, steps), *own], schema=MEMORY_SCHEMA)


def why_table(why: Why, steps: StepBatch) -> pa.Table:
    """Return rows of `WHY_SCHEMA`: scores in slot order; NaN for items that the policy did not choose."""
    row_of = {user: row for row, user in enumerate(why.users.tolist())}
    rows = np.array([row_of.get(user, -1) for user in steps.user.tolist()], dtype=np.int64)
    known = np.flatnonzero(rows >= 0)
    steps, rows = steps.take(known), rows[known]
    same = steps.items[:, :, None] == why.items[rows][:, None, :]
    scores = np.take_along_axis(why.scores[rows], same.argmax(axis=2), axis=1)
    scores = np.where(same.any(axis=2), scores, np.nan)
    lengths = np.arange(len(steps) + 1, dtype=np.int32) * steps.items.shape[1]
    lists = pa.ListArray.from_arrays(pa.array(lengths), pa.array(scores.reshape(-1)), type=_NUMBERS)
    thoughts = text_array(why.thoughts[row] for row in rows) if why.thoughts else text_array([""] * len(rows))
    places = [pa.array(column) for column in (steps.session, steps.user, steps.page)]
    return pa.table([*places, lists, thoughts], schema=WHY_SCHEMA)


def _places(users: Sequence[int], steps: StepBatch | None) -> list[pa.Array]:
    """Return session, user and page of each row, from the user's step; session and page are -1 without one."""
    found: dict[int, tuple[int, int]] = {}
    if steps is not None:
        places = zip(steps.session.tolist(), steps.page.tolist(), strict=True)
        # A user with two sessions in the batch sees and does the same in both, so the first one is used.
        for user, place in zip(reversed(steps.user.tolist()), reversed(list(places)), strict=True):
            found[user] = place
    sessions, pages = zip(*(found.get(user, (-1, -1)) for user in users), strict=True) if users else ((), ())
    return [pa.array(column, pa.int64()) for column in (sessions, users, pages)]
