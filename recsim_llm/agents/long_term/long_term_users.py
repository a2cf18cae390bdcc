"""BiLLP's long-term setting: wraps any user model; every shown item is taken up, and a rule decides who leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.long_term.habits import Habits
from recsim_llm.agents.long_term.quit_rule import QuitRule, repeated_genres
from recsim_llm.agents.user_model import Description, UserModel
from recsim_llm.data.likeness import Likeness, repetition_stars
from recsim_llm.data.rating_levels import moved, nearest_level
from recsim_llm.errors import ConfigError
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Keys, Reaction, Responses


class LongTermUsers:
    """Any user model in BiLLP's setting (see `UserModel`): every shown item is taken up; the rule decides who leaves.

    The inner users answer, remember and learn as usual; their watching is set to 1, and their ratings are shifted by
    the person's effect of repetition (`QuitRule.repetition`) and may be made deterministic (`QuitRule.ratings`). A
    session takes 8 bytes per item of the window and 8 more, besides the state of the inner users.

    Args:
        inner: The people.
        rule: When they leave.
        vectors: (N, D) item vectors, whose Euclidean distances the rule uses (`data.likeness`).
        genres: (N, G) which item has which genre, for `QuitRule.repeats`.
        habits: Each person's habits; None where the rule uses no personal ones.

    Raises:
        ConfigError: Vectors or genres do not fit the users' catalogue, or habits do not fit the users.
    """

    def __init__(
        self,
        inner: UserModel,
        rule: QuitRule,
        vectors: Floats,
        genres: NDArray[np.bool_],
        habits: Habits | None = None,
    ) -> None:
        if len(vectors) != inner.num_items or len(genres) != inner.num_items:
            raise ConfigError(
                f"The quit rule knows {len(vectors)} vectors and genres of {len(genres)} items; the users' catalogue "
                f"has {inner.num_items}."
            )
        self.inner, self.rule = inner, rule
        self.num_users, self.num_items, self.rating_levels = inner.num_users, inner.num_items, inner.rating_levels
        self.likeness, self.genres = Likeness.nearest(vectors, rule.nearest), genres
        self.habits = _habits_under(rule, self.likeness.threshold, inner.num_users, habits)
        self._windows = np.full((0, rule.window), EMPTY, dtype=np.int64)
        self._users = np.zeros(0, dtype=np.int64)

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`."""
        self.inner.reset(sessions, users, keys)
        missing = int(sessions.max(initial=-1)) + 1 - len(self._windows)
        if missing > 0:
            self._windows = np.pad(self._windows, ((0, missing), (0, 0)), constant_values=EMPTY)
            self._users = np.pad(self._users, (0, missing))
        self._windows[sessions], self._users[sessions] = EMPTY, users

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        reaction = self.inner.react(sessions, pages)
        ratings = self._repeated(sessions, pages, reaction.rating_BKR)
        if self.rule.ratings == "expected":
            ratings = nearest_level(ratings, self.rating_levels)
        return replace(reaction, watch_BK=(pages != EMPTY).astype(np.float64), rating_BKR=ratings)

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        own = self.inner.observe(sessions, pages, responses)
        quits = self.alike(sessions, pages) | self._disliked(sessions, responses)
        self._windows[sessions] = _newest(self._windows[sessions], pages)
        return np.where(quits, 1.0, own if self.rule.hazard else 0.0)

    def describe(self) -> Description:
        """See `UserModel.describe`."""
        return replace(self.inner.describe(), long_term=self)

    def _repeated(self, sessions: Ints, pages: Ints, ratings_BKR: Floats) -> Floats:
        """(B, K, R) ratings, shifted by each person's effect of nearness to the items just shown."""
        habits, users = self.habits, self._users[sessions][:, None]
        if not habits.slopes.any():
            return ratings_BKR
        gaps = self.likeness.gaps(self._windows[sessions], pages)
        stars = repetition_stars(gaps, habits.typical, habits.slopes[users], habits.usual[users])
        return moved(ratings_BKR, stars, self.rating_levels)

    def alike(self, sessions: Ints, pages: Ints) -> Bools:
        """(B,) whether people would leave because these pages are too similar to what was shown just before."""
        windows, wrong = self._windows[sessions], np.zeros(pages.shape, dtype=np.bool_)
        if self.rule.nearest > 0:
            wrong |= self.likeness.near(windows, pages, self.habits.thresholds[self._users[sessions]])
        if self.rule.repeats is not None:
            wrong |= repeated_genres(self.genres, self.rule.repeats, windows, pages)
        share = wrong.sum(axis=1) / np.maximum((pages != EMPTY).sum(axis=1), 1)
        return np.asarray(share >= self.rule.share)

    def _disliked(self, sessions: Ints, responses: Responses) -> Bools:
        low = responses.ratings_BK.max(axis=1, initial=0.0) < self.rule.low_reward
        first = (self._windows[sessions] == EMPTY).all(axis=1)
        return np.asarray(low & (~first | self.rule.first_item))


def _habits_under(rule: QuitRule, threshold: float, num_users: int, habits: Habits | None) -> Habits:
    """The habits, restricted to what this rule uses.

    Raises:
        ConfigError: The rule uses personal habits, and there are none.
    """
    if habits is None:
        if rule.repetition == "own" or (rule.tolerance == "own" and rule.nearest > 0):
            raise ConfigError(
                "Nothing is known of these people's own tolerance and repetition: give their habits "
                "(agents.long_term.habits.fit_habits), or a rule with tolerance=common and repetition=none."
            )
        habits = Habits(np.zeros(num_users), np.zeros(num_users), np.zeros(num_users), 0.0, {})
    if len(habits.thresholds) != num_users:
        raise ConfigError(f"The habits are of {len(habits.thresholds)} people; there are {num_users}.")
    own = rule.tolerance == "own" and rule.nearest > 0
    thresholds = habits.thresholds if own else np.full(num_users, threshold)
    slopes = habits.slopes if rule.repetition == "own" else np.zeros(num_users)
    return replace(habits, thresholds=thresholds, slopes=slopes)


def _newest(windows: Ints, pages: Ints) -> Ints:
    """(B, W) windows after these pages; empty slots are not items, so they displace nothing."""
    joined = np.concatenate([windows, pages], axis=1)
    # The stable sort moves EMPTY to the front and preserves the order of the items.
    order = np.argsort(joined != EMPTY, axis=1, kind="stable")
    return np.take_along_axis(joined, order, axis=1)[:, -windows.shape[1] :]
