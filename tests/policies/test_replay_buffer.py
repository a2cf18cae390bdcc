"""A replay buffer as plain arrays: it goes on from them as if it had never been written, and refuses damaged ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tianshou")
from tianshou.data import Batch  # noqa: E402

from recsim_llm.policies.rl.algorithms import ReplayBuffer  # noqa: E402


def filled_replay(steps: int, seed: int = 0) -> ReplayBuffer:
    """A buffer of 3 environments and 4 steps each, which went round."""
    replay, random = ReplayBuffer(12, 3), np.random.default_rng(seed)
    for step in range(steps):
        replay.add(
            Batch(
                obs=random.random((3, 5), dtype=np.float32), act=random.integers(0, 9, 3), rew=random.random(3),
                terminated=np.array([step % 3 == 2, False, False]), truncated=np.array([False, step % 4 == 1, False]),
                obs_next=random.random((3, 5), dtype=np.float32),
            )
        )  # fmt: skip
    return replay


@pytest.mark.parametrize("steps", [0, 1, 4, 7])
def test_a_replay_buffer_goes_on_from_its_arrays(steps: int) -> None:
    """Samples, and what is added later, are those of the buffer that was never written."""
    whole, again = filled_replay(steps), ReplayBuffer(12, 3)
    again.take(whole.as_arrays())
    assert len(again) == len(whole) == min(steps, 4) * 3
    for more in range(3):
        for replay in (whole, again):
            new = filled_replay(1, seed=more).as_arrays()
            replay.add(Batch(**{name: new[name][::4].copy() for name in ("obs", "act", "rew", "obs_next")},
                             terminated=np.array([False, more == 1, False]), truncated=np.zeros(3, bool)))  # fmt: skip
            replay.reseed(more)
        one, two = whole.sample(40), again.sample(40)
        np.testing.assert_array_equal(one[1], two[1])
        for name in ("obs", "act", "rew", "terminated", "truncated", "done", "obs_next"):
            np.testing.assert_array_equal(one[0][name], two[0][name])
        indices = np.arange(12)
        np.testing.assert_array_equal(whole.next(indices), again.next(indices))
        np.testing.assert_array_equal(whole.unfinished_index(), again.unfinished_index())


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("_size", np.array([5, 4, 4]), "_size is damaged"),
        ("_insertion_idx", np.array([4, 0, 0]), "_insertion_idx is damaged"),
        ("last_index", np.array([-1, 0, 0]), "last_index is damaged"),
        ("last_index", np.array([0.0, 0.0, 0.0]), "last_index is damaged"),
        ("_ep_start_idx", np.array([0, 0]), "_ep_start_idx is damaged"),
        ("act", np.zeros(11, np.int64), "act is int64 \\(11,\\), not int64 \\(12,\\)"),
        ("obs_next", np.zeros((12, 4), np.float32), "obs_next"),
        ("rew", np.zeros(12, np.float32), "rew is float32"),
    ],
)
def test_a_damaged_replay_buffer_is_refused(name: str, array: NDArray[Any], words: str) -> None:
    """Compiled code follows these numbers without looking whether they are inside."""
    arrays = filled_replay(7).as_arrays()
    ReplayBuffer(12, 3).take(arrays)
    with pytest.raises(ValueError, match=words):
        ReplayBuffer(12, 3).take({**arrays, name: array})
