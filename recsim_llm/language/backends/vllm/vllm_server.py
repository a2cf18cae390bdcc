"""Client for what a vLLM server offers beyond the OpenAI protocol: many label reads in one request.

Labels are read by their exact token ids (`logprob_token_ids`), so there may be more of them than the 20 likeliest
tokens that other servers return. Read from vLLM 0.32: `vllm/entrypoints/openai/chat_completion/batch_serving.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, NotRequired, TypeVar

from pydantic import ConfigDict, Field, NonNegativeInt, TypeAdapter, with_config
from typing_extensions import TypedDict

from recsim_llm.errors import LLMError
from recsim_llm.language.backends.openai.openai_answers import (
    Alternative,
    Count,
    WireMessage,
    count_tokens,
    no_answer,
    no_surprises,
    validated,
)
from recsim_llm.language.backends.openai.openai_transport import PROBE, HTTPCall, Rejected, Transport
from recsim_llm.language.backends.openai.openai_wire import BodyWriter
from recsim_llm.language.slots import likeliest
from recsim_llm.types import Completion, Prompt, storable

EXTRAS = ',"chat_template_kwargs":{"date_string":"1 January 2025","enable_thinking":false}'
"""Answers must not depend on the date nor start with hidden reasoning; other templates ignore these arguments."""
BATCH = "/chat/completions/batch"
_DIGITS = 5
_MOST_IDS = 128
"""Tokens whose log-probabilities vLLM returns for one position."""
_TRIAL = Prompt("Answer with one word.", "", "Is water wet? Answer Yes or No.", ("Yes", "No"))
_CACHE_COUNTERS = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
_MOST_COUNTED = 1e15
T = TypeVar("T")


@with_config(ConfigDict(extra="forbid"))
class _Version(TypedDict):
    """Response of vLLM to `/version`: this field and no other."""

    version: str


class _Model(TypedDict):
    id: str


class _Models(TypedDict):
    """Response to `/v1/models`."""

    data: list[_Model]


class _Tokens(TypedDict):
    """Response of vLLM to `/tokenize`."""

    tokens: list[NonNegativeInt]


class _Position(TypedDict):
    token: str
    top_logprobs: list[Alternative]


class _Logprobs(TypedDict):
    content: Annotated[list[_Position], Field(min_length=1)]


class _Choice(TypedDict):
    index: int
    message: WireMessage
    logprobs: _Logprobs


class _Batch(TypedDict):
    """Response of vLLM to a batch of label reads."""

    choices: list[_Choice]
    usage: NotRequired[Any]


_VERSION, _MODELS, _TOKENS = TypeAdapter(_Version), TypeAdapter(_Models), TypeAdapter(_Tokens)
_BATCH = TypeAdapter(_Batch)


class LabelTokens(NamedTuple):
    """Tokens of the labels, for requests and for parsing answers.

    Attributes:
        first: Token name of each choice at the beginning of an answer.
        later: Token name of each choice after another one.
        tail: The request fields that ask for them.
    """

    first: tuple[str, ...]
    later: tuple[str, ...]
    tail: str


class VllmServer:
    """Label reads on one vLLM server that supports batches of conversations.

    Args:
        transport: HTTP client for it.
        base_url: Up to and including `/v1`.
        model: The model's name on the server.

    Attributes:
        tokens_read: Prompt tokens of all batches, as far as the server reported them.
    """

    def __init__(self, transport: Transport, base_url: str, model: str) -> None:
        self._transport, self._base_url, self._model = transport, base_url, model
        self._root = base_url.removesuffix("/v1")
        self._labels: dict[tuple[tuple[str, ...], int], asyncio.Task[LabelTokens]] = {}
        self.tokens_read = 0
        self._counted = (0.0, 0.0)

    async def labels(self, choices: tuple[str, ...], slots: int) -> LabelTokens:
        """Tokens of these choices in an answer of this many slots, from the server's tokenizer; cached.

        Raises:
            LLMError: They cannot be told apart, or with several slots are not one token each.
        """
        key = choices, slots
        if key not in self._labels:
            self._labels[key] = asyncio.ensure_future(self._find_labels(choices, slots))
        return await asyncio.shield(self._labels[key])

    async def _find_labels(self, choices: tuple[str, ...], slots: int) -> LabelTokens:
        start = await self._tokens([])
        first = await asyncio.gather(*(self._behind(start, choice) for choice in choices))
        if len({ids[0] for ids in first if ids}) < len(choices):
            raise LLMError(f"The choices {choices} begin with the same token, for this model; rename them.")
        names = tuple(_name(ids[0]) for ids in first)
        if slots == 1:
            return LabelTokens(names, names, _tail([ids[0] for ids in first], 1, None))
        pairs = await asyncio.gather(*(self._behind(start, f"{choice} {choice}") for choice in choices))
        gaps, later = {tuple(ids[1:-1]) for ids in pairs}, [ids[-1] for ids in pairs]
        if any(len(ids) != 1 for ids in first) or len(gaps) != 1 or len(set(later)) < len(choices):
            raise LLMError(
                f"An answer of several slots needs choices of one token each, and {choices} are not, for this model. "
                "Take digits or letters."
            )
        gap = gaps.pop()
        wanted = [*(ids[0] for ids in first), *later]
        tail = _tail(wanted, slots * (1 + len(gap)) - len(gap), [*wanted, *gap])
        return LabelTokens(names, tuple(map(_name, later)), tail)

    async def _behind(self, start: list[int], answer: str) -> list[int]:
        """Tokens of a text at the beginning of an answer; of the text alone if it merges with the template."""
        ids = await self._tokens([{"role": "assistant", "content": answer}])
        if ids[: len(start)] == start and len(ids) > len(start):
            return ids[len(start) :]
        return await self._tokenize({"prompt": answer, "add_special_tokens": False})

    async def _tokens(self, answer: list[dict[str, str]]) -> list[int]:
        said = {"messages": [{"role": "user", "content": "?"}, *answer]}
        opening = {"add_generation_prompt": not answer, "continue_final_message": bool(answer)}
        return await self._tokenize({**said, **opening, **json.loads(f"{{{EXTRAS[1:]}}}")})

    async def _tokenize(self, request: dict[str, Any]) -> list[int]:
        body = json.dumps({"model": self._model, **request}).encode()
        answer = await self._transport.send(
            HTTPCall(f"{self._root}/tokenize", body, PROBE), self._read_tokens, optional=True
        )
        if isinstance(answer, Rejected):
            raise LLMError(f"The server {self._root} does not say how it cuts labels into tokens: {answer.reason}")
        return answer

    def _read_tokens(self, content: bytes) -> list[int]:
        return validated(_TOKENS, content, self._base_url)[0]["tokens"]

    def read(self, content: bytes, prompts: Sequence[Prompt], labels: LabelTokens) -> tuple[list[Completion], Count]:
        """Parse the answers of a batch, in order; tokens are counted per batch, as the server reports no more.

        Raises:
            NoAnswerError: The body is not a valid response of vLLM.
        """
        answer, mended = validated(_BATCH, content, self._base_url)
        choices = answer["choices"]
        if [choice["index"] for choice in choices] != list(range(len(prompts))):
            raise no_answer(self._base_url, f"{len(choices)} choices for {len(prompts)} conversations")
        with no_surprises(self._base_url):
            completions = [_completion(choice, p, labels) for choice, p in zip(choices, prompts, strict=True)]
        return completions, count_tokens(answer.get("usage"), mended)

    async def cached_tokens(self) -> int:
        """Prompt tokens of all batches so far that came from the server's prefix cache.

        The server counts over all its clients: the result is their hit rate since `begin_counting` times the tokens
        of this client.
        """
        queried, hit = await self.cache_counters()
        queried, hit = queried - self._counted[0], hit - self._counted[1]
        return int(self.tokens_read * min(1.0, max(0.0, hit / queried))) if queried > 0 else 0

    async def begin_counting(self) -> None:
        """Store the server's counters, so that earlier reads are not counted."""
        self.tokens_read = 0
        self._counted = await self.cache_counters()

    async def cache_counters(self) -> tuple[float, float]:
        """Tokens looked up in the prefix cache, and tokens found, since the server was started."""
        answer = await self._transport.send(
            HTTPCall(f"{self._root}/metrics", None, PROBE), _read_counters, optional=True
        )
        return (0.0, 0.0) if isinstance(answer, Rejected) else answer


