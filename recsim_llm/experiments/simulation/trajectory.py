"""Builds the stream of happenings from a config; shared by a simulation, its resumption and its replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from recsim_llm.agents.hybrid.learned import Learned
from recsim_llm.agents.long_term.long_term_population import make_long_term
from recsim_llm.agents.named_users import think_aloud
from recsim_llm.agents.population import Population, SocialPopulation, make_population, make_society
from recsim_llm.agents.user_model import UserModel
from recsim_llm.environments.page import draw_base_key
from recsim_llm.environments.society import SocietyRules
from recsim_llm.environments.society_env import new_society
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.interventions.intervene import Interventions
from recsim_llm.experiments.simulation.interventions.interventions import Advert, Intervention, NewItem, PolicySwitch
from recsim_llm.experiments.simulation.interventions.shelf import Shelf
from recsim_llm.experiments.simulation.rollout import choose_visitors, rollout
from recsim_llm.experiments.simulation.society_loop import Diary, live
from recsim_llm.language.protocol import LLM
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.runs import StepBatch
from recsim_llm.types import Ints

Stream: TypeAlias = Iterator[StepBatch | Diary]


@dataclass(frozen=True)
class Cast:
    """Who takes part in a run.

    Attributes:
        population: The people, and what is known about them.
        visitors: (S,) user ids of the visitors, session by session; in a society, of its members.
    """

    population: Population | SocialPopulation
    visitors: Ints


def assemble(
    config: SimulationConfig, llm: LLM | None, learned: Learned | None = None, users: UserModel | None = None
) -> Cast:
    """Build the population of a config, and choose those who take part.

    Args:
        config: The config.
        llm: The language model of LLM users.
        learned: Calibration of the language model, for hybrid and calibrated users.
        users: The user model, if the caller has it as an object; default: the one that the config names.

    Raises:
        ConfigError: The config cannot work with this data set.
    """
    cast = _assemble(config, llm, learned, config.user_model if users is None else users)
    if config.thoughts == "page":
        think_aloud(cast.population.users, cast.population.dataset.catalogue)
    return cast


def _assemble(config: SimulationConfig, llm: LLM | None, learned: Learned | None, users: str | UserModel) -> Cast:
    if not config.rounds:
        pages = _visitors_population(config, llm, learned, users)
        return Cast(pages, choose_visitors(pages.users.num_users, config.users, config.seed))
    society = make_society(
        config.dataset,
        users,
        llm,
        config.graph,
        config.encoder,
        config.seed,
        config.personas,
        learned,
        config.users,
        config.habits,
    )
    return Cast(society, society.members)


def _visitors_population(
    config: SimulationConfig, llm: LLM | None, learned: Learned | None, users: str | UserModel
) -> Population:
    one = (config.encoder, config.personas, learned)
    if config.quit:
        return make_long_term(config.dataset, users, llm, config.quit, *one)
    return make_population(config.dataset, users, llm, *one)


def wide_page(config: SimulationConfig, interventions: Sequence[Intervention]) -> int:
    """Number of items that a policy must rank to fill a page, whatever items interventions withhold."""
    return config.page_size + sum(isinstance(i, (Advert, NewItem)) for i in interventions)


def stream(
    config: SimulationConfig,
    cast: Cast,
    policies: Mapping[str, Policy],
    interventions: Sequence[Intervention] = (),
) -> Stream:
    """Yield what happens, step by step; deterministic in the arguments.

    Args:
        config: The config, with one policy.
        cast: From `assemble`; consumed by this call.
        policies: Policies by name: the config's own, and those that interventions switch to.
        interventions: Interventions by date, in a society.

    Raises:
        ConfigError: Interventions without rounds.
    """
    policy = policies[config.policies[0]]
    if isinstance(cast.population, Population):
        if interventions:
            raise ConfigError("Interventions have dates: they need a society (--rounds N).")
        users = cast.population.users
        return rollout(config.dataset, users, policy, cast.visitors, config.rules, config.seed, config.batch_size)
    return _society(config, cast.population, cast.visitors, policies, interventions)


def _society(
    config: SimulationConfig,
    population: SocialPopulation,
    members: Ints,
    policies: Mapping[str, Policy],
    interventions: Sequence[Intervention],
) -> Stream:
    society = new_society(population, members, SocietyRules(rounds=config.rounds, page=config.rules))
    shelf = Shelf(policies[config.policies[0]], config.page_size)
    plan = Interventions(interventions, society, shelf, policies, population)
    base = np.uint64(draw_base_key(np.random.Generator(np.random.PCG64(config.seed))))
    yield from live(society, np.asarray(base), shelf, plan.apply)


def switched(interventions: Sequence[Intervention]) -> list[str]:
    """Names of the policies that interventions switch to."""
    return sorted({i.policy for i in interventions if isinstance(i, PolicySwitch)})
