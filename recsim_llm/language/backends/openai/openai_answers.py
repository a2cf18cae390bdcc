"""Schemas, checks and token counts of the answers of an OpenAI-compatible server, which is not trusted.

The body of an answer is validated once, while it is parsed (`validated`), and read without further checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple, NotRequired, TypeGuard, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from recsim_llm.errors import LLMError
from recsim_llm.types import storable

_MOST_TOKENS = 1_000_000_000
_ROUNDING = 1e-3
T = TypeVar("T")


class Alternative(TypedDict):
    """An alternative token; minus infinity is a valid log-probability, a number above 0 is not."""

    token: str
    logprob: Annotated[float, Field(le=_ROUNDING)]


class Position(TypedDict):
    """A generated token, and its alternatives at that position."""

    token: NotRequired[str]
    top_logprobs: NotRequired[list[Alternative] | None]


class Logprobs(TypedDict):
    """Log-probabilities of an answer, token by token."""

    content: NotRequired[list[Position] | None]


class WireMessage(TypedDict):
    """The generated text."""

    content: NotRequired[str | None]


class Choice(TypedDict):
    """One answer."""

    message: WireMessage
    logprobs: NotRequired[Logprobs | None]


class WireAnswer(TypedDict):
    """The fields read from the body of a chat completion. Dictionaries, because they parse twice as fast as models."""

    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: NotRequired[Any]


ANSWER = TypeAdapter(WireAnswer)


class NoAnswerError(LLMError):
    """A successful response without a usable answer.

    Args:
        reason: What is wrong, without a full stop.
        advice: What to do if it happens every time.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}. {advice}")
        self.reason, self.advice = reason, advice


class Count(NamedTuple):
    """Token counts that an answer reports.

    Attributes:
        prompt_tokens, output_tokens, cached_tokens: As reported; 0 if missing or impossible.
        odd: Whether an impossible number was reported.
        mended: Whether halves of surrogate pairs were replaced by question marks.
    """

    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    odd: bool = False
    mended: bool = False


def validated(form: TypeAdapter[T], content: bytes, server: str) -> tuple[T, bool]:
    """Parse and check the body of a response; also return whether halves of surrogate pairs in it were replaced.

    Raises:
        NoAnswerError: The body is not JSON of this schema.
    """
    try:
        return form.validate_json(content), False
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    again = _without_surrogates(content) if problem["type"] == "json_invalid" else None
    if again is not None:
        try:
            return form.validate_json(again[0]), again[1]
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, problem["loc"]))
    raise no_answer(server, f"{place}: {problem['msg']}" if place else problem["msg"], content)


def _without_surrogates(content: bytes) -> tuple[bytes, bool] | None:
    """Rewrite JSON for the stricter parser; also return whether it had surrogates. None if it is not JSON."""
    try:
        text = json.dumps(json.loads(content), ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    clean = text.encode("utf-8", "replace")
    return clean, clean.decode() != text


def count_tokens(usage: object, mended: bool = False) -> Count:
    """Token counts from the `usage` field of an answer; impossible ones (negative, not whole, absurd) become 0."""
    said = usage if isinstance(usage, dict) else {}
    details = said.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else details
    numbers = (said.get("prompt_tokens"), said.get("completion_tokens"), cached)
    read, wrote, cached = [int(each) if _is_count(each) else None for each in numbers]
    if read is not None and cached is not None and cached > read:
        cached = None
    odd = any(number is not None and kept is None for number, kept in zip(numbers, (read, wrote, cached), strict=True))
    return Count(read or 0, wrote or 0, cached or 0, odd or not isinstance(usage, dict | None), mended)


def _is_count(number: object) -> TypeGuard[float]:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return 0 <= number <= _MOST_TOKENS and number == int(number)


@contextmanager
def no_surprises(server: str) -> Iterator[None]:
    """Turns exceptions while a validated answer is read into one sentence.

    Raises:
        NoAnswerError: The parts of the answer are inconsistent.
    """
    try:
        yield
    except (ValueError, LookupError) as error:
        raise no_answer(server, f"{type(error).__name__}: {error}") from error


def no_answer(server: str, why: str, content: bytes = b"") -> NoAnswerError:
    """Create the error for a body without a usable answer."""
    said = f"; it says: {error_message(content)}" if b'"error"' in content[:1_000] else ""
    return NoAnswerError(
        f"The server {server} answered with something that is not an OpenAI chat completion ({storable(why)}{said})",
        "Check that base_url ends in /v1.",
    )


def error_message(content: bytes) -> str:
    """The message in the body of an error response, at most 300 characters."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return content[:200].decode("utf-8", "replace").strip() or "no reason given"
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message", error) if isinstance(error, dict) else error
    return storable(str(message)[:300])