def _read_counters(content: bytes) -> tuple[float, float]:
    """Sums of both counters over all engines; a line without a finite number counts as 0."""
    lines = content.decode("utf-8", "replace").splitlines()
    queried, hit = (sum(_last_number(line) for line in lines if line.startswith(name)) for name in _CACHE_COUNTERS)
    return queried, hit


def _last_number(line: str) -> float:
    try:
        number = float(line.rsplit(maxsplit=1)[-1])
    except ValueError:
        return 0.0
    return number if abs(number) <= _MOST_COUNTED else 0.0


async def recognise(transport: Transport, base_url: str, model: str, writer: BodyWriter) -> VllmServer | None:
    """Detect the vLLM server behind a URL; None for another server, or a vLLM without batched label reads.

    Queries its version and models, tokenises a word, and reads one label.

    Raises:
        LLMError: No server answers, or it does not serve this model.
    """
    root = base_url.removesuffix("/v1")

    async def probe(path: str, form: TypeAdapter[T], body: bytes | None = None) -> T | Rejected:
        call = HTTPCall(f"{root}{path}", body, PROBE)
        return await transport.send(call, lambda content: validated(form, content, base_url)[0], optional=True)

    version = await probe("/version", _VERSION)
    if isinstance(version, Rejected):
        return None
    models = await probe("/v1/models", _MODELS)
    if not isinstance(models, Rejected):
        _check_model([each["id"] for each in models["data"]], base_url, model)
    word = await probe("/tokenize", _TOKENS, json.dumps({"model": model, "prompt": "Yes"}).encode())
    if isinstance(word, Rejected):
        return None
    server = VllmServer(transport, base_url, model)
    labels = await server.labels(_TRIAL.choices, 1)
    trial = HTTPCall(BATCH, writer.write_many([_TRIAL], labels.tail + EXTRAS), "trial")
    answer = await transport.send(trial, lambda content: server.read(content, [_TRIAL], labels), optional=True)
    if isinstance(answer, Rejected):
        return None
    await server.begin_counting()
    return server


