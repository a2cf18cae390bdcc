"""Options of a function or class, read from its signature and docstring, for listings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from typing import Any, NamedTuple, get_type_hints

_ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.*)")


class ListedOption(NamedTuple):
    """One option.

    Attributes:
        name: Name of the option.
        annotation: Its type with its range.
        default: `inspect.Parameter.empty` if it has none.
        help: Its description in the docstring, on one line; "" without one.
    """

    name: str
    annotation: Any
    default: Any
    help: str


def listed_options(takes: Callable[..., Any], besides: Iterable[str] = ()) -> list[ListedOption]:
    """The keyword arguments of a function, or of a class's constructor.

    Args:
        takes: The function or class; its docstring (for a class, also those of its bases) describes each option.
        besides: Parameters that are no options.

    >>> [(option.name, option.help) for option in listed_options(listed_options)][1]
    ('besides', 'Parameters that are no options.')
    """
    function = takes.__init__ if inspect.isclass(takes) and not is_dataclass(takes) else takes
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError:  # a third-party class whose annotations are imported for type checkers only
        hints = {}
    said = _documented(takes)
    parameters = inspect.signature(takes).parameters.values()
    return [
        ListedOption(p.name, hints.get(p.name, Any), p.default, said.get(p.name, ""))
        for p in parameters
        if p.name not in set(besides) and p.kind is not p.VAR_KEYWORD
    ]


def first_line(documented: Any) -> str:
    """The first line of a docstring; "" without one."""
    return next(iter(_text(documented).splitlines()), "")


def _documented(takes: Callable[..., Any]) -> dict[str, str]:
    """Descriptions under "Args:" and "Attributes:", by name."""
    texts = [_text(kind) for kind in reversed(takes.__mro__[:-1])] if inspect.isclass(takes) else [_text(takes)]
    said: dict[str, str] = {}
    for text in texts:
        names: list[str] = []
        inside = False
        for line in text.splitlines():
            if line and not line.startswith(" "):
                inside, names = line in {"Args:", "Attributes:"}, []
            elif inside and (entry := _ENTRY.fullmatch(line)):
                names = entry[1].split(", ")
                said |= dict.fromkeys(names, entry[2])
            elif inside and line:
                said |= {name: f"{said[name]} {line.strip()}" for name in names}
    return said


def _text(documented: Any) -> str:
    return inspect.cleandoc(documented.__doc__ or "")
