"""What a bad input came to: refused with a usable sentence, or one of the ways in which that can fail."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

LONGEST_S = 4.0
"""A bad input that still computes after so many seconds was let in."""
FEWEST_LETTERS = 30
"""No sentence that names an option, a value and a way out is shorter."""
VERDICTS = ("refused", "traceback", "silent", "unclear")


@dataclass(frozen=True)
class Case:
    """One bad input (or, without `names`, a good one).

    Attributes:
        group: Row of the table: the command, or the environment.
        label: For the test's name.
        action: What is given: words of a command line, or a call.
        names: One of these must be in the message: the option, or the file.
        value: What must be in the message of the value given; "" where it has none (a file's content, an empty text).
        made: Whether it is one of the many made from an option's type.
    """

    group: str
    label: str
    action: Sequence[str] | Callable[[], Any]
    names: tuple[str, ...] = ()
    value: str = ""
    made: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        verdict: "refused"; "traceback": an error that is not the library's own; "silent": it was let in; "unclear": it
            was refused, and the sentence lacks the name, the value or the way out.
        message: What was said.
    """

    verdict: str
    message: str


class TooLong(BaseException):
    """A case that still computes was let in. No `except Exception` may swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the main thread after so many seconds of computing, or fifteen times as many by the clock."""
    computed, started = time.process_time(), time.monotonic()

    def look(*_: object) -> None:
        if time.process_time() - computed > seconds or time.monotonic() - started > 15 * seconds:
            raise TooLong

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(case: Case, limit: float = LONGEST_S) -> Outcome:
    """Carry out a case.

    A command may end with exit code 1, 2 or 3 and its sentence on standard error; a call may raise a `RecsimError`.
    """
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _quiet(), time_limit(limit):
            _carry_out(case)
    except SystemExit as stop:
        if stop.code in {1, 2, 3}:
            return _of_message(case, err.getvalue())
        return Outcome("silent" if not stop.code else "traceback", f"exit code {stop.code}: {err.getvalue()}")
    except TooLong:
        return Outcome("silent", f"still computing after {limit:g} s")
    except BaseException as error:  # noqa: BLE001 - whatever comes is the finding
        if _is_ours(error):
            return _of_message(case, str(error))
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    return Outcome("silent", (out.getvalue() + err.getvalue())[-300:])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _carry_out(case: Case) -> None:
    if callable(case.action):
        case.action()
        return
    from recsim_llm.cli.command_line import main

    # The dashboard would serve for ever; and a case may record a run, which must not stand in the way of the next.
    with mock.patch("recsim_llm.cli.verbs.runs.dashboard_command.subprocess.run", side_effect=TooLong):
        main(list(case.action))


def _is_ours(error: BaseException) -> bool:
    from recsim_llm.errors import RecsimError

    return isinstance(error, RecsimError)


def _of_message(case: Case, message: str) -> Outcome:
    if "Traceback (most recent call last)" in message:
        return Outcome("traceback", message)
    lacks = "" if not case.names else _lacks(case, message)
    return Outcome("unclear", f"lacks {lacks}: {message}") if lacks else Outcome("refused", message)


def _lacks(case: Case, message: str) -> str:
    # Boxes and line ends of the parser's own messages stand between letters.
    said = re.sub(r"[\s│╭╮╰╯─]", "", message)
    if not any(re.sub(r"\s", "", name) in said for name in case.names):
        return f"the name {' or '.join(case.names)}"
    value = re.sub(r"\s", "", case.value)[:20].lower().replace("infinity", "inf")
    if value and value not in said.lower():
        return f"the value {case.value[:20]!r}"
    return "a way out" if len(said) < FEWEST_LETTERS else ""
