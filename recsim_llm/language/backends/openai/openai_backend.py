"""Backend for any OpenAI-compatible server: hundreds of requests in flight from one background thread.

Decisions are label reads (one output token per label, with its log-probabilities), texts are ordinary completions. A
vLLM server is detected and gets batches (`vllm_server`); every other server gets one prompt per request
(`openai_wire`). Sending, retries and second copies are in `openai_transport`.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import weakref
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le

from recsim_llm.checked import Name
from recsim_llm.errors import ConfigError, LLMError
from recsim_llm.language.backends.openai.hedging import Hedging
from recsim_llm.language.backends.openai.in_flight import Crew
from recsim_llm.language.backends.openai.openai_answers import Count
from recsim_llm.language.backends.openai.openai_transport import HTTPCall, Rejected, Transport, stop
from recsim_llm.language.backends.openai.openai_wire import BodyWriter, read_answer
from recsim_llm.language.backends.vllm.vllm_server import BATCH, EXTRAS, VllmServer, recognise
from recsim_llm.language.converse import garbage_collection_paused
from recsim_llm.language.protocol import Usage, no_adapters
from recsim_llm.spec import HOW_TO_GIVE_KEYS, KEY_VARIABLE, refuse_secrets
from recsim_llm.types import Completion, Prompt

T = TypeVar("T")
_PUBLIC_URL = "https://api.openai.com/v1"
_BATCH_PROMPTS = 64
_LEAST_BATCH = 8
_SPREAD = 16
_METRICS_EVERY_S = 1.0
_CONTEXT_FREE = "Say yes."
_URL = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@\\:\[\]]+)(?::\d+)?(?:/[^\s?#@\\]*)?")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


class _Job(NamedTuple):
    """Prompts of one request, by their positions in the call; several only for label reads on a vLLM server."""

    places: list[int]
    batch: bool
    kind: str


class OpenAILLM:
    """A model behind an OpenAI-compatible `/chat/completions`.

    A vLLM server that reads labels by token ids in batches is detected before the first prompt and used that way: up
    to 64 prompts per request, exact log-probabilities of any 128 labels, no hidden reasoning.

    Every other server is asked for one token with its `top_logprobs` likeliest alternatives. A returned token counts
    for a choice if, stripped of white space, it equals that choice or is a prefix of that choice alone. A choice that
    is not among the returned tokens gets the largest probability it can have: that of the unlikeliest returned token,
    and no more than its share of the mass that was not returned. `Completion.bounds` lists these choices, since agents
    accept only returned labels as answers. An answer of several slots is one request for a line of labels, each one
    token, separated by white space, commas or semicolons. If the line contains other words, only the labels before
    them are read, so that there are too few and agents ask again.

    A prompt that the server rejects (status 400, 413 or 422, for example because it exceeds the context) is isolated
    and returned as refused, and the others are answered. If the server also rejects a plain question of the same form,
    the form is at fault, and that is an error.

    Works inside a running event loop (notebooks): requests run in a separate thread, which lives, with its
    connections, until `close` or until the object is collected. Proxies from the environment are not used.

    Args:
        model: The model's name on the server.
        base_url: Up to and including `/v1`; default is the environment variable OPENAI_BASE_URL, else OpenAI's.
        api_key: For Python callers; a spec (`--llm`) cannot contain one. Default is the environment variable's value.
            It is sent to the server, never logged, stored or shown; if the server quotes it, it is replaced by `***`.
        api_key_env: The environment variable that holds the key, in capitals; default OPENAI_API_KEY.
        concurrency: Most requests in flight. The number starts at 64 (8 for batches), grows while answers come within a
            second or about as fast as the fastest, and shrinks once requests wait in the server's queue.
        timeout_s: Longest wait for one answer, in seconds, before the request is sent again; a batch of 64 gets nine
            times as long.
        max_retries: How often one request is sent again after a timeout, a dropped connection, a status of 408, 409,
            429 or 5xx, or an unusable answer. It waits as long as the server says, else not at all (0.25 s after a
            429), then 0.25 s, 0.5 s, 1 s, ... with jitter.
        top_logprobs: Alternatives to ask for with choices; at most 20 on most servers. Not used with vLLM.
        hedge: Send a second copy of a request that takes far longer than those before it, or has failed before, and
            take the first answer.
        hedge_after_s: Least wait before a second copy, in seconds.

    Raises:
        ConfigError: No key for the public service, or an invalid URL.
        MissingExtraError: aiohttp is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: Name | None = None,
        api_key: Name | None = None,
        *,
        api_key_env: Name | None = None,
        concurrency: Annotated[int, Ge(1), Le(100_000)] = 512,
        timeout_s: Annotated[float, Gt(0.0), Le(86_400.0)] = 60.0,
        max_retries: Annotated[int, Ge(0), Le(1_000)] = 5,
        top_logprobs: Annotated[int, Ge(0), Le(1_000)] = 20,
        hedge: bool = True,
        hedge_after_s: Annotated[float, Ge(0.0), Le(86_400.0)] = 0.5,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, not {concurrency}.")
        self.usage = Usage()
        self._base_url = (base_url or own_server()).rstrip("/")
        key = api_key or _key_of(api_key_env)
        _check_config(self._base_url, key)
        self._model = model
        self._writer = BodyWriter(model, top_logprobs)
        self._top_logprobs = top_logprobs
        self._transport = Transport(
            self._base_url,
            key,
            model,
            self.usage,
            timeout_s=timeout_s,
            max_retries=max_retries,
            hedging=Hedging(hedge_after_s) if hedge else None,
        )
        self._singles = Crew(min(64, concurrency), min(8, concurrency), concurrency, timeout_s / 6)
        self._batches = Crew(min(8, concurrency), 1, concurrency, timeout_s / 6)
        self._recognised: asyncio.Task[VllmServer | None] | None = None
        self._reads: str | None = None
        self._forms: dict[Prompt, asyncio.Task[bool]] = {}
        self._cached_tokens = 0
        self._counted_at = 0.0
        self.close = weakref.finalize(self, stop, self._transport.loop, self._transport.session)
        """Close the connections and end the thread; later calls fail."""

    @property
    def name(self) -> str:
        """Identity for caches: server, model, and how log-probabilities are read. Queries the server once.

        Raises:
            LLMError: The server cannot be reached, or does not serve the model.
        """
        if self._reads is None:
            self._reads = f"top={self._top_logprobs}" if self._run(self._server()) is None else "labels=ids"
        return f"openai:{self._model}@{self._base_url}?{self._reads}"

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt; the first failure that retries cannot cure ends the call.

        Raises:
            LLMError: Wrong key, unknown model, no log-probabilities, server unreachable or failing, or an adapter
                is asked for.
        """
        no_adapters(f"openai:{self._model}", prompts)
        started = time.perf_counter()
        try:
            return self._run(self._ask_all(prompts))
        finally:
            self.usage.seconds += time.perf_counter() - started

    def check(self) -> None:
        """Make one tiny request to verify server, key, model and log-probabilities.

        Raises:
            LLMError: What is missing and what to do.
        """
        prompt = Prompt("Answer with one word.", "", "Is water wet? Answer Yes or No.", ("Yes", "No"))
        (answer,) = self._run(self._ask_all([prompt], most_retries=1))
        if answer.refused:
            raise LLMError(answer.refused)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if not self.close.alive:
            work.close()
            raise LLMError(f"This connection to {self._base_url} has been closed; make a new OpenAILLM.")
        future = asyncio.run_coroutine_threadsafe(work, self._transport.loop)
        try:
            return future.result()
        finally:
            future.cancel()  # no effect if it is done; ends the requests when the caller is interrupted

    async def _server(self) -> VllmServer | None:
        """The vLLM server behind the URL, or None; detected once, and tried again in the next call after a failure."""
        if self._base_url == _PUBLIC_URL:
            return None
        if self._recognised is None or (self._recognised.done() and self._recognised.exception() is not None):
            self._recognised = asyncio.ensure_future(
                recognise(self._transport, self._base_url, self._model, self._writer)
            )
        server = await asyncio.shield(self._recognised)
        self._writer.extras = EXTRAS if server else ""
        return server

    async def _ask_all(self, prompts: Sequence[Prompt], most_retries: int = 1_000) -> list[Completion]:
        server = await self._server()
        answers: list[Completion | None] = [None] * len(prompts)
        batches, singles = _jobs(prompts, server is not None)

        async def answer(job: _Job) -> None:
            await self._answer(job, prompts, answers, server, most_retries)

        with garbage_collection_paused():  # parsed answers trigger collections that free nothing: a sixth of the time
            await self._batches.work(batches, answer)
        await self._singles.work(singles, answer)
        if server and batches:
            await self._count_cached(server)
        return [answer for answer in answers if answer is not None]

    async def _answer(
        self,
        job: _Job,
        prompts: Sequence[Prompt],
        answers: list[Completion | None],
        server: VllmServer | None,
        most_retries: int,
    ) -> None:
        """Fill in the answers of one job; split it as far as needed to isolate a prompt that the server rejects."""
        asked = [prompts[place] for place in job.places]
        outcome = await self._send(job, asked, server, most_retries)
        if isinstance(outcome, list):
            self.usage.calls += len(asked)
            for place, completion in zip(job.places, outcome, strict=True):
                answers[place] = completion
        elif len(asked) == 1:
            answers[job.places[0]] = await self._refused(job, asked[0], outcome.reason, server)
        else:
            # The longest prompts are the likeliest to be rejected, so the shorter half usually passes as a whole.
            order = sorted(job.places, key=lambda place: (sum(map(len, prompts[place][:3])), place))
            for half in (order[: len(order) // 2], order[len(order) // 2 :]):
                await self._answer(job._replace(places=half), prompts, answers, server, most_retries)

    async def _send(
        self, job: _Job, asked: list[Prompt], server: VllmServer | None, most_retries: int
    ) -> list[Completion] | Rejected:
        number = job.places[0]
        if job.batch and server:
            labels = await server.labels(asked[0].choices, asked[0].slots)
            call = HTTPCall(BATCH, self._writer.write_many(asked, labels.tail), job.kind, len(asked))
            batch = await self._transport.send(
                call, lambda content: server.read(content, asked, labels), number, most_retries=most_retries
            )
            if isinstance(batch, Rejected):
                return batch
            server.tokens_read += batch[1].prompt_tokens
            self._count(batch[1])
            return batch[0]
        call = HTTPCall("/chat/completions", self._writer.write(asked[0]), job.kind)
        single = await self._transport.send(
            call, lambda content: read_answer(content, asked[0], self._base_url), number, most_retries=most_retries
        )
        if isinstance(single, Rejected):
            return single
        self._count(single[1])
        return [single[0]]

    def _count(self, count: Count) -> None:
        self.usage.prompt_tokens += count.prompt_tokens
        self.usage.output_tokens += count.output_tokens
        self.usage.cached_tokens += count.cached_tokens
        self.usage.mended += count.mended
        self.usage.odd_counts += count.odd

    async def _refused(self, job: _Job, prompt: Prompt, reason: str, server: VllmServer | None) -> Completion:
        """Return if the prompt alone is at fault.

        Raises:
            LLMError: A plain question of the same form is rejected too.
        """
        form = prompt._replace(system="", context="", question=_CONTEXT_FREE, seed=0)
        known = self._forms.get(form)
        if known is None or (known.done() and known.exception() is not None):
            self._forms[form] = asyncio.ensure_future(self._try(job, form, server))
        if not await asyncio.shield(self._forms[form]):
            raise LLMError(reason)
        self.usage.calls += 1
        self.usage.refused += 1
        return Completion("", refused=reason)

    async def _try(self, job: _Job, form: Prompt, server: VllmServer | None) -> bool:
        return not isinstance(await self._send(job, [form], server, 1_000), Rejected)

    async def _count_cached(self, server: VllmServer) -> None:
        now = time.monotonic()
        if now - self._counted_at >= _METRICS_EVERY_S:
            self._counted_at = now
            found = await server.cached_tokens()
            self.usage.cached_tokens += max(0, found - self._cached_tokens)
            self._cached_tokens = max(found, self._cached_tokens)


def _jobs(prompts: Sequence[Prompt], batched: bool) -> tuple[list[_Job], list[_Job]]:
    """Batches of label reads of one form, in prompt order and of about equal size; and jobs of single prompts."""
    alike: dict[tuple[tuple[str, ...], int], list[int]] = {}
    singles: list[_Job] = []
    for place, prompt in enumerate(prompts):
        if batched and prompt.choices:
            alike.setdefault((prompt.choices, prompt.slots), []).append(place)
        else:
            singles.append(_Job([place], False, f"label*{prompt.slots}" if prompt.choices else f"{prompt.max_tokens}"))
    batches: list[_Job] = []
    for (_, slots), places in alike.items():
        size = min(_BATCH_PROMPTS, max(_LEAST_BATCH, -(-len(places) // _SPREAD)))
        kind = f"batch*{slots}"
        batches += [_Job(places[start : start + size], True, kind) for start in range(0, len(places), size)]
    return batches, singles


def own_server() -> str:
    """The default server URL: that of OPENAI_BASE_URL, else OpenAI's."""
    return os.environ.get("OPENAI_BASE_URL") or _PUBLIC_URL


