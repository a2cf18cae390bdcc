"""Sessions of users learned from a log, for offline training. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.data.likeness import Likeness
from recsim_llm.policies.rl.item_vectors import PRIOR, ItemStart
from recsim_llm.policies.rl.loop import Moved
from recsim_llm.policies.rl.offline.offline_data import log_episodes
from recsim_llm.policies.rl.settings import DORLSettings
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Bools, Floats, Floats32, Ints


class Exits(Protocol):
    """An exit rule for B sessions side by side."""

    def begin(self, where: Bools, users: Ints) -> None:
        """Begin sessions where `where` (B,) is True, of the users with these (B,) ids."""
        ...

    def leave(self, items: Ints, stars: Floats32) -> Bools:
        """Return (B,) whether users leave after these (B,) items and (B,) stars."""
        ...


class LearnedExits:
    """Exits by a similarity learned from the log: an item too similar to one of the last shown, or too few stars.

    Args:
        likeness: Decides which items are too similar.
        window: Number of latest items of the session with which a new one is compared.
        low_reward: Stars below which a person leaves.
    """

    def __init__(self, likeness: Likeness, window: int, low_reward: float) -> None:
        self._likeness, self._low = likeness, low_reward
        self._windows = np.full((0, window), EMPTY, dtype=np.int64)

    def begin(self, where: Bools, users: Ints) -> None:
        """See `Exits.begin`."""
        if len(self._windows) != len(where):
            self._windows = np.full((len(where), self._windows.shape[1]), EMPTY, dtype=np.int64)
        self._windows[where] = EMPTY

    def leave(self, items: Ints, stars: Floats32) -> Bools:
        """See `Exits.leave`."""
        alike = self._likeness.near(self._windows, items[:, None])[:, 0]
        self._windows = np.concatenate([self._windows[:, 1:], items[:, None]], axis=1)
        return np.asarray(alike | (stars < self._low))


@dataclass(frozen=True, slots=True)
class LearnedPeople:
    """Users learned from a log.

    Attributes:
        users: (P,) their ids in the log.
        rows: (P, 1 + 2 H) their histories (`states.pack`), with no items shown yet.
        ratings: (P, N) predicted stars within the log's range: the mean of an ensemble.
        variance: (P, N) predictive variance of a rating, stars squared: the largest of the ensemble.
    """

    users: Ints
    rows: Floats32
    ratings: Floats32
    variance: Floats32


def learn_people(log: Ratings, starts: Sequence[ItemStart], length: int) -> LearnedPeople:
    """Predict ratings of all users from the initial item vectors and each user's whole log.

    Args:
        log: Training ratings.
        starts: The models of the ensemble, at least one.
        length: H.
    """
    episodes = log_episodes(log, length)
    rows = episodes.rows[np.cumsum(episodes.lengths + 1) - 1].copy()
    rows[:, 0] = 0.0
    low, high = float(log.values.min()), float(log.values.max())
    # (M,) row of `episodes` for each rating.
    person = np.searchsorted(episodes.users, log.users)
    shape = (len(rows), log.num_items)
    total, largest = np.zeros(shape), np.zeros(shape, dtype=np.float32)
    for start in starts:
        ratings = np.clip(_predicted(log, person, start, len(rows)), low, high)
        noise = float(((log.values - ratings[person, log.items]) ** 2).mean())
        total += ratings
        largest = np.maximum(largest, _variance(log, person, start, len(rows), noise))
    return LearnedPeople(episodes.users, rows, (total / len(starts)).astype(np.float32), largest)


def _predicted(log: Ratings, person: Ints, start: ItemStart, people: int) -> Floats:
    """(P, N) predicted stars, not clipped: expected rating of the item, plus the user's taste for it and level."""
    expected = start.mean + start.bias
    taste, level = np.zeros((people, start.vectors.shape[1])), np.zeros(people)
    above = log.values - expected[log.items]
    count = np.bincount(person, minlength=people) + PRIOR
    np.add.at(taste, person, above[:, None] * start.vectors[log.items])
    np.add.at(level, person, above)
    ratings: Floats = expected + (taste / count[:, None]) @ start.vectors.T + (level / count)[:, None]
    return ratings


def _variance(log: Ratings, person: Ints, start: ItemStart, people: int, noise: float) -> Floats32:
    """(P, N) predictive variance of the Bayesian linear regression whose mean the taste approximates.

    noise (1 + e (E'E + PRIOR I)^-1 e) for an item with vector e and a user who rated the items with vectors E: large
    where the user rated no similar item.
    """
    vectors = start.vectors.astype(np.float64)
    out = np.empty((people, len(vectors)), dtype=np.float32)
    order = np.argsort(person, kind="stable")
    ends = np.cumsum(np.bincount(person, minlength=people))
    for who, rows in enumerate(np.split(order, ends[:-1])):
        held = vectors[log.items[rows]]  # (n, D) vectors of the n items that this user rated
        spread = np.linalg.inv(held.T @ held + PRIOR * np.eye(vectors.shape[1]))
        out[who] = noise * (1.0 + ((vectors @ spread) * vectors).sum(axis=1))
    return out


