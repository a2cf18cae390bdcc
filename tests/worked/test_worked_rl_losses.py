"""Losses of the learning policies against batches worked out on paper: values come from tables, not from networks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tianshou")

from rl_tables import ITEMS, LN, START, STATES, Table, Worth, replay, rows, updated  # noqa: E402
from tianshou.data import Batch  # noqa: E402 - needs tianshou

from recsim_llm.errors import ConfigError  # noqa: E402
from recsim_llm.policies.rl import algorithms  # noqa: E402
from recsim_llm.policies.rl.offline.offline_policies import BCQ, CQL, SQN  # noqa: E402
from recsim_llm.policies.rl.settings import (  # noqa: E402
    A2CSettings,
    BCQSettings,
    CQLSettings,
    CRRSettings,
    DQNSettings,
    PPOSettings,
    SQNSettings,
)


@pytest.fixture(autouse=True)
def tables(uncompiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithms, "Scorer", Table)
    monkeypatch.setattr(algorithms, "Value", Worth)


ONCE = [(0, 0, 1.0, 1, "left")]


def test_the_penalty_of_cql() -> None:
    """Kumar et al. 2020, equation 4: logsumexp Q - Q(a). Quantiles 0 2 and 2 4, so Q = 1 and 3; item 0 was logged:
    3 + ln(1 + e^-2) - 1 = 2.1269, weighted by .3.
    """
    algorithm = algorithms.make_cql(START, CQLSettings(quantiles=2, min_q_weight=0.3))
    algorithm.policy.model.put([[[0, 2], [2, 4]]])
    stats = updated(algorithm, ONCE)
    assert stats.cql_loss == pytest.approx(2.126928, abs=1e-5)
    # Quantile regression (Dabney et al. 2018), target 1, quantiles 0 and 2 at .25 and .75: Huber .5 each, times .25.
    assert stats.loss == pytest.approx(stats.qr_loss + 0.3 * 2.126928, abs=1e-5)
    assert stats.qr_loss == pytest.approx(0.25, abs=1e-5)
    assert algorithm.policy.model.table[0, 1].mean().item() < 3.0


def test_without_its_penalty_cql_leaves_unseen_items_alone() -> None:
    algorithm = algorithms.make_cql(START, CQLSettings(quantiles=2, min_q_weight=0.0))
    algorithm.policy.model.put([[[0, 2], [2, 4]]])
    updated(algorithm, ONCE)
    assert algorithm.policy.model.table[0, 1].tolist() == [2.0, 4.0]


@pytest.mark.parametrize(("end", "target"), [("", [2.0, 3.0]), ("left", [1.0, 1.0]), ("cut", [2.0, 3.0])])
def test_the_target_of_cql(end: str, target: list[float]) -> None:
    """1 + .5 x the quantiles 2 and 4 of the best item that follows."""
    algorithm: Any = algorithms.make_cql(START, CQLSettings(quantiles=2, gamma=0.5))
    algorithm.policy.model.put([[[0, 2], [2, 4]], [[0, 1], [2, 4]]])
    algorithm._update_lagged_network_weights()
    buffer = replay([(0, 0, 1.0, 1, end)])
    batch, indices = buffer.sample(0)
    returns = algorithm._preprocess_batch(batch, buffer, indices).returns
    assert returns.flatten().tolist() == pytest.approx(target)


def a_bcq(threshold: float, **options: Any) -> Any:
    """In state 1 item 1 is worth more (5), and the imitator finds it half as likely as item 0."""
    algorithm: Any = algorithms.make_bcq(START, BCQSettings(threshold=threshold, gamma=0.5, **options))
    algorithm.policy.model.put([[1, 2], [2, 5]])
    algorithm._update_lagged_network_weights()
    algorithm.policy.imitator.put([[0, 1], [float(LN(2)), 0]])
    return algorithm


@pytest.mark.parametrize(
    ("threshold", "end", "target"),
    [(0.6, "", 2.0), (0.4, "", 3.5), (0.0, "", 3.5), (0.4, "left", 1.0), (0.4, "cut", 3.5)],
)
def test_bcq_asks_only_what_the_log_would_show(threshold: float, end: str, target: float) -> None:
    """Fujimoto et al. 2019: an item less likely than the share of the likeliest is out: 1 + .5 x 2, else 1 + .5 x 5."""
    algorithm = a_bcq(threshold)
    buffer = replay([(0, 0, 1.0, 1, end)])
    batch, indices = buffer.sample(0)
    assert algorithm._preprocess_batch(batch, buffer, indices).returns.item() == pytest.approx(target)


def test_the_losses_of_bcq() -> None:
    """Q(0) = 1, target 3: smooth l1 1.5. Imitation of item 0 at scores 0 and 1: ln(1 + e) = 1.3133. Squares: .5."""
    stats = updated(a_bcq(0.4, penalty=0.1), [(0, 0, 3.0, 1, "left")])
    assert stats.q_loss == pytest.approx(1.5)
    assert stats.i_loss == pytest.approx(1.313262, abs=1e-5)
    assert stats.reg_loss == pytest.approx(0.5)
    assert stats.loss == pytest.approx(1.5 + 1.313262 + 0.05, abs=1e-5)


def test_sqn_is_both_losses_on_one_tracker_without_mask_or_penalty() -> None:
    """Xin et al. 2020, the same numbers: 1.5 + 1.3133; the mask would have taken item 0 for the target of state 1."""
    algorithm: Any = algorithms.make_sqn(START, SQNSettings(gamma=0.5))
    algorithm.policy.model.put([[1, 2], [2, 5]])
    algorithm._update_lagged_network_weights()
    algorithm.policy.imitator.put([[0, 1], [90, 0]])
    buffer = replay([(0, 0, 1.0, 1, "cut")])
    batch, indices = buffer.sample(0)
    assert algorithm._preprocess_batch(batch, buffer, indices).returns.item() == pytest.approx(3.5)
    stats = updated(algorithm, [(0, 0, 3.0, 1, "left")])
    assert stats.loss == pytest.approx(1.5 + 1.313262, abs=1e-5)
    assert algorithm.policy.imitator.tracker is algorithm.policy.model.tracker
    apart = a_bcq(0.4).policy
    assert apart.imitator.tracker is not apart.model.tracker


def nets(worth: Any, likely: Any, settings: Any) -> dict[str, Any]:
    main, imitator = Table(START, settings), Table(START, settings)
    main.put(worth)
    imitator.put(likely)
    return {"main": main, "imitator": imitator}


def serving(policy: Any, settings: Any) -> Any:
    """A policy with these settings and no network of its own."""
    served = policy.__new__(policy)
    served.fitted = {"config": np.array(json.dumps(settings.as_options()))}
    return served


def test_bcq_serves_likely_items_by_worth_and_the_others_after_them() -> None:
    """Item 1 is worth more, but only a tenth as likely: behind the likely ones, in the imitator's order."""
    both = nets([[2, 5]], [[0, float(LN(0.1))]], BCQSettings())
    strict = serving(BCQ, BCQSettings(threshold=0.2)).network_scores(both, torch.zeros(1, 3))
    assert strict[0].tolist() == pytest.approx([2.0, 2.0 + LN(0.1) - 1.0])
    lax = serving(BCQ, BCQSettings(threshold=0.05)).network_scores(both, torch.zeros(1, 3))
    assert lax[0].tolist() == [2.0, 5.0]
    none = serving(BCQ, BCQSettings(threshold=0.0)).network_scores(both, torch.zeros(1, 3))
    assert none[0].tolist() == [2.0, 5.0]


