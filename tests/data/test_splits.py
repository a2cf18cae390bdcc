"""Splits, by property: disjoint, complete, the right share, no leak in time, and blind to the order of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.data import Ratings, split_ratings
from recsim_llm.errors import ConfigError

USERS, ITEMS = 6, 30
KINDS = st.sampled_from(["temporal", "random"])


@st.composite
def logs(draw: st.DrawFn) -> Ratings:
    pairs = draw(st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), unique=True, max_size=90))
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    times = np.array(draw(st.lists(st.integers(1, 9), min_size=len(pairs), max_size=len(pairs))), dtype=np.int64)
    return Ratings(users, items, np.full(len(pairs), 3, dtype=np.float32), times, USERS, ITEMS)


def rows(log: Ratings) -> set[tuple[int, int, int]]:
    return set(zip(log.users.tolist(), log.items.tolist(), log.times.tolist(), strict=True))


@given(logs(), KINDS, st.floats(0.01, 0.99), st.integers(0, 3))
def test_parts_are_disjoint_complete_and_of_the_right_size(log: Ratings, kind: str, share: float, seed: int) -> None:
    split = split_ratings(log, kind, share, seed)
    assert rows(split.train) | rows(split.test) == rows(log)
    assert len(split.train) + len(split.test) == len(log)
    for user in range(USERS):
        count, held = int((log.users == user).sum()), int((split.test.users == user).sum())
        assert held == (min(max(round(share * count), 1), count - 1) if count >= 5 else 0)


@given(logs(), st.floats(0.01, 0.99))
def test_temporal_lets_no_user_see_the_own_future(log: Ratings, share: float) -> None:
    split = split_ratings(log, "temporal", share)
    for user in set(split.test.users.tolist()):
        past, future = (part.times[part.users == user] for part in (split.train, split.test))
        assert past.max() <= future.min()


@given(logs(), KINDS, st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(log: Ratings, kind: str, random) -> None:
    order = np.array(random.sample(range(len(log)), len(log)), dtype=np.int64)
    assert rows(split_ratings(log.take(order), kind).test) == rows(split_ratings(log, kind).test)


@given(logs(), KINDS)
def test_other_users_change_nothing(log: Ratings, kind: str) -> None:
    alone = split_ratings(log.take(log.users == 2), kind)
    together = split_ratings(log, kind).test
    assert rows(alone.test) == rows(together.take(together.users == 2))


def full_log() -> Ratings:
    users = np.repeat(np.arange(USERS), ITEMS)
    items = np.tile(np.arange(ITEMS), USERS)
    return Ratings(users, items, np.ones(len(users), dtype=np.float32), np.zeros_like(users), USERS, ITEMS)


def test_seeds_and_users_differ() -> None:
    first, second = (split_ratings(full_log(), "random", seed=seed).test for seed in (0, 1))
    assert rows(first) != rows(second)
    held = {frozenset(first.items[first.users == user].tolist()) for user in range(USERS)}
    assert len(held) == USERS


def test_a_log_without_times_says_that_it_is_split_at_random(caplog: pytest.LogCaptureFixture) -> None:
    split = split_ratings(full_log(), "temporal")
    assert "no times" in caplog.text
    assert rows(split.test) == rows(split_ratings(full_log(), "random").test)


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="'by-user'.*temporal, random"):
        split_ratings(full_log(), "by-user")  # type: ignore[arg-type]
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="test_share"):
            split_ratings(full_log(), "random", share)
