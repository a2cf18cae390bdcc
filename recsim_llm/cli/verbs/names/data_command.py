"""Data sets: list, get."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from tyro.conf import Positional, subcommand

from recsim_llm.checked import Name
from recsim_llm.cli.row_table import print_rows
from recsim_llm.data import get_dataset_files, list_datasets


@dataclass(frozen=True)
class DataList:
    """List the data sets that can be loaded by name."""


@dataclass(frozen=True)
class DataGet:
    """Fetch a data set into the cache, with checksum."""

    name: Positional[Name]
    """Name, as in 'recsim-llm data list'."""


@dataclass(frozen=True)
class DataCommand:
    """Options of `recsim-llm data`."""

    command: Annotated[DataList, subcommand("list")] | Annotated[DataGet, subcommand("get")]


def run(command: DataCommand) -> None:
    """List, or fetch."""
    match command.command:
        case DataList():
            data_list()
        case DataGet(name):
            data_get(name)


def data_list() -> None:
    """Print the data sets."""
    print_rows([asdict(row) for row in list_datasets()])
    print("\nAny other name is read as a folder: plain tables or RecBole atomic files (docs/data.md).")


def data_get(name: str) -> None:
    """Fetch a data set."""
    print(f"{name} is in {get_dataset_files(name)[0].parent}")
