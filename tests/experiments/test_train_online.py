"""Training by acting: files, curves, resuming, and what can go wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tianshou")
pytest.importorskip("tensorboard")

from recsim_llm.errors import ConfigError, RecordingError  # noqa: E402
from recsim_llm.experiments.simulation.rollout import choose_visitors  # noqa: E402
from recsim_llm.experiments.training.train import TrainConfig, _world, train  # noqa: E402
from recsim_llm.experiments.training.train_files import read_curve  # noqa: E402
from recsim_llm.policies.rl.online import A2C, DQN  # noqa: E402

SMALL = TrainConfig(steps=300, num_envs=10, eval_every=100, eval_users=5, max_pages=6, progress=False)
DQN_SMALL = "dqn?warm_up=50&batch_size=8&updates_per_step=0.1&embedding_size=4&hidden_size=8"
A2C_SMALL = "a2c?round_length=4&embedding_size=4&hidden_size=8"


@pytest.mark.parametrize("policy", [pytest.param(DQN_SMALL, marks=pytest.mark.slow), A2C_SMALL])
def test_a_resumed_training_ends_as_an_uninterrupted_one(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(replace(SMALL, policy=policy, out=tmp_path / "whole.npz"))
    broken = replace(SMALL, policy=policy, out=tmp_path / "broken.npz")
    from recsim_llm.experiments.training import train_files

    keep, calls = train_files.TrainingFolder.keep, []

    def interrupted(self, *args):  # type: ignore[no-untyped-def]
        calls.append(keep(self, *args))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return calls[-1]

    monkeypatch.setattr(train_files.TrainingFolder, "keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(broken)
    monkeypatch.undo()
    again = train(replace(broken, resume=True))
    for name in ("last.npz", "best.npz"):
        with np.load(whole.with_suffix("") / name) as one, np.load(again.with_suffix("") / name) as two:
            assert one.files == two.files
            for key in one.files:
                np.testing.assert_array_equal(one[key], two[key], err_msg=f"{name} {key}")
    curves = [read_curve(path.with_suffix("") / "curve.csv") for path in (whole, again)]
    assert curves[0] == curves[1]
    assert [point.step for point in curves[0]] == [0, 100, 200, 300]


def test_the_result_is_the_best_policy_and_curves_are_kept(tmp_path: Path) -> None:
    out = train(replace(SMALL, policy=A2C_SMALL, out=tmp_path / "a2c.npz"))
    assert out.read_bytes() == (tmp_path / "a2c" / "best.npz").read_bytes()
    assert A2C.load(out).page_size == 1
    assert list((tmp_path / "a2c" / "tensorboard").glob("events*"))


@pytest.mark.slow
def test_training_changes_the_network(tmp_path: Path) -> None:
    train(replace(SMALL, policy=DQN_SMALL, out=tmp_path / "dqn.npz"))
    train(replace(SMALL, policy=DQN_SMALL, out=tmp_path / "short.npz", steps=10))
    one, two = (DQN.load(tmp_path / name / "last.npz").fitted for name in ("dqn", "short"))
    assert any(not np.array_equal(one[key], two[key]) for key in one if key.startswith("net."))


def test_people_held_out_never_train() -> None:
    world, held_out = _world(replace(SMALL, num_envs=200, steps=2_000, eval_every=200))
    assert len(held_out) == 5
    np.testing.assert_array_equal(held_out, choose_visitors(200, 5, 0))
    seen = set()
    world.begin(0)
    for step in range(12):
        seen |= set(world.env.sessions.users.tolist())
        world.step(np.full(200, step))
    assert len(seen) > 150
    assert not seen & set(held_out.tolist())


def test_sessions_that_end_begin_anew_and_show_their_last_state() -> None:
    world, _ = _world(SMALL)
    rows = world.begin(0)
    over = 0
    for step in range(6):
        item = step // 2  # the same again makes everybody leave
        moved = world.step(np.full(10, item))
        ended = moved.terminated | moved.truncated
        half = (rows.shape[1] - 1) // 2
        assert (moved.following[:, half] == item).all()
        assert (moved.following[:, 0] == rows[:, 0] + 1).all()
        assert (moved.rows[ended, 0] == 0).all()
        np.testing.assert_array_equal(moved.rows[~ended], moved.following[~ended])
        rows, over = moved.rows, over + int(ended.sum())
    assert over >= 30


def test_errors_are_named(tmp_path: Path) -> None:
    out = tmp_path / "policy.npz"
    for change, match in (
        ({"policy": "popularity"}, "does not learn by acting"),
        ({"policy": "dqn?nonsense=1"}, "nonsense"),
        ({"policy": "dqn?gamma=1"}, "gamma"),
        ({"eval_users": 200}, "eval-users"),
    ):
        with pytest.raises(ConfigError, match=match):
            train(replace(SMALL, out=out, **change))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="num_envs"):
        replace(SMALL, steps=1).check()
    with pytest.raises(ConfigError, match="npz"):
        replace(SMALL, out=tmp_path / "policy").check()
    with pytest.raises(ConfigError, match="no training to resume"):
        train(replace(SMALL, out=out, resume=True))
    train(replace(SMALL, policy=A2C_SMALL, out=out, steps=100))
    with pytest.raises(ConfigError, match="--resume"):
        train(replace(SMALL, policy=A2C_SMALL, out=out, steps=100))
    with pytest.raises(ConfigError, match="seed"):
        train(replace(SMALL, policy=A2C_SMALL, out=out, steps=100, seed=7, resume=True))
    for checkpoint in out.with_suffix("").glob("checkpoint-*"):
        (checkpoint / "algorithm.pt").write_bytes(b"nonsense")
    with pytest.raises(RecordingError, match="checkpoint"):
        train(replace(SMALL, policy=A2C_SMALL, out=out, steps=100, resume=True))
