"""Learning policies: files, pages, options, and what their networks see."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

torch = pytest.importorskip("torch")
pytest.importorskip("tianshou")


from recsim_llm.data.dataset import Catalogue  # noqa: E402
from recsim_llm.errors import ConfigError, MissingExtraError, RecordingError  # noqa: E402
from recsim_llm.policies import POLICIES, load_policy  # noqa: E402
from recsim_llm.policies.ranking import RankingPolicy  # noqa: E402
from recsim_llm.policies.rl import RL_POLICIES, algorithms  # noqa: E402
from recsim_llm.policies.rl.networks.weights import packed_weights  # noqa: E402
from recsim_llm.policies.rl.online import A2C, DQN, PPO  # noqa: E402
from recsim_llm.policies.rl.rl_policy import OnlinePolicy, start_of  # noqa: E402
from recsim_llm.testing.policy_contract import (  # noqa: E402
    ITEMS,
    USERS,
    PolicyContract,
    catalogue,
    observe,
    two_tastes_log,
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for policy in RL_POLICIES:
        monkeypatch.setitem(POLICIES, policy.name, policy)


def untrained(policy: type[OnlinePolicy], page_size: int = 5, seed: int = 0, **options: Any) -> OnlinePolicy:
    """A policy with its network as training begins."""
    log, settings = two_tastes_log(), policy.settings(options)
    start = start_of(log, catalogue(), settings, seed)
    with algorithms.seeded(seed):
        algorithm = getattr(algorithms, f"make_{policy.name}")(start, settings)
    return policy.around(packed_weights(algorithms.served(algorithm)), settings, log, page_size, seed)


class OnlineContract(PolicyContract):
    """The contract for policies that no log fits."""

    policy: ClassVar[type[OnlinePolicy]]

    def make(self, seed: int = 0, page_size: int | None = None) -> Any:
        return untrained(self.policy, page_size or self.page_size, seed, **self.options)

    def test_errors_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError):
            self.make(page_size=ITEMS + 1)
        with pytest.raises(ConfigError, match="nonsense"):
            self.policy.settings({"nonsense": 1})
        with pytest.raises(ConfigError, match=f"recsim-llm train --policy {self.name}"):
            self.policy.fit(two_tastes_log(), catalogue(), 5)

    def test_the_order_of_the_log_means_nothing(self) -> None:
        log = two_tastes_log()
        again = log.take(np.arange(len(log))[::-1])
        one, two = (start_of(rows, catalogue(), self.policy.settings({}), 0) for rows in (log, again))
        np.testing.assert_allclose(np.abs(one.vectors @ one.vectors.T), np.abs(two.vectors @ two.vectors.T), atol=1e-4)

    def test_an_empty_log_and_an_empty_batch_are_served(self) -> None:
        nothing = two_tastes_log().take(np.zeros(0, dtype=np.int64))
        start = start_of(nothing, catalogue(), self.policy.settings({}), 0)
        assert np.isfinite(start.vectors).all()
        assert self.make().act(observe(np.zeros(0, dtype=np.int64))).shape == (0, self.page_size)

    def test_another_catalogue_is_refused(self, tmp_path: Path) -> None:
        smaller = Catalogue(catalogue().items[:-1], catalogue().raw_ids[:-1])
        self.make().save(tmp_path / "policy.npz")
        with pytest.raises(RecordingError, match=f"{ITEMS} items"):
            load_policy(tmp_path / "policy.npz", smaller)
        with pytest.raises(ConfigError, match="outside"):
            self.make().act(observe(np.array([0]), np.array([[ITEMS]]), np.array([[4]])))


class TestDQN(OnlineContract):
    name, policy = "dqn", DQN


class TestA2C(OnlineContract):
    name, policy = "a2c", A2C


class TestPPO(OnlineContract):
    name, policy = "ppo", PPO


class TestGRU(OnlineContract):
    name, policy = "dqn", DQN
    options: ClassVar[dict[str, Any]] = {"tracker": "gru"}


class TestSASRec(OnlineContract):
    name, policy = "a2c", A2C
    options: ClassVar[dict[str, Any]] = {"tracker": "sasrec", "embedding_size": 16}


FEW: dict[str, Any] = {"updates": 3, "batch_size": 16}


@pytest.mark.filterwarnings("ignore::recsim_llm.errors.UnconvergedWarning")
class TestSQN(PolicyContract):
    name = "sqn"
    options = FEW


class TestBCQ(PolicyContract):
    name = "bcq"
    options = FEW


class TestCQL(PolicyContract):
    name = "cql"
    options: ClassVar[dict[str, Any]] = {**FEW, "quantiles": 3}


class TestCRR(PolicyContract):
    name = "crr"
    options = FEW


class TestDORL(PolicyContract):
    name = "dorl"
    options: ClassVar[dict[str, Any]] = {"steps": 200, "num_envs": 10, "round_length": 5, "ensemble": 2}


def test_a_trained_network_forbids_what_the_history_holds() -> None:
    policy = untrained(DQN)
    from recsim_llm.policies.rl.networks.states import pack

    shown = np.array([[3, 7, 9]])
    rows = pack(observe(np.array([0]), shown, np.full_like(shown, 4)), 1)
    scores = policy._networks()["main"](rows)[0][0]
    assert (scores[shown[0]] == -100.0).all()
    assert (np.delete(scores.detach().numpy(), shown[0]) > -50.0).all()


def test_pretrained_scores_follow_taste() -> None:
    """Before any training, people are shown items of their own half."""
    log = two_tastes_log()
    stars = np.where((log.items < 30) == (log.users % 2 == 0), 5.0, 1.0).astype(np.float32)
    from dataclasses import replace

    settings = DQN.settings({})
    start = start_of(replace(log, values=stars), catalogue(), settings, 0)
    algorithm = algorithms.make_dqn(start, settings)
    policy = DQN.around(packed_weights(algorithms.served(algorithm)), settings, log, 5, 0)
    rated, first, second = [[1, 2, 3, 40, 41]], [5, 5, 5, 1, 1], [1, 1, 1, 5, 5]
    observation = observe(np.array([USERS, USERS + 1]), np.array(rated * 2), np.array([first, second]))
    observation["page"][:] = 0  # rated before this session, so nothing is too much like what was shown last
    pages = policy.act(observation) < 30
    assert pages[0].sum() >= 3
    assert pages[1].sum() <= 1


def test_registered_policies_are_rankers_with_docs() -> None:
    docs = Path(__file__).parents[2] / "docs" / "policies"
    for policy in RL_POLICIES:
        assert issubclass(policy, RankingPolicy)
        assert (docs / f"{policy.name}.md").is_file()


def tiny_space(items: int = ITEMS, length: int = 4) -> spaces.Dict:
    return spaces.Dict({
        "user": spaces.Box(0, USERS - 1, (1,), np.int64),
        "page": spaces.Box(0, 99, (1,), np.int64),
        "history_items": spaces.Box(-1, items - 1, (length,), np.int64),
        "history_ratings": spaces.Box(0.0, 5.0, (length,), np.float32),
        "history_mask": spaces.Box(0, 1, (length,), np.int8),
    })  # fmt: skip


class _Nowhere(gym.Env[Any, Any]):
    """Spaces alone."""

    def __init__(self, space: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, actions


SEEN = {
    "user": np.array([[0]]), "page": np.array([[2]]), "history_items": np.array([[-1, 3, 7, 9]]),
    "history_ratings": np.array([[0, 4, 1, 5]], np.float32), "history_mask": np.array([[0, 1, 1, 1]], np.int8),
}  # fmt: skip


def test_stable_baselines_sees_what_our_networks_see() -> None:
    """Rows, features and logits are those of the same networks; what the history holds has no probability."""
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import A2C as SB3A2C
    from stable_baselines3 import DQN as SB3DQN

    from recsim_llm.policies.rl.networks.states import pack
    from recsim_llm.policies.rl.sb3 import HistoryFeatures, HistoryPolicy, networks, rows_of

    env, own = _Nowhere(tiny_space(), spaces.Discrete(ITEMS)), networks(two_tastes_log(), catalogue())
    seen = {name: torch.from_numpy(array) for name, array in SEEN.items()}
    assert rows_of(seen).tolist() == pack(SEEN, 1).tolist() == [[2, -1, 3, 7, 9, 0, 4, 1, 5]]
    model: Any = SB3A2C(HistoryPolicy, env, policy_kwargs=own, seed=0)
    chances = model.policy.get_distribution(seen).distribution.probs[0]
    expected = model.policy.action_net.scorer.scores(rows_of(seen))[0]
    free = np.setdiff1d(np.arange(ITEMS), [3, 7, 9])
    assert chances[[3, 7, 9]].max() < 1e-12
    torch.testing.assert_close(chances[free], torch.softmax(expected[free], dim=0))
    updated = {id(weight) for group in model.policy.optimizer.param_groups for weight in group["params"]}
    assert {id(weight) for weight in model.policy.action_net.parameters()} <= updated
    assert {id(weight) for weight in model.policy.value_net.parameters()} <= updated
    both = {"features_extractor_class": HistoryFeatures, **own}
    features: Any = SB3DQN("MultiInputPolicy", env, policy_kwargs=both, buffer_size=10).policy.q_net.features_extractor
    assert torch.equal(features(seen), features.tracker(rows_of(seen))[1])


def test_stable_baselines_with_the_wrong_environment_is_refused() -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    from recsim_llm.policies.rl.sb3 import HistoryPolicy, networks

    own = networks(two_tastes_log(), catalogue())
    for space, actions, words in (
        (tiny_space(ITEMS + 1), spaces.Discrete(ITEMS + 1), f"{ITEMS + 1} items, and the vectors are of {ITEMS}"),
        (spaces.Dict({"x": spaces.Box(0, 1, (2,))}), spaces.Discrete(ITEMS), "history_items, history_ratings"),
        (tiny_space(), spaces.MultiDiscrete([ITEMS] * 2), "one item a page"),
    ):
        with pytest.raises(ConfigError, match=words):
            sb3.A2C(HistoryPolicy, _Nowhere(space, actions), policy_kwargs=own)
    with pytest.raises(ConfigError, match=r"policy_kwargs=networks\(log, catalogue\)"):
        sb3.A2C(HistoryPolicy, _Nowhere(tiny_space(), spaces.Discrete(ITEMS)))


def test_without_stable_baselines_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.policies", None)
    monkeypatch.delitem(sys.modules, "recsim_llm.policies.rl.sb3", raising=False)
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[sb3\]"):
        importlib.import_module("recsim_llm.policies.rl.sb3")
