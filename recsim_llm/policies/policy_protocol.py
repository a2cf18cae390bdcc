"""The policy seam: what a recommender sees (an Observation of B users) and returns (B pages of K items).

A policy knows nothing of agents and environments: it is fitted on the training ratings and sees observations.
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
        page_size: K, items a page.
    """

    name: ClassVar[str]
    page_size: int

    def act(self, observation: Observation) -> Ints:
        """Return (B, K) item ids, no item twice in a row."""
        ...


class FittedPolicy(Policy, Protocol):
    """A policy that is fitted on logged ratings and lives in one file."""

    @classmethod
    def fit(cls, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, **options: Any) -> Self:
        """Learn from the training ratings."""
        ...

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse options that `fit` could not take: ConfigError, before any data are there."""
        ...

    def save(self, path: Path) -> None:
        """Write everything it needs to act to one `.npz` file."""
        ...

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        ...


@runtime_checkable
class ExplainedPolicy(Protocol):
    """A policy that can say why it showed what it showed.

    Attributes:
        why: About the latest pages; None before the first. Nothing but the record of a run reads it.
    """

    why: Why | None


@runtime_checkable
class ListedPolicy(Protocol):
    """A policy that says which options its fit takes: `recsim-llm policies` lists them."""

    @classmethod
    def listed_options(cls) -> list[ListedOption]:
        """Every option that `check_options` knows, with type, range and default."""
        ...


@runtime_checkable
class CataloguePolicy(Protocol):
    """A policy that needs the items again after it was read from its file; `policies.load_policy` hands them over."""

    def stock(self, catalogue: Catalogue) -> None:
        """From now on these are the items."""
        ...


@runtime_checkable
class LLMPolicy(Protocol):
    """A policy that asks a language model; `policies.make_policy` and `load_policy` connect it."""

    def connect(self, llm: LLM, catalogue: Catalogue) -> None:
        """From now on ask this model about this catalogue.

        Raises:
            ConfigError: The catalogue lacks what the policy needs, or is another one than it was fitted for.
        """
        ...
