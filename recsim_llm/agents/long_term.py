"""From names to a population in BiLLP's long-term setting."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from recsim_llm.agents.learned import Learned
from recsim_llm.agents.long_term_users import LongTermUsers
from recsim_llm.agents.memory.encoder import TextEncoder
from recsim_llm.agents.population import Population, make_population
from recsim_llm.agents.quit_rule import QuitRule
from recsim_llm.agents.sources import Source, statistical_parameters
from recsim_llm.agents.user_model import UserModel
from recsim_llm.checked import Name, check_known, check_value, near, shown
from recsim_llm.errors import ConfigError
from recsim_llm.llm.protocol import LLM
from recsim_llm.llm.spec import parse_spec

RULE = "window"


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

    Distances are those of the item factors of the statistical users of the same data set (the true ones of an
    invented world), which stand for BiLLP's DeepFM embeddings; who reacts may be anybody.

    Raises:
        ConfigError: As `make_population` and `rule_of`.
    """
    quit_rule = rule_of(rule)
    population = make_population(dataset, user_model, llm, encoder, personas_file, learned)
    if isinstance(population.users, LongTermUsers):
        return population
    vectors = statistical_parameters(dataset).item_factors
    users = LongTermUsers(population.users, quit_rule, vectors, population.dataset.catalogue.genre_matrix)
    notes: dict[str, Any] = {**population.notes, "quit_rule": asdict(quit_rule), "distance_threshold": users.threshold}
    return replace(population, users=users, notes=notes)
