"""B sessions side by side: the common core of the scalar and vector environments. Independent of Gymnasium.

The scalar environment is one row, the vector environment B rows of the same code, so the two cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from recsim_llm.agents.personas.log_order import user_ends, user_order
from recsim_llm.agents.user_model import UserModel
from recsim_llm.checked import check_fields, shown
from recsim_llm.data.dataset import Ratings
from recsim_llm.environments.rewards import RewardFunction, reward_function
from recsim_llm.errors import ConfigError, InvalidActionError
from recsim_llm.seeding import Stream, mix, uniforms
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Keys, Observation, Reaction, Responses

Duplicates: TypeAlias = Literal["drop", "raise", "allow"]
MOST_PAGES, MOST_ITEMS = 10_000, 100_000
"""Limits on pages per session and on items per page or history, as each takes memory in every session."""


@dataclass(frozen=True, slots=True)
class PageRules:
    """The rules of a page environment.

    Attributes:
        page_size: K, items per page.
        max_pages: Pages after which a session is truncated.
        history_length: H, impressions per observation.
        duplicates: Treatment of an item that is twice on a page: "drop" leaves its later slots empty, "raise" rejects
            the page, "allow" shows it twice.
        reward: A name in `rewards.REWARDS`, or a function of Responses.
    """

    page_size: Annotated[int, Ge(1), Le(MOST_ITEMS)] = 10
    max_pages: Annotated[int, Ge(1), Le(MOST_PAGES)] = 10
    history_length: Annotated[int, Ge(1), Le(MOST_ITEMS)] = 50
    duplicates: Duplicates = "drop"
    reward: str | RewardFunction = "rating"

    def __post_init__(self) -> None:
        reward_function(self.reward)
        check_fields(self, str)


def long_history(max_pages: int, page_size: int) -> int:
    """Return a history length that holds all impressions of a session; at least 50.

    Raises:
        ConfigError: An argument is not a valid count.
    """
    rules = PageRules(page_size, max_pages)
    return min(MOST_ITEMS, max(rules.history_length, max_pages * page_size))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one step of B sessions.

    Attributes:
        sessions: (B,) handles of the sessions that stepped.
        users: (B,) user ids.
        page_numbers: (B,) number of the page in its session, from 0.
        pages: (B, K) items as shown, EMPTY where a duplicate was dropped.
        reaction: Probabilities from which the responses were sampled.
        responses: The users' responses.
        leave: (B,) probability of leaving.
        left, truncated: (B,) whether the session ended, and how; never both.
        rewards: (B,) rewards of the pages.
    """

    sessions: Ints
    users: Ints
    page_numbers: Ints
    pages: Ints
    reaction: Reaction
    responses: Responses
    leave: Floats
    left: Bools
    truncated: Bools
    rewards: Floats


