"""Trains a policy in an environment: `recsim-llm train --policy dqn --out dqn.npz`.

Every `eval_every` steps all sessions restart, the policy is evaluated on people who do not train, and a checkpoint is
written: a resumed training continues from it to the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from tqdm import tqdm

from recsim_llm.agents.long_term.long_term_population import make_long_term, rule_line, rule_of
from recsim_llm.agents.named_users import check_user_model
from recsim_llm.agents.population import Population, make_population
from recsim_llm.checked import Count, Name, OutFile, Seed, Text, check_fields
from recsim_llm.environments.long_term import LongTermVectorEnv
from recsim_llm.environments.sessions import MOST_ITEMS, MOST_PAGES, PageRules
from recsim_llm.environments.vector import ItemVectorEnv, PageVectorEnv
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.rollout import choose_visitors
from recsim_llm.experiments.training.train_files import Checkpoint, Curve, CurvePoint, TrainingFolder
from recsim_llm.experiments.training.train_world import TrainingWorld, evaluate
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.policies.rl.online import A2C, DQN, PPO
from recsim_llm.policies.rl.rl_policy import OnlinePolicy, need_tianshou, start_of
from recsim_llm.policies.rl.settings import NetSettings
from recsim_llm.seeding import mix_one
from recsim_llm.spec import refuse_secrets
from recsim_llm.types import Ints

if TYPE_CHECKING:
    from recsim_llm.policies.rl.learners import ResumableLearner

ONLINE: dict[str, type[OnlinePolicy]] = {policy.name: policy for policy in (DQN, A2C, PPO)}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Options of a training.

    Attributes:
        policy: Name of a policy that learns by acting, with options: "dqn", "a2c?entropy_weight=0.02".
        dataset: Name or folder of a data set.
        setting: "long-term", BiLLP's (LongTerm-v0), or "item", one item per page (Item-v0).
        user_model: The simulated users; "statistical" is fast enough.
        llm: Language model of LLM users; "" for none.
        rule: In the long-term setting, the rule by which people leave.
        max_pages: Turns after which a session is cut off, at least 1.
        history_length: H, entries of an observation, at least 1; never less than `max_pages`.
        steps: Total steps over all environments, at least `num_envs`.
        num_envs: Concurrent sessions, at least 1.
        seed: Seed for all random draws.
        eval_every: Steps between evaluations, at least `num_envs`.
        eval_users: Number of held-out people, who never train, at least 1.
        out: File of the trained policy; the folder of the same name next to it has the curves and checkpoints.
        resume: Continue the training that this folder holds.
        progress: Show a progress bar.
    """

    policy: Name = "dqn"
    dataset: Name = "synthetic"
    setting: Literal["long-term", "item"] = "long-term"
    user_model: Name = "statistical"
    llm: Text = ""
    rule: Name = "window"
    max_pages: Annotated[int, Ge(1), Le(MOST_PAGES)] = 30
    history_length: Annotated[int, Ge(1), Le(MOST_ITEMS)] = 50
    steps: Annotated[int, Ge(1), Le(10**12)] = 100_000
    num_envs: Annotated[int, Ge(1), Le(1_000_000)] = 100
    seed: Seed = 0
    eval_every: Annotated[int, Ge(1), Le(10**12)] = 10_000
    eval_users: Count = 50
    out: OutFile = Path("trained.npz")
    resume: bool = False
    progress: bool = True

    def check(self) -> None:
        """Check the options before anything is loaded.

        Raises:
            ConfigError: A value out of range, or a user model or a rule that does not exist.
        """
        check_fields(self)
        if self.num_envs < 1 or self.steps < self.num_envs or self.eval_every < self.num_envs:
            raise ConfigError(
                f"A training makes num_envs steps at a time: steps ({self.steps}) and eval_every ({self.eval_every}) "
                f"must be at least num_envs ({self.num_envs}), and that at least 1."
            )
        check_user_model(self.user_model)
        rule_of(self.rule)
        if self.out.suffix != ".npz":
            raise ConfigError(f"--out names the policy's file, which ends in .npz, not {self.out}.")


