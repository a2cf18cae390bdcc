"""From names to a population in BiLLP's long-term setting."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from recsim_llm.agents.learned import Learned
from recsim_llm.agents.long_term_users import LongTermUsers
from recsim_llm.agents.memory.encoder import TextEncoder
from recsim_llm.agents.population import Population, make_population
from recsim_llm.agents.quit_rule import QuitRule
from recsim_llm.agents.sources import Source, load_source, statistical_parameters
from recsim_llm.agents.statistical import StatisticalParameters, rating_distribution, scores
from recsim_llm.agents.user_model import UserModel
from recsim_llm.checked import Name, check_known, check_value, near, shown
from recsim_llm.data.likeness import taste_and_genres
from recsim_llm.errors import ConfigError
from recsim_llm.llm.protocol import LLM
from recsim_llm.llm.spec import parse_spec
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats, Ints

RULE = "window"
_COLUMNS = 2_000


def rule_of(spec: str | QuitRule) -> QuitRule:
    """A quit rule from a line of text: "window", or with options "window?nearest=0.2&ratings=sampled".

    Raises:
        ConfigError: It is no such line, or an option is unknown or out of its range.
    """
    if isinstance(spec, QuitRule):
        return spec
    check_value("rule", spec, Name)
    kind, rest, options = parse_spec(spec)
    if kind != RULE or rest:
        known = ", ".join(asdict(QuitRule()))
        raise ConfigError(
            f"There is no quit rule {shown(spec)}.{near(kind, [RULE])} Write window, or window?nearest=0.2; options: "
            f"{known}."
        )
    check_known(options, asdict(QuitRule()), f"The quit rule '{spec}'")
    return QuitRule(**options)


def make_long_term(
    dataset: str | Source = "synthetic",
    user_model: str | UserModel = "statistical",
    llm: str | LLM | None = None,
    rule: str | QuitRule = RULE,
    encoder: str | TextEncoder = "hash",
    personas_file: str = "",
    learned: Learned | None = None,
) -> Population:
    """A population in the long-term setting; arguments as in `make_population`, and the rule.

    What is alike is a matter of the data set's items (`item_vectors`); who reacts may be anybody.

    Raises:
        ConfigError: As `make_population` and `rule_of`.
    """
    quit_rule = rule_of(rule)
    population = make_population(dataset, user_model, llm, encoder, personas_file, learned)
    if isinstance(population.users, LongTermUsers):
        return population
    vectors = item_vectors(dataset, quit_rule.likeness)
    users = LongTermUsers(population.users, quit_rule, vectors, population.dataset.catalogue.genre_matrix)
    threshold = users.likeness.threshold
    notes: dict[str, Any] = {**population.notes, "quit_rule": asdict(quit_rule), "distance_threshold": threshold}
    return replace(population, users=users, notes=notes)


def item_vectors(dataset: str | Source, likeness: str) -> Floats:
    """(N, D) what the distances of a quit rule are between, from statistical users of the data set.

    Those are fitted to its training log, or the true ones of an invented world.

    Args:
        dataset: A data set.
        likeness: `QuitRule.likeness`. Columns of "ratings" hold at most 2,000 people, drawn by hash.
    """
    parameters = statistical_parameters(dataset)
    if likeness == "raw":
        return parameters.item_factors
    data, split = load_source(dataset)
    if likeness == "ratings":
        everybody = len(parameters.user_factors)
        order = np.argsort(uniforms(0, Stream.DATA, np.arange(everybody)), kind="stable")
        return _predicted_stars(parameters, np.sort(order[:_COLUMNS]), np.asarray(data.rating_levels)).T
    counts = np.bincount(split.train.items, minlength=len(data.catalogue))
    return taste_and_genres(parameters.item_factors, data.catalogue.genre_matrix, counts)


def _predicted_stars(parameters: StatisticalParameters, people: Ints, levels: Floats) -> Floats:
    """(P, N) expected stars."""
    items = np.arange(len(parameters.item_factors))[None, :]
    rows = [rating_distribution(parameters, scores(parameters, np.array([u]), items)) @ levels for u in people]
    return np.concatenate(rows)
