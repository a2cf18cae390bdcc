"""Tester pairs: pairs of recommenders whose order is known by construction (Labhishetty and Zhai, SIGIR 2021).

A recommender's page is spoilt by replacing some of its items with random ones; the more slots, the worse. A simulator
that does not score the more spoilt page lower cannot be trusted to compare recommenders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.experiments.fidelity.measures.measures import Measure
from recsim_llm.policies import make_policy
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Floats, Ints, Observation

POLICIES = ("ease", "item-knn", "popularity")
SPOILT = (0.0, 0.25, 0.5, 1.0)
PAGE_SIZE = 8


@dataclass(frozen=True)
class Testers:
    """Pages of recommenders that get worse by construction.

    Attributes:
        names: (S,) systems: policy and share of spoilt slots.
        pages: (S, U', K) items that each system shows to each person.
        pairs: (better, worse) indices of systems.
    """

    names: tuple[str, ...]
    pages: Ints
    pairs: tuple[tuple[int, int], ...]


def make_testers(train: Ratings, catalogue: Catalogue, members: Ints) -> Testers:
    """Make pages for (U',) members from every policy at every degree of spoiling."""
    unseen = np.array([_random_unseen(train, user) for user in members.tolist()])
    spoil = uniforms(7, Stream.POLICY, members[:, None], np.arange(PAGE_SIZE))
    names: list[str] = []
    pages: list[Ints] = []
    pairs: list[tuple[int, int]] = []
    for policy in POLICIES:
        best = make_policy(policy, train, catalogue, PAGE_SIZE).act(_first_page(members))
        first = len(names)
        for share in SPOILT:
            # Nested: a spoilt slot stays spoilt at higher degrees.
            pages.append(np.where(spoil < share, unseen, best))
            names.append(f"{policy}, {share:.0%} random")
        pairs += list(_ordered(first, len(SPOILT)))
    return Testers(tuple(names), np.array(pages), tuple(pairs))


def ordered_pairs(testers: Testers, utility: Floats) -> Measure:
    """Share of pairs that the simulator orders correctly.

    Args:
        testers: The systems.
        utility: (U', S) expected stars of what each person watches of each system's page.
    """
    better, worse = (np.array(side) for side in zip(*testers.pairs, strict=True))

    def combine(totals: Floats) -> Floats:
        share: Floats = (totals[..., better] > totals[..., worse]).mean(axis=-1)
        return share

    return Measure(utility, combine)


def _ordered(first: int, count: int) -> Iterator[tuple[int, int]]:
    for i in range(count):
        for j in range(i + 1, count):
            yield first + i, first + j


def _random_unseen(train: Ratings, user: int) -> Ints:
    luck = uniforms(8, Stream.POLICY, np.array(user), np.arange(train.num_items))
    luck[train.items[train.users == user]] = 2.0
    return np.argsort(luck, kind="stable")[:PAGE_SIZE].astype(np.int64)


def _first_page(members: Ints) -> Observation:
    """A policy's observation before anything was shown: the user only."""
    B = len(members)
    return Observation(
        user=members[:, None],
        page=np.zeros((B, 1), dtype=np.int64),
        history_items=np.full((B, 1), EMPTY, dtype=np.int64),
        history_ratings=np.zeros((B, 1), dtype=np.float32),
        history_mask=np.zeros((B, 1), dtype=np.int8),
    )
