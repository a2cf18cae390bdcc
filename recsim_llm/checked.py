"""Validation of user input: the range of an option is part of its type, and one function words every error.

A range is an annotation, `pages: Annotated[int, Ge(1), Le(10_000)]`, or one of the names below. The same two functions
check configs of commands, arguments of environments, and options after a question mark ("openai:m?concurrency=8",
"ease?reg=100"), so that no value is missed and all messages have one form.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union

import numpy as np
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator, ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from recsim_llm.errors import ConfigError

LONGEST_TEXT, LONGEST_NAME = 4_096, 255
_SHOWN = 60
_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def _writable_folder(path: Path) -> Path:
    return _writable(path, folder=True)


def _writable_file(path: Path) -> Path:
    return _writable(path, folder=False)


def _writable(path: Path, folder: bool) -> Path:
    _possible(path)
    if path.exists() and path.is_dir() is not folder:
        raise ValueError(f"must name a {'folder' if folder else 'file'}, and there is a {_other(folder)} of that name")
    for parent in path.absolute().parents:
        if parent.is_dir():
            return path
        if parent.exists():
            raise ValueError(f"must lie in a folder, and {parent} is a file")
    return path


def _other(folder: bool) -> str:
    return "file" if folder else "folder"


def _readable_file(path: Path) -> Path:
    _possible(path)
    if not path.is_file():
        raise ValueError(f"must be a file, and {'this is a folder' if path.is_dir() else 'there is none'}")
    return path


def _possible(path: Path) -> Path:
    text = str(path)
    long = any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts)
    if "\0" in text or long or len(os.fsencode(text)) >= LONGEST_TEXT:
        raise ValueError(f"must be a path whose names have at most {LONGEST_NAME} bytes")
    return path


def _sendable(text: str) -> str:
    # A name may be a data set, a model or a file, so a text that cannot be a file name is refused as a name.
    if "\0" in text or any(len(os.fsencode(part)) > LONGEST_NAME for part in text.split("/")):
        raise ValueError(f"must be text of at most {LONGEST_NAME} bytes (between two slashes), without null characters")
    return text


Count: TypeAlias = Annotated[int, Ge(1), Le(1_000_000_000)]
"""A count of at least one."""
CountOrNone: TypeAlias = Annotated[int, Ge(0), Le(1_000_000_000)]
"""A count, where 0 has a special meaning."""
Seed: TypeAlias = Annotated[int, Ge(0), Le(2**63 - 1)]
Share: TypeAlias = Annotated[float, Ge(0.0), Le(1.0)]
Positive: TypeAlias = Annotated[float, Gt(0.0), Le(1e9)]
NotNegative: TypeAlias = Annotated[float, Ge(0.0), Le(1e9)]
Temperature: TypeAlias = Annotated[float, Ge(0.0), Le(10.0)]
Text: TypeAlias = Annotated[str, MaxLen(LONGEST_TEXT), AfterValidator(_sendable)]
"""Any text, including the empty one."""
Name: TypeAlias = Annotated[str, MinLen(1), MaxLen(LONGEST_TEXT), AfterValidator(_sendable)]
"""A text that is not blank."""
AnyPath: TypeAlias = Annotated[Path, AfterValidator(_possible)]
OutFolder: TypeAlias = Annotated[Path, AfterValidator(_writable_folder)]
"""A folder that exists or can be created."""
OutFile: TypeAlias = Annotated[Path, AfterValidator(_writable_file)]
"""A file that can be written; its folder is created."""
InFile: TypeAlias = Annotated[Path, AfterValidator(_readable_file)]


def option_of(field: str) -> str:
    """The command-line option of a field.

    >>> option_of("page_size")
    '--page-size'
    """
    return f"--{field.replace('_', '-')}"


def check_fields(values: Any, name_of: Callable[[str], str] = option_of) -> None:
    """Check every field of a dataclass against its type and range.

    Args:
        values: The instance; fields that are dataclasses themselves are left to their own checks.
        name_of: Name of a field in messages; default: its option.

    Raises:
        ConfigError: A value has the wrong type or is out of range; the message has name, range and value.
    """
    kind: Any = type(values)
    for field, name, annotation in _fields(kind):
        check_value(name_of(name), getattr(values, field), annotation)


@lru_cache(maxsize=128)
def _fields(kind: Any) -> tuple[tuple[str, str, Any], ...]:
    """Name, name on the command line, and annotation of each field that is not a dataclass itself."""
    hints = typing.get_type_hints(kind, include_extras=True)
    plain = [field.name for field in fields(kind) if not is_dataclass(_bare(hints[field.name]))]
    return tuple((name, _renamed(hints[name]) or name, hints[name]) for name in plain)


def _renamed(annotation: Any) -> str:
    named = (getattr(part, "name", None) for part in typing.get_args(annotation)[1:])
    return next((name for name in named if isinstance(name, str)), "")


def check_options(given: Mapping[str, Any], takes: Callable[..., Any], where: str, besides: Iterable[str] = ()) -> None:
    """Check keyword arguments that were parsed from text against the signature of their function.

    Args:
        given: Values by name.
        takes: The function, or the class whose constructor takes them.
        where: Owner of the options, the start of the message: "'openai:m': openai".
        besides: Parameters that are not options.

    Raises:
        ConfigError: An unknown name (the known ones are listed), or a value of the wrong type or out of range.
    """
    known = {name: hint for name, hint in _parameters(takes).items() if name not in set(besides)}
    check_known(given, known, where)
    for name, value in given.items():
        check_value(f"{where}: {name}", value, known[name])


def check_known(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse unknown names.

    Raises:
        ConfigError: A name is unknown; the message lists the known ones.
    """
    listed = list(known)
    unknown = [name for name in given if name not in listed]
    if unknown:
        raise ConfigError(
            f"{where} has no option {', '.join(sorted(map(str, unknown)))}.{near(str(unknown[0]), listed)} "
            f"Options: {', '.join(listed) or 'none'}."
        )


