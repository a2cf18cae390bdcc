"""The loop of learning by acting: all users of a world advance in one batch, and the learner takes in each step."""

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
        following: (B, W) rows after the step (`states.pack`), also of sessions that ended by it.
        rows: (B, W) rows from which to go on: sessions that ended have begun anew.
        rewards: (B,).
        terminated, truncated: (B,) how sessions ended; never both.
    """

    following: Floats32
    rows: Floats32
    rewards: Floats
    terminated: Bools
    truncated: Bools


class World(Protocol):
    """Sessions of B users, who come again and again."""

    num_envs: int

    def begin(self, segment: int) -> Floats32:
        """(B, W) rows of sessions that all begin now; a segment's sessions depend on its number alone."""
        ...

    def step(self, actions: Ints) -> Moved:
        """Show (B,) items."""
        ...


class OnlineLearner(Protocol):
    """What acts and learns."""

    def begin(self, seed: int) -> None:
        """Sessions begin anew."""
        ...

    def act(self, rows: Floats32, luck: Floats, step: int) -> Ints:
        """(B,) items for (B, W) rows, by (B, 2) uniform numbers; `step` steps of environments were made before."""
        ...

    def learn(self, rows: Floats32, actions: Ints, moved: Moved, step: int) -> dict[str, float]:
        """Take in a step; returns losses, where there was an update."""
        ...


def train_segment(
    learner: OnlineLearner,
    world: World,
    segment: int,
    steps: range,
    seed: int,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, float]:
    """Train from `steps.start` to `steps.stop` steps of single environments; `steps.step` is their number B.

    Sessions that are still going on at the end are cut off there, as by a limit of time.

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
