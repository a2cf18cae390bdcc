"""Feedback: the pages that a policy showed in one round, and the responses of the users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Feedback:
    """One round of B users, passed to `Learner.learn`.

    Attributes:
        users: (B,) user ids.
        pages: (B, K) items shown, EMPTY (-1) in empty slots.
        watched: (B, K) whether the item was watched.
        ratings: (B, K) stars, 0 where not watched.
        rewards: (B,) reward of the page.
        ended: (B,) whether the session ended after this page: the user left, or it was truncated.
    """

    users: Ints
    pages: Ints
    watched: Bools
    ratings: Floats
    rewards: Floats
    ended: Bools


@runtime_checkable
class Learner(Policy, Protocol):
    """A policy that learns from feedback."""

    def learn(self, batch: Feedback) -> dict[str, float]:
        """Learn from one round; the order of users within it must not matter. Returns metrics to log."""
        ...
