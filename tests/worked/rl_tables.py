"""Tables that stand for networks, so that losses can be worked out on paper. Needs torch and tianshou."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tianshou.utils.torch_utils import policy_within_training_step

from recsim_llm.policies.rl import algorithms
from recsim_llm.policies.rl.item_vectors import ItemStart
from recsim_llm.policies.rl.learners import OffPolicyLearner
from recsim_llm.policies.rl.loop import Moved
from recsim_llm.policies.rl.settings import DQNSettings, NetSettings
from recsim_llm.types import EMPTY

ITEMS = 2
START = ItemStart(3.0, np.zeros(ITEMS, np.float32), np.ones((ITEMS, 2), np.float32), np.ones((ITEMS, 2), np.float32))
STATES = 5
LN = np.log


class Table(torch.nn.Module):  # type: ignore[misc]
    """Stands for a network: scores of two items in five states; the first number of a row names the state."""

    def __init__(self, start: ItemStart, settings: Any, tracker: Any = None, quantiles: int = 0) -> None:
        super().__init__()
        assert start is START
        assert isinstance(settings, NetSettings)
        self.tracker = tracker if tracker is not None else object()
        shape = (STATES, len(start.bias), quantiles) if quantiles else (STATES, len(start.bias))
        self.table = torch.nn.Parameter(torch.zeros(shape))

    def scores(self, rows: Any) -> Any:
        return self.table[torch.as_tensor(rows)[:, 0].long()]

    def forward(self, obs: Any, state: Any = None, info: Any = None) -> Any:
        return self.scores(obs), state

    def put(self, values: Sequence[Any]) -> None:
        with torch.no_grad():
            self.table[: len(values)] = torch.tensor(values, dtype=torch.float32)


class Worth(torch.nn.Module):  # type: ignore[misc]
    """Stands for a critic of states."""

    def __init__(self, start: ItemStart, settings: Any) -> None:
        super().__init__()
        assert start is START
        assert isinstance(settings, NetSettings)
        self.table = torch.nn.Parameter(torch.tensor([[0.5], [1.0], [1.5], [2.0], [9.0]]))

    def forward(self, obs: Any, **_: Any) -> Any:
        return self.table[torch.as_tensor(obs)[:, 0].long()]


def rows(*states: int) -> np.ndarray:
    return np.array([[state, EMPTY, 0] for state in states], dtype=np.float32)


def remembered(learner: Any, steps: Sequence[tuple[int, int, float, int, str]]) -> None:
    """Let a learner of one user take in (state, item, reward, next state, "" or "left" or "cut")."""
    for state, item, reward, following, end in steps:
        after = rows(following)
        moved = Moved(after, after, np.array([reward]), np.array([end == "left"]), np.array([end == "cut"]))
        learner.learn(rows(state), np.array([item]), moved, 1)


def replay(steps: Sequence[tuple[int, int, float, int, str]]) -> Any:
    learner = OffPolicyLearner(algorithms.make_dqn(START, DQNSettings()), DQNSettings(), 1, 9)
    remembered(learner, steps)
    return learner.replay


def updated(algorithm: Any, steps: Sequence[tuple[int, int, float, int, str]]) -> Any:
    with policy_within_training_step(algorithm.policy):
        return algorithm.update(replay(steps), 0)