@lru_cache(maxsize=128)
def _parameters(takes: Callable[..., Any]) -> dict[str, Any]:
    function = takes.__init__ if inspect.isclass(takes) else takes
    hints = typing.get_type_hints(function, include_extras=True)
    names = [p.name for p in inspect.signature(takes).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return {name: hints.get(name, Any) for name in names}


def check_value(name: str, value: Any, annotation: Any) -> None:
    """Check one value.

    Args:
        name: Name of the value in the message.
        value: The value; NumPy's scalars count as numbers.
        annotation: A type with its range.

    Raises:
        ConfigError: See `check_fields`.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, list) and typing.get_origin(_bare(annotation)) is tuple:
        plain = tuple(plain)
    try:
        _adapter(annotation).validate_python(plain)
    except ValidationError as error:
        raise ConfigError(_sentence(name, value, annotation, error)) from None


@lru_cache(maxsize=512)
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=_STRICT)
    except PydanticSchemaGenerationError as error:  # pragma: no cover - a bug in an annotation, found by any test
        raise TypeError(f"{annotation} cannot be checked") from error


def _sentence(name: str, value: Any, annotation: Any, error: ValidationError) -> str:
    own = [one for one in error.errors() if one["type"] == "value_error"]
    if own and isinstance(value, str | Path):
        return f"{name} {str(own[0]['ctx']['error'])}; not {shown(value)}. Name another."
    choices = _choices(annotation)
    hint = near(value, choices) if isinstance(value, str) else ""
    return f"{name} must be {described(annotation)}, not {shown(value)}.{hint}"


def described(annotation: Any) -> str:
    """The allowed values of a type, in words.

    >>> described(Annotated[int, Ge(1), Le(10_000)])
    'a whole number between 1 and 10,000'
    >>> described(Literal["random", "temporal"])
    'one of random, temporal'
    """
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _ranged(described(args[0]), args[1:])
    if origin in (Union, types.UnionType):
        return " or ".join("nothing" if a is type(None) else described(a) for a in args)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}" if len(args) > 1 else str(args[0])
    if origin is tuple:
        return f"a list of {described(args[0])}"
    if origin is not None:
        return "a function" if "Callable" in str(origin) else f"a {getattr(origin, '__name__', origin)}"
    return _KINDS.get(annotation, f"a {getattr(annotation, '__name__', annotation)}")


def _ranged(kind: str, limits: Iterable[Any]) -> str:
    low = high = ""
    for limit in limits:
        if isinstance(limit, MinLen):
            kind = f"{kind} of at least one letter" if "text" in kind else f"{kind}, at least {limit.min_length}"
        match limit:
            case Ge(bound):
                low = number(bound)
            case Gt(bound):
                low = f"above {number(bound)}"
            case Le(bound):
                high = number(bound)
            case Lt(bound):
                high = f"below {number(bound)}"
    if low.startswith("above") or high.startswith("below"):
        low = low if low.startswith("above") or not low else f"of at least {low}"
        high = high if high.startswith("below") or not high else f"at most {high}"
        return f"{kind} {' and '.join(filter(None, (low, high)))}"
    if low and high:
        return f"{kind} between {low} and {high}"
    return f"{kind} of at least {low}" if low else f"{kind} of at most {high}" if high else kind


def number(value: Any) -> str:
    """Format a limit for people.

    >>> number(10_000), number(1e9), number(2.5)
    ('10,000', '1,000,000,000', '2.5')
    """
    whole = isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15)
    return f"{int(value):,}" if whole else f"{value:g}"


def shown(value: Any) -> str:
    """Format a value for a message: numbers bare, text in quotes, long values truncated.

    >>> shown("1e20"), shown("abc"), shown(-1)
    ('1e20', "'abc'", '-1')
    """
    text = str(value) if isinstance(value, str | Path) else repr(value)
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
    return cut if not isinstance(value, str | Path) or _numeric(text) else f"'{cut}'"


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def near(name: str, known: Iterable[str]) -> str:
    """A suggestion of the closest known name, as a sentence after a space; "" if none is close.

    >>> near("popularty", ["random", "popularity"])
    " Did you mean 'popularity'?"
    """
    found = difflib.get_close_matches(name[:LONGEST_TEXT], list(known), n=3)
    return f" Did you mean {' or '.join(repr(one) for one in found)}?" if found else ""


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [choice for part in typing.get_args(annotation) for choice in _choices(part)]


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