def test_sqn_serves_the_head_that_is_named_and_cql_its_mean() -> None:
    both = nets([[2, 5]], [[7, 3]], SQNSettings())
    assert serving(SQN, SQNSettings()).network_scores(both, torch.zeros(1, 3))[0].tolist() == [7, 3]
    assert serving(SQN, SQNSettings(head="q")).network_scores(both, torch.zeros(1, 3))[0].tolist() == [2, 5]
    many = Table(START, CQLSettings(), quantiles=2)
    many.put([[[0, 2], [2, 4]]])
    assert serving(CQL, CQLSettings()).network_scores({"main": many}, torch.zeros(1, 3))[0].tolist() == [1, 3]


def a_crr(**options: Any) -> Any:
    """State 0: values 1 and 3, actor even. State 1: values 2 and 6, actor even too, so worth 4."""
    algorithm: Any = algorithms.make_crr(START, CRRSettings(gamma=0.5, **options))
    algorithm.critic.scorer.put([[1, 3], [2, 6]])
    algorithm._update_lagged_network_weights()
    return algorithm


def logged(item: int, reward: float, end: str) -> Any:
    return Batch(
        obs=rows(0), act=np.array([item]), rew=np.array([reward]), obs_next=rows(1),
        terminated=np.array([end == "left"]), truncated=np.array([end == "cut"]),
        done=np.array([end != ""]),
    )  # fmt: skip


