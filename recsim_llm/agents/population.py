"""From names to a population: data set, training log, user model. What is fitted is fitted once a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recsim_llm.agents.agent_users import AgentUsers
from recsim_llm.agents.certified import certificates_folder, find_certificate, fingerprint
from recsim_llm.agents.fitting import fit_statistical
from recsim_llm.agents.inhabitants import Inhabitants
from recsim_llm.agents.kinds import AGENT_KINDS, Material
from recsim_llm.agents.llm_users import LLMUsers
from recsim_llm.agents.memory.encoder import TextEncoder, make_encoder
from recsim_llm.agents.persona import build_personas, traits
from recsim_llm.agents.persona_file import read_personas
from recsim_llm.agents.search import CatalogueSearch
from recsim_llm.agents.social_graph import SocialGraph, make_graph
from recsim_llm.agents.social_turns import SocialTexts
from recsim_llm.agents.statistical import StatisticalParameters, StatisticalUsers
from recsim_llm.agents.statistical_inhabitants import StatisticalInhabitants
from recsim_llm.agents.user_model import UserModel
from recsim_llm.certificate import Certificate
from recsim_llm.data import Dataset, Ratings, Split, load_dataset, split_ratings
from recsim_llm.data.naming import renamed
from recsim_llm.data.synthetic import SyntheticWorld, named_world
from recsim_llm.errors import ConfigError
from recsim_llm.llm import make_llm
from recsim_llm.llm.protocol import LLM
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Ints, Persona

TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Source:
    """What a population is made from.

    Attributes:
        dataset: A name or folder for `data.load_dataset`.
        split: What of it is the training log: all but the latest fifth of each person's ratings ("temporal"), or all
            but a fifth at random ("random").
        naming: What items are called: "titles", or as a test of what a language model knows by heart, "ids" (no title,
            year, genre or description) or "invented" (an invented title, the rest as it is).
    """

    dataset: str = "synthetic"
    split: Literal["temporal", "random"] = "temporal"
    naming: str = "titles"


@dataclass(frozen=True)
class Population:
    """People, and what a platform already knows of them.

    Attributes:
        dataset: Catalogue, people, rating levels.
        log: The training ratings: all that personas, user models and policies are fitted on.
        users: The user model.
        certificate: What was measured of it on this machine; None where nobody has certified it.
        is_truth: Whether these are the very people that an invented world's ratings were drawn from.
        notes: What was learned and what is declared, for a certificate.
    """

    dataset: Dataset
    log: Ratings
    users: UserModel
    certificate: Certificate | None = None
    is_truth: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def certified(self) -> bool:
        """Whether it is known how faithful these people are."""
        return self.is_truth or self.certificate is not None


@dataclass(frozen=True)
class SocialPopulation:
    """People who live in a society.

    Attributes:
        dataset, log: As in `Population`.
        users: The user model; lives on between visits.
        graph: Who knows whom.
        search: The search box of the site; None where the data set has no titles.
        personas: `personas[u].user == u`.
        certificate, is_truth: As in `Population`; of their choices on pages, not of their social life.
    """

    dataset: Dataset
    log: Ratings
    users: Inhabitants
    graph: SocialGraph
    search: CatalogueSearch | None
    personas: tuple[Persona, ...]
    certificate: Certificate | None = None
    is_truth: bool = False

    @property
    def certified(self) -> bool:
        """Whether it is known how faithful these people are."""
        return self.is_truth or self.certificate is not None

    @property
    def activity(self) -> Ints:
        """(U,) trait levels 1..3."""
        return np.array([p.activity for p in self.personas], dtype=np.int64)

    def members(self, count: int, seed: int = 0) -> Ints:
        """(count,) different users, ascending, chosen by a hash of (seed, user): a larger count keeps a smaller one's.

        Raises:
            ConfigError: There are not that many people.
        """
        people = len(self.dataset.people)
        if not 1 <= count <= people:
            raise ConfigError(f"A society needs 1..{people} agents (the people of this data set), not {count}.")
        return np.sort(np.argsort(uniforms(seed, Stream.USER, np.arange(people)), kind="stable")[:count])


def make_population(
    dataset: str | Source = "synthetic",
    user_model: str | UserModel = "statistical",
    llm: str | LLM | None = None,
    encoder: str | TextEncoder = "hash",
    personas_file: str = "",
) -> Population:
    """Build a population.

    Args:
        dataset: A name or folder for `data.load_dataset`, or a `Source`.
        user_model: A name in `USER_MODELS` or `AGENT_KINDS`, with options behind a colon ("agent4rec:text,genres",
            "recagent:items", "agentcf:FOLDER"; docs/agents), or a user model of your own for the same catalogue.
        llm: For LLM users: a backend, or its name for `llm.make_llm` ("transformers:smollm2-135m").
        encoder: For agents with memories: what makes vectors of texts (`agents.memory.encoder.make_encoder`).
        personas_file: People as you describe them (`agents.persona_file.read_personas`); "" takes them from ratings.

    Raises:
        DataError: The persona file breaks a rule.
        ConfigError: No such user model, an LLM is missing, or the data set lacks what the model needs.
    """
    data, split = load_source(dataset)
    if not isinstance(user_model, str):
        _check_fits(user_model, data)
        return Population(data, split.train, user_model)
    source = dataset if isinstance(dataset, Source) else Source(dataset)
    backend = make_llm(llm) if isinstance(llm, str) else llm
    users = _users(source, user_model, backend, encoder, personas_file)
    is_truth = user_model == "statistical" and named_world(source.dataset) is not None
    return Population(data, split.train, users, _certificate(data, user_model, backend), is_truth)


def _users(
    source: Source, user_model: str, llm: LLM | None, encoder: str | TextEncoder, personas_file: str
) -> UserModel:
    name, _, option = user_model.partition(":")
    if name in AGENT_KINDS:
        return _agents(source, name, option, llm, encoder, personas_file)
    if user_model not in USER_MODELS:
        known = ", ".join([*USER_MODELS, *AGENT_KINDS])
        raise ConfigError(f"There is no user model '{user_model}'. User models: {known}.")
    return USER_MODELS[user_model](source, llm, personas_file)


def _certificate(data: Dataset, user_model: str, llm: LLM | None) -> Certificate | None:
    """The certificate of a population; asking for one costs nothing where no certificate was ever made."""
    if not certificates_folder().exists():
        return None
    return find_certificate(data.checksum, user_model, llm.name if llm else "", model_fingerprint(user_model))


@lru_cache(maxsize=32)
def model_fingerprint(user_model: str) -> str:
    """What a user model is made of at present (`agents.certified.fingerprint`), whatever data and language model."""
    world = Source("synthetic")

    def make(llm: LLM) -> UserModel:
        if user_model == "statistical":
            return StatisticalUsers(fitted_parameters(world))
        return _users(world, user_model, llm, "hash", "")

    return fingerprint(make)


def make_society(
    dataset: str | Source = "synthetic",
    user_model: str | Inhabitants = "statistical",
    llm: str | LLM | None = None,
    graph: str | SocialGraph = "homophily",
    encoder: str | TextEncoder = "hash",
    seed: int = 0,
    personas_file: str = "",
) -> SocialPopulation:
    """Build a population that lives in a society.

    Args:
        dataset: As in `make_population`.
        user_model: "statistical", a name in `AGENT_KINDS`, or inhabitants of your own.
        llm: As in `make_population`.
        graph: A social graph, or what `agents.social_graph.make_graph` makes one of.
        encoder: As in `make_population`.
        seed: Seed of a generated graph.
        personas_file: As in `make_population`.

    Raises:
        ConfigError: As in `make_population`; or users who do not live on between visits.
        DataError: A graph file with unknown people, or a persona file that breaks a rule.
    """
    data, split = load_source(dataset)
    pages = make_population(dataset, user_model, llm, encoder, personas_file)
    users = pages.users
    if user_model == "statistical":
        parameters = _with_activity(dataset, personas_file)
        users = StatisticalInhabitants(parameters, data.catalogue, personas(dataset, personas_file))
    if not isinstance(users, Inhabitants):
        known = ", ".join(["statistical", *AGENT_KINDS])
        raise ConfigError(f"'{user_model}' users live for one visit only. User models of a society: {known}.")
    if isinstance(graph, str):
        graph = make_graph(graph, data.people, split.train, data.catalogue, seed)
    search = CatalogueSearch(data.catalogue) if data.catalogue.has_titles else None
    people = personas(dataset, personas_file)
    return SocialPopulation(data, split.train, users, graph, search, people, pages.certificate, pages.is_truth)


def _check_fits(users: UserModel, data: Dataset) -> None:
    have, want = (users.num_users, users.num_items), (len(data.people), len(data.catalogue))
    if have != want:
        raise ConfigError(
            f"The user model has {have[0]} users and {have[1]} items, data set '{data.name}' {want[0]} and {want[1]}."
        )


def _statistical(dataset: str | Source, llm: LLM | None, personas_file: str) -> UserModel:
    return StatisticalUsers(_with_activity(dataset, personas_file))


def _with_activity(dataset: str | Source, personas_file: str) -> StatisticalParameters:
    """Fitted parameters; of a persona file, statistical people take the activity, which is their patience."""
    parameters = statistical_parameters(dataset)
    if not personas_file:
        return parameters
    activity = np.array([p.activity for p in personas(dataset, personas_file)], dtype=np.int64)
    return replace(parameters, activity=activity)


def _llm(dataset: str | Source, llm: LLM | None, personas_file: str) -> UserModel:
    if llm is None:
        raise ConfigError("LLM users need a model: --llm transformers:smollm2-135m, for example (llm=... in Python).")
    data, _ = load_source(dataset)
    return LLMUsers(llm, data.catalogue, personas(dataset, personas_file), data.rating_levels)


USER_MODELS: dict[str, Callable[[str | Source, LLM | None, str], UserModel]] = {
    "statistical": _statistical,
    "llm": _llm,
}


def _agents(
    dataset: str | Source, name: str, option: str, llm: LLM | None, encoder: str | TextEncoder, personas_file: str
) -> AgentUsers:
    data, split = load_source(dataset)
    people = personas(dataset, personas_file)
    encoder = make_encoder(encoder) if isinstance(encoder, str) else encoder
    # The kind first: what it lacks is said before a model is loaded.
    options = frozenset(filter(None, option.split(",")))
    kind = AGENT_KINDS[name](Material(data, split.train, people, encoder, options))
    if llm is None:
        raise ConfigError(f"{name} users need a model: --llm transformers:smollm2-135m, for example (llm=...).")
    social = SocialTexts(data.catalogue, people, float(data.rating_levels[-1]))
    return AgentUsers(llm, kind, social, np.array([p.activity for p in people], dtype=np.int64))


def load_source(dataset: str | Source) -> tuple[Dataset, Split]:
    """The data set as the population sees it, and its split."""
    return _load(dataset if isinstance(dataset, Source) else Source(dataset))


@lru_cache(maxsize=8)
def _load(source: Source) -> tuple[Dataset, Split]:
    data = load_dataset(source.dataset)
    split = split_ratings(data.ratings, source.split, TEST_SHARE)
    return replace(data, catalogue=renamed(data.catalogue, source.naming)), split


@lru_cache(maxsize=8)
def personas(dataset: str | Source, personas_file: str = "") -> tuple[Persona, ...]:
    """Personas of a data set's people, from the training part of the temporal split, or from a file over these.

    Raises:
        DataError: The file breaks a rule (`agents.persona_file.read_personas`).
    """
    data, split = load_source(dataset)
    if personas_file:
        return read_personas(Path(personas_file), data, personas(dataset))
    return build_personas(data, split.train)


@lru_cache(maxsize=8)
def statistical_parameters(dataset: str | Source) -> StatisticalParameters:
    """Parameters of statistical users: the truth for a synthetic world, else fitted to the training ratings."""
    world = named_world(dataset.dataset if isinstance(dataset, Source) else dataset)
    if world is not None:
        return true_parameters(world)
    return fitted_parameters(dataset)


def fitted_parameters(dataset: str | Source) -> StatisticalParameters:
    """Parameters fitted to the training ratings, of an invented world too."""
    return _fitted(dataset if isinstance(dataset, Source) else Source(dataset))


@lru_cache(maxsize=8)
def _fitted(source: Source) -> StatisticalParameters:
    data, split = load_source(source)
    return fit_statistical(split.train, traits(split.train, data.catalogue).activity, data.rating_levels)


def true_parameters(world: SyntheticWorld) -> StatisticalParameters:
    """The parameters that a synthetic world's ratings were drawn from."""
    truth, data = world.truth, world.dataset
    no_factors = np.zeros((0, 0))
    return StatisticalParameters(
        mean=truth.mean,
        user_bias=truth.user_bias,
        item_bias=truth.item_bias,
        user_factors=truth.user_factors,
        item_factors=truth.item_factors,
        thresholds=truth.thresholds,
        scale=truth.scale,
        watch_user=truth.watch_bias + truth.watch_user_bias,
        watch_item=truth.watch_popularity,
        watch_user_factors=no_factors,
        watch_item_factors=no_factors,
        watch_slope=truth.watch_slope,
        activity=traits(data.ratings, data.catalogue).activity,
        rating_levels=np.array(data.rating_levels),
    )
