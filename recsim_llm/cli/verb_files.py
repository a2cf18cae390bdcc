"""Finds the commands without importing them: each module `verbs/GROUP/NAME_command.py` is the command NAME."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

_FOLDER = Path(__file__).parent / "verbs"
_ENDING = "_command.py"


@dataclass(frozen=True)
class VerbFile:
    """One command, described by its file alone.

    Attributes:
        name: Name of the command: `recsim-llm NAME`.
        path: The module's file.
    """

    name: str
    path: Path

    @property
    def module(self) -> str:
        """Name of the module, for an import."""
        return ".".join(("recsim_llm.cli", *self.path.relative_to(_FOLDER.parent).with_suffix("").parts))

    @property
    def help(self) -> str:
        """First line of the module's docstring, read from the source without executing it."""
        with self.path.open(encoding="utf-8") as file:
            return str(ast.literal_eval(file.readline().strip().removesuffix('"""') + '"""'))

    def options(self) -> Any:
        """Import the module.

        Returns:
            The frozen dataclass of the command's options, the argument of the module's `run(command)`.
        """
        return get_type_hints(import_module(self.module).run)["command"]


@lru_cache(maxsize=1)
def find_verbs() -> dict[str, VerbFile]:
    """All commands by name, in alphabetical order.

    >>> find_verbs()["replay"].help
    'Run a recorded simulation again without a model and compare every step bit for bit.'
    """
    files = {path.name.removesuffix(_ENDING): path for path in _FOLDER.glob(f"*/*{_ENDING}")}
    return {name: VerbFile(name, files[name]) for name in sorted(files)}