@pytest.mark.parametrize(("end", "target"), [("", 3.0), ("left", 1.0), ("cut", 3.0)])
def test_the_target_of_crr(end: str, target: float) -> None:
    """Wang et al. 2020: r + gamma E Q'(s', a') = 1 + .5 x 4; who left has no future, who was cut off has."""
    assert a_crr()._targets(logged(0, 1.0, end)).tolist() == [[target]]


def test_the_losses_of_crr() -> None:
    """Item 1 was logged: Q 3, target 1: .5 x 4 = 2. Advantage 3 - 2 = 1, weight e, -ln .5: e ln 2 = 1.8842.

    The conservative term, logsumexp(1, 3) - 3 = .1269, is off unless asked for.
    """
    stats = a_crr()._update_with_batch(logged(1, 1.0, "left"))
    assert stats.critic_loss == pytest.approx(2.0)
    assert stats.actor_loss == pytest.approx(1.884170, abs=1e-5)
    assert stats.cql_loss == pytest.approx(0.126928, abs=1e-5)
    assert stats.loss == pytest.approx(2.0 + 1.884170, abs=1e-5)
    # Logs may hold small whole numbers.
    step = logged(1, 1.0, "left")
    step.act = step.act.astype(np.int16)
    assert a_crr()._update_with_batch(step).loss == pytest.approx(2.0 + 1.884170, abs=1e-5)
    weighted = a_crr(min_q_weight=10.0)._update_with_batch(logged(1, 1.0, "left"))
    assert weighted.loss == pytest.approx(2.0 + 1.884170 + 1.269280, abs=1e-4)


@pytest.mark.parametrize(
    ("item", "beta", "most", "weight"),
    [(1, 1.0, 20.0, 2.718282), (0, 1.0, 20.0, 0.367879), (1, 0.5, 20.0, 7.389056), (1, 0.5, 5.0, 5.0)],
)
def test_the_weight_of_a_logged_item(item: int, beta: float, most: float, weight: float) -> None:
    """exp(advantage / beta), advantages 1 and -1, at most the bound; the critic learns nothing from it."""
    algorithm = a_crr(beta=beta, most=most)
    stats = algorithm._update_with_batch(logged(item, 1.0, "left"))
    assert stats.actor_loss == pytest.approx(weight * LN(2), rel=1e-5)


def test_the_losses_of_crr_in_a_batch_of_two() -> None:
    """Besides the step above, one from state 1 (2 and 6, so worth 4) to state 0 (worth 2): item 0, target 1 + .5 x 2.

    Critic: .5 x (2^2 + 0^2) / 2 = 1. Advantages 1 and -2: ln 2 (e + e^-2) / 2 = .9890.
    Conservative: (.1269 + 4.0182) / 2.
    """
    flags = np.array([True, False])
    batch = Batch(
        obs=rows(0, 1), act=np.array([1, 0]), rew=np.array([1.0, 1.0]), obs_next=rows(1, 0), terminated=flags,
        truncated=~flags, done=np.array([True, True]),
    )  # fmt: skip
    algorithm = a_crr()
    assert algorithm._targets(batch).tolist() == [[1.0], [2.0]]
    assert algorithm._targets(batch).dtype == torch.float32
    stats = algorithm._update_with_batch(batch)
    assert stats.critic_loss == pytest.approx(1.0)
    assert stats.actor_loss == pytest.approx(0.988988, abs=1e-5)
    assert stats.cql_loss == pytest.approx(2.072539, abs=1e-5)


def test_crr_refuses_more_steps_than_it_looks_ahead() -> None:
    with pytest.raises(ConfigError, match=r"^n_step must be 1, not 3\.$"):
        CRRSettings(n_step=3)


