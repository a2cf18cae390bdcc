"""What a policy learns from between rounds: the pages it showed, and what users did with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Feedback:
    """One round of B users.

    Attributes:
        users: (B,) user ids.
        pages: (B, K) items shown, EMPTY (-1) in empty slots.
        watched: (B, K) True where watched.
        ratings: (B, K) stars, 0 where not watched.
        rewards: (B,) what the page earned.
        ended: (B,) whether the session is over after this page: the user left, or it was cut off.
    """

    users: Ints
    pages: Ints
    watched: Bools
    ratings: Floats
    rewards: Floats
    ended: Bools


@runtime_checkable
class Learner(Policy, Protocol):
    """A policy that changes with what users do."""

    def learn(self, batch: Feedback) -> dict[str, float]:
        """Take in one round; the order of users within it must not matter. Returns figures to log."""
        ...
