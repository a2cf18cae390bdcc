"""Options of a study: policies, people, seeds and the setting, as a frozen dataclass that a TOML file can hold."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from recsim_llm.agents.long_term.long_term_population import rule_line
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.training.train import ONLINE, TrainConfig
from recsim_llm.policies import check_policy
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.untrusted import read_toml


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One row of the table.

    Attributes:
        policy: The policy, as `--policy` takes it.
        steps: Steps of training in the environment (`experiments.training.train`); 0: fitted to the log.
        collect: For policies that learn offline, the policy whose sessions they learn from instead of the log.
        sessions: Number of those sessions.
        explore: Share of random items in them, [0, 1].
        learn: Number of people outside the evaluation from whom it first learns, as BiLLP does to fill its memories.
        users: Number of people to evaluate on, the first ones; 0: all.
        seeds: Number of seeds to use, the first ones; 0: all.
    """

    policy: str
    steps: int = 0
    collect: str = ""
    sessions: int = 2_000
    explore: float = 0.2
    learn: int = 0
    users: int = 0
    seeds: int = 0

    @property
    def label(self) -> str:
        """Name of the row."""
        return parse_policy(self.policy).label

    @property
    def trains(self) -> bool:
        """Whether it learns from people outside the evaluation before it is evaluated."""
        return bool(self.steps or self.learn or self.collect)

    def check(self) -> None:
        """Check the options.

        Raises:
            ConfigError: A number out of range, two ways of learning, or the wrong one for this policy.
        """
        if min(self.steps, self.learn, self.users, self.seeds) < 0:
            raise ConfigError(f"'{self.policy}': steps, learn, users and seeds are 0 or more.")
        if self.sessions < 1 or not 0 <= self.explore <= 1:
            raise ConfigError(f"'{self.policy}': sessions are 1 or more, and explore is within [0, 1].")
        if sum(map(bool, (self.steps, self.learn, self.collect))) > 1:
            raise ConfigError(f"'{self.policy}': it learns in one of three ways: steps, learn or collect.")
        if (parse_policy(self.policy).name in ONLINE) != bool(self.steps):
            raise ConfigError(f"'{self.policy}': steps are for policies that learn by acting ({', '.join(ONLINE)}).")
        if self.steps:
            TrainConfig(policy=self.policy, steps=self.steps).check()


@dataclass(frozen=True, slots=True)
class Study:
    """A study in the long-term setting (docs/long_term_study.md).

    Attributes:
        name: For titles.
        entries: The rows, in order.
        dataset: Name or folder.
        user_model: The simulated users.
        llm: Language model of the people.
        policy_llm: Language model of the planners.
        quit: The rule by which people leave (docs/long_term.md).
        tell_exit: Whether all planners are told that rule; a row's own option `tell_exit` overrides it, and the table
            then says which rows were told.
        pages: Turns after which a session is cut off.
        page_size: Items per turn.
        users: Number of people each policy is evaluated on, the same for all; training uses other people.
        seeds: Number of repetitions, each with other people to evaluate on, other random numbers and new training.
        batch_size: Concurrent sessions.
    """

    name: str
    entries: tuple[StudyEntry, ...]
    dataset: str = "synthetic"
    user_model: str = "statistical"
    llm: str = ""
    policy_llm: str = ""
    quit: str = "window"
    tell_exit: bool = False
    pages: int = 30
    page_size: int = 1
    users: int = 100
    seeds: int = 3
    batch_size: int = 256

    def check(self) -> None:
        """Check the study before anything is trained.

        Raises:
            ConfigError: No such policy, two rows with the same name, or a number out of range.
        """
        labels = [entry.label for entry in self.entries]
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError(f"A study needs at least one policy, and none twice; got {', '.join(labels) or 'none'}.")
        if self.seeds < 1 or self.users < 2:
            raise ConfigError(f"A study needs at least 1 seed and 2 users, not {self.seeds} and {self.users}.")
        for entry in self.entries:
            check_policy(entry.policy)
            if entry.collect:
                check_policy(entry.collect)
            entry.check()
            if entry.users > self.users:
                raise ConfigError(f"'{entry.policy}': users are at most the study's {self.users}, not {entry.users}.")
        self.simulation(self.entries[0], 0).check()

    def simulation(self, entry: StudyEntry, seed: int, policy: str = "") -> SimulationConfig:
        """The evaluation of one row with one seed.

        Args:
            entry: The row.
            seed: The seed.
            policy: The file of the trained policy; "" for the entry's own.
        """
        return SimulationConfig(
            dataset=self.dataset,
            user_model=self.user_model,
            llm=self.llm,
            policies=(policy or entry.policy,),
            users=entry.users or self.users,
            pages=self.pages,
            page_size=self.page_size,
            seed=seed,
            batch_size=self.batch_size,
            policy_llm=self.policy_llm,
            quit=self.quit,
            tell_exit=self.tell_exit,
        )

    def as_json(self) -> dict[str, Any]:
        """The study as JSON values, with every option of the quit rule spelt out, since its defaults may change."""
        entries = [asdict(entry) for entry in self.entries]
        return {**asdict(self), "quit": rule_line(self.quit), "entries": entries}


def read_study(text: str) -> Study:
    """Read a study from a TOML file, given its path or the name of a study in the package.

    Raises:
        ConfigError: There is no such study, or it breaks a rule.
    """
    own = files("recsim_llm.experiments").joinpath("studies", f"{text}.toml")
    source = Path(text) if text.endswith(".toml") else own
    if not source.is_file():
        raise ConfigError(f"There is no study '{text}'. Studies: {', '.join(studies())}; or name a TOML file.")
    try:
        values = read_toml(Path(str(source)))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{text} is not TOML: {error}.") from error
    return study_of(values, text)


def studies() -> list[str]:
    """Names of the studies that come with the package."""
    folder = files("recsim_llm.experiments").joinpath("studies")
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def study_of(values: Mapping[str, Any], source: str) -> Study:
    """Build a study from the values of a file; `policy` is a list of tables.

    Raises:
        ConfigError: An unknown name, a missing one, or a value of another type.
    """
    values = {"name": Path(source).stem, **values}
    rows = values.pop("policy", None)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{source}: write each policy as a table, [[policy]].")
    _check_names(values, Study, source)
    entries = []
    for row in rows:
        row = {"policy": row.pop("name"), **row} if "name" in row else row
        _check_names(row, StudyEntry, source)
        if "policy" not in row:
            raise ConfigError(f"{source}: a [[policy]] has no name.")
        entries.append(StudyEntry(**row))
    study = replace(Study("", ()), **values, entries=tuple(entries))
    study.check()
    return study


def _check_names(values: Mapping[str, Any], kind: type[Study] | type[StudyEntry], source: str) -> None:
    known = {f.name: f.type for f in fields(kind) if f.name != "entries"}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{source}: '{name}' is no option. Options: {', '.join(known)}.")
        if type(value).__name__ != known[name]:
            raise ConfigError(f"{source}: {name} must be of type {known[name]}, not {value!r}.")
