"""Offline data: how logs become steps, files, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.errors import DataError
from recsim_llm.policies.rl.offline.offline_data import OfflineLog, log_episodes
from recsim_llm.testing.policy_contract import ITEMS, two_tastes_log
from recsim_llm.types import EMPTY


def test_a_log_becomes_steps() -> None:
    """State: what came before; action: what came next; reward: its stars; the end is terminal."""
    log = two_tastes_log()
    episodes = log_episodes(log, 6)
    assert len(episodes) == len(log)
    assert episodes.terminated.sum() == 40
    step = 0
    for user, length in zip(episodes.users, episodes.lengths, strict=True):
        own = log.by_user()[user]
        for place in range(length):
            row = episodes.rows[episodes.before[step]]
            before = log.items[own[max(0, place - 6) : place]]
            assert row[0] == place
            np.testing.assert_array_equal(row[1:7], [*[EMPTY] * (6 - len(before)), *before])
            assert episodes.actions[step] == log.items[own[place]]
            assert episodes.rewards[step] == log.values[own[place]]
            after = episodes.rows[episodes.before[step] + 1]
            assert after[6] == episodes.actions[step]
            assert after[12] == episodes.rewards[step]
            step += 1


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    episodes = log_episodes(two_tastes_log(), 4)
    episodes.save(tmp_path / "log.npz")
    again = OfflineLog.load(tmp_path / "log.npz", ITEMS)
    for name in OfflineLog.arrays:
        np.testing.assert_array_equal(getattr(again, name), getattr(episodes, name))
    assert again.behaviour == "log"


def test_bad_data_is_named(tmp_path: Path) -> None:
    episodes = log_episodes(two_tastes_log(), 4)
    with pytest.raises(DataError, match="actions are missing"):
        replace(episodes, actions=episodes.actions[:-1])
    wrong = episodes.actions.copy()
    wrong[3] = ITEMS
    with pytest.raises(DataError, match=f"action {ITEMS} is no item"):
        replace(episodes, actions=wrong)
    with pytest.raises(DataError, match="not whole numbers"):
        replace(episodes, actions=episodes.actions.astype(np.float32))  # type: ignore[arg-type]
    path = tmp_path / "log.npz"
    replace(episodes, checksum="a").save(path)
    with pytest.raises(DataError, match=f"{ITEMS + 1} items"):
        OfflineLog.load(path, ITEMS + 1)
    with pytest.raises(DataError, match="another data set"):
        OfflineLog.load(path, ITEMS, "b")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "actions"}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="has no actions"):
        OfflineLog.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="damaged"):
        OfflineLog.load(path)
    with pytest.raises(DataError, match="no such"):
        OfflineLog.load(tmp_path / "nothing.npz")
