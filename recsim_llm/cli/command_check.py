"""Checks of a parsed command: types and ranges of all its options, before anything is loaded."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from tyro.conf import Positional

from recsim_llm.checked import check_fields, option_of

_POSITIONAL = get_args(Positional[int])[1]


def check_command(command: Any) -> None:
    """Check every option of a command, before anything is loaded.

    Raises:
        ConfigError: A value has the wrong type or is out of range, or two are incompatible.
    """
    hints = get_type_hints(type(command), include_extras=True)
    positional = {name for name, hint in hints.items() if _POSITIONAL in get_args(hint)[1:]}
    check_fields(command, lambda name: name.upper() if name in positional else option_of(name))
    for part in vars(command).values():
        if is_dataclass(part) and hasattr(part, "check"):
            part.check()
