"""The retriever: an inner policy that supplies candidates and fallbacks, stored in the outer policy's file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.plugins import is_class_path
from recsim_llm.policies.policy_files import read_file
from recsim_llm.policies.policy_protocol import FittedPolicy, LLMPolicy
from recsim_llm.types import Ints, Observation


def fit_retriever(name: str, log: Ratings, catalogue: Catalogue, seed: int) -> FittedPolicy:
    """Fit a retriever by name.

    Raises:
        ConfigError: There is no such policy, or it calls a language model.
    """
    from recsim_llm.policies import make_policy, policy_class  # the registry holds the policies that call this

    if is_class_path(name):
        # The outer policy's file contains the retriever's, and a file must not name a class to import.
        raise ConfigError(f"retriever must be built in or brought by an installed package, not the class '{name}'.")
    if issubclass(policy_class(name), LLMPolicy):
        raise ConfigError(
            f"retriever must be a policy that asks no language model, not '{name}': popularity, ease, ..."
        )
    return make_policy(name, log, catalogue, 1, seed)


def retrieve(retriever: FittedPolicy, observation: Observation, count: int) -> Ints:
    """Return (B, count) items of the retriever, best first; items that users know come last."""
    retriever.page_size = count
    return retriever.act(observation)


def packed(retriever: FittedPolicy) -> NDArray[np.uint8]:
    """Return the retriever's own file as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "retriever.npz"
        retriever.save(path)
        return np.frombuffer(path.read_bytes(), dtype=np.uint8)


def unpacked(content: NDArray[Any]) -> FittedPolicy:
    """Load the retriever from bytes that `packed` returned.

    Raises:
        RecordingError: They are damaged.
    """
    from recsim_llm.policies import asks_llm, load_policy  # as above

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "retriever.npz"
        path.write_bytes(np.asarray(content, dtype=np.uint8).tobytes())
        name = str(read_file(path)["meta_policy"])
        if asks_llm(str(path)):
            # Such a file may again contain a retriever, and so on without end.
            raise RecordingError(f"The retriever of this policy is '{name}', which asks a language model itself.")
        return load_policy(path)
