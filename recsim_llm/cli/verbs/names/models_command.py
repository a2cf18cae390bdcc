"""Local models: list, get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, subcommand

from recsim_llm.checked import Name
from recsim_llm.cli.row_table import print_rows
from recsim_llm.language.models import get_model, list_models


@dataclass(frozen=True)
class ModelsList:
    """List the models that can be used by name."""


@dataclass(frozen=True)
class ModelsGet:
    """Fetch a model into the cache, with checksum."""

    name: Positional[Name]
    """Name, as in 'recsim-llm models list'."""


@dataclass(frozen=True)
class ModelsCommand:
    """Options of `recsim-llm models`."""

    command: Annotated[ModelsList, subcommand("list")] | Annotated[ModelsGet, subcommand("get")]


def run(command: ModelsCommand) -> None:
    """List, or fetch."""
    match command.command:
        case ModelsList():
            models_list()
        case ModelsGet(name):
            models_get(name)


def models_list() -> None:
    """Print the models."""
    print_rows([row._asdict() for row in list_models()])
    print("\nAny other name is read as a folder, or as a model of the hub that transformers knows.")


def models_get(name: str) -> None:
    """Fetch a model."""
    print(f"{name} is in {get_model(name)}")
