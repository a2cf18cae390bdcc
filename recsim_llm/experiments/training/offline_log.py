"""Logs a policy's sessions in an environment as an offline data set, and exports it to other libraries' formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.population import Population
from recsim_llm.environments.long_term import LongTermVectorEnv
from recsim_llm.environments.vector import ItemVectorEnv, PageVectorEnv
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.experiments.simulation.rollout import choose_visitors
from recsim_llm.policies import open_policy
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.policies.rl.networks.states import pack
from recsim_llm.policies.rl.offline.offline_data import OfflineLog
from recsim_llm.seeding import Stream, mix_one, uniforms
from recsim_llm.spec import refuse_secrets
from recsim_llm.types import Floats32, Ints, Observation


@dataclass(frozen=True, slots=True)
class CollectConfig:
    """Options of a log.

    Attributes:
        policy: Spec of the behaviour policy (`policies.policy_spec`).
        dataset: Name or folder of a data set.
        setting: "long-term" (LongTerm-v0) or "item" (Item-v0).
        user_model: The simulated users.
        llm: Language model of LLM users; "" for none.
        rule: In the long-term setting, the rule by which people leave.
        max_pages: Turns after which a session is cut off.
        history_length: H, entries of an observation; never less than `max_pages`.
        sessions: Sessions to log, at least 1; people are drawn by hash.
        epsilon: Share of the policy's items replaced by random ones, [0, 1].
        batch_size: Concurrent sessions.
        seed: Seed for all random draws.
        held_out: Number of people who are never logged: the first that `choose_visitors` draws with this seed.
    """

    policy: str = "popularity"
    dataset: str = "synthetic"
    setting: Literal["long-term", "item"] = "long-term"
    user_model: str = "statistical"
    llm: str = ""
    rule: str = "window"
    max_pages: int = 30
    history_length: int = 50
    sessions: int = 1_000
    epsilon: float = 0.0
    batch_size: int = 200
    seed: int = 0
    held_out: int = 0

    def __post_init__(self) -> None:
        if self.sessions < 1 or self.batch_size < 1 or not 0 <= self.epsilon <= 1:
            raise ConfigError("sessions and batch_size must be at least 1, and epsilon within [0, 1].")
        if self.setting not in ("long-term", "item"):
            raise ConfigError(f"setting must be long-term or item, not {self.setting!r}.")


def collect(config: CollectConfig) -> OfflineLog:
    """Log sessions of a policy.

    Raises:
        ConfigError: As in `policies.open_policy` and the environment; or a key in the spec `llm`.
    """
    refuse_secrets(config.llm)
    logs = []
    for start in range(0, config.sessions, config.batch_size):
        env = _environment(config, min(config.batch_size, config.sessions - start))
        home = env.population
        policy = open_policy(config.policy, home.log, home.dataset.catalogue, 1, config.seed)
        logs.append(_sessions(env, policy, config, start))
    return joined(logs)


def joined(logs: list[OfflineLog]) -> OfflineLog:
    """Concatenate several logs of one policy.

    Raises:
        ConfigError: There is no log.
    """
    if not logs:
        raise ConfigError("There is no log to join.")
    arrays = {name: np.concatenate([getattr(log, name) for log in logs]) for name in OfflineLog.arrays}
    first = logs[0]
    return OfflineLog(**arrays, behaviour=first.behaviour, num_items=first.num_items, checksum=first.checksum)


def d3rlpy_arrays(log: OfflineLog) -> dict[str, NDArray[Any]]:
    """Arguments of `d3rlpy.dataset.MDPDataset`: observations, actions, rewards, terminals, timeouts; rows are steps."""
    return {
        "observations": log.rows[log.before],
        "actions": log.actions.astype(np.int32)[:, None],
        "rewards": log.rewards.astype(np.float32)[:, None],
        "terminals": log.terminated.astype(np.float32),
        "timeouts": log.truncated.astype(np.float32),
    }


def save_d3rlpy(log: OfflineLog, path: Path) -> None:
    """Write `d3rlpy_arrays` to an `.npz` file: `MDPDataset(**numpy.load(path))`."""
    with path.open("wb") as file:
        np.savez_compressed(file, **d3rlpy_arrays(log))  # type: ignore[arg-type]


def export_minari(log: OfflineLog, dataset_id: str) -> None:
    """Write a Minari data set to Minari's own folder.

    Args:
        log: The log to export; observations are rows of `states.pack`.
        dataset_id: Id in Minari's form: "recsim_llm/NAME-v0".

    Raises:
        MissingExtraError: minari is not installed.
    """
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ImportError as error:
        raise MissingExtraError("minari", "minari", "Exporting to Minari") from error
    from gymnasium import spaces

    starts = np.concatenate([[0], np.cumsum(log.lengths)])
    episodes = [
        EpisodeBuffer(
            id=number,
            observations=log.rows[start + number : end + number + 1],
            actions=log.actions[start:end],
            rewards=log.rewards[start:end],
            terminations=log.terminated[start:end],
            truncations=log.truncated[start:end],
        )
        for number, (start, end) in enumerate(zip(starts[:-1], starts[1:], strict=True))
    ]
    width = log.rows.shape[1]
    minari.create_dataset_from_buffers(
        dataset_id=dataset_id,
        buffer=episodes,
        observation_space=spaces.Box(-1.0, np.inf, (width,), np.float32),
        action_space=spaces.Discrete(log.num_items),
        algorithm_name=log.behaviour,
        description="Sessions of a recommender with simulated people, logged by recsim-llm.",
    )


def _sessions(env: PageVectorEnv, policy: Policy, config: CollectConfig, start: int) -> OfflineLog:
    who = _visitors(env.population, config, start, env.num_envs)
    observed = env.reset(seed=[mix_one(config.seed, start, i) >> 1 for i in range(len(who))], options={"user": who})[0]
    rows = [pack(observed, 1)]
    actions: list[Ints] = []
    rewards: list[NDArray[Any]] = []
    ended: list[tuple[NDArray[Any], NDArray[Any]]] = []
    while not env.sessions.ended.all():
        actions.append(_act(policy, observed, config, start, len(actions), env.population.users.num_items))
        observed, reward, left, cut, _ = env.step(actions[-1])
        rows.append(pack(observed, 1))
        rewards.append(reward)
        ended.append((left, cut))
    home = env.population
    return _log(who, rows, np.array(actions), np.array(rewards), np.array(ended), policy.name, home)


def _act(policy: Policy, observed: Any, config: CollectConfig, start: int, page: int, count: int) -> Ints:
    observation: Observation = observed
    items = policy.act(observation)[:, 0]
    luck = uniforms(config.seed, int(Stream.POLICY), start, page, np.arange(len(items))[:, None], np.arange(2))
    return np.where(luck[:, 0] < config.epsilon, (luck[:, 1] * count).astype(np.int64), items)


def _log(
    who: Ints, rows: list[Floats32], actions: Ints, rewards: Any, ended: Any, behaviour: str, home: Population
) -> OfflineLog:
    """Cut (T, B) columns into episodes."""
    # ended is (T, 2, B), left and truncated: an episode ends at its first True.
    over = ended.any(axis=1)
    lengths = over.argmax(axis=0) + 1
    steps = np.arange(len(actions))[:, None] < lengths
    states = np.stack(rows)
    # An episode of n steps has n + 1 states.
    seen = np.arange(len(states))[:, None] <= lengths
    left, cut = ended[:, 0], ended[:, 1]
    return OfflineLog(
        lengths.astype(np.int64), who, states.swapaxes(0, 1)[seen.T], actions.T[steps.T],
        rewards.T[steps.T].astype(np.float32),
        left.T[steps.T], cut.T[steps.T], behaviour, len(home.dataset.catalogue), home.dataset.checksum,
    )  # fmt: skip


def _visitors(home: Population, config: CollectConfig, start: int, count: int) -> Ints:
    people = home.users.num_users
    if not 0 <= config.held_out < people:
        raise ConfigError(f"held_out must be within 0..{people - 1} ({people} people), not {config.held_out}.")
    others = np.sort(choose_visitors(people, people, config.seed)[config.held_out :])
    luck = uniforms(config.seed, int(Stream.USER), start + np.arange(count))
    return others[(luck * len(others)).astype(np.int64)]


def _environment(config: CollectConfig, count: int) -> PageVectorEnv:
    shared: dict[str, Any] = {
        "num_envs": count,
        "dataset": config.dataset,
        "user_model": config.user_model,
        "llm": config.llm or None,
        "max_pages": config.max_pages,
        "history_length": max(config.history_length, config.max_pages),
        "autoreset_mode": "disabled",
    }
    return ItemVectorEnv(**shared) if config.setting == "item" else LongTermVectorEnv(**shared, rule=config.rule)