class Sessions:
    """Up to B sessions that run side by side, in arrays of fixed size.

    A session takes 8 bytes per impression of the observation's history, and 4 bytes per slot of all its pages.

    Args:
        num_sessions: B.
        users: The population.
        rules: The rules.
        log: Ratings that the platform already holds; histories start with the user's latest ratings.
        certified: Whether the users passed their certificate (`Population.certified`).
    """

    def __init__(
        self,
        num_sessions: int,
        users: UserModel,
        rules: PageRules,
        log: Ratings | None = None,
        certified: bool = False,
    ) -> None:
        if rules.page_size > users.num_items:
            raise ConfigError(f"page_size {rules.page_size} is larger than the catalogue ({users.num_items} items).")
        self.rules, self.user_model, self.certified = rules, users, certified
        self._reward = reward_function(rules.reward)
        self._logged = LoggedHistories(log, rules.history_length) if log is not None else None
        B, H = num_sessions, rules.history_length
        self.users = np.zeros(B, dtype=np.int64)
        self.keys = np.zeros(B, dtype=np.uint64)
        self.pages_seen = np.zeros(B, dtype=np.int64)
        self.ended = np.ones(B, dtype=np.bool_)
        self._items = np.full((B, H), EMPTY, dtype=np.int32)
        self._ratings = np.zeros((B, H), dtype=np.float32)
        self._watched = np.full((B, rules.page_size * rules.max_pages), EMPTY, dtype=np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of all sessions, fixed at construction."""
        held = (self.users, self.keys, self.pages_seen, self.ended, self._items, self._ratings, self._watched)
        return sum(array.nbytes for array in held)

    def begin(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """Begin sessions of users under these handles."""
        self.users[sessions], self.keys[sessions] = users, keys
        self.pages_seen[sessions] = 0
        self.ended[sessions] = False
        self._watched[sessions] = EMPTY
        if self._logged is None:
            self._items[sessions], self._ratings[sessions] = EMPTY, 0.0
        else:
            self._items[sessions], self._ratings[sessions] = self._logged.latest(users)
        self.user_model.reset(sessions, users, keys)

    def begin_again(self, sessions: Ints, keys: Keys) -> None:
        """Begin a further visit of the same users: histories continue, and users are not reset."""
        self.keys[sessions] = keys
        self.pages_seen[sessions] = 0
        self.ended[sessions] = False
        self._watched[sessions] = EMPTY

    def step(self, sessions: Ints, actions: NDArray[np.integer]) -> Outcome:
        """Show the pages of a policy to running sessions.

        Args:
            sessions: (B,) handles, none of an ended session.
            actions: (B, K) item ids.

        Raises:
            InvalidActionError: An id outside the catalogue, or a duplicate where the rules forbid it.
        """
        return self.show(sessions, self._admit(actions))

    def show(self, sessions: Ints, pages: Ints) -> Outcome:
        """Show (B, K) pages without checking them, EMPTY in empty slots, to running sessions."""
        keys, users, numbers = self.keys[sessions], self.users[sessions], self.pages_seen[sessions]
        reaction = self.user_model.react(sessions, pages)
        responses = sample_responses(reaction, pages, keys, self.user_model.rating_levels)
        rewards = self._reward(responses)  # before any state changes, because a user-defined function may fail
        leave = self.user_model.observe(sessions, pages, responses)
        left = uniforms(keys, Stream.LEAVE, numbers) < leave
        truncated = ~left & (numbers + 1 >= self.rules.max_pages)
        self._remember(sessions, pages, responses, numbers)
        self.ended[sessions] = left | truncated
        return Outcome(sessions, users, numbers, pages, reaction, responses, leave, left, truncated, rewards)

    def observation(self, rows: Ints | slice = slice(None)) -> Observation:
        """Return what a policy may see of all B sessions, or of some, as copies."""
        return {
            "user": self.users[rows, None].copy(),
            "page": self.pages_seen[rows, None].copy(),
            "history_items": self._items[rows].astype(np.int64),
            "history_ratings": self._ratings[rows].copy(),
            "history_mask": (self._items[rows] != EMPTY).astype(np.int8),
        }

    def action_mask(self) -> Bools:
        """(B, N) False for items already watched in the session."""
        mask = np.ones((len(self.users), self.user_model.num_items + 1), dtype=np.bool_)
        # EMPTY (-1) indexes an extra last column, which is dropped.
        mask[np.arange(len(mask))[:, None], self._watched] = False
        return mask[:, :-1]

    def _admit(self, actions: NDArray[np.integer]) -> Ints:
        n, size = self.user_model.num_items, self.rules.page_size
        pages = whole_items(actions)
        if pages.ndim != 2 or pages.shape[1] != size:
            raise InvalidActionError(f"A page holds {size} items; got an action of shape {pages.shape[1:]}.")
        if pages.size and (pages.min() < 0 or pages.max() >= n):
            wrong = int(pages[(pages < 0) | (pages >= n)][0])
            raise InvalidActionError(f"Item {wrong} is not in the catalogue, whose ids are 0..{n - 1}.")
        if self.rules.duplicates == "allow" or size == 1:
            return pages
        repeated = _repeated(pages)
        if self.rules.duplicates == "raise" and repeated.any():
            wrong = int(pages[repeated][0])
            raise InvalidActionError(f"Item {wrong} stands twice on one page; with duplicates='drop' it is shown once.")
        return np.where(repeated, EMPTY, pages)

    def _remember(self, sessions: Ints, pages: Ints, responses: Responses, numbers: Ints) -> None:
        K, H = self.rules.page_size, self.rules.history_length
        # (B, K) columns of this page in the flat list of all slots.
        columns = (numbers * K)[:, None] + np.arange(K)
        self._watched[sessions[:, None], columns] = np.where(responses.watched_BK, pages, EMPTY)
        self._items[sessions] = np.concatenate([self._items[sessions], pages], axis=1)[:, -H:]
        self._ratings[sessions] = np.concatenate(
            [self._ratings[sessions], responses.ratings_BK.astype(np.float32)], axis=1
        )[:, -H:]
        self.pages_seen[sessions] = numbers + 1


def page_rows(action: Any, rows: int, size: int) -> Ints:
    """Return the (rows, size) item ids of an action given as an array or lists, flat or in rows.

    Args:
        action: The action.
        rows: Number of environments.
        size: K.

    Raises:
        InvalidActionError: Items are not integers, or their number does not match the pages.
    """
    items = whole_items(action)
    if items.size != rows * size:
        wanted = f"{rows} pages of {size} items" if rows > 1 else f"a page of {size} items"
        raise InvalidActionError(f"An action must be {wanted}; got an action of shape {items.shape}.")
    return items.reshape(rows, size)


def whole_items(action: Any) -> Ints:
    """Return the items of an action of any shape as int64.

    Raises:
        InvalidActionError: They are not integers; truncation would give items that nobody chose.
    """
    if isinstance(action, np.ndarray) and action.dtype == np.int64:
        return action
    try:
        items = np.asarray(action)
        mixed = not isinstance(action, np.ndarray | np.generic) and _has_bool(action)
    except ValueError:
        raise InvalidActionError(
            f"An action holds item ids, every page as many; got rows of different lengths: {shown(action)}."
        ) from None
    if items.dtype.kind not in "iu" or mixed:
        raise InvalidActionError(
            f"An action holds item ids, which are whole numbers; got {'bool' if mixed else items.dtype}: "
            f"{shown(action)}. Round or convert it yourself, to the item that is meant."
        )
    if items.dtype == np.uint64 and items.size and items.max() > np.iinfo(np.int64).max:
        raise InvalidActionError(f"Item {items.max()} is not in the catalogue, whose ids are far smaller.")
    return items.astype(np.int64)


def _has_bool(action: Any) -> bool:
    return any(isinstance(item, bool | np.bool_) for item in np.asarray(action, dtype=object).flat)


def sample_responses(reaction: Reaction, pages: Ints, keys: Keys, rating_levels: Floats) -> Responses:
    """Sample the users' responses. A draw depends only on session and item, not on slot, page or batch.

    So a user who declines an item on one page does not get a new draw on the next, and two policies that show the same
    item to the same user get the same response (common random numbers).

    Args:
        reaction: Probabilities.
        pages: (B, K) items, EMPTY slots are never watched.
        keys: (B,) session keys.
        rating_levels: (R,) stars.
    """
    watched = uniforms(keys[:, None], Stream.WATCH, pages) < reaction.watch_BK
    watched &= pages != EMPTY
    # (B, K, R - 1) inner edges of the cumulative distribution; the level is the number of edges below the draw.
    edges = np.cumsum(reaction.rating_BKR[..., :-1], axis=-1)
    level = (uniforms(keys[:, None], Stream.RATING, pages)[..., None] >= edges).sum(axis=-1)
    return Responses(watched, np.where(watched, rating_levels[level], 0.0))


def session_keys(base: Keys, users: Ints, episodes: Ints) -> Keys:
    """(B,) keys of the n-th sessions of users under one base key, independent of the row in the batch."""
    return mix(base, Stream.SESSION, users, episodes)


def draw_users(base: Keys, episodes: Ints, num_users: int) -> Ints:
    """(B,) next users, drawn uniformly."""
    return (uniforms(base, Stream.USER, episodes) * num_users).astype(np.int64)


def _repeated(pages: Ints) -> Bools:
    """(B, K) True where the same item is further left on the page."""
    # A stable sort puts equal items next to each other, the leftmost first; all but the first are repeats.
    order = np.argsort(pages, axis=1, kind="stable")
    ranked = np.take_along_axis(pages, order, axis=1)
    same = np.zeros(pages.shape, dtype=np.bool_)
    same[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    repeated = np.zeros_like(same)
    np.put_along_axis(repeated, order, same, axis=1)
    return repeated


class LoggedHistories:
    """The latest logged ratings of users, looked up on demand without a table of the whole population.

    Args:
        log: The ratings.
        length: H, ratings per user.
    """

    def __init__(self, log: Ratings, length: int) -> None:
        self._log, self._length = log, length
        self._rows, self._ends = user_order(log), user_ends(log)

    def latest(self, users: Ints) -> tuple[Ints, NDArray[np.float32]]:
        """(B, H) latest items of these users and their stars, newest at the end, padded with EMPTY and 0 in front."""
        # (B, H) positions in the log sorted by user; those before the user's first rating are padding.
        places = self._ends[users][:, None] + np.arange(-self._length, 0)
        starts = np.where(users > 0, self._ends[users - 1], 0)[:, None]
        known = places >= starts
        if not len(self._log):
            return np.full(places.shape, EMPTY), np.zeros(places.shape, dtype=np.float32)
        rows = np.where(known, places, 0)
        rows = rows if self._rows is None else self._rows[rows]
        return np.where(known, self._log.items[rows], EMPTY), np.where(known, self._log.values[rows], np.float32(0.0))
