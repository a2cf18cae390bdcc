"""What can be set of a planner. Knows no planner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from recsim_llm.errors import ConfigError

AnyOptions = TypeVar("AnyOptions", bound="PlannerOptions")

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Names of candidates; one token each in most vocabularies."""


@dataclass(frozen=True, slots=True)
class PlannerOptions:
    """Options of all planners.

    Attributes:
        retriever: Policy (by name) that supplies candidates and fallbacks.
        candidates: 0: titles are written freely and grounded. 1..26: the model chooses among so many of the
            retriever's best, in an order drawn for each person and page, by a label read.
        history: Ratings from before the session that the model reads (15, as BiLLP), at least 0.
        window: Turns of the session that the model reads, at least 1.
        fuzzy: Least similarity of a fuzzy match of titles, 0..100; above 100 there is none.
        encoder: Vectors of titles: "hash", "minilm", or a sentence-transformers folder.
        temperature: Of written answers (0.5, as BiLLP); 0 is greedy.
        frozen: Whether memories stay as they are, for evaluation.

    Raises:
        ConfigError: A value outside its range.
    """

    retriever: str = "popularity"
    candidates: int = 0
    history: int = 15
    window: int = 10
    fuzzy: float = 88.0
    encoder: str = "hash"
    temperature: float = 0.5
    frozen: bool = False

    def __post_init__(self) -> None:
        whole = {"candidates": (0, len(LABELS)), "history": (0, 1000), "window": (1, 1000)}
        for name, (lowest, highest) in whole.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not lowest <= value <= highest:
                raise ConfigError(f"{name} must be a whole number within {lowest}..{highest}, not {value!r}.")
        if not isinstance(self.fuzzy, int | float) or self.fuzzy < 0:
            raise ConfigError(f"fuzzy must be a number of at least 0, not {self.fuzzy!r}.")
        if not isinstance(self.temperature, int | float) or not 0 <= self.temperature <= 2:
            raise ConfigError(f"temperature must be within 0..2, not {self.temperature!r}.")
        if not isinstance(self.frozen, bool):
            raise ConfigError(f"frozen must be true or false, not {self.frozen!r}.")
        for name in ("retriever", "encoder"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be a name, not {getattr(self, name)!r}.")


def read_options(kind: type[AnyOptions], policy: str, given: Mapping[str, Any]) -> AnyOptions:
    """Options of a class from names and values.

    Raises:
        ConfigError: An unknown option, or a value outside its range.
    """
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"Policy '{policy}' has no option {', '.join(unknown)}. Options: {', '.join(known)}.")
    return kind(**given)
