"""The command line `recsim-llm`: a thin layer over functions that can be called from Python as well.

Only the requested command is imported, so that help is quick; `verb_files` reads the help lines of the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitSubcommandPrefixes, subcommand

from recsim_llm import __version__
from recsim_llm.cli.option_values import values_as_text
from recsim_llm.cli.verb_files import find_verbs
from recsim_llm.errors import BudgetError, RecsimError


@dataclass(frozen=True)
class UnreadCommand:
    """Placeholder for a command that is not requested: it has a name and a help line but no options."""


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of `recsim-llm`.

    Exit codes: 0 done, 1 a named error, 2 wrong usage, 3 stopped at its budget, 130 interrupted.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words == ["--version"]:
        print(f"recsim-llm {__version__}")
        return
    try:
        run(_parse(words))
    except BudgetError as stopped:
        print(f"recsim-llm: {stopped}", file=sys.stderr)
        raise SystemExit(3) from None
    except RecsimError as error:
        print(f"recsim-llm: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nrecsim-llm: interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe has exited (`recsim-llm ... | head`); closing stdout again would raise once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(command: Any) -> None:
    """Check every option of a parsed command, then run it."""
    from recsim_llm.cli.command_check import check_command  # imports NumPy and pydantic, which help does without

    check_command(command)
    import_module(type(command).__module__).run(command)


def _parse(words: Sequence[str]) -> Any:
    imported: Collection[str] = [word for word in words if word in find_verbs()][:1]
    if any(word.startswith("--") for word in words) and not {"-h", "--help"} & set(words):
        try:
            return _read(words, imported, console_outputs=False)
        except SystemExit:
            # A misspelt option may belong to another command, so suggestions search the options of all commands.
            imported = find_verbs()
    return _read(words, imported)


def _read(words: Sequence[str], imported: Collection[str], console_outputs: bool = True) -> Any:
    """Parse with the options of the given commands imported."""
    commands: list[Any] = [
        Annotated[verb.options() if name in imported else UnreadCommand, subcommand(name, description=verb.help)]
        for name, verb in find_verbs().items()
    ]
    return tyro.cli(
        reduce(or_, commands),
        config=(OmitSubcommandPrefixes, FlagCreatePairsOff),
        prog="recsim-llm",
        description="LLM-powered users inside a Gymnasium environment, for recommender policies to practise on "
        f"(version {__version__}).",
        args=words,
        registry=values_as_text(),
        console_outputs=console_outputs,
    )
