"""Measures of long-term sessions, one value per session. Pure functions of recorded steps.

Two conventions of length and reward are in print. BiLLP (Shi et al., SIGIR 2024) leaves out the turn that makes a
person leave; EasyRL4Rec (Yu et al., SIGIR 2024) counts it, with its reward. Both are computed from the same sessions:
counted length = stayed length + 1 where the person left, and the rewards differ by that of the last turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data import Catalogue, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.runs import StepBatch
from recsim_llm.types import EMPTY, Floats, Ints

HEAD_SHARE = 0.1
"""Share of the catalogue that counts as popular."""


@dataclass(frozen=True)
class StudyShelf:
    """Data on N items that measures need.

    Attributes:
        counts: (N,) ratings of each item in the training log.
        num_users: People in the log.
        genres: (N, G) genre membership of each item.
        vectors: (N, D) item vectors whose cosines measure similarity.
    """

    counts: Ints
    num_users: int
    genres: NDArray[np.bool_]
    vectors: Floats

    @classmethod
    def of(cls, log: Ratings, catalogue: Catalogue, vectors: Floats) -> StudyShelf:
        """Build from a training log, a catalogue and (N, D) vectors."""
        counts = np.bincount(log.items, minlength=log.num_items).astype(np.int64)
        return cls(counts, log.num_users, catalogue.genre_matrix, vectors)

    @property
    def popular(self) -> NDArray[np.bool_]:
        """(N,) the most rated tenth of the catalogue, ties by id."""
        head = np.argsort(-self.counts, kind="stable")[: max(1, round(HEAD_SHARE * len(self.counts)))]
        out = np.zeros(len(self.counts), dtype=np.bool_)
        out[head] = True
        return out

    @property
    def surprise(self) -> Floats:
        """(N,) self-information in bits, -log2 of the share of people who rated the item (Zhou et al., PNAS 2010).

        Deviation from the source: one is added to counts and people, so that an unrated item has a finite value.
        """
        bits: Floats = -np.log2((self.counts + 1) / (self.num_users + 1))
        return bits


class StudySessions(NamedTuple):
    """Steps in the order of sessions and pages.

    Attributes:
        steps: The steps.
        starts: (S,) first row of each session.
        ends: (S,) row after the last of each session.
        users: (S,) user of each session.
    """

    steps: StepBatch
    starts: Ints
    ends: Ints
    users: Ints


def sessions_of(steps: StepBatch) -> StudySessions:
    """Group steps, given in any order, by session; sessions are sorted by (user, session).

    Raises:
        ConfigError: There are no steps.
    """
    if not len(steps):
        raise ConfigError("There are no steps to measure.")
    steps = steps.take(np.lexsort((steps.page, steps.session, steps.user)))
    new = np.ones(len(steps), dtype=np.bool_)
    new[1:] = (steps.session[1:] != steps.session[:-1]) | (steps.user[1:] != steps.user[:-1])
    starts = np.flatnonzero(new)
    return StudySessions(steps, starts, np.append(starts[1:], len(steps)), steps.user[starts].astype(np.int64))


def _sum(s: StudySessions, rows: NDArray[np.generic]) -> Floats:
    total: Floats = np.add.reduceat(rows.astype(np.float64), s.starts)
    return total


def _left(s: StudySessions) -> Floats:
    return s.steps.left[s.ends - 1].astype(np.float64)


def length_counted(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Turns, the last one included (EasyRL4Rec)."""
    return (s.ends - s.starts).astype(np.float64)