def _key_of(variable: str | None) -> str:
    """The key in an environment variable.

    Raises:
        ConfigError: The name is not a valid variable name, or the variable is not set. No other key is sent instead.
    """
    if variable is None:
        return os.environ.get(KEY_VARIABLE, "")
    if not _VARIABLE.fullmatch(str(variable)):  # it may be the key itself, so the message does not show it
        raise ConfigError(
            "api_key_env is the name of an environment variable that holds the key, in capitals, as in "
            f"?api_key_env={KEY_VARIABLE}. What was given is none."
        )
    if not os.environ.get(variable):
        raise ConfigError(f"api_key_env names the environment variable {variable}, which is not set. Set it first.")
    return os.environ[variable]


def check_url(base_url: str) -> None:
    """Refuse a string that is not a server URL, or that contains more than a location.

    Raises:
        ConfigError: It is refused; the message shows nothing that may be a key.
    """
    refuse_secrets(base_url)
    try:
        good = bool(_URL.fullmatch(base_url)) and (urlsplit(base_url).port or 1) > 0
    except ValueError:  # invalid port
        good = False
    if not good:
        # The text after these characters may be a key.
        shown = "" if re.search("[?#@]", base_url) else f", not '{base_url}'"
        raise ConfigError(f"base_url (or OPENAI_BASE_URL) must look like http://host:8000/v1, without ? and #{shown}.")


def _check_config(base_url: str, key: str) -> None:
    check_url(base_url)
    if not key.isascii() or any(sign.isspace() or not sign.isprintable() for sign in key):
        raise ConfigError("The API key holds white space or signs that no key has. Look at how the variable was set.")
    if base_url == _PUBLIC_URL and not key:
        raise ConfigError(
            f"No API key for {_PUBLIC_URL}: {HOW_TO_GIVE_KEYS}. Or point OPENAI_BASE_URL (or base_url) to a server "
            "of your own, for example http://localhost:8000/v1."
        )
