"""Builds populations from names: data set, training log, user model, and its certificate."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsim_llm.agents.certified import certificates_folder, find_certificate
from recsim_llm.agents.fitted_sources import Source, load_source, personas, statistical_parameters, with_activity
from recsim_llm.agents.hybrid.hybrid_users import HybridInhabitants, HybridUsers
from recsim_llm.agents.hybrid.learned import Learned
from recsim_llm.agents.llm.kind_registry import AGENT_KINDS
from recsim_llm.agents.named_users import brought_name, check_user_model, make_users, model_fingerprint
from recsim_llm.agents.own_users import check_users
from recsim_llm.agents.society.graph import SocialGraph, make_graph
from recsim_llm.agents.society.inhabitants import Inhabitants
from recsim_llm.agents.society.search import CatalogueSearch
from recsim_llm.agents.society.statistical_inhabitants import SocialHabits, StatisticalInhabitants
from recsim_llm.agents.user_model import UserModel
from recsim_llm.certificate import Certificate
from recsim_llm.checked import Name, check_value
from recsim_llm.data import Dataset, Ratings
from recsim_llm.data.worlds.synthetic import named_world
from recsim_llm.errors import ConfigError, IsolationWarning
from recsim_llm.language import make_llm
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.language.protocol import LLM
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Ints, Persona

_NAMED = 5  # isolated people that a warning names


@dataclass(frozen=True)
class Population:
    """People, and what a platform already knows of them.

    Attributes:
        dataset: Catalogue, people, rating levels.
        log: The training ratings: all that personas, user models and policies are fitted on.
        users: The user model.
        certificate: Its certificate on this machine; None where it has not been measured.
        is_truth: Whether these are the people from whom a synthetic world's ratings were drawn.
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
        """Whether these people passed every gate of their certificate, or are the truth of a synthetic world."""
        return self.is_truth or _passed(self.certificate)


@dataclass(frozen=True)
class SocialPopulation:
    """People who live in a society.

    Attributes:
        dataset, log: As in `Population`.
        users: The user model; persists between visits.
        graph: Who knows whom.
        search: The search box of the site; None where the data set has no titles.
        personas: `personas[u].user == u`.
        members: (M,) ids of the users who live here, ascending.
        certificate, is_truth: As in `Population`; of their choices on pages, not of their social life.
    """

    dataset: Dataset
    log: Ratings
    users: Inhabitants
    graph: SocialGraph
    search: CatalogueSearch | None
    personas: tuple[Persona, ...]
    members: Ints
    certificate: Certificate | None = None
    is_truth: bool = False

    @property
    def certified(self) -> bool:
        """Whether these people passed every gate of their certificate, or are the truth of a synthetic world."""
        return self.is_truth or _passed(self.certificate)

    @property
    def activity(self) -> Ints:
        """(U,) trait levels 1..3."""
        return np.array([p.activity for p in self.personas], dtype=np.int64)


def make_population(
    dataset: str | Source = "synthetic",
    user_model: str | UserModel = "statistical",
    llm: str | LLM | None = None,
    encoder: str | TextEncoder = "hash",
    personas_file: str = "",
    learned: Learned | None = None,
) -> Population:
    """Build a population.

    Args:
        dataset: A name or folder for `data.load_dataset`, or a `Source`.
        user_model: A name in `USER_MODELS` or `AGENT_KINDS`, with options behind a colon ("agent4rec:text,genres",
            "recagent:items", "agentcf:FOLDER"; docs/agents); your own, as "module:Class?option=value" or the name of an
            entry point (docs/plugins.md); or an object, a user model of your own for the same catalogue.
        llm: For LLM users: a backend, or its name for `language.make_llm` ("transformers:smollm2-135m").
        encoder: For agents with memories: the text encoder (`language.encoders.make_encoder`).
        personas_file: People as you describe them (`persona_file.read_personas`); "" takes them from ratings.
        learned: For "hybrid" and "calibrated" users: the learned numbers; default: those stored on this machine.

    Raises:
        DataError: The persona file breaks a rule.
        ConfigError: No such user model, an LLM is missing, or the data set lacks what the model needs.
    """
    data, split = load_source(dataset)
    if not hasattr(user_model, "num_users"):
        check_user_model(user_model)
    if not isinstance(user_model, str):
        check_users(user_model, f"The user model {type(user_model).__name__}", (len(data.people), len(data.catalogue)))
        return Population(data, split.train, user_model)
    source = dataset if isinstance(dataset, Source) else Source(dataset)
    backend = make_llm(llm) if isinstance(llm, str) else llm
    users = make_users(source, user_model, backend, encoder, personas_file, learned)
    is_truth = user_model == "statistical" and named_world(source.dataset) is not None
    return Population(data, split.train, users, _certificate(data, user_model, backend), is_truth, _notes(users))


