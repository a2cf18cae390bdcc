"""A tiny world with a reward table, and sessions in it, for the tests of policies that ask a language model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.policies import load_policy, make_policy
from recsim_llm.policies.feedback import Feedback
from recsim_llm.testing import policy_contract
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.testing.scripted_planner import PerfectPlannerLLM
from recsim_llm.types import EMPTY, Item

U, N, H, TURNS = 6, 40, 24, 6
WORDS = ("Amber", "Basalt", "Cobalt", "Dusk", "Ember", "Fjord", "Granite", "Harbour")
NOUNS = ("Voyage", "Letters", "Engine", "Orchard", "Signal")
GENRES = ("Drama", "Comedy", "Space", "Crime")
CATALOGUE = Catalogue(
    tuple(Item(i, f"{WORDS[i // 5]} {NOUNS[i % 5]}", 1980 + i, (GENRES[i % 4],)) for i in range(N)),
    tuple(f"m{i}" for i in range(N)),
).vouch()
HISTORIES = {user: (2 * user, 2 * user + 1) for user in range(U)}
REWARDS = np.random.default_rng(7).permuted(np.tile(np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], N // 5), (U, 1)), axis=1)


def log() -> Ratings:
    users = np.repeat(np.arange(U), 2)
    items = np.array([item for user in range(U) for item in HISTORIES[user]])
    return Ratings(users, items, np.full(2 * U, 4, np.float32), np.arange(2 * U), U, N)


def perfect() -> PerfectPlannerLLM:
    return PerfectPlannerLLM(CATALOGUE, REWARDS, HISTORIES)


def make(name: str, llm: Any = None, page_size: int = 1, seed: int = 0, **options: Any) -> Any:
    return make_policy(name, log(), CATALOGUE, page_size, seed, llm or perfect(), **options)


class World:
    """Sessions of some users side by side; a person leaves after a page whose best reward is below 2."""

    def __init__(self, users: list[int], page_size: int = 1, turns: int = TURNS) -> None:
        self.users, self.size, self.turns = users, page_size, turns
        self.items = np.full((len(users), H), EMPTY, dtype=np.int64)
        self.stars = np.zeros((len(users), H), dtype=np.float32)
        for row, user in enumerate(users):
            self.items[row, -2:], self.stars[row, -2:] = HISTORIES[user], 4
        self.page = np.zeros(len(users), dtype=np.int64)
        self.running = np.ones(len(users), dtype=bool)
        self.total = np.zeros(len(users))
        self.pages: list[list[tuple[int, ...]]] = [[] for _ in users]

    def observation(self, rows: Any) -> Any:
        return {
            "user": np.array(self.users)[rows, None],
            "page": self.page[rows, None],
            "history_items": self.items[rows],
            "history_ratings": self.stars[rows],
            "history_mask": (self.items[rows] != EMPTY).astype(np.int8),
        }

    def step(self, policy: Any, order: Any = None, learn: bool = True) -> None:
        rows = np.flatnonzero(self.running) if order is None else np.array([r for r in order if self.running[r]])
        pages = policy.act(self.observation(rows))
        users = np.array(self.users)[rows]
        stars = REWARDS[users[:, None], pages]
        self.items[rows] = np.concatenate([self.items[rows], pages], axis=1)[:, -H:]
        self.stars[rows] = np.concatenate([self.stars[rows], stars.astype(np.float32)], axis=1)[:, -H:]
        self.page[rows] += 1
        ended = (stars.max(axis=1) < 2) | (self.page[rows] >= self.turns)
        self.total[rows] += stars.sum(axis=1)
        for row, page in zip(rows, pages.tolist(), strict=True):
            self.pages[row].append(tuple(page))
        if learn:
            policy.learn(Feedback(users, pages, np.ones_like(pages, bool), stars, stars.sum(axis=1), ended))
        self.running[rows] = ~ended

    def play(self, policy: Any, order: Any = None, learn: bool = True) -> World:
        while self.running.any():
            self.step(policy, order, learn)
        return self


def bound(page_size: int = 1, turns: int = TURNS) -> np.ndarray:
    """What the greedy policy with the true table earns."""
    best = []
    for user in range(U):
        rewards = np.delete(REWARDS[user], HISTORIES[user])
        best.append(np.sort(rewards)[::-1][: page_size * turns].sum())
    return np.array(best)


@pytest.fixture
def contract_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract's own calls, with a language model connected."""

    def fit(name: str, log: Any, catalogue: Any, page_size: int, seed: int = 0, **options: Any) -> Any:
        return make_policy(name, log, catalogue, page_size, seed, hash_choice_llm(), **options)

    def load(path: Any, catalogue: Any = None) -> Any:
        return load_policy(path, catalogue or policy_contract.catalogue(), hash_choice_llm())

    monkeypatch.setattr(policy_contract, "make_policy", fit)
    monkeypatch.setattr(policy_contract, "load_policy", load)
