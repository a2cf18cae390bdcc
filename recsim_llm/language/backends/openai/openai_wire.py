"""Writes request bodies for an OpenAI-compatible server and parses its answers. Contains no network code."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

from recsim_llm.language.backends.openai.openai_answers import (
    ANSWER,
    Choice,
    Count,
    NoAnswerError,
    count_tokens,
    error_message,
    no_surprises,
    validated,
)
from recsim_llm.language.slots import likeliest
from recsim_llm.spec import HOW_TO_GIVE_KEYS
from recsim_llm.types import Completion, Prompt

_LEAST = 1e-30
_LONGEST_RETRY_AFTER_S = 120.0
_MEMO = 4_096
_SEPARATORS = " \t\r\n,;"


class BodyWriter:
    """Writes request bodies from parts that are serialised once, since prompts of a run share most of their text.

    Args:
        model: The model's name on the server.
        top_logprobs: Alternatives to ask for with choices.
    """

    def __init__(self, model: str, top_logprobs: int) -> None:
        self._head = f'{{"model":{json.dumps(model)},"messages":'
        self._top_logprobs = top_logprobs
        self._label_tail = self._labels_tail(1)
        self._systems: dict[str, str] = {}
        self._stems: dict[tuple[str, str], str] = {}
        self._tails: dict[tuple[str, int, float, int], str] = {}
        self.extras = ""
        """Additional fields of every body, each preceded by a comma."""

    def write(self, prompt: Prompt) -> bytes:
        """The JSON body of one `/chat/completions` request, in UTF-8."""
        if prompt.choices:
            tail = self._label_tail if prompt.slots == 1 else self._labels_tail(prompt.slots)
        else:
            key = prompt[4:8]
            tail = self._tails.get(key) or _remember(self._tails, key, _text_tail(*key))
        return f"{self._head}{self._conversation(prompt)}{tail}{self.extras}}}".encode()

    def write_many(self, prompts: Sequence[Prompt], tail: str) -> bytes:
        """The body of one request for all of these conversations, ending in the fields of `tail`."""
        conversations = ",".join([self._conversation(prompt) for prompt in prompts])
        return f"{self._head}[{conversations}]{tail}{self.extras}}}".encode()

    def _conversation(self, prompt: Prompt) -> str:
        shared = prompt[:2]
        stem = self._stems.get(shared)
        if stem is None:
            stem = _remember(self._stems, shared, self._stem(*shared))
        return f'{stem}{encode_basestring_ascii(prompt.question)[1:-1]}"}}]'

    def _labels_tail(self, slots: int) -> str:
        # Two tokens per label of several: in many tokenizers the space is a separate token, in some also at the start.
        tokens = 1 if slots == 1 else 2 * slots
        return (
            f',"max_tokens":{tokens},"temperature":0,"logprobs":true,"top_logprobs":{self._top_logprobs},"stream":false'
        )

    def _stem(self, system: str, context: str) -> str:
        first = self._systems.get(system)
        if first is None:
            message = f'{{"role":"system","content":{json.dumps(system)}}},' if system else ""
            first = _remember(self._systems, system, message)
        opening = encode_basestring_ascii(f"{context}\n" if context else "")[:-1]
        return f'[{first}{{"role":"user","content":{opening}'


def _remember(memo: dict[Any, str], key: Any, value: str) -> str:
    if len(memo) >= _MEMO:
        memo.clear()
    memo[key] = value
    return value


def _text_tail(schema: str, max_tokens: int, temperature: float, seed: int) -> str:
    tail = f',"max_tokens":{int(max_tokens)},"temperature":{float(temperature)},"stream":false'
    if temperature > 0:
        tail += f',"seed":{int(seed) % 2**31}'
    if schema:
        compact = json.dumps(json.loads(schema), separators=(",", ":"))
        answer = f'{{"name":"answer","strict":true,"schema":{compact}}}'
        tail += f',"response_format":{{"type":"json_schema","json_schema":{answer}}}'
    return tail


def read_answer(content: bytes, prompt: Prompt, server: str) -> tuple[Completion, Count]:
    """Parse the body of a successful response into the answer and its token counts.

    Raises:
        NoAnswerError: The body breaks the protocol, or log-probabilities are missing.
    """
    answer, mended = validated(ANSWER, content, server)
    count = count_tokens(answer.get("usage"), mended)
    with no_surprises(server):
        completion = _completion(answer["choices"][0], prompt, server)
    return completion._replace(prompt_tokens=count.prompt_tokens, output_tokens=count.output_tokens), count


def _completion(choice: Choice, prompt: Prompt, server: str) -> Completion:
    if not prompt.choices:
        return Completion(choice["message"].get("content") or "")
    if prompt.slots > 1:
        return _read_slots(choice, prompt, server)
    logprobs, bounds = _label_logprobs(prompt.choices, _alternatives(choice, server))
    if len(bounds) == len(logprobs):
        return Completion(choice["message"].get("content") or "", logprobs, bounds=bounds)
    return Completion(likeliest(prompt.choices, logprobs), logprobs, bounds=bounds)


def _read_slots(choice: Choice, prompt: Prompt, server: str) -> Completion:
    """Parse an answer of several labels; one that is not a line of labels has too few log-probabilities.

    Text after the last label is ignored.
    """
    positions = (choice.get("logprobs") or {}).get("content")
    if positions is None:
        raise _no_logprobs(server)
    places = _label_places([position["token"] for position in positions], prompt)
    found = [_label_logprobs(prompt.choices, _alternatives(choice, server, place)) for place in places]
    logprobs = tuple([value for slot, _ in found for value in slot])
    size = len(prompt.choices)
    bounds = tuple([number * size + place for number, (_, unseen) in enumerate(found) for place in unseen])
    whole = len(places) == prompt.slots
    text = likeliest(prompt.choices, logprobs) if whole else choice["message"].get("content") or ""
    return Completion(text, logprobs, bounds=bounds)


def _label_places(tokens: list[str], prompt: Prompt) -> list[int]:
    """Positions of the labels in a line, at most one per slot; the line ends at the first token that is not a label."""
    places: list[int] = []
    for place, token in enumerate(tokens):
        if len(places) == prompt.slots:
            break
        if token.strip() in prompt.choices:
            places.append(place)
        elif token.strip(_SEPARATORS):
            break
    return places


def _alternatives(choice: Choice, server: str, place: int = 0) -> list[tuple[str, float]]:
    positions = (choice.get("logprobs") or {}).get("content") or []
    alternatives = positions[place].get("top_logprobs") if positions else None
    if not alternatives:
        raise _no_logprobs(server)
    return [(str(each["token"]), math.exp(min(0.0, float(each["logprob"])))) for each in alternatives]


def _no_logprobs(server: str) -> NoAnswerError:
    return NoAnswerError(
        f"The server {server} returned no log-probabilities, which decisions are read from",
        "vLLM, SGLang and the llama.cpp server return them for every model, OpenAI for its models without hidden "
        "reasoning; turn off a proxy or option that drops `logprobs`, or take another server.",
    )


def _label_logprobs(
    choices: tuple[str, ...], alternatives: list[tuple[str, float]]
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Log-probability of each choice, and the positions of those that were not returned.

    At these positions the value is an upper bound (see `OpenAILLM`), not an observation.
    """
    mass: dict[int, float] = {}
    for token, probability in alternatives:
        index = _match(token.strip(), choices)
        if index is not None:
            mass[index] = mass.get(index, 0.0) + probability
    unseen: tuple[int, ...] = ()
    if len(mass) < len(choices):
        unseen = tuple([index for index in range(len(choices)) if index not in mass])
        rest = max(0.0, 1.0 - sum(probability for _, probability in alternatives))
        bound = min(rest / len(unseen), min(probability for _, probability in alternatives))
        mass |= dict.fromkeys(unseen, bound)
    return tuple([math.log(max(_LEAST, mass[index])) for index in range(len(choices))]), unseen