def make_society(
    dataset: str | Source = "synthetic",
    user_model: str | UserModel = "statistical",
    llm: str | LLM | None = None,
    graph: str | SocialGraph = "homophily",
    encoder: str | TextEncoder = "hash",
    seed: int = 0,
    personas_file: str = "",
    learned: Learned | None = None,
    agents: int | None = None,
    habits: SocialHabits | None = None,
) -> SocialPopulation:
    """Build a population that lives in a society.

    Args:
        dataset: As in `make_population`.
        user_model: "statistical", a name in `AGENT_KINDS`, or inhabitants of your own.
        llm: As in `make_population`.
        graph: A social graph, or a description of one for `agents.society.graph.make_graph`.
        encoder: As in `make_population`.
        seed: Seed of who lives here and of a generated graph.
        personas_file: As in `make_population`.
        learned: As in `make_population`.
        agents: How many people live here, chosen by a hash of (seed, user), so that a larger number includes a smaller
            one's; a generated graph is drawn among them. Default: everybody.
        habits: Social habits of statistical people, also of those inside hybrid users. Default: the declared ones.

    Raises:
        ConfigError: As in `make_population`; users who do not live on between visits, or have no such habits; or more
            agents than people.
        DataError: A graph file with unknown people, or a persona file that breaks a rule.
    """
    data, split = load_source(dataset)
    pages = make_population(dataset, user_model, llm, encoder, personas_file, learned)
    users = pages.users
    if user_model == "statistical":
        parameters = with_activity(statistical_parameters(dataset), dataset, personas_file)
        users = StatisticalInhabitants(parameters, data.catalogue, personas(dataset, personas_file))
    if habits is not None:
        _statistical(users).habits = habits
    if not isinstance(users, Inhabitants):
        known = ", ".join(["statistical", *AGENT_KINDS])
        named = user_model if isinstance(user_model, str) else type(user_model).__name__
        raise ConfigError(f"'{named}' users live for one visit only. User models of a society: {known}.")
    members = _members(len(data.people), agents, seed)
    wants_nobody = graph == "none"
    if not isinstance(graph, SocialGraph):
        check_value("graph", graph, Name)
        graph = make_graph(graph, data.people, split.train, data.catalogue, seed, members)
    if graph.num_users != len(data.people):
        raise ConfigError(
            f"The graph has {graph.num_users} users, the data set {len(data.people)}. Give one for all of them."
        )
    if len(members) > 1 and not wants_nobody and (alone := _isolated(graph, members, data)):
        warnings.warn(alone, IsolationWarning, stacklevel=2)
    search = CatalogueSearch(data.catalogue) if data.catalogue.has_titles else None
    people = personas(dataset, personas_file)
    return SocialPopulation(data, split.train, users, graph, search, people, members, pages.certificate, pages.is_truth)


def _statistical(users: UserModel) -> StatisticalInhabitants:
    found = users.backbone if isinstance(users, HybridInhabitants) else users
    if not isinstance(found, StatisticalInhabitants):
        raise ConfigError("Habits are those of statistical people: take 'statistical' or 'hybrid' users, or no habits.")
    return found


def _members(people: int, count: int | None, seed: int) -> Ints:
    if count is not None and not 1 <= count <= people:
        raise ConfigError(f"A society needs 1..{people} agents (the people of this data set), not {count}.")
    return np.sort(np.argsort(uniforms(seed, Stream.USER, np.arange(people)), kind="stable")[:count])


def _isolated(graph: SocialGraph, members: Ints, data: Dataset) -> str:
    """A sentence on members who know no other member, with the way out; "" where there is none."""
    here = np.zeros(graph.num_users, dtype=np.bool_)
    here[members] = True
    alone = [user for user in members.tolist() if not here[graph.neighbours(user)].any()]
    if not alone:
        return ""
    named = ", ".join(data.people[user].raw_id for user in alone[:_NAMED]) + (", ..." if len(alone) > _NAMED else "")
    return (
        f"{len(alone)} of {len(members)} people know nobody in this society, so they neither chat nor post (users "
        f"{named}). Take a denser graph (--graph homophily:{max(min(20, (len(members) - 1) // 2), 1)}), more people, "
        "or name their acquaintances in the graph's file; --graph none says that this is meant."
    )


def _certificate(data: Dataset, user_model: str, llm: LLM | None) -> Certificate | None:
    """The certificate of a population; the look-up is free where no certificate was ever made."""
    if not certificates_folder().exists():
        return None
    try:
        made_of = model_fingerprint(user_model, data.catalogue)
    except ConfigError:
        if not brought_name(user_model):
            raise
        return None  # plug-in users need not be able to play people of another data set
    return find_certificate(data.checksum, user_model, llm.name if llm else "", made_of)


def _passed(certificate: Certificate | None) -> bool:
    return certificate is not None and certificate.verdict == "passed"


def _notes(users: UserModel) -> dict[str, Any]:
    return {"hybrid": users.weights.as_json()} if isinstance(users, HybridUsers) else {}
