"""Inputs of a population: a data set with its split, personas and fitted parameters, each cached once per process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from recsim_llm.agents.personas.persona import build_personas, traits
from recsim_llm.agents.personas.persona_file import read_personas
from recsim_llm.agents.statistical.fitting import fit_statistical
from recsim_llm.agents.statistical.impression_fit import fit_from_impressions
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters
from recsim_llm.data import Dataset, Ratings, Split, load_dataset, split_ratings
from recsim_llm.data.dataset import Impressions
from recsim_llm.data.naming import renamed, with_words
from recsim_llm.data.worlds.synthetic import SyntheticWorld, named_world
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Ints, Persona

TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Source:
    """The data that a population is built from.

    Attributes:
        dataset: A name or folder for `data.load_dataset`.
        split: Which part of it is the training log: all but the latest fifth of each person's ratings ("temporal"), or
            all but a fifth at random ("random").
        naming: How items are named: "titles" or, to test what a language model has memorised, "ids" (no title, year,
            genre or description), "invented" (an invented title, the rest unchanged) or "masked" (year and genres
            only).
        added: Words appended to titles, by item, to test whether models obey instructions in a title; the catalogue's
            texts are then not vouched for.
    """

    dataset: str = "synthetic"
    split: Literal["temporal", "random"] = "temporal"
    naming: str = "titles"
    added: tuple[tuple[int, str], ...] = ()

    @property
    def untouched(self) -> Source:
        """The same data with its own titles."""
        return replace(self, naming="titles", added=())


def load_source(dataset: str | Source) -> tuple[Dataset, Split]:
    """The data set as the population sees it, and its split."""
    return _load(dataset if isinstance(dataset, Source) else Source(dataset))


@lru_cache(maxsize=8)
def _load(source: Source) -> tuple[Dataset, Split]:
    data = load_dataset(source.dataset)
    split = split_ratings(data.ratings, source.split, TEST_SHARE)
    catalogue = with_words(renamed(data.catalogue, source.naming), dict(source.added))
    return replace(data, catalogue=catalogue), split


def personas(dataset: str | Source, personas_file: str = "") -> tuple[Persona, ...]:
    """Personas of a data set's people, from the training part of the temporal split, or from a file over these.

    Raises:
        DataError: The file breaks a rule (`agents.personas.persona_file.read_personas`).
    """
    return _personas(dataset if isinstance(dataset, Source) else Source(dataset), personas_file)


@lru_cache(maxsize=8)
def _personas(source: Source, personas_file: str) -> tuple[Persona, ...]:
    data, split = load_source(source)
    if personas_file:
        return read_personas(Path(personas_file), data, _personas(source, ""))
    return build_personas(data, split.train)


@lru_cache(maxsize=8)
def statistical_parameters(dataset: str | Source) -> StatisticalParameters:
    """Parameters of statistical users: the truth for a synthetic world, else fitted to the training ratings."""
    world = named_world(dataset.dataset if isinstance(dataset, Source) else dataset)
    if world is not None:
        return true_parameters(world)
    return fitted_parameters(dataset)


def fitted_parameters(dataset: str | Source) -> StatisticalParameters:
    """Parameters fitted to the training ratings, also for a synthetic world."""
    source = dataset if isinstance(dataset, Source) else Source(dataset)
    return _fitted(source.untouched)  # titles have no effect on ratings: one cached fit for all


@lru_cache(maxsize=8)
def _fitted(source: Source) -> StatisticalParameters:
    data, split = load_source(source)
    parameters = fit_statistical(split.train, traits(split.train, data.catalogue).activity, data.rating_levels)
    if data.impressions is None:
        return parameters
    return fit_from_impressions(parameters, known_impressions(data.impressions))


def known_impressions(log: Impressions) -> Impressions:
    """The sessions used for fitting: all but a fifth, chosen by hash, which is held out for measuring."""
    return log.take(~held_sessions(log))


def held_sessions(log: Impressions) -> Bools:
    """(M,) whether a row belongs to a session that is held out for measuring."""
    held: Bools = uniforms(0, Stream.CALIBRATION, log.users, log.sessions) < TEST_SHARE
    return held


def with_activity(
    parameters: StatisticalParameters, dataset: str | Source, personas_file: str
) -> StatisticalParameters:
    """The parameters, with the activity (which sets patience) of the persona file where there is one."""
    if not personas_file:
        return parameters
    activity = np.array([p.activity for p in personas(dataset, personas_file)], dtype=np.int64)
    return replace(parameters, activity=activity)


def training_counts(train: Ratings) -> tuple[Ints, Ints]:
    """(N,) and (U,) training ratings of each item and each user."""
    items = np.bincount(train.items, minlength=train.num_items)
    users = np.bincount(train.users, minlength=train.num_users)
    return items.astype(np.int64), users.astype(np.int64)


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