@lru_cache(maxsize=4_096)
def _match(token: str, choices: tuple[str, ...]) -> int | None:
    """Index of the choice that a token stands for: the one it equals, else the only one it is a prefix of."""
    if not token:
        return None
    if token in choices:
        return choices.index(token)
    found = [index for index, choice in enumerate(choices) if choice.startswith(token)]
    return found[0] if len(found) == 1 else None


def explain_status(status: int, content: bytes, model: str, server: str) -> str:
    """One sentence on why the server refused, and the remedy. Never quotes text that may contain the key."""
    if status in {401, 403}:
        return f"The server {server} refused the API key (status {status}). To give a valid one, {HOW_TO_GIVE_KEYS}."
    said = error_message(content)
    lowered = said.lower()
    if status == 404:
        return (
            f"The server {server} does not know the model '{model}' or the path (status 404: {said}). "
            f"List its models with {server}/models, and check that base_url ends in /v1."
        )
    if "context length" in lowered or "context_length" in lowered or "context size" in lowered:
        return (
            f"A prompt is longer than the context of '{model}' ({said}). Shorten the agents' memory or the page, or "
            "serve the model with a longer context."
        )
    if has_no_quota(status, content):
        return f"The account at {server} has no quota left (status 429: {said}). Top it up, or use another key."
    return f"The server {server} refused with status {status}: {said}"


def has_no_quota(status: int, content: bytes) -> bool:
    """Whether a 429 means an exhausted quota rather than a rate limit, so that retries are useless."""
    return status == 429 and b"insufficient_quota" in content


def retry_after_s(header: str | None) -> float | None:
    """Seconds to wait according to a `Retry-After` header, at most 120; None if it is missing or unreadable.

    A date without a time zone is read as UTC.

    >>> retry_after_s("2.5"), retry_after_s("nan"), retry_after_s("soon")
    (2.5, None, None)
    """
    try:
        seconds = float(header or "nan")
    except ValueError:
        seconds = _seconds_until(header or "")
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float:
    try:
        when = parsedate_to_datetime(date)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, TypeError, LookupError, OverflowError):  # the parser raises each of them
        return math.nan
