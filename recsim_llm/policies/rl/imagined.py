"""Sessions of people that were learned from a log, for training without anybody real. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.data.likeness import Likeness
from recsim_llm.policies.rl.item_vectors import PRIOR, ItemStart
from recsim_llm.policies.rl.loop import Moved
from recsim_llm.policies.rl.offline_data import log_episodes
from recsim_llm.policies.rl.settings import DORLSettings
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Bools, Floats, Floats32, Ints


@dataclass(frozen=True, slots=True)
class LearnedPeople:
    """What was learned of people.

    Attributes:
        rows: (P, 1 + 2 H) their histories (`states.pack`), with nothing shown.
        ratings: (P, N) predicted stars, 1 to 5 as the log's range.
        likeness: Which items are too much alike for them.
    """

    rows: Floats32
    ratings: Floats32
    likeness: Likeness


def learn_people(log: Ratings, start: ItemStart, settings: DORLSettings, length: int) -> LearnedPeople:
    """People with predicted ratings: what the networks begin with, applied to each person's whole log."""
    episodes = log_episodes(log, length)
    rows = episodes.rows[np.cumsum(episodes.lengths + 1) - 1].copy()
    rows[:, 0] = 0.0
    expected = start.mean + start.bias
    taste = np.zeros((len(rows), start.vectors.shape[1]))
    level = np.zeros(len(rows))
    person = np.searchsorted(episodes.users, log.users)
    above = log.values - expected[log.items]
    count = np.bincount(person, minlength=len(rows)) + PRIOR
    np.add.at(taste, person, above[:, None] * start.vectors[log.items])
    np.add.at(level, person, above)
    ratings = expected + (taste / count[:, None]) @ start.vectors.T + (level / count)[:, None]
    low, high = float(log.values.min()), float(log.values.max())
    likeness = Likeness.nearest(start.likeness, settings.nearest)
    return LearnedPeople(rows, np.clip(ratings, low, high).astype(np.float32), likeness)


class Entropies:
    """How varied the log is after one and after two items: what DORL's bonus is made of.

    An item's category is its first genre; without genres, the item itself. The entropy of the category that comes next,
    given the unordered set of the last k categories and divided by its maximum; 1 for a set that the log does not have.

    Args:
        log: Training ratings.
        catalogue: The items.
    """

    def __init__(self, log: Ratings, catalogue: Catalogue) -> None:
        names = [item.genres[0] if item.genres else str(item.id) for item in catalogue]
        self._kinds = np.unique(names, return_inverse=True)[1].astype(np.int64)
        self.count = int(self._kinds.max(initial=0)) + 1
        sequences = [self._kinds[log.items[rows]] for rows in log.by_user()]
        self._one = self._table([(s[:-1], s[1:]) for s in sequences], self.count)
        pairs = [(self._pair(s[:-2], s[1:-1]), s[2:]) for s in sequences if len(s) > 2]
        self._two = self._table(pairs, self.count**2)

    def __call__(self, before: Ints, latest: Ints) -> Floats:
        """(B,) sum of both entropies; `before` and `latest` are (B,) items, EMPTY where there is none."""
        newest, older = self._kinds[latest], self._kinds[np.maximum(before, 0)]
        two = np.where(before >= 0, self._two[self._pair(older, newest)], 1.0)
        return np.asarray(np.where(latest >= 0, self._one[newest] + two, 2.0))

    def _pair(self, a: Ints, b: Ints) -> Ints:
        return np.asarray(np.minimum(a, b) * self.count + np.maximum(a, b))

    def _table(self, moves: list[tuple[Ints, Ints]], size: int) -> Floats:
        counts = np.zeros((size, self.count))
        for given, then in moves:
            np.add.at(counts, (given, then), 1.0)
        total = counts.sum(axis=1, keepdims=True)
        shares = counts / np.maximum(total, 1.0)
        entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1) / max(np.log(self.count), 1e-9)
        return np.where(total[:, 0] > 0, entropy, 1.0)


class ImaginedWorld:
    """Sessions of learned people (see `loop.World`): a rating as predicted, rounded to whole stars.

    A session ends when an item is too much like one of the last `quit_window` shown, when its rating is below
    `low_reward`, or after `max_steps` (truncated).

    Args:
        people: Who comes.
        entropies: The bonus.
        settings: Of DORL.
        seed: Of who comes when.
    """

    def __init__(self, people: LearnedPeople, entropies: Entropies, settings: DORLSettings, seed: int) -> None:
        self._people, self._entropies, self._settings, self._seed = people, entropies, settings, seed
        self.num_envs = settings.num_envs
        self._half = (people.rows.shape[1] - 1) // 2
        self._visits, self._segment = 0, 0
        self._who = np.zeros(self.num_envs, dtype=np.int64)
        self._rows = people.rows[self._who]

    def begin(self, segment: int) -> Floats32:
        """See `loop.World`."""
        self._visits, self._segment = 0, segment
        self._come(np.ones(self.num_envs, dtype=np.bool_))
        return self._rows.copy()

    def step(self, actions: Ints) -> Moved:
        """See `loop.World`."""
        latest = self._rows[:, self._half - 1 : self._half + 1].astype(np.int64)
        stars = self._people.ratings[self._who, actions]
        bonus = self._entropies(latest[:, 1], actions)
        left = self._alike(actions) | (np.rint(stars) < self._settings.low_reward)
        self._show(actions, np.rint(stars))
        cut = ~left & (self._rows[:, 0] >= self._settings.max_steps)
        following = self._rows.copy()
        self._come(left | cut)
        rewards = stars + self._settings.entropy_bonus * bonus
        return Moved(following, self._rows.copy(), rewards.astype(np.float64), left, cut)

    def _come(self, where: Bools) -> None:
        self._visits += 1
        luck = uniforms(self._seed, int(Stream.USER), self._segment, self._visits, np.arange(self.num_envs))
        self._who = np.where(where, (luck * len(self._people.rows)).astype(np.int64), self._who)
        self._rows = np.where(where[:, None], self._people.rows[self._who], self._rows)

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

    def _alike(self, actions: Ints) -> Bools:
        width = self._settings.quit_window
        items = self._rows[:, 1 + self._half - width : 1 + self._half].astype(np.int64)
        shown = np.arange(width, 0, -1)[None, :] <= self._rows[:, :1]
        return self._people.likeness.near(np.where(shown, items, EMPTY), actions[:, None])[:, 0]
