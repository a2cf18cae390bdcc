"""Contract tests for policies: subclass `PolicyContract` and set `name`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.policies import load_policy, make_policy
from recsim_llm.policies.policy_protocol import FittedPolicy
from recsim_llm.types import EMPTY, Ints, Item, Observation

USERS, ITEMS, HISTORY = 40, 60, 12


def two_tastes_log(seed: int = 0) -> Ratings:
    """A log of 40 users and 60 items in two groups: even users rate mostly the first 30 items, odd ones the others."""
    rng = np.random.default_rng(seed)
    pairs = []
    for user in range(USERS):
        own = rng.permutation(30)[:12] + 30 * (user % 2)
        other = rng.permutation(30)[:2] + 30 * (1 - user % 2)
        pairs += [(user, int(item)) for item in np.concatenate([own, other])]
    users, items = (np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
    stars = rng.integers(1, 6, len(users)).astype(np.float32)
    return Ratings(users, items, stars, np.arange(len(users), dtype=np.int64), USERS, ITEMS)


def catalogue() -> Catalogue:
    """60 items with made-up titles."""
    return Catalogue(tuple(Item(i, f"Title {i}") for i in range(ITEMS)), tuple(str(i) for i in range(ITEMS))).vouch()


def observe(users: Ints, shown: Ints | None = None, stars: Ints | None = None) -> Observation:
    """An observation of users who were shown (B, S) items in this session and gave (B, S) stars (0: not watched)."""
    items = np.full((len(users), HISTORY), EMPTY, dtype=np.int64)
    ratings = np.zeros((len(users), HISTORY), dtype=np.float32)
    if shown is not None and stars is not None:
        items[:, HISTORY - shown.shape[1] :], ratings[:, HISTORY - shown.shape[1] :] = shown, stars
    page = np.full((len(users), 1), 0 if shown is None else 1, dtype=np.int64)
    mask = (items != EMPTY).astype(np.int8)
    return {
        "user": users[:, None],
        "page": page,
        "history_items": items,
        "history_ratings": ratings,
        "history_mask": mask,
    }


class PolicyContract:
    """Inherit, set `name` (and `options` if needed); class names of tests begin with Test.

    Attributes:
        name: The policy's name in `POLICIES`.
        options: Its options.
        page_size: K.
    """

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    page_size: ClassVar[int] = 5

    def make(self, seed: int = 0, page_size: int | None = None) -> FittedPolicy:
        """A fitted policy."""
        log = two_tastes_log()
        return make_policy(self.name, log, catalogue(), page_size or self.page_size, seed, **self.options)

    def test_pages_are_valid_and_without_repetition(self) -> None:
        """(B, K) int64 ids within the catalogue, no item twice."""
        pages = self.make().act(observe(np.arange(USERS)))
        assert pages.shape == (USERS, self.page_size)
        assert pages.dtype == np.int64
        assert pages.min() >= 0
        assert pages.max() < ITEMS
        assert all(len(set(page)) == self.page_size for page in pages.tolist())

    def test_known_items_are_not_shown(self) -> None:
        """Items rated in the log or shown in this session are not shown."""
        log, policy = two_tastes_log(), self.make()
        users = np.arange(USERS)
        first = policy.act(observe(users))
        second = policy.act(observe(users, first, np.zeros_like(first)))
        for user in users:
            rated = set(log.items[log.users == user].tolist())
            assert not rated & (set(first[user].tolist()) | set(second[user].tolist()))
            assert not set(first[user].tolist()) & set(second[user].tolist())

    def test_a_short_supply_is_filled_up(self) -> None:
        """A page as large as the catalogue holds every item once, the unknown ones first."""
        log, policy = two_tastes_log(), self.make(page_size=ITEMS)
        pages = policy.act(observe(np.arange(3)))
        for user, page in enumerate(pages.tolist()):
            assert sorted(page) == list(range(ITEMS))
            rated = set(log.items[log.users == user].tolist())
            assert set(page[-len(rated) :]) == rated

    def test_unseen_users_and_empty_histories_are_served(self) -> None:
        """Unknown user ids are served, with and without a history."""
        strangers = np.array([USERS, USERS + 7, 10**6])
        policy = self.make()
        shown = np.array([[1, 2], [3, 4], [5, 6]])
        for observation in (observe(strangers), observe(strangers, shown, np.full_like(shown, 4))):
            assert policy.act(observation).shape == (3, self.page_size)

    def test_batch_and_order_do_not_matter(self) -> None:
        """A user gets the same page alone, in a batch, and in another order."""
        policy, users = self.make(), np.arange(USERS)
        shown = np.random.default_rng(0).integers(0, ITEMS, (USERS, 3))
        stars = np.random.default_rng(1).integers(0, 6, (USERS, 3))
        together = policy.act(observe(users, shown, stars))
        order = np.random.default_rng(2).permutation(USERS)
        np.testing.assert_array_equal(policy.act(observe(users[order], shown[order], stars[order])), together[order])
        for u in (0, 7, 39):
            alone = policy.act(observe(users[u : u + 1], shown[u : u + 1], stars[u : u + 1]))
            np.testing.assert_array_equal(alone[0], together[u])

    def test_same_seed_same_pages(self) -> None:
        """Two fits with one seed agree, and acting does not change the policy."""
        policy, again = self.make(seed=3), self.make(seed=3)
        observation = observe(np.arange(USERS))
        first = policy.act(observation)
        np.testing.assert_array_equal(policy.act(observation), first)
        np.testing.assert_array_equal(again.act(observation), first)

    def test_saved_and_loaded_policies_agree(self, tmp_path: Path) -> None:
        """One file, without pickles, that `load_policy` recognises."""
        policy, path = self.make(), tmp_path / "policy.npz"
        policy.save(path)
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].dtype != object for name in file.files)
        loaded = load_policy(path)
        assert type(loaded) is type(policy)
        observation = observe(np.arange(USERS))
        np.testing.assert_array_equal(loaded.act(observation), policy.act(observation))

    def test_errors_are_named(self, tmp_path: Path) -> None:
        """Too large pages, unknown options and damaged files raise the documented errors."""
        with pytest.raises(ConfigError):
            self.make(page_size=ITEMS + 1)
        with pytest.raises(ConfigError, match="nonsense"):
            make_policy(self.name, two_tastes_log(), catalogue(), 5, nonsense=1)
        for damaged in (b"", b"nonsense", b"PK\x03\x04 nonsense"):
            (tmp_path / "broken.npz").write_bytes(damaged)
            with pytest.raises(RecordingError, match="not a policy file"):
                load_policy(tmp_path / "broken.npz")

    def test_the_order_of_the_log_means_nothing(self) -> None:
        """The order of the log's rows does not change pages."""
        log = two_tastes_log()
        backwards = log.take(np.arange(len(log))[::-1])
        policy = make_policy(self.name, backwards, catalogue(), self.page_size, **self.options)
        np.testing.assert_array_equal(policy.act(observe(np.arange(USERS))), self.make().act(observe(np.arange(USERS))))

    def test_a_negative_seed_is_a_seed(self) -> None:
        """Any integer is a valid seed."""
        first, second = (self.make(seed=-3).act(observe(np.arange(USERS))) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_an_empty_log_and_an_empty_batch_are_served(self) -> None:
        """A log without ratings and a batch without users are valid."""
        nothing = two_tastes_log().take(np.zeros(0, dtype=np.int64))
        policy = make_policy(self.name, nothing, catalogue(), self.page_size, **self.options)
        assert policy.act(observe(np.arange(3))).shape == (3, self.page_size)
        assert policy.act(observe(np.zeros(0, dtype=np.int64))).shape == (0, self.page_size)

    def test_another_catalogue_is_refused(self, tmp_path: Path) -> None:
        """A log, file or history of another catalogue is refused, because its ids mean other items."""
        smaller = Catalogue(catalogue().items[:-1], catalogue().raw_ids[:-1])
        with pytest.raises(ConfigError, match=f"{ITEMS} items"):
            make_policy(self.name, two_tastes_log(), smaller, self.page_size)
        policy = self.make()
        policy.save(tmp_path / "policy.npz")
        with pytest.raises(RecordingError, match=f"{ITEMS} items"):
            load_policy(tmp_path / "policy.npz", smaller)
        with pytest.raises(ConfigError, match="outside"):
            policy.act(observe(np.array([0]), np.array([[ITEMS]]), np.array([[4]])))