def length_stayed(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Turns after which the person was still there (BiLLP)."""
    return length_counted(s, shelf) - _left(s)


def reward_counted(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Sum of rewards of all turns (EasyRL4Rec)."""
    return _sum(s, s.steps.reward)


def reward_stayed(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Sum of rewards without that of a turn that made the person leave (BiLLP's R_traj)."""
    return reward_counted(s, shelf) - np.where(_left(s) > 0, s.steps.reward[s.ends - 1], 0.0)


def at_cap(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Whether the session was cut off at the last page."""
    return s.steps.truncated[s.ends - 1].astype(np.float64)


def genre_diversity(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Mean Jaccard distance between the genres of any two items of the session; NaN with fewer than two items."""
    return np.array([_mean_pair(_jaccard(shelf.genres[items].astype(np.float64))) for items in _items(s)])


def vector_diversity(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Mean cosine distance between any two items of the session (`StudyShelf.vectors`); NaN with fewer than two."""
    unit = shelf.vectors / np.maximum(np.linalg.norm(shelf.vectors, axis=1, keepdims=True), 1e-12)
    return np.array([_mean_pair(1.0 - unit[items] @ unit[items].T) for items in _items(s)])


def novelty(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Mean `StudyShelf.surprise` of the items of the session, in bits."""
    bits = shelf.surprise
    return np.array([bits[items].mean() for items in _items(s)])


def popular_share(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Share of the session's items that are among the most rated tenth of the catalogue."""
    popular = shelf.popular
    return np.array([popular[items].mean() for items in _items(s)])


def repeat_share(s: StudySessions, shelf: StudyShelf) -> Floats:
    """Share of the session's items that were shown earlier in the session."""
    return np.array([1.0 - len(np.unique(items)) / len(items) for items in _items(s)])


MEASURES: dict[str, Callable[[StudySessions, StudyShelf], Floats]] = {
    "length_stayed": length_stayed,
    "reward_stayed": reward_stayed,
    "length_counted": length_counted,
    "reward_counted": reward_counted,
    "at_cap": at_cap,
    "genre_diversity": genre_diversity,
    "vector_diversity": vector_diversity,
    "novelty": novelty,
    "popular_share": popular_share,
    "repeat_share": repeat_share,
}
"""Measures by name, each computing (S,) values, one per session."""


def session_values(steps: StepBatch, shelf: StudyShelf) -> tuple[Ints, dict[str, Floats]]:
    """(S,) users and (S,) values of every measure, ordered by user, whatever the order of the steps."""
    sessions = sessions_of(steps)
    return sessions.users, {name: measure(sessions, shelf) for name, measure in MEASURES.items()}


def coverage(steps: StepBatch, num_items: int) -> float:
    """Share of the catalogue that was shown to at least one person."""
    shown = np.unique(steps.items)
    return float((shown != EMPTY).sum() / num_items)


def survival(steps: StepBatch, turns: int) -> Floats:
    """(turns + 1,) share of sessions that got past each turn, 1 at turn 0: still there, or cut off at the last one."""
    lengths = length_stayed(sessions_of(steps), _NO_SHELF)
    alive: Floats = (lengths[:, None] >= np.arange(turns + 1)).mean(axis=0)
    return alive


def reward_by_turn(steps: StepBatch, turns: int) -> Floats:
    """(turns,) mean reward of the people who had that turn; NaN if nobody had."""
    totals = np.bincount(steps.page, weights=steps.reward, minlength=turns)[:turns]
    counts = np.bincount(steps.page, minlength=turns)[:turns]
    means: Floats = np.divide(totals, counts, out=np.full(turns, np.nan), where=counts > 0)
    return means


def _items(s: StudySessions) -> list[Ints]:
    rows = zip(s.starts.tolist(), s.ends.tolist(), strict=True)
    shown = [s.steps.items[start:end].ravel() for start, end in rows]
    return [items[items != EMPTY].astype(np.int64) for items in shown]


def _jaccard(genres: Floats) -> Floats:
    both, sizes = genres @ genres.T, genres.sum(axis=1)
    either = sizes[:, None] + sizes[None, :] - both
    distance: Floats = 1.0 - np.divide(both, either, out=np.ones_like(both), where=either > 0)
    return distance


def _mean_pair(matrix: Floats) -> float:
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1))) if n > 1 else float("nan")


_NO_SHELF = StudyShelf(np.zeros(0, dtype=np.int64), 0, np.zeros((0, 0), dtype=np.bool_), np.zeros((0, 0)))