def _check_model(served: list[str], base_url: str, model: str) -> None:
    if model not in served:
        raise LLMError(
            f"The server {base_url} does not serve '{model}'; it serves {storable(', '.join(served))}. Use one of "
            "these names, or start the server with --served-model-name."
        )


def _completion(choice: _Choice, prompt: Prompt, labels: LabelTokens) -> Completion:
    positions = choice["logprobs"]["content"]
    if prompt.slots == 1:
        logprobs = _logprobs(positions[0], labels.first)
        return Completion(prompt.choices[logprobs.index(max(logprobs))], tuple(logprobs), 0, len(positions))
    found: list[float] = []
    for position in positions:
        names = _names(position["token"], labels, bool(found))
        if names is not None and len(found) < prompt.slots * len(prompt.choices):
            found += _logprobs(position, names)
    whole = len(found) == prompt.slots * len(prompt.choices)
    text = likeliest(prompt.choices, found) if whole else choice["message"].get("content") or ""
    return Completion(text, tuple(found), 0, len(positions))


def _logprobs(position: _Position, names: tuple[str, ...]) -> list[float]:
    at = {each["token"]: each["logprob"] for each in position["top_logprobs"]}
    return [round(at[name], _DIGITS) for name in names]


def _names(said: str, labels: LabelTokens, later: bool) -> tuple[str, ...] | None:
    """Token names of all choices in the form that the generated token has; None for a gap."""
    forms = (labels.later, labels.first) if later else (labels.first, labels.later)
    return next((form for form in forms if said in form), None)


def _tail(wanted: list[int], tokens: int, allowed: list[int] | None) -> str:
    ids = sorted(set(wanted))
    if len(ids) > _MOST_IDS:
        raise LLMError(f"vLLM reads at most {_MOST_IDS} tokens of labels, and these choices have {len(ids)}.")
    held = f',"allowed_token_ids":{sorted(set(allowed))}' if allowed else ""
    return (
        f',"max_tokens":{tokens},"temperature":0,"logprobs":true,"return_tokens_as_token_ids":true,'
        f'"logprob_token_ids":{ids}{held}'
    )


def _name(token: int) -> str:
    return f"token_id:{token}"
