"""The policy protocols: a recommender takes an Observation of B users and returns B pages of K items.

Policies are independent of agents and environments: they are fitted on the training ratings and see observations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.language.protocol import LLM
from recsim_llm.option_list import ListedOption
from recsim_llm.runs.step_notes import Why
from recsim_llm.types import Ints, Observation


class Policy(Protocol):
    """Chooses a page for each user.

    Attributes:
        name: The name it is registered under.
        page_size: K, items per page.
    """

    name: ClassVar[str]
    page_size: int

    def act(self, observation: Observation) -> Ints:
        """Return (B, K) item ids, no item twice on a page."""
        ...


class FittedPolicy(Policy, Protocol):
    """A policy that is fitted on logged ratings and saved as one file."""

    @classmethod
    def fit(cls, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, **options: Any) -> Self:
        """Learn from the training ratings."""
        ...

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Raise a ConfigError for options that `fit` would reject, before any data are loaded."""
        ...

    def save(self, path: Path) -> None:
        """Write everything needed to act to one `.npz` file."""
        ...

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote."""
        ...


@runtime_checkable
class ExplainedPolicy(Protocol):
    """A policy that explains its pages.

    Attributes:
        why: Explanation of the latest pages; None before the first. Only the record of a run reads it.
    """

    why: Why | None


@runtime_checkable
class ListedPolicy(Protocol):
    """A policy that describes the options of its fit, for `recsim-llm policies`."""

    @classmethod
    def listed_options(cls) -> list[ListedOption]:
        """Return all options that `check_options` accepts, with type, range and default."""
        ...


@runtime_checkable
class CataloguePolicy(Protocol):
    """A policy that needs the catalogue again after loading; `policies.load_policy` passes it."""

    def stock(self, catalogue: Catalogue) -> None:
        """Set the catalogue."""
        ...


@runtime_checkable
class LLMPolicy(Protocol):
    """A policy that calls a language model; `policies.make_policy` and `load_policy` connect it."""

    def connect(self, llm: LLM, catalogue: Catalogue) -> None:
        """Set the language model and the catalogue.

        Raises:
            ConfigError: The catalogue lacks data that the policy needs, or the policy was fitted for another one.
        """
        ...