class Entropies:
    """Entropy of the log's next category after one and after two items, for DORL's bonus.

    An item's category is its first genre; without genres, the item itself. The entropy is that of the next category,
    given the unordered set of the last k categories and divided by its maximum; 1 for a set that the log does not have.

    Args:
        log: Training ratings.
        catalogue: The items.

    Attributes:
        count: Number of categories.
        least: Smallest sum of both entropies.
    """

    def __init__(self, log: Ratings, catalogue: Catalogue) -> None:
        names = [item.genres[0] if item.genres else str(item.id) for item in catalogue]
        self._kinds = np.unique(names, return_inverse=True)[1].astype(np.int64)
        self.count = int(self._kinds.max(initial=0)) + 1
        sequences = [self._kinds[log.items[rows]] for rows in log.by_user()]
        self._one = self._table([(s[:-1], s[1:]) for s in sequences], self.count)
        pairs = [(self._pair(s[:-2], s[1:-1]), s[2:]) for s in sequences if len(s) > 2]
        self._two = self._table(pairs, self.count**2)
        self.least = float(self._one.min() + self._two.min())

    def __call__(self, before: Ints, latest: Ints) -> Floats:
        """Return (B,) sums of both entropies; `before` and `latest` are (B,) items, EMPTY where there is none."""
        newest, older = self._kinds[latest], self._kinds[np.maximum(before, 0)]
        two = np.where(before >= 0, self._two[self._pair(older, newest)], 1.0)
        return np.asarray(np.where(latest >= 0, self._one[newest] + two, 2.0))

    def _pair(self, a: Ints, b: Ints) -> Ints:
        return np.asarray(np.minimum(a, b) * self.count + np.maximum(a, b))

    def _table(self, moves: list[tuple[Ints, Ints]], size: int) -> Floats:
        counts = np.zeros((size, self.count))  # transitions: condition by next category
        for given, then in moves:
            np.add.at(counts, (given, then), 1.0)
        total = counts.sum(axis=1, keepdims=True)
        shares = counts / np.maximum(total, 1.0)
        entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1) / max(np.log(self.count), 1e-9)
        return np.where(total[:, 0] > 0, entropy, 1.0)


class ImaginedWorld:
    """Sessions of learned users (see `loop.World`), with predicted ratings rounded to whole stars.

    A session ends by the exit rule, or after `max_steps` (truncated). The reward of a step is DORL's:

        max(0, rating - variance_penalty * variance + entropy_bonus * entropies - offset)

    with the predicted rating, not rounded, and as offset the smallest possible sum of the other terms: smallest rating,
    largest variance, smallest entropies. With `offset=False` the reward is the sum of these terms.

    Args:
        people: The learned users.
        exits: The exit rule.
        entropies: Entropies for the bonus.
        settings: Settings of DORL.
        seed: Seed for the order of users.
    """

    def __init__(
        self, people: LearnedPeople, exits: Exits, entropies: Entropies, settings: DORLSettings, seed: int
    ) -> None:
        self._people, self._exits, self._entropies = people, exits, entropies
        self._settings, self._seed = settings, seed
        self.num_envs = settings.num_envs
        self._half = (people.rows.shape[1] - 1) // 2
        self._visits, self._segment = 0, 0
        self._who = np.zeros(self.num_envs, dtype=np.int64)
        self._rows = people.rows[self._who]
        least = float(people.ratings.min()) - settings.variance_penalty * float(people.variance.max())
        self._least = least + settings.entropy_bonus * entropies.least

    def begin(self, segment: int) -> Floats32:
        """See `loop.World`."""
        self._visits, self._segment = 0, segment
        self._come(np.ones(self.num_envs, dtype=np.bool_))
        return self._rows.copy()

    def step(self, actions: Ints) -> Moved:
        """See `loop.World`."""
        stars = self._people.ratings[self._who, actions]
        rewards = self._rewards(actions, stars)
        left = self._exits.leave(actions, np.rint(stars))
        self._show(actions, np.rint(stars))
        cut = ~left & (self._rows[:, 0] >= self._settings.max_steps)
        following = self._rows.copy()
        self._come(left | cut)
        return Moved(following, self._rows.copy(), rewards, left, cut)

    def _rewards(self, actions: Ints, stars: Floats32) -> Floats:
        """(B,) rewards; called before the session moves on."""
        settings = self._settings
        before = np.where(self._rows[:, 0] > 0, self._rows[:, self._half], EMPTY).astype(np.int64)
        bonus = settings.entropy_bonus * self._entropies(before, actions)
        penalty = settings.variance_penalty * self._people.variance[self._who, actions]
        rewards: Floats = stars.astype(np.float64) - penalty + bonus
        return np.maximum(0.0, rewards - self._least) if settings.offset else rewards

    def _come(self, where: Bools) -> None:
        self._visits += 1
        luck = uniforms(self._seed, int(Stream.USER), self._segment, self._visits, np.arange(self.num_envs))
        self._who = np.where(where, (luck * len(self._people.rows)).astype(np.int64), self._who)
        self._rows = np.where(where[:, None], self._people.rows[self._who], self._rows)
        self._exits.begin(where, self._people.users[self._who])

    def _show(self, actions: Ints, stars: Floats32) -> None:
        items, given = self._rows[:, 1 : 1 + self._half], self._rows[:, 1 + self._half :]
        parts: list[NDArray[Any]] = [
            self._rows[:, :1] + 1,
            items[:, 1:],
            actions[:, None],
            given[:, 1:],
            stars[:, None],
        ]
        self._rows = np.concatenate(parts, axis=1, dtype=np.float32)
