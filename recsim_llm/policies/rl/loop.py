"""The online training loop: all users of a world advance in one batch, and the learner learns from each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Floats, Floats32, Ints


@dataclass(frozen=True, slots=True)
class Moved:
    """One step of B users.

    Attributes:
        following: (B, W) rows after the step (`states.pack`), including sessions that it ended.
        rows: (B, W) rows for the next step: ended sessions have been restarted.
        rewards: (B,) rewards.
        terminated, truncated: (B,) how sessions ended; never both.
    """

    following: Floats32
    rows: Floats32
    rewards: Floats
    terminated: Bools
    truncated: Bools


class World(Protocol):
    """B sessions side by side, restarted when they end."""

    num_envs: int

    def begin(self, segment: int) -> Floats32:
        """Begin all sessions and return (B, W) rows; the sessions depend only on the segment's number."""
        ...

    def step(self, actions: Ints) -> Moved:
        """Show (B,) items and return the step."""
        ...


class OnlineLearner(Protocol):
    """An agent that acts and learns."""

    def begin(self, seed: int) -> None:
        """Prepare for new sessions and seed the random draws."""
        ...

    def act(self, rows: Floats32, luck: Floats, step: int) -> Ints:
        """Return (B,) items for (B, W) rows, using (B, 2) uniform numbers, after `step` earlier environment steps."""
        ...

    def learn(self, rows: Floats32, actions: Ints, moved: Moved, step: int) -> dict[str, float]:
        """Learn from a step; returns losses if there was an update."""
        ...


def train_segment(
    learner: OnlineLearner,
    world: World,
    segment: int,
    steps: range,
    seed: int,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, float]:
    """Train from step `steps.start` to `steps.stop`, counted over single environments; `steps.step` is their number B.

    Sessions still running at the end are truncated there, as by a time limit.

    Returns:
        Mean losses.
    """
    learner.begin(seed + 1_000_003 * segment)
    rows = world.begin(segment)
    sums: dict[str, list[float]] = {}
    for step in steps:
        luck = uniforms(seed, int(Stream.POLICY), step, np.arange(world.num_envs)[:, None], np.arange(2))
        actions = learner.act(rows, luck, step)
        moved = world.step(actions)
        if step + steps.step >= steps.stop:
            moved = replace(moved, truncated=~moved.terminated)
        for name, value in learner.learn(rows, actions, moved, step + steps.step).items():
            sums.setdefault(name, []).append(value)
        rows = moved.rows
        progress(steps.step)
    return {name: float(np.mean(values)) for name, values in sums.items()}