def test_the_weight_of_crr_teaches_the_critic_nothing() -> None:
    """Where value and target are equal, the critic stays as it is, whatever the actor's loss."""
    algorithm = a_crr()
    algorithm._update_with_batch(logged(1, 3.0, "left"))
    assert algorithm.critic.scorer.table[0].tolist() == [1.0, 3.0]
    wanted, other = algorithm.policy.actor.table[0].tolist()[::-1]
    assert wanted > 0 > other


def test_the_lagging_copies_of_crr_follow_at_their_time() -> None:
    """Every second update copies before it learns: the first does, the second does not, the third does."""
    algorithm = a_crr(target_update=2)
    algorithm.critic.scorer.put([[1, 3], [20, 60]])
    seen = []
    for _ in range(3):
        algorithm._update_with_batch(logged(1, 3.0, "left"))
        seen.append(algorithm.critic_old(rows(1))[0, 0].item())
        algorithm.critic.scorer.put([[1, 3], [7, 8]])
    assert seen == [20.0, 20.0, 7.0]


def test_every_setting_reaches_its_algorithm() -> None:
    """Values that nobody has by default; a penalty that is not handed on is a policy of another name."""
    shared: dict[str, Any] = {"gamma": 0.37, "learning_rate": 0.011}
    dqn: Any = algorithms.make_dqn(START, DQNSettings(**shared, n_step=7, target_update=13))
    assert (dqn.gamma, dqn.n_step, dqn.target_update_freq, dqn.is_double, dqn.huber_loss_delta) == (
        0.37,
        7,
        13,
        True,
        1,
    )
    actors: dict[str, Any] = {**shared, "value_weight": 0.21, "entropy_weight": 0.17, "gae_lambda": 0.81}
    a2c: Any = algorithms.make_a2c(START, A2CSettings(**actors, max_grad_norm=0.43))
    ppo: Any = algorithms.make_ppo(START, PPOSettings(**actors, max_grad_norm=0.43, clip=0.09))
    for one in (a2c, ppo):
        assert (one.vf_coef, one.ent_coef, one.gae_lambda, one.gamma) == (0.21, 0.17, 0.81, 0.37)
        assert (one.max_grad_norm, one.max_batchsize, one.return_scaling) == (0.43, 4096, True)
        assert one.policy.deterministic_eval
    assert (ppo.eps_clip, ppo.advantage_normalization) == (0.09, True)
    logs: dict[str, Any] = {**shared, "target_update": 13}
    bcq: Any = algorithms.make_bcq(START, BCQSettings(**logs, n_step=2, threshold=0.3, penalty=0.05))
    sqn: Any = algorithms.make_sqn(START, SQNSettings(**logs, n_step=2))
    for one, penalty, least in ((bcq, 0.05, LN(0.3)), (sqn, 0.0, -np.inf)):
        assert (one.gamma, one.n_step, one.freq, one._weight_reg) == (0.37, 2, 13, penalty)
        assert one.policy._log_tau == pytest.approx(least)
    cql: Any = algorithms.make_cql(START, CQLSettings(**logs, n_step=2, quantiles=3, min_q_weight=0.7))
    assert (cql.gamma, cql.n_step, cql.target_update_freq, cql.min_q_weight) == (0.37, 2, 13, 0.7)
    assert cql.policy.model.table.shape == (STATES, ITEMS, 3)
    crr: Any = algorithms.make_crr(START, CRRSettings(**logs, beta=0.9, min_q_weight=0.4, most=11.0))
    assert crr.discounted_return_computation.gamma == 0.37
    assert (crr._beta, crr._min_q_weight, crr._ratio_upper_bound, crr._freq) == (0.9, 0.4, 11.0, 13)
    for one in (dqn, a2c, ppo, bcq, sqn, cql, crr):
        assert one.optim._optim.param_groups[0]["lr"] == 0.011
        assert one.policy.action_space.n == ITEMS
    assert set(algorithms.served(bcq)) == {"main", "imitator"}
    assert algorithms.served(bcq)["imitator"] is bcq.policy.imitator
    assert algorithms.served(cql) == {"main": cql.policy.model}
    assert algorithms.served(crr) == {"main": crr.policy.actor}


def test_the_critic_of_crr_scores_also_what_the_history_holds() -> None:
    """A network's own scores, where training would put -100 on items of the history."""
    algorithm = a_crr()
    assert algorithm.critic(rows(1)).tolist() == [[2.0, 6.0]]
    assert algorithm.critic(rows(1).tolist()).tolist() == [[2.0, 6.0]]
