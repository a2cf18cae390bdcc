"""Any OpenAI-compatible server as a language model: hundreds of requests in flight from one background thread.

Decisions are label reads (one output token a label, with its log-probabilities), texts are ordinary completions. How
requests are written and answers are read is in `openai_wire`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from recsim_llm.errors import ConfigError, LLMError, MissingExtraError
from recsim_llm.llm.openai_wire import BodyWriter, explain_status, has_no_quota, read_answer, retry_after_s
from recsim_llm.llm.protocol import Usage
from recsim_llm.seeding import uniforms
from recsim_llm.types import Completion, Prompt

if TYPE_CHECKING:
    import aiohttp

_PUBLIC_URL = "https://api.openai.com/v1"
_CONNECT_TRIES = 3
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 30.0
_RETRIED = frozenset({408, 409, 429})


class OpenAILLM:
    """A model behind an OpenAI-compatible `/chat/completions`.

    With choices, one token is asked for together with its `top_logprobs` likeliest alternatives. A returned token
    counts for a choice if, stripped of white space, it is that choice or the beginning of that choice alone. A choice
    that is not among the returned tokens gets the largest probability it can have: that of the unlikeliest returned
    token, and no more than its share of the mass that was not returned. An answer of several slots is one request for a
    line of labels, each one token, with white space, commas or semicolons between; of a line with other words in it
    only the labels before them are read, so that there are too few and agents ask again.

    Works inside a running event loop (notebooks): requests run in a thread of their own, which is kept, with its
    connections, until `close` or until the object is collected. Proxies from the environment are not used.

    Args:
        model: The model's name on the server.
        base_url: Up to and including `/v1`; default is the environment variable OPENAI_BASE_URL, else OpenAI's.
        api_key: Default is the environment variable OPENAI_API_KEY. It is sent, never logged, stored or shown.
        concurrency: Most requests in flight.
        timeout_s: Longest wait for one answer, in seconds, before it is asked again.
        max_retries: How often one prompt is sent again after a timeout, a dropped connection or a status of
            408, 409, 429 or 5xx, waiting as long as the server says, else 0.25 s, 0.5 s, 1 s, ... with jitter.
        top_logprobs: Alternatives to ask for with choices; at most 20 on most servers.

    Raises:
        ConfigError: No key for the public service, or a URL that is none.
        MissingExtraError: aiohttp is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        concurrency: int = 512,
        timeout_s: float = 60.0,
        max_retries: int = 5,
        top_logprobs: int = 20,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}; it must be at least 1.")
        self.usage = Usage()
        self._base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or _PUBLIC_URL).rstrip("/")
        key = api_key or os.environ.get("OPENAI_API_KEY", "")
        _check_config(self._base_url, key)
        self._model, self._concurrency, self._max_retries = model, concurrency, max_retries
        self._writer = BodyWriter(model, top_logprobs)
        self._top_logprobs = top_logprobs
        self._loop, self._session = _start(key, concurrency, timeout_s)
        self.close = weakref.finalize(self, _stop, self._loop, self._session)
        """Close the connections and end the thread; later calls fail."""

    @property
    def name(self) -> str:
        """Identity for caches: server, model and how deep log-probabilities are read."""
        return f"openai:{self._model}@{self._base_url}?top={self._top_logprobs}"

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt; the first failure that cannot be cured by asking again ends the call.

        Raises:
            LLMError: Wrong key, unknown model, prompt too long, no log-probabilities, server unreachable or failing.
        """
        if not self.close.alive:
            raise LLMError(f"This connection to {self._base_url} has been closed; make a new OpenAILLM.")
        started = time.perf_counter()
        future = asyncio.run_coroutine_threadsafe(self._ask_all(prompts, self._max_retries), self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # does nothing where it is done; ends the requests when the caller is interrupted
            self.usage.seconds += time.perf_counter() - started

    def check(self) -> None:
        """Make one tiny request: server, key, model and log-probabilities are there, or the error says what is not.

        Raises:
            LLMError: What is missing and what to do.
        """
        prompt = Prompt("Answer with one word.", "", "Is water wet? Answer Yes or No.", ("Yes", "No"))
        asyncio.run_coroutine_threadsafe(self._ask_all([prompt], min(1, self._max_retries)), self._loop).result()

    async def _ask_all(self, prompts: Sequence[Prompt], max_retries: int) -> list[Completion]:
        answers: list[Completion | None] = [None] * len(prompts)
        queue = iter(enumerate(prompts))
        workers = [
            asyncio.ensure_future(self._work(queue, answers, max_retries))
            for _ in range(min(self._concurrency, len(prompts)))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [answer for answer in answers if answer is not None]

    async def _work(
        self, queue: Iterator[tuple[int, Prompt]], answers: list[Completion | None], max_retries: int
    ) -> None:
        usage = self.usage
        for index, prompt in queue:
            answer = await self._ask(index, prompt, max_retries)
            answers[index] = answer
            usage.calls += 1
            usage.prompt_tokens += answer.prompt_tokens
            usage.output_tokens += answer.output_tokens

    async def _ask(self, index: int, prompt: Prompt, max_retries: int) -> Completion:
        body = self._writer.write(prompt)
        attempt = 0
        while True:
            outcome = await self._post(body)
            if isinstance(outcome, bytes):
                return read_answer(outcome, prompt, self._base_url)
            if attempt >= min(max_retries, outcome.max_retries):
                raise LLMError(f"{outcome.reason} (asked {attempt + 1} times). {outcome.advice}")
            await asyncio.sleep(outcome.wait_s if outcome.wait_s is not None else _backoff_s(index, attempt))
            attempt += 1
            self.usage.retries += 1

    async def _post(self, body: bytes) -> bytes | _Failure:
        """Send one request; returns the answer or a failure worth asking again, and raises on any other."""
        import aiohttp

        try:
            async with self._session.post(f"{self._base_url}/chat/completions", data=body) as response:
                content = await response.read()
                status, headers = response.status, response.headers
        except aiohttp.ClientConnectorError as error:
            advice = "Start the server, or correct base_url / OPENAI_BASE_URL."
            return _Failure(f"The server {self._base_url} cannot be reached: {error.os_error}", advice, _CONNECT_TRIES)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            reason = "did not answer in time" if isinstance(error, TimeoutError) else "dropped the connection"
            return _Failure(f"The server {self._base_url} {reason}", "Lower concurrency or raise timeout_s.")
        except (aiohttp.ClientError, ValueError) as error:
            raise LLMError(f"The request to {self._base_url} could not be made: {type(error).__name__}.") from error
        if status == 200:
            return content
        reason = self._without_key(explain_status(status, content, self._model, self._base_url))
        if (status in _RETRIED or status >= 500) and not has_no_quota(status, content):
            advice = "Lower concurrency, or look into the server's log."
            return _Failure(reason, advice, wait_s=retry_after_s(headers.get("Retry-After")))
        raise LLMError(reason)

    def _without_key(self, text: str) -> str:
        # Servers have been seen to quote the whole key back.
        key = self._session.headers.get("Authorization", "").removeprefix("Bearer ")
        return text.replace(key, "***") if key else text


class _Failure:
    """A failure that may pass: why, what to do if it does not, and how often and when to try again."""

    __slots__ = ("advice", "max_retries", "reason", "wait_s")

    def __init__(self, reason: str, advice: str, max_retries: int = 1_000, wait_s: float | None = None) -> None:
        self.reason, self.advice, self.max_retries, self.wait_s = reason, advice, max_retries, wait_s


def _backoff_s(index: int, attempt: int) -> float:
    # Jitter by prompt: what failed together must not come back together.
    jitter = 0.5 + 0.5 * float(uniforms(index, attempt))
    return float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt) * jitter)


def _check_config(base_url: str, key: str) -> None:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"base_url must look like http://host:8000/v1, not '{base_url}'.")
    if parts.username or parts.password:
        raise ConfigError("base_url must not hold a password: it is part of the model's name. Use api_key.")
    if base_url == _PUBLIC_URL and not key:
        raise ConfigError(
            f"No API key for {_PUBLIC_URL}. Set OPENAI_API_KEY, or point OPENAI_BASE_URL (or base_url) to a server "
            "of your own, for example http://localhost:8000/v1."
        )


def _start(key: str, concurrency: int, timeout_s: float) -> tuple[asyncio.AbstractEventLoop, aiohttp.ClientSession]:
    try:
        import aiohttp
    except ImportError as error:
        raise MissingExtraError("aiohttp", "openai", "A model behind an OpenAI-compatible server") from error
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="recsim-llm-openai", daemon=True).start()

    async def session() -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )

    return loop, asyncio.run_coroutine_threadsafe(session(), loop).result()


def _stop(loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
    async def end() -> None:
        await session.close()
        loop.call_soon(loop.stop)

    asyncio.run_coroutine_threadsafe(end(), loop).result(timeout=5)
    while loop.is_running():
        time.sleep(0.001)
    loop.close()
