"""Collected logs: episodes as the environment made them, and the formats of other libraries."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.experiments.training.offline_log import (
    CollectConfig,
    collect,
    d3rlpy_arrays,
    export_minari,
    save_d3rlpy,
)

CONFIG = CollectConfig(policy="random", sessions=30, max_pages=5, history_length=40, batch_size=20)


def test_every_episode_is_a_session() -> None:
    log = collect(CONFIG)
    assert len(log.lengths) == 30
    ends = np.cumsum(log.lengths) - 1
    over = log.terminated | log.truncated
    np.testing.assert_array_equal(np.flatnonzero(over), ends)
    assert not (log.terminated & log.truncated).any()
    assert (log.lengths[log.truncated[ends]] == 5).all()
    assert (log.rows[log.before, 0] == np.concatenate([np.arange(n) for n in log.lengths])).all()
    after = log.rows[log.before + 1]
    np.testing.assert_array_equal(after[:, 40], log.actions)
    np.testing.assert_array_equal(after[:, 80], log.rewards)


def test_a_policy_acts_as_itself_and_epsilon_disturbs_it() -> None:
    popular = collect(replace(CONFIG, policy="popularity"))
    half = collect(replace(CONFIG, policy="popularity", epsilon=1.0))
    assert popular.behaviour == "popularity"
    first = popular.rows[:, 0][popular.before] == 0
    assert len(set(popular.actions[first].tolist())) < 15 < len(set(half.actions.tolist()))
    assert (half.actions >= 0).all()
    assert (half.actions < 500).all()


def test_d3rlpy_reads_a_row_a_step(tmp_path: Path) -> None:
    log = collect(CONFIG)
    save_d3rlpy(log, tmp_path / "log.npz")
    with np.load(tmp_path / "log.npz") as file:
        assert set(file.files) == {"observations", "actions", "rewards", "terminals", "timeouts"}
        assert {len(file[name]) for name in file.files} == {len(log)}
        assert file["terminals"].sum() + file["timeouts"].sum() == 30
    assert d3rlpy_arrays(log)["observations"].shape == (len(log), 81)


@pytest.mark.skipif(importlib.util.find_spec("minari") is not None, reason="minari is installed")
def test_minari_is_asked_for() -> None:
    with pytest.raises(MissingExtraError, match="minari"):
        export_minari(collect(replace(CONFIG, sessions=2)), "recsim_llm/test-v0")


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="epsilon"):
        replace(CONFIG, epsilon=2.0)
    with pytest.raises(ConfigError, match="setting"):
        replace(CONFIG, setting="nonsense")
