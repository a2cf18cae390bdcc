"""From names to a population: data set, training log, user model. What is fitted is fitted once a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from recsim_llm.agents.fitting import fit_statistical
from recsim_llm.agents.llm_users import LLMUsers
from recsim_llm.agents.persona import build_personas, traits
from recsim_llm.agents.statistical import StatisticalParameters, StatisticalUsers
from recsim_llm.agents.user_model import UserModel
from recsim_llm.data import Dataset, Ratings, Split, load_dataset, split_ratings
from recsim_llm.data.synthetic import SyntheticWorld, make_world
from recsim_llm.errors import ConfigError
from recsim_llm.llm import make_llm
from recsim_llm.llm.protocol import LLM
from recsim_llm.types import Persona

TEST_SHARE = 0.2


@dataclass(frozen=True)
class Population:
    """People, and what a platform already knows of them.

    Attributes:
        dataset: Catalogue, people, rating levels.
        log: The training ratings: all that personas, user models and policies are fitted on.
        users: The user model.
    """

    dataset: Dataset
    log: Ratings
    users: UserModel


def make_population(
    dataset: str = "synthetic", user_model: str | UserModel = "statistical", llm: str | LLM | None = None
) -> Population:
    """Build a population.

    Args:
        dataset: A name or folder for `data.load_dataset`.
        user_model: "statistical", "llm", or a user model of your own for the same catalogue.
        llm: For LLM users: a backend, or its name for `llm.make_llm` ("transformers:smollm2-135m").

    Raises:
        ConfigError: No such user model, or an LLM is missing.
    """
    data, split = _load(dataset)
    if not isinstance(user_model, str):
        _check_fits(user_model, data)
        return Population(data, split.train, user_model)
    if user_model not in USER_MODELS:
        raise ConfigError(f"There is no user model '{user_model}'. User models: {', '.join(USER_MODELS)}.")
    return Population(data, split.train, USER_MODELS[user_model](dataset, llm))


def _check_fits(users: UserModel, data: Dataset) -> None:
    have, want = (users.num_users, users.num_items), (len(data.people), len(data.catalogue))
    if have != want:
        raise ConfigError(
            f"The user model has {have[0]} users and {have[1]} items, data set '{data.name}' {want[0]} and {want[1]}."
        )


def _statistical(dataset: str, llm: str | LLM | None) -> UserModel:
    return StatisticalUsers(statistical_parameters(dataset))


def _llm(dataset: str, llm: str | LLM | None) -> UserModel:
    if llm is None:
        raise ConfigError("LLM users need a model: --llm transformers:smollm2-135m, for example (llm=... in Python).")
    data, _ = _load(dataset)
    backend = make_llm(llm) if isinstance(llm, str) else llm
    return LLMUsers(backend, data.catalogue, personas(dataset), data.rating_levels)


USER_MODELS: dict[str, Callable[[str, str | LLM | None], UserModel]] = {"statistical": _statistical, "llm": _llm}


@lru_cache(maxsize=8)
def _load(dataset: str) -> tuple[Dataset, Split]:
    data = load_dataset(dataset)
    return data, split_ratings(data.ratings, "temporal", TEST_SHARE)


@lru_cache(maxsize=8)
def personas(dataset: str) -> tuple[Persona, ...]:
    """Personas of a data set's people, from the training part of the temporal split."""
    data, split = _load(dataset)
    return build_personas(data, split.train)


@lru_cache(maxsize=8)
def statistical_parameters(dataset: str) -> StatisticalParameters:
    """Parameters of statistical users: the truth for a synthetic world, else fitted to the training ratings."""
    world = synthetic_world(dataset)
    if world is not None:
        return true_parameters(world)
    data, split = _load(dataset)
    return fit_statistical(split.train, traits(split.train, data.catalogue).activity, data.rating_levels)


def synthetic_world(dataset: str) -> SyntheticWorld | None:
    """The world behind "synthetic" or "synthetic:SEED"; None for real data."""
    name, _, seed = dataset.partition(":")
    return make_world(seed=int(seed or 0)) if name == "synthetic" else None


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
