"""Makes social graphs from one line of text, as on a command line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsim_llm.agents.society.graph.generators import (
    STRENGTH,
    barabasi_albert,
    genre_tastes,
    homophily,
    watts_strogatz,
)
from recsim_llm.agents.society.graph.graph import SocialGraph
from recsim_llm.agents.society.graph.graph_files import load_graph
from recsim_llm.data.dataset import Catalogue, Person, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.spec import split_name
from recsim_llm.types import Ints

GRAPHS = {
    "none": "nobody knows anybody",
    "homophily": "people of like taste; homophily:20 for a mean degree of 20, homophily:20,3 with strength 3",
    "barabasi-albert": "few know many; barabasi-albert:3 for m = 3, which is also the default",
    "watts-strogatz": "a small world; watts-strogatz:10,0.1 for k = 10, p = 0.1, which is also the default",
}
"""Names of generators; any other text is the path of a CSV file."""

MEAN_DEGREE = 20.0
"""Default of homophily; RecAgent's thousand users have 20.8 acquaintances each. In small societies: half of others."""


def make_graph(
    spec: str, people: Sequence[Person], log: Ratings, catalogue: Catalogue, seed: int, members: Ints | None = None
) -> SocialGraph:
    """Make or load a graph.

    A generated graph is drawn among the members, so that they have as many acquaintances as requested; a file is used
    unchanged.

    Args:
        spec: A name of `GRAPHS`, with numbers after a colon or without, or the path of a CSV file (see `load_graph`).
        people: The data set's people.
        log: Training ratings, for tastes.
        catalogue: For tastes.
        seed: Seed of generated graphs.
        members: (M,) ids of those who live in the society, ascending; default: everybody.

    Raises:
        ConfigError: The text cannot be parsed, or a number is out of range.
        DataError: The file breaks a rule.
        MissingExtraError: networkx is not installed.
    """
    name, rest = split_name(spec)
    if name not in GRAPHS:
        return load_graph(_existing(spec), people)
    if name == "none":
        _numbers(spec, name, rest)
        return SocialGraph.from_edges(len(people), [])
    here = np.arange(len(people)) if members is None else members
    drawn = _drawn(spec, name, rest, here, log, catalogue, seed)
    return drawn if len(here) == len(people) else drawn.among(here, len(people))


def _drawn(
    spec: str, name: str, rest: str, members: Ints, log: Ratings, catalogue: Catalogue, seed: int
) -> SocialGraph:
    """A generated graph whose node i is member i. Defaults shrink for small societies; explicit numbers do not."""
    count = len(members)
    if name == "homophily":
        default = min(MEAN_DEGREE, (count - 1) / 2)
        degree, strength = _numbers(spec, name, rest, default, STRENGTH)
        return homophily(genre_tastes(log, catalogue)[members], degree, seed, strength)
    if name == "barabasi-albert":
        (m,) = _numbers(spec, name, rest, float(max(min(3, count - 1), 1)))
        return barabasi_albert(count, _whole(spec, m), seed)
    k, p = _numbers(spec, name, rest, float(max(min(10, (count - 1) // 2 * 2), 2)), 0.1)
    return watts_strogatz(count, _whole(spec, k), p, seed)


def _existing(spec: str) -> Path:
    path = Path(spec)
    if path.is_file():
        return path
    near = difflib.get_close_matches(split_name(spec)[0], GRAPHS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ConfigError(f"'{spec}' is no social graph and no file.{hint} Graphs are: {', '.join(GRAPHS)}, or a CSV file.")


def _numbers(spec: str, name: str, rest: str, *defaults: float) -> list[float]:
    try:
        numbers = [float(word) for word in rest.split(",")] if rest else []
    except ValueError as error:
        raise ConfigError(f"'{spec}': '{rest}' are no numbers. {name}: {GRAPHS[name]}.") from error
    if len(numbers) > len(defaults):
        raise ConfigError(f"'{spec}' has {len(numbers)} numbers, more than it can use. {name}: {GRAPHS[name]}.")
    return [*numbers, *defaults[len(numbers) :]]


def _whole(spec: str, number: float) -> int:
    if not number.is_integer():
        raise ConfigError(f"'{spec}': {number:g} is no whole number.")
    return int(number)
