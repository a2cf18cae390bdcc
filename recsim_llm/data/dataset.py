"""A loaded data set: a catalogue, ratings and people; items are numbered 0..N-1 and users 0..U-1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.shown import Shown
from recsim_llm.types import Floats32, Ints, Item


@dataclass(frozen=True)
class Catalogue:
    """The items, by id.

    Attributes:
        items: `items[i].id == i`.
        raw_ids: The source's own id of each item, for joins with other tables.
        vouched: Digest of items whose texts are all trusted: invented here, or from a published archive with a known
            checksum. With any other value, as for a modified catalogue, prompts quote its texts.
    """

    items: tuple[Item, ...]
    raw_ids: tuple[str, ...]
    vouched: str = field(default="", compare=False)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> Item:
        return self.items[item]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    @cached_property
    def genres(self) -> tuple[str, ...]:
        """All genres, sorted."""
        return tuple(sorted({g for item in self.items for g in item.genres}))

    @cached_property
    def genre_matrix(self) -> NDArray[np.bool_]:
        """(N, G) True if the item has the genre; columns in the order of `genres`."""
        column = {g: j for j, g in enumerate(self.genres)}
        matrix = np.zeros((len(self.items), len(column)), dtype=np.bool_)
        for item in self.items:
            matrix[item.id, [column[g] for g in item.genres]] = True
        return matrix

    @cached_property
    def shown(self) -> Shown:
        """The texts as prompts show them; no other text of an item may enter a prompt."""
        return Shown(self.items, as_they_are=self.is_vouched)

    @property
    def is_vouched(self) -> bool:
        """Whether all texts are trusted (`vouched`)."""
        return self.vouched == self._digest

    def vouch(self) -> Catalogue:
        """A copy of the catalogue whose texts are marked as trusted names and descriptions."""
        return replace(self, vouched=self._digest)

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(repr(self.items).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def has_titles(self) -> bool:
        """False if the source had no titles, so that items are named by their ids."""
        return any(item.title != raw for item, raw in zip(self.items, self.raw_ids, strict=True))


@dataclass(frozen=True)
class Person:
    """A real person of the data set.

    Attributes:
        user: User id.
        raw_id: The source's own id.
        age: Years, or None.
        gender: As in the source, or None.
        occupation: As in the source, or None.
    """

    user: int
    raw_id: str
    age: int | None = None
    gender: str | None = None
    occupation: str | None = None


@dataclass(frozen=True)
class Ratings:
    """A log of ratings, one per row, in any order.

    Attributes:
        users, items: (M,) ids.
        values: (M,) stars.
        times: (M,) seconds since 1970, 0 where unknown.
        num_users, num_items: Sizes of the id spaces (not every id need occur).
        raw_users: The source's own id of each user, for joins with other tables; () if unknown.
    """

    users: Ints
    items: Ints
    values: Floats32
    times: Ints
    num_users: int
    num_items: int
    raw_users: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Ratings:
        """The given rows (indices or mask), same id spaces."""
        users, items = self.users[rows], self.items[rows]
        return replace(self, users=users, items=items, values=self.values[rows], times=self.times[rows])

    def matrix(self) -> sp.csr_array:
        """(U, N) sparse matrix of stars."""
        return sp.csr_array((self.values, (self.users, self.items)), shape=(self.num_users, self.num_items))

    def by_user(self) -> Sequence[Ints]:
        """Row indices per user, oldest first (ties by row): U arrays."""
        order = np.lexsort((np.arange(len(self)), self.times, self.users))
        ends = np.cumsum(np.bincount(self.users, minlength=self.num_users))
        return np.split(order, ends[:-1])


@dataclass(frozen=True)
class Impressions:
    """A log of impressions and responses: M rows, one per item shown. Pages of a session are numbered from 0.

    Attributes:
        users, items: (M,) ids.
        sessions: (M,) number of the visit, unique over all people.
        pages, slots: (M,) from 0.
        watched: (M,) whether the item was watched.
        ratings: (M,) stars given, 0 without a rating.
        left: (M,) True on all rows of the page after which the person left; a session without it was cut off. All
            False if the log has no exits.
        has_exits: Whether the log records when people left.
    """

    users: Ints
    items: Ints
    sessions: Ints
    pages: Ints
    slots: Ints
    watched: NDArray[np.bool_]
    ratings: Floats32
    left: NDArray[np.bool_]
    has_exits: bool

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Impressions:
        """The given rows (indices or mask)."""
        return Impressions(
            self.users[rows],
            self.items[rows],
            self.sessions[rows],
            self.pages[rows],
            self.slots[rows],
            self.watched[rows],
            self.ratings[rows],
            self.left[rows],
            self.has_exits,
        )


@dataclass(frozen=True)
class Dataset:
    """A catalogue, ratings and people.

    Attributes:
        name: Name it was loaded by.
        catalogue: The items.
        ratings: All ratings.
        people: `people[u].user == u`.
        rating_levels: Stars that can be given, ascending, all positive: (1, 2, 3, 4, 5) for ML-100K.
        checksum: sha256 over content, so that a model fitted on one version is not used with another.
        licence: Terms in a sentence; the data stay the owner's.
        impressions: What was shown, and when people left; None if not recorded, as in most data sets.
        random_ratings: Ratings of items shown at random, never part of `ratings` and never fitted on; None if the data
            set has none.
    """

    name: str
    catalogue: Catalogue
    ratings: Ratings
    people: tuple[Person, ...]
    rating_levels: tuple[float, ...]
    checksum: str
    licence: str
    impressions: Impressions | None = None
    random_ratings: Ratings | None = None


@dataclass(frozen=True)
class Split:
    """Two disjoint parts of one log.

    Leakage rule: personas, user models and policies are fitted on `train` alone; `test` is read only by metrics.
    """

    train: Ratings
    test: Ratings
