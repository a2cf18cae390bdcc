"""Recommenders, one file each. Each is fitted on the training log, lives in one file, and sees only observations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.policies.als import ALS
from recsim_llm.policies.ease import EASE
from recsim_llm.policies.embeddings import EmbeddingPolicy
from recsim_llm.policies.files import read_file
from recsim_llm.policies.item_knn import ItemKNN
from recsim_llm.policies.popularity import LivePopularity, Popularity
from recsim_llm.policies.protocol import FittedPolicy
from recsim_llm.policies.random import RandomPolicy

POLICIES: dict[str, type[FittedPolicy]] = {
    policy.name: policy for policy in (RandomPolicy, Popularity, LivePopularity, EASE, ItemKNN, ALS, EmbeddingPolicy)
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
        options: Those of the policy's `learn_from`, and `min_rating` (see `docs/policies.md`).

    Raises:
        ConfigError: No such policy or option, or a page larger than the catalogue.
        MissingExtraError: The policy needs a package that is not installed.
    """
    if name not in POLICIES:
        raise ConfigError(f"There is no policy '{name}'. Policies: {', '.join(POLICIES)}.")
    return POLICIES[name].fit(log, catalogue, page_size, seed, **options)


def load_policy(path: Path, catalogue: Catalogue | None = None) -> FittedPolicy:
    """Read a fitted policy, of whatever kind, from its file.

    Args:
        path: What `save` wrote.
        catalogue: If given, the policy must have been fitted for as many items.

    Raises:
        RecordingError: The file is damaged, of a policy that is not registered, or for another catalogue.
    """
    data = read_file(path)
    name, num_items = str(data["meta_policy"]), int(data["known_shape"][1])
    if name not in POLICIES:
        raise RecordingError(f"{path} holds a policy '{name}', which is not registered in POLICIES.")
    if catalogue is not None and num_items != len(catalogue):
        raise RecordingError(
            f"{path} was fitted for a catalogue of {num_items} items; this one has {len(catalogue)}. Fit it again."
        )
    return POLICIES[name].load(path)
