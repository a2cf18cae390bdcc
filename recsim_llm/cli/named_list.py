"""Listings of the values of an option: a line on each, and its options with types, ranges and defaults."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from recsim_llm.checked import described, near, shown
from recsim_llm.errors import ConfigError
from recsim_llm.option_list import ListedOption

_WIDTH = 110


class OptionLine(NamedTuple):
    """One option of a named thing.

    Attributes:
        written: As written in a spec, with its default if it takes a value: "reg=500.0", "items".
        help: Its allowed values and effect.
    """

    written: str
    help: str


@dataclass(frozen=True)
class NamedThing:
    """A value that an option can name.

    Attributes:
        name: Its name.
        about: One line about it.
        options: Its options.
        example: A spec that names it and sets an option, quoted for a shell.
    """

    name: str
    about: str
    options: tuple[OptionLine, ...]
    example: str


def option_line(option: ListedOption) -> OptionLine:
    """Format an option after the question mark for the listing.

    >>> from typing import Literal
    >>> option_line(ListedOption("loss", Literal["softmax", "bce"], "softmax", "What is minimised."))
    OptionLine(written='loss=softmax', help='One of softmax, bce. What is minimised.')
    """
    allowed = described(option.annotation)
    return OptionLine(f"{option.name}={written(option.default)}", f"{allowed[:1].upper()}{allowed[1:]}. {option.help}")


def written(value: Any) -> str:
    """Format a value for after the equals sign: text bare, anything else as JSON; VALUE without a default.

    >>> written("auto"), written(0.5), written(None), written(False)
    ('auto', '0.5', 'null', 'false')
    """
    if value is inspect.Parameter.empty:
        return "VALUE"
    return value if isinstance(value, str) else json.dumps(value)


def example_line(name: str, options: Sequence[ListedOption]) -> str:
    """A spec with the first option that has a default to show; the bare name if none has.

    >>> example_line("ease", [ListedOption("reg", float, 500.0, "")])
    'ease?reg=500.0'
    """
    first = next((o for o in options if o.default not in ("", None, inspect.Parameter.empty)), None)
    return name if first is None else f"{name}?{first.name}={written(first.default)}"


def print_things(things: Sequence[NamedThing], name: str, what: str, grammar: str) -> None:
    """Print all things with their options and defaults, or one of them with types, ranges and meanings.

    Args:
        things: The things to list.
        name: The requested one; "" for all.
        what: Their kind, which is also the command that lists them: "policies".
        grammar: How to write one, printed below.

    Raises:
        ConfigError: There is no thing of that name.
    """
    asked = [thing for thing in things if thing.name == name] if name else things
    if not asked:
        names = [thing.name for thing in things]
        raise ConfigError(
            f"There is no {shown(name)} among the {what}.{near(name, names)} There are: {', '.join(names)}."
        )
    for thing in asked:
        _print_about(thing)
        if name:
            _print_options(thing)
        elif thing.options:
            print(_wrapped("  ".join(option.written for option in thing.options), 6))
    print(f"\n{grammar}")
    if not name:
        print(f"One of them with all its options: recsim-llm {what} NAME")
    elif asked[0].example:
        print(f"For example: {asked[0].example}")


def _print_about(thing: NamedThing) -> None:
    print(textwrap.fill(f"{thing.name:<18} {thing.about}", _WIDTH, subsequent_indent=" " * 19, break_on_hyphens=False))


def _print_options(thing: NamedThing) -> None:
    for option in thing.options:
        print(f"\n  {option.written}\n{_wrapped(option.help.strip(), 6)}")


def _wrapped(text: str, indent: int) -> str:
    spaces = " " * indent
    return textwrap.fill(
        text, _WIDTH, initial_indent=spaces, subsequent_indent=spaces, break_long_words=False, break_on_hyphens=False
    )
