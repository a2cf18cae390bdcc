"""DQN, A2C and PPO against batches worked out on paper: values come from tables, not from networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tianshou")

from rl_tables import LN, START, Table, Worth, remembered, replay, rows  # noqa: E402
from tianshou.data import Batch  # noqa: E402 - needs tianshou
from tianshou.utils.torch_utils import policy_within_training_step  # noqa: E402

from recsim_llm.policies.rl import algorithms  # noqa: E402
from recsim_llm.policies.rl.learners import OffPolicyLearner, OnPolicyLearner  # noqa: E402
from recsim_llm.policies.rl.loop import Moved  # noqa: E402
from recsim_llm.policies.rl.settings import (  # noqa: E402
    A2CSettings,
    DQNSettings,
    PPOSettings,
)


@pytest.fixture(autouse=True)
def tables(uncompiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithms, "Scorer", Table)
    monkeypatch.setattr(algorithms, "Value", Worth)


def a_dqn(**options: Any) -> OffPolicyLearner:
    """A learner whose own values are 2 and 5 in state 1, those of its lagging copy 7 and 3."""
    settings = DQNSettings(gamma=0.5, **options)
    algorithm = algorithms.make_dqn(START, settings)
    algorithm.policy.model.put([[0.25, 0], [7, 3], [7, 3], [7, 3]])
    algorithm._update_lagged_network_weights()
    algorithm.policy.model.put([[0.25, 0], [2, 5], [2, 5], [2, 5]])
    return OffPolicyLearner(algorithm, settings, 1, 100)


def targets(learner: OffPolicyLearner) -> list[float]:
    batch, indices = learner.replay.sample(0)
    algorithm: Any = learner.algorithm
    found: list[float] = algorithm._preprocess_batch(batch, learner.replay, indices).returns.flatten().tolist()
    return found


@pytest.mark.parametrize(("end", "target"), [("", 2.5), ("left", 1.0), ("cut", 2.5)])
def test_the_target_of_double_dqn(end: str, target: float) -> None:
    """van Hasselt et al. 2016: r + gamma Q'(s', argmax Q(s')) = 1 + .5 x 3; the lagging copy's own best is 7, for 4.5.

    Who left has no future: 1. Whose session was cut off has one: 2.5 (Pardo et al. 2018).
    """
    learner = a_dqn(n_step=1)
    remembered(learner, [(0, 0, 1.0, 1, end)])
    assert targets(learner) == pytest.approx([target])


@pytest.mark.parametrize(("end", "expected"), [("", 3.375), ("left", 3.0), ("cut", 3.375)])
def test_the_target_of_three_steps(end: str, expected: float) -> None:
    """Rewards 1 2 4: 1 + 2/2 + 4/4, and 3/8 of what follows: 3.375; from the second 2 + 2 and 3/4, from the third 4
    and 3/2. Who left has 3, 4, 4.
    """
    learner = a_dqn(n_step=3)
    remembered(learner, [(0, 0, 1.0, 1, ""), (1, 0, 2.0, 2, ""), (2, 0, 4.0, 3, end)])
    rest = [4.0, 4.0] if end == "left" else [4.75, 5.5]
    assert targets(learner) == pytest.approx([expected, *rest])


def test_a_session_does_not_run_on_into_the_next() -> None:
    learner = a_dqn(n_step=3)
    remembered(learner, [(0, 0, 1.0, 1, "left"), (0, 1, 10.0, 1, "left")])
    assert targets(learner) == pytest.approx([1.0, 10.0])


@pytest.mark.parametrize(("reward", "loss"), [(0.75, 0.125), (2.25, 1.5)])
def test_the_loss_of_dqn(reward: float, loss: float) -> None:
    """Huber 1964 with delta 1, Q = .25. Error .5: .25 / 2; error 2: 2 - 1/2."""
    learner = a_dqn(n_step=1)
    remembered(learner, [(0, 0, reward, 1, "left")])
    with policy_within_training_step(learner.algorithm.policy):
        stats: Any = learner.algorithm.update(learner.replay, 4)
    assert stats.loss == pytest.approx(loss)
    values = learner.algorithm.policy.model.table[0]
    assert values[0] > 0.25  # towards the target
    assert values[1] == 0.0


def test_exploration_falls_in_a_straight_line() -> None:
    """From 1 to .1 over the first half of 100 steps: at 25, half way: .55."""
    learner = OffPolicyLearner(a_dqn().algorithm, DQNSettings(epsilon=0.1, explore=0.5), 1, 100)
    assert [learner.epsilon(step) for step in (0, 25, 50, 90)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    learner.algorithm.policy.model.put([[0.0, 1.0]])
    luck = np.array([[0.54, 0.2], [0.56, 0.2], [0.54, 0.7]])
    assert learner.act(rows(0, 0, 0), luck, 25).tolist() == [0, 1, 1]


def test_a_draw_from_a_softmax() -> None:
    """Scores 0 and ln 3: a quarter and three quarters."""
    scores = torch.tensor([[0.0, float(LN(3))]] * 4)
    assert algorithms.choose(scores, np.array([0.0, 0.2499, 0.2501, 0.9999])).tolist() == [0, 0, 1, 1]
    assert algorithms.choose(torch.zeros(1, 3), np.array([1.0])).tolist() == [2]


STEPS = [(0, 0, 1.0, 1, ""), (1, 1, 2.0, 2, ""), (2, 0, 3.0, 3, "")]


def advantages(algorithm: Any, end: str) -> Any:
    steps = [*STEPS[:2], (*STEPS[2][:4], end)]
    buffer = replay(steps)
    batch, indices = buffer.sample(0)
    return algorithm._preprocess_batch(batch, buffer, indices)


@pytest.mark.parametrize(
    ("end", "expected"), [("cut", [1.59375, 2.375, 2.5]), ("", [1.59375, 2.375, 2.5]), ("left", [1.53125, 2.125, 1.5])]
)
@pytest.mark.parametrize("make", [algorithms.make_a2c, algorithms.make_ppo])
def test_advantages_of_three_steps(make: Any, end: str, expected: list[float]) -> None:
    """Schulman et al. 2016, gamma = lambda = .5. Rewards 1 2 3, worth of the states .5 1 1.5 2.

    delta: 1 + .5 - .5 = 1, 2 + .75 - 1 = 1.75, 3 + 1 - 1.5 = 2.5 (1.5 for who left). Each A = delta + A' / 4.
    """
    settings = PPOSettings(gamma=0.5, gae_lambda=0.5)
    batch = advantages(make(START, settings), end)
    assert batch.adv.tolist() == pytest.approx(expected)
    assert batch.returns.tolist() == pytest.approx([a + v for a, v in zip(expected, [0.5, 1.0, 1.5], strict=True)])


def test_the_loss_of_a2c() -> None:
    """Actor even: -ln .5 x the mean advantage, 6.46875 / 3; critic: mean squared advantage; entropy ln 2."""
    algorithm: Any = algorithms.make_a2c(
        START, A2CSettings(gamma=0.5, gae_lambda=0.5, value_weight=0.25, entropy_weight=0.1)
    )
    stats = algorithm._update_with_batch(advantages(algorithm, "cut"), None, 1)
    squares = (1.59375**2 + 2.375**2 + 2.5**2) / 3
    assert stats.actor_loss.mean == pytest.approx(LN(2) * 6.46875 / 3, rel=1e-5)
    assert stats.vf_loss.mean == pytest.approx(squares, rel=1e-5)
    assert stats.ent_loss.mean == pytest.approx(LN(2), rel=1e-5)
    assert stats.loss.mean == pytest.approx(LN(2) * 6.46875 / 3 + 0.25 * squares - 0.1 * LN(2), rel=1e-5)


def test_the_clipped_ratio_of_ppo() -> None:
    """Schulman et al. 2017, clip .2. Two steps with advantages 1 and 3: normalised -1 / sqrt 2 and 1 / sqrt 2.

    The actor goes from even to 3/4 for item 0: ratios 1.5 (taken in both). The good step counts 1.2, the bad one 1.5:
    -(1.2 - 1.5) / (2 sqrt 2) = .1061. With item 1 it goes down to 1/4: .5 for the good one, .8 for the bad one.
    """
    settings = PPOSettings(gamma=0.5, gae_lambda=0.5, value_weight=0.25, entropy_weight=0.1)
    for item, loss in ((0, 0.106066), (1, 0.106066)):
        algorithm: Any = algorithms.make_ppo(START, settings)
        steps = [(0, item, 1.5, 1, "left"), (0, item, 3.5, 1, "left")]  # worth .5
        buffer = replay(steps)
        batch, indices = buffer.sample(0)
        ready = algorithm._preprocess_batch(batch, buffer, indices)
        assert ready.adv.tolist() == pytest.approx([1.0, 3.0])
        algorithm.policy.actor.put([[float(LN(3)), 0.0]])
        stats = algorithm._update_with_batch(ready, None, 1)
        assert stats.actor_loss.mean == pytest.approx(loss, abs=1e-4)
        entropy = -0.75 * LN(0.75) - 0.25 * LN(0.25)
        assert stats.ent_loss.mean == pytest.approx(entropy, rel=1e-5)
        assert stats.vf_loss.mean == pytest.approx((1 + 9) / 2, rel=1e-5)
        assert stats.loss.mean == pytest.approx(loss + 0.25 * 5 - 0.1 * entropy, abs=1e-4)


def test_returns_are_scaled_by_their_own_spread() -> None:
    """Returns 2 and 4 have variance 1; from then on they are divided by it, and critics' answers multiplied."""
    for make in (algorithms.make_a2c, algorithms.make_ppo):
        algorithm: Any = make(START, PPOSettings())
        algorithm.ret_rms.var = 4.0
        buffer = replay([(0, 0, 3.0, 1, "left")])
        batch, indices = buffer.sample(0)
        ready = algorithm._preprocess_batch(batch, buffer, indices)
        assert ready.returns.tolist() == pytest.approx([1.5])  # 3 / 2
        assert ready.adv.tolist() == pytest.approx([2.0])  # 3 - 2 x .5


def test_a_round_is_learned_when_it_is_full_and_forgotten() -> None:
    settings = A2CSettings(round_length=2, gamma=0.5)
    learner = OnPolicyLearner(algorithms.make_a2c(START, settings), settings, 1)
    learner.begin(0)
    moved = Moved(rows(1), rows(1), np.array([1.0]), np.array([False]), np.array([False]))
    assert learner.learn(rows(0), np.array([0]), moved, 1) == {}
    assert "loss" in str(learner.learn(rows(1), np.array([1]), moved, 2))
    assert len(learner.replay) == 0
    learner.algorithm.policy.actor.put([[0.0, float(LN(3))]])
    assert learner.act(rows(0, 0), np.array([[0.24, 0], [0.26, 0]]), 0).tolist() == [0, 1]


def test_every_remembered_step_is_equally_likely() -> None:
    """Of one user three steps, of another one: a quarter each, and the same ones again after the same seed."""
    memory = algorithms.ReplayBuffer(20, 2)
    for number in range(3):
        ids = np.array([0, 1]) if number == 0 else np.array([0])
        here, no = rows(*[0] * len(ids)), np.zeros(len(ids), dtype=np.bool_)
        step = Batch(obs=here, act=10 * ids + number, rew=0.0 * ids, obs_next=here, terminated=no, truncated=no)
        memory.add(step, buffer_ids=ids)
    memory.reseed(5)
    first = memory.act[memory.sample_indices(4000)]
    shares = {int(a): float((first == a).mean()) for a in np.unique(first)}
    assert shares == pytest.approx({0: 0.25, 1: 0.25, 2: 0.25, 10: 0.25}, abs=0.03)
    memory.reseed(5)
    assert (memory.act[memory.sample_indices(4000)] == first).all()
    memory.reseed(5 + 2**32)
    assert (memory.act[memory.sample_indices(4000)] == first).all()
    memory.reseed(7)
    assert (memory.act[memory.sample_indices(4000)] != first).any()
    for everything in (0, None):
        assert memory.act[memory.sample_indices(everything)].tolist() == [0, 1, 2, 10]


def test_libraries_draw_from_the_seed_within_and_go_on_after() -> None:
    np.random.seed(1)  # noqa: NPY002 - tianshou draws from it
    torch.manual_seed(1)
    expected = np.random.RandomState(1).random_sample(2), torch.rand(1)
    torch.manual_seed(1)
    with algorithms.seeded(7):
        own = np.random.random_sample(), torch.rand(1).item()  # noqa: NPY002
    torch.manual_seed(7)
    assert own == (np.random.RandomState(7).random_sample(), torch.rand(1).item())
    torch.manual_seed(1)
    with algorithms.seeded(7 + 2**32):
        assert np.random.random_sample() == own[0]  # noqa: NPY002
    assert np.random.random_sample() == expected[0][0]  # noqa: NPY002
    assert torch.rand(1) == expected[1]
