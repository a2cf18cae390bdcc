"""Converts words of the command line to numbers and paths; invalid ones stay text for `checked` to refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo


def values_as_text() -> ConstructorRegistry:
    """Constructors that keep invalid numbers and paths as text, so that `checked` can word the error."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type is not Path:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="PATH",
            instance_from_str=lambda words: _path(words[0]),
            is_instance=lambda value: isinstance(value, Path),
            str_from_instance=lambda value: [str(value)],
        )

    @registry.primitive_rule
    def number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        kind = info.type
        if kind not in (int, float):
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=kind.__name__.upper(),
            instance_from_str=lambda words: _number(kind, words[0]),
            is_instance=lambda value: isinstance(value, kind) and not isinstance(value, bool),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _path(word: str) -> Path | str:
    if word == "None":
        raise ValueError("no path")  # the option may also take no value
    return Path(word) if word else word  # Path("") would be the working directory


def _number(kind: type, word: str) -> Any:
    try:
        number = kind(word)
        return number if math.isfinite(number) else word
    except OverflowError:
        return number  # a whole number beyond the range of floats
    except ValueError:
        if word == "None":
            raise  # the option may also take no value
        return word
