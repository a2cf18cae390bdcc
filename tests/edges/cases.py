"""All bad inputs, from the three places that make them."""

from __future__ import annotations

from pathlib import Path

from tests.edges.command_cases import BASES, by_hand, from_fields
from tests.edges.file_cases import file_cases
from tests.edges.gym_cases import IDS, VECTORS, gym_cases
from tests.edges.judging import Case
from tests.edges.places import make_places


def command_line_cases(root: Path) -> list[Case]:
    """Through the command line.

    Args:
        root: A folder to make, which holds the files that cases name.
    """
    root.mkdir(parents=True)
    places = make_places(root)
    return [*from_fields(places), *by_hand(places), *file_cases(places, root / "files")]


def all_cases(root: Path) -> list[Case]:
    """Through the command line and through Gymnasium."""
    return [*command_line_cases(root), *gym_cases()]


GROUPS = (
    *BASES, "data", "models", "usage", "files: personas", "files: interventions", "files: study", "files: run.json",
    "files: data", *IDS, *VECTORS, "make", "reset", "reward",
)  # fmt: skip
"""Rows of the table."""
