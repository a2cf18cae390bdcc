"""Options that all planners share, and their parsing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Le

from recsim_llm.checked import Name, NotNegative, check_fields, check_known

AnyOptions = TypeVar("AnyOptions", bound="PlannerOptions")

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Labels of candidates; one token each in most vocabularies."""


@dataclass(frozen=True, slots=True)
class PlannerOptions:
    """Options of all planners.

    Attributes:
        retriever: Policy (by name) that supplies candidates and fallbacks.
        candidates: 0: titles are written freely and grounded. 1..26: the model chooses among this many of
            the retriever's best items, in an order drawn for each user and page, by label.
        history: Ratings from before the session that the model reads (15, as BiLLP), at least 0.
        window: Turns of the session that the model reads, at least 1.
        fuzzy: Least similarity of a fuzzy match of titles, 0..100; above 100 there is none.
        encoder: Vectors of titles: "hash", "minilm", or a sentence-transformers folder.
        temperature: Of written answers (0.5, as BiLLP); 0 is greedy.
        frozen: Whether memories are read-only, for evaluation.
        tell_exit: Whether prompts state the rule by which users leave, in the words of `texts.exit_sentence`; None: as
            set for all planners of the simulation or study (`tell_exit` there; off by default).

    Raises:
        ConfigError: A value outside its range.
    """

    retriever: Name = "popularity"
    candidates: Annotated[int, Ge(0), Le(len(LABELS))] = 0
    history: Annotated[int, Ge(0), Le(1_000)] = 15
    window: Annotated[int, Ge(1), Le(1_000)] = 10
    fuzzy: NotNegative = 88.0
    encoder: Name = "hash"
    temperature: Annotated[float, Ge(0.0), Le(2.0)] = 0.5
    frozen: bool = False
    tell_exit: bool | None = None

    def __post_init__(self) -> None:
        check_fields(self, str)


def read_options(kind: type[AnyOptions], policy: str, given: Mapping[str, Any]) -> AnyOptions:
    """Build an options dataclass from names and values.

    Raises:
        ConfigError: An unknown option, or a value outside its range.
    """
    check_known(given, [field.name for field in fields(kind)], f"Policy '{policy}'")
    return kind(**given)
