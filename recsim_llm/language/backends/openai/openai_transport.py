"""HTTP client for an OpenAI-compatible server: a connection pool in its own thread, retries, second copies, errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from recsim_llm.errors import LLMError, MissingExtraError
from recsim_llm.language.backends.openai.hedging import Hedging
from recsim_llm.language.backends.openai.openai_answers import NoAnswerError
from recsim_llm.language.backends.openai.openai_wire import explain_status, has_no_quota, retry_after_s
from recsim_llm.language.protocol import Usage
from recsim_llm.seeding import uniforms

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
PROBE = "probe"
"""Kind of the requests that query the server rather than the model."""
_CONNECT_TRIES = 3
_TRIES_OF_A_STRANGER = 2
_MOST_COPIES = 3
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 30.0
_RETRIED = frozenset({408, 409, 429})
_MOST_BYTES = 64 << 20
_MOST_BYTES_AN_ANSWER = 1 << 20
"""An answer with 20 log-probabilities per token takes some 2,000 bytes per token, a label read 50 kB."""
_REJECTED = frozenset({400, 413, 422})
_SHORTEST_KEY = 8


class Rejected(NamedTuple):
    """The server rejected this request, and retries cannot help.

    Attributes:
        reason: Why, in a sentence.
        lasting: It will reject others too: a wrong key, an unknown model or path.
    """

    reason: str
    lasting: bool = False


class HTTPCall(NamedTuple):
    """One request.

    Attributes:
        path: Path after the base URL, or a whole URL.
        body: JSON for a POST; None for a GET.
        kind: Requests of one kind take about equally long.
        answers: Number of prompts in it; the time limit is multiplied by 1 + answers // 8.
    """

    path: str
    body: bytes | None
    kind: str
    answers: int = 1


class _Failure(NamedTuple):
    """A transient failure: why, what to do if it persists, and how often and when to retry.

    `empty`: the status was a success but the body held no answer. `at_once`: the first retry is sent without waiting,
    where that can help.
    """

    reason: str
    advice: str
    max_retries: int = 1_000
    wait_s: float | None = None
    empty: bool = False
    at_once: bool = True


class Transport:
    """Sends requests from the event loop of a background thread; its coroutines must run there.

    Args:
        base_url: Up to and including `/v1`.
        key: Sent, never shown.
        model: The model's name, for messages.
        usage: Counters of retries, unusable answers and second copies.
        timeout_s: Longest wait for one answer, in seconds.
        max_retries: Most retries of one request after a transient failure.
        hedging: Decides on second copies; None disables them.

    Raises:
        MissingExtraError: aiohttp is not installed.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        model: str,
        usage: Usage,
        *,
        timeout_s: float,
        max_retries: int,
        hedging: Hedging | None,
    ) -> None:
        self._base_url, self._model, self._usage = base_url, model, usage
        self._max_retries, self._timeout_s, self._hedging = max_retries, timeout_s, hedging
        self._good = False  # whether the model has ever answered
        self.loop, self.session = _start(key)

    async def send(
        self,
        call: HTTPCall,
        read: Callable[[bytes], T],
        number: int = 0,
        *,
        most_retries: int = 1_000,
        optional: bool = False,
    ) -> T | Rejected:
        """Send a request, with retries and second copies as needed, and return the answer.

        A successful response without an answer that `read` can use is a transient failure, unless the model has never
        answered: then there are two more attempts, after which the URL counts as not being such a server.

        Args:
            call: The request.
            read: Parses the body into the answer; raises NoAnswerError if there is none.
            number: Number from which the jitter of waits is computed.
            most_retries: A further bound on the retries.
            optional: The server may lack this path; the request is then rejected, which is not an error.

        Raises:
            LLMError: Wrong key, unknown model or path, no quota; or no retries are left.
        """
        attempt = 0
        while True:
            outcome = await self._first_outcome(call, read, twice=attempt == 1)
            if isinstance(outcome, Rejected) and outcome.lasting and not optional:
                raise LLMError(outcome.reason)
            if not isinstance(outcome, _Failure):
                return outcome
            if attempt >= min(self._max_retries, outcome.max_retries, most_retries):
                if optional and outcome.empty:
                    return Rejected(outcome.reason)
                raise LLMError(f"{outcome.reason} (asked {attempt + 1} times). {outcome.advice}")
            await asyncio.sleep(
                outcome.wait_s if outcome.wait_s is not None else _backoff_s(number, attempt, outcome.at_once)
            )
            attempt += 1
            if outcome.empty:
                self._usage.no_answers += 1
            else:
                self._usage.retries += 1

    async def _first_outcome(self, call: HTTPCall, read: Callable[[bytes], T], twice: bool) -> T | Rejected | _Failure:
        """Send copies of a request and return the first answer; a fourth copy cancels the first.

        A request that failed before is sent `twice` at once, as others are likely to wait for it by now; so is a slow
        one in a storm. If one of several copies fails, another replaces it.
        """
        if self._hedging is None:
            return await self._post(call, read)
        self._hedging.sent()
        copies = [asyncio.ensure_future(self._post(call, read))]
        if twice and self._hedging.may_double():
            self._copy(copies, call, read)
        sent_at, factor = self.loop.time(), 1.0
        try:
            while True:
                look_s = self._hedging.look_s(call.kind, self.loop.time() - sent_at, factor)
                await asyncio.wait(copies, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                outcomes = [copy.result() for copy in copies if copy.done()]
                failures = [each for each in outcomes if isinstance(each, _Failure)]
                if len(failures) < len(outcomes):
                    return next(each for each in outcomes if not isinstance(each, _Failure))
                waiting = [each for each in failures if each.wait_s is not None]
                if len(failures) == len(copies):
                    return (waiting or failures)[0]
                copies = [copy for copy in copies if not copy.done()]
                slow = not failures and self._hedging.may_copy(call.kind, self.loop.time() - sent_at, factor)
                if slow or (failures and not waiting and self._hedging.may_double()):
                    sent_at, factor = self.loop.time(), 2.0 * factor if slow else factor
                    self._copy(copies, call, read)
                if slow and self._hedging.may_double():
                    self._copy(copies, call, read)
        finally:
            for copy in copies:
                copy.cancel()

    def _copy(
        self, copies: list[asyncio.Task[T | Rejected | _Failure]], call: HTTPCall, read: Callable[[bytes], T]
    ) -> None:
        """Send one more copy; with four copies, cancel the oldest."""
        self._usage.hedged += 1
        if len(copies) == _MOST_COPIES:
            copies.pop(0).cancel()
        copies.append(asyncio.ensure_future(self._post(call, read)))

    async def _post(self, call: HTTPCall, read: Callable[[bytes], T]) -> T | Rejected | _Failure:
        """Send once; return the answer, or the failure if it is transient or concerns this request alone."""
        started = self.loop.time()
        outcome = await self._exchange(call, read)
        if self._hedging is not None and isinstance(outcome, _Failure):
            self._hedging.failed()
        elif self._hedging is not None and not isinstance(outcome, Rejected):
            self._hedging.answered(call.kind, self.loop.time() - started)
        return outcome

    async def _exchange(self, call: HTTPCall, read: Callable[[bytes], T]) -> T | Rejected | _Failure:
        import aiohttp

        url = call.path if "://" in call.path else self._base_url + call.path
        limit = aiohttp.ClientTimeout(total=self._timeout_s * (1 + call.answers // 8))
        try:
            method = "GET" if call.body is None else "POST"
            async with self.session.request(method, url, data=call.body, timeout=limit) as response:
                content = await _body(response, _MOST_BYTES + call.answers * _MOST_BYTES_AN_ANSWER)
                status, retry_after = response.status, response.headers.get("Retry-After")
        except aiohttp.ClientConnectorError as error:
            advice = "Start the server, or correct base_url / OPENAI_BASE_URL."
            reason = f"The server {self._base_url} cannot be reached: {error.os_error}"
            return _Failure(reason, advice, _CONNECT_TRIES, at_once=False)
        except (
            aiohttp.ClientConnectionError,
            aiohttp.ClientPayloadError,
            aiohttp.ClientResponseError,
            TimeoutError,
        ) as error:
            reason = "did not answer in time" if isinstance(error, TimeoutError) else "dropped the connection"
            return _Failure(f"The server {self._base_url} {reason}", "Lower concurrency or raise timeout_s.")
        except (aiohttp.ClientError, ValueError) as error:
            # Raised without its cause: some of aiohttp's errors contain the request's headers, and so the key.
            raise LLMError(f"The request to {self._base_url} could not be made: {type(error).__name__}.") from None
        if content is None:
            return _Failure(f"The server {self._base_url} sent more than any answer has", "Look into the server's log.")
        content = self._without_key(content)
        if not 200 <= status < 300:
            return self._not_answered(status, content, retry_after)
        try:
            answer = read(content)
        except NoAnswerError as error:
            tries = 1_000 if self._good else _TRIES_OF_A_STRANGER
            return _Failure(error.reason, error.advice, tries, empty=True)
        self._good |= call.kind != PROBE
        return answer

    def _not_answered(self, status: int, content: bytes, retry_after: str | None) -> Rejected | _Failure:
        reason = explain_status(status, content, self._model, self._base_url)
        if (status in _RETRIED or status >= 500) and not has_no_quota(status, content):
            advice = "Lower concurrency, or look into the server's log."
            return _Failure(reason, advice, wait_s=retry_after_s(retry_after), at_once=status != 429)
        return Rejected(reason, lasting=status not in _REJECTED)

    def _without_key(self, content: bytes) -> bytes:
        # Some servers quote the whole key back, and answers are stored. Short keys are placeholders, not secrets.
        key = self.session.headers.get("Authorization", "").removeprefix("Bearer ")
        if len(key) < _SHORTEST_KEY:
            return content
        return content.replace(key.encode(), b"***").replace(key.replace("/", "\\/").encode(), b"***")


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The decompressed body; None if it exceeds `most` bytes, in which case the rest is not read."""
    if (response.content_length or 0) > most:
        return None
    content = bytearray()
    async for part in response.content.iter_any():
        content += part
        if len(content) > most:
            return None
    return bytes(content)


def _backoff_s(number: int, attempt: int, at_once: bool) -> float:
    """0.25 s, 0.5 s, 1 s, ... with jitter; the first wait is skipped where most failures affect one call alone."""
    if at_once and attempt == 0:
        return 0.0
    # Jitter by prompt: requests that failed together must not be retried together.
    jitter = 0.5 + 0.5 * float(uniforms(number, attempt))
    return float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (attempt - at_once)) * jitter)


def _start(key: str) -> tuple[asyncio.AbstractEventLoop, aiohttp.ClientSession]:
    try:
        import aiohttp
    except ImportError as error:
        raise MissingExtraError("aiohttp", "openai", "A model behind an OpenAI-compatible server") from error
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="recsim-llm-openai", daemon=True).start()

    async def session() -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return aiohttp.ClientSession(
            # No connection limit here: a second copy must not wait behind requests that hang.
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )

    return loop, asyncio.run_coroutine_threadsafe(session(), loop).result()


def stop(loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
    """Close the connections of a transport and end its thread."""

    async def end() -> None:
        await session.close()
        loop.call_soon(loop.stop)

    asyncio.run_coroutine_threadsafe(end(), loop).result(timeout=5)
    while loop.is_running():
        time.sleep(0.001)
    loop.close()
