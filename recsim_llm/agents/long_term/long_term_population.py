"""Builds a population in BiLLP's long-term setting from names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import numpy as np

from recsim_llm.agents.fitted_sources import Source, load_source, statistical_parameters
from recsim_llm.agents.hybrid.learned import Learned
from recsim_llm.agents.long_term.habits import Habits, fit_habits
from recsim_llm.agents.long_term.long_term_users import LongTermUsers
from recsim_llm.agents.long_term.quit_rule import QuitRule
from recsim_llm.agents.population import Population, make_population
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, rating_distribution, scores
from recsim_llm.agents.user_model import UserModel
from recsim_llm.checked import Name, check_known, check_value, near, shown
from recsim_llm.data.likeness import Likeness, taste_and_genres
from recsim_llm.data.worlds.synthetic import named_world
from recsim_llm.errors import ConfigError
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.language.protocol import LLM
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.spec import parse_spec
from recsim_llm.types import Floats, Ints

RULE = "window"
RULE_NOTES = ("quit_rule", "distance_threshold", "habits")
"""Keys about leaving in the notes of a population in this setting."""
_COLUMNS = 2_000


def rule_of(spec: str | QuitRule) -> QuitRule:
    """A quit rule from a line of text: "window", or with options "window?nearest=0.2&ratings=sampled".

    Raises:
        ConfigError: The line is malformed, or an option is unknown or out of its range.
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


def rule_line(rule: str | QuitRule) -> str:
    """A quit rule as one line with every option written out, as runs record it: `rule_of` reads it back.

    >>> rule_line("window?window=7")[:28]
    'window?window=7&nearest=0.1&'
    """
    values = asdict(rule_of(rule))
    parts = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]
    return f"{RULE}?{'&'.join(parts)}"


def rule_of_older(line: str) -> str:
    """A rule as a run recorded it, completed with the defaults of the version that wrote it.

    Versions without personal habits wrote the line as it was typed. Their ratings were "expected", their tolerance
    "common" and their repetition "none".
    """
    if "tolerance=" in line and "repetition=" in line:
        return line
    typed = parse_spec(line).options
    then = {"ratings": "expected", "tolerance": "common", "repetition": "none"}
    missing = [f"{name}={value}" for name, value in then.items() if name not in typed]
    return line + ("&" if "?" in line else "?") + "&".join(missing)


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

    Similarity depends on the data set's items alone (`item_vectors`); any user model may react.

    Raises:
        ConfigError: As `make_population` and `rule_of`.
    """
    quit_rule = rule_of(rule)
    population = make_population(dataset, user_model, llm, encoder, personas_file, learned)
    if isinstance(population.users, LongTermUsers):
        return population
    vectors, genres = item_vectors(dataset, quit_rule.likeness), population.dataset.catalogue.genre_matrix
    wanted = quit_rule.repetition == "own" or (quit_rule.tolerance == "own" and quit_rule.nearest > 0)
    habits = habits_of(dataset, quit_rule) if wanted else None
    users = LongTermUsers(population.users, quit_rule, vectors, genres, habits)
    return replace(population, users=users, notes={**population.notes, **_notes(dataset, users)})


def habits_of(dataset: str | Source, rule: QuitRule) -> Habits:
    """Habits of a data set's people under this rule, fitted to the training log (`agents.long_term.habits`).

    The log of a synthetic world is synthetic too. Its people have no tolerances or costs of repetition of their own, so
    the estimates reflect only their tastes and the order of the log; `make_long_term` notes the origin.
    """
    source = dataset if isinstance(dataset, Source) else Source(dataset)
    return _habits(source.untouched, rule.window, rule.nearest, rule.likeness)


@lru_cache(maxsize=8)
def _habits(source: Source, window: int, nearest: float, likeness: str) -> Habits:
    log = load_source(source)[1].train
    parameters = statistical_parameters(source)

    def expected(users: Ints, items: Ints) -> Floats:
        chances = rating_distribution(parameters, scores(parameters, users, items[:, None]))
        stars: Floats = (chances @ parameters.rating_levels)[:, 0]
        return stars

    return fit_habits(log, expected, Likeness.nearest(item_vectors(source, likeness), nearest), window, nearest)


def _notes(dataset: str | Source, users: LongTermUsers) -> Mapping[str, Any]:
    """Notes on the rule for a run or a certificate: its options, and what was fitted to which log."""
    found: dict[str, Any] = {"quit_rule": asdict(users.rule), "distance_threshold": users.likeness.threshold}
    if users.habits.notes:
        name = dataset.dataset if isinstance(dataset, Source) else dataset
        log = "the training log" if named_world(name) is None else "the log of invented people"
        found["habits"] = {"fitted to": log, **users.habits.notes}
    return found


def item_vectors(dataset: str | Source, likeness: str) -> Floats:
    """(N, D) item vectors whose distances a quit rule uses, from statistical users of the data set.

    Those users are fitted to its training log, or are the true ones of a synthetic world.

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
