"""Recommenders, one file each. Each is fitted on the training log, lives in one file, and sees only observations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.policies.als import ALS
from recsim_llm.policies.ease import EASE
from recsim_llm.policies.item_knn import ItemKNN
from recsim_llm.policies.popularity import LivePopularity, Popularity
from recsim_llm.policies.protocol import FittedPolicy
from recsim_llm.policies.random import RandomPolicy
from recsim_llm.policies.ranking import read_file

POLICIES: dict[str, type[FittedPolicy]] = {
    policy.name: policy for policy in (RandomPolicy, Popularity, LivePopularity, EASE, ItemKNN, ALS)
}


def make_policy(
    name: str, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, **options: Any
) -> FittedPolicy:
    """Fit a policy by name.

    Args:
        name: One of `POLICIES`.
        log: Training ratings.
        catalogue: The items.
        page_size: K.
        seed: Seed of fitting and of the policy's own randomness.
        options: Those of the policy's `learn_from`.

    Raises:
        ConfigError: No such policy or option, or a page larger than the catalogue.
        MissingExtraError: The policy needs a package that is not installed.
    """
    if name not in POLICIES:
        raise ConfigError(f"There is no policy '{name}'. Policies: {', '.join(POLICIES)}.")
    return POLICIES[name].fit(log, catalogue, page_size, seed, **options)


def load_policy(path: Path) -> FittedPolicy:
    """Read a fitted policy, of whatever kind, from its file.

    Raises:
        RecordingError: The file is damaged, or of a policy that is not registered.
    """
    name = str(read_file(path)["meta_policy"])
    if name not in POLICIES:
        raise RecordingError(f"{path} holds a policy '{name}', which is not registered in POLICIES.")
    return POLICIES[name].load(path)
