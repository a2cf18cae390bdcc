"""The kinds of held-out ratings that a tuned model is assessed on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from recsim_llm.data import Ratings
from recsim_llm.experiments.tuning.lessons import FEW
from recsim_llm.experiments.tuning.task import TuningTask
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats, Ints

COLD = 5
"""Most training ratings of a cold item."""


@dataclass(frozen=True, slots=True)
class Group:
    """Held-out ratings of one kind.

    Attributes:
        name: Name of the kind.
        told: Ratings that describe people and items.
        asked: Ratings that are asked about.
    """

    name: str
    told: Ratings
    asked: Ratings


def groups(task: TuningTask, people: int, rows: int) -> Iterator[Group]:
    """Yield held-out ratings by kind; kinds without any are left out.

    Args:
        task: The tuning task of the model.
        people: Most people per group, by hash; 0 for all.
        rows: Most ratings per person; 0 for all.
    """
    warm = task.learners[task.test.users] & ~task.held_items[task.test.items]
    usual = task.test.take(warm)
    cold = np.bincount(task.told.items, minlength=task.told.num_items) <= COLD
    removed = _joined(*(part.take(task.held_items[part.items]) for part in (task.log, task.test)))
    removed = removed.take(task.learners[removed.users])
    first = _rank(removed.items, uniforms(0, Stream.TUNING, 13, removed.users, removed.items)) < COLD
    strangers = task.test.take(~task.learners[task.test.users] & ~task.held_items[task.test.items])
    introduced = _introduced(task)
    found = (
        Group("other ratings of its people", task.told, _sampled(usual, people, rows)),
        Group(f"items with at most {COLD} ratings", task.told, usual.take(cold[usual.items])),
        Group("items removed from training", task.told, _sampled(removed, people, rows)),
        Group(
            f"removed items, {COLD} ratings told",
            _joined(task.told, removed.take(first)),
            _sampled(removed.take(~first), people, rows),
        ),
        Group(f"new people, {FEW} ratings told", introduced, _sampled(strangers, people, rows)),
    )
    for group in found:
        known = np.isin(group.asked.users, group.told.users)  # people without known ratings cannot be described
        if known.any():
            yield replace(group, asked=group.asked.take(known))


def _introduced(task: TuningTask) -> Ratings:
    """Ratings told for groups with new people: all of the learners, `FEW` of each of the others."""
    luck = uniforms(0, Stream.TUNING, 9, task.told.users, task.told.items)
    return task.told.take(task.learners[task.told.users] | (_rank(task.told.users, luck) < FEW))


def _sampled(ratings: Ratings, people: int, rows: int) -> Ratings:
    luck = uniforms(0, Stream.TUNING, 10, ratings.users, ratings.items)
    kept = ratings.take(_rank(ratings.users, luck) < rows) if rows else ratings
    users = np.unique(kept.users)
    chosen = users[np.argsort(uniforms(0, Stream.TUNING, 11, users), kind="stable")]
    return kept.take(np.isin(kept.users, chosen[:people] if people else chosen))


def _rank(whose: Ints, luck: Floats) -> Ints:
    """(M,) number of rows of the same (M,) owner, a person or an item, with a smaller draw."""
    order = np.lexsort((luck, whose))
    owners = whose[order]
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(owners, owners)
    return rank


def _joined(one: Ratings, other: Ratings) -> Ratings:
    return Ratings(
        np.concatenate([one.users, other.users]),
        np.concatenate([one.items, other.items]),
        np.concatenate([one.values, other.values]),
        np.concatenate([one.times, other.times]),
        one.num_users,
        one.num_items,
    )