def train(config: TrainConfig) -> Path:
    """Train a policy and save it.

    Returns:
        `config.out`: the policy with the best reward on held-out people. `last.npz` in the folder is the last policy.

    Raises:
        ConfigError: No such policy or option, or it does not learn by acting; more held-out people than the data set
            can spare; the folder holds a training already, or the resumed one had other options; a key in the spec
            `llm`.
        MissingExtraError: torch or tianshou is not installed.
    """
    refuse_secrets(config.llm)
    config.check()
    config = replace(config, rule=rule_line(config.rule))  # spelt out in checkpoints, since defaults may change
    policy, settings = _policy(config.policy)
    need_tianshou(f"Training the policy '{policy.name}'")
    from recsim_llm.policies.rl.algorithms import seeded

    folder = TrainingFolder(config.out.with_suffix(""), config)
    world, held_out = _world(config)
    with seeded(mix_one(config.seed, 0) % 2**31):
        learner = _learner(config, policy, settings, world.population)
    point = folder.begin(learner, config.resume)
    with folder.curve(point) as curve:
        _train(config, world, learner, folder, curve, _evaluation(config, policy, settings, learner, held_out), point)
    folder.finish(config.out)
    return config.out


def _train(
    config: TrainConfig,
    world: TrainingWorld,
    learner: ResumableLearner,
    folder: TrainingFolder,
    curve: Curve,
    evaluation: Callable[[Path], tuple[float, float]],
    point: Checkpoint,
) -> None:
    from recsim_llm.policies.rl.algorithms import seeded
    from recsim_llm.policies.rl.loop import train_segment

    last = config.steps - config.steps % config.num_envs
    if point.step == 0:
        point = folder.keep(learner, point, CurvePoint(0, *evaluation(folder.last), {}), curve)
    with tqdm(total=last, initial=point.step, unit="step", disable=not config.progress) as bar:
        while point.step < last:
            stop = min(last, point.step + config.eval_every - config.eval_every % config.num_envs)
            steps = range(point.step, stop, config.num_envs)
            with seeded(mix_one(config.seed, point.segment + 1) % 2**31):
                losses = train_segment(learner, world, point.segment, steps, config.seed, bar.update)
            reward, length = evaluation(folder.last)
            bar.set_postfix(reward=f"{reward:.2f}", length=f"{length:.1f}")
            point = folder.keep(learner, point, CurvePoint(stop, reward, length, losses), curve)


def _policy(text: str) -> tuple[type[OnlinePolicy], NetSettings]:
    spec = parse_policy(text)
    if spec.file is not None or spec.name not in ONLINE:
        raise ConfigError(
            f"'{text}' does not learn by acting. Policies that do: {', '.join(ONLINE)}. Those that learn from logs are "
            "fitted where they are used: --policy cql, for example."
        )
    policy = ONLINE[spec.name]
    return policy, policy.settings(spec.options)


def _world(config: TrainConfig) -> tuple[TrainingWorld, Ints]:
    env = _environment(config)
    people = env.population.users.num_users
    if not 1 <= config.eval_users < people:
        raise ConfigError(f"--eval-users must be within 1..{people - 1} ({people} people), not {config.eval_users}.")
    held_out = choose_visitors(people, config.eval_users, config.seed)
    return TrainingWorld(env, np.setdiff1d(np.arange(people), held_out), config.seed), held_out


def _environment(config: TrainConfig) -> PageVectorEnv:
    shared: dict[str, Any] = {
        "num_envs": config.num_envs,
        "dataset": config.dataset,
        "user_model": config.user_model,
        "llm": config.llm or None,
        "max_pages": config.max_pages,
        "history_length": max(config.history_length, config.max_pages),
        "autoreset_mode": "disabled",
    }
    if config.setting == "item":
        return ItemVectorEnv(**shared)
    return LongTermVectorEnv(**shared, rule=config.rule)


def _learner(
    config: TrainConfig, policy: type[OnlinePolicy], settings: NetSettings, population: Population
) -> ResumableLearner:
    from recsim_llm.policies.rl.learners import make_learner

    start = start_of(population.log, population.dataset.catalogue, settings, config.seed)
    return make_learner(policy.name, start, settings, config.num_envs, config.steps)


def _evaluation(
    config: TrainConfig, policy: type[OnlinePolicy], settings: NetSettings, learner: ResumableLearner, held_out: Ints
) -> Callable[[Path], tuple[float, float]]:
    """Return a function that saves the current policy and returns its mean reward and length over held-out people."""
    from recsim_llm.policies.rl.algorithms import served
    from recsim_llm.policies.rl.networks.weights import packed_weights

    # A separate population: sessions have handles, and those of the training world are in use.
    population = _population(config)
    rules = PageRules(1, config.max_pages, max(config.history_length, config.max_pages))

    def run(path: Path) -> tuple[float, float]:
        acting = policy.around(packed_weights(served(learner.algorithm)), settings, population.log, 1, config.seed)
        acting.save(path)
        return evaluate(config.dataset, population.users, acting, held_out, rules, config.seed)

    return run


def _population(config: TrainConfig) -> Population:
    if config.setting == "item":
        return make_population(config.dataset, config.user_model, config.llm or None)
    return make_long_term(config.dataset, config.user_model, config.llm or None, config.rule)
