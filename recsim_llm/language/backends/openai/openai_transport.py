"""HTTP to an OpenAI-compatible server: one connection pool in a thread of its own, retries, second copies, errors."""

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
"""The kind of requests that ask about the server, not the model."""
_CONNECT_TRIES = 3
_TRIES_OF_A_STRANGER = 2
_MOST_COPIES = 3
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 30.0
_RETRIED = frozenset({408, 409, 429})
_MOST_BYTES = 64 << 20
_MOST_BYTES_AN_ANSWER = 1 << 20
"""An answer with 20 log-probabilities a token takes some 2,000 bytes a token, a label read 50 kB."""
_REJECTED = frozenset({400, 413, 422})
_SHORTEST_KEY = 8


class Rejected(NamedTuple):
    """The server does not accept this request, whatever is tried.

    Attributes:
        reason: Why, in a sentence.
        lasting: It will not accept others either: a wrong key, an unknown model or path.
    """

    reason: str
    lasting: bool = False


class HTTPCall(NamedTuple):
    """One request.

    Attributes:
        path: Behind the base URL, or a whole URL.
        body: JSON to post; None to get.
        kind: Requests of one kind take about as long.
        answers: Prompts in it: each eight of them are given the time limit once more.
    """

    path: str
    body: bytes | None
    kind: str
    answers: int = 1


class _Failure(NamedTuple):
    """A failure that may pass: why, what to do if it does not, and how often and when to try again.

    It is `empty` where the server said that all was well, and what it sent was no answer; the first retry goes out
    `at_once` where that can help.
    """

    reason: str
    advice: str
    max_retries: int = 1_000
    wait_s: float | None = None
    empty: bool = False
    at_once: bool = True


class Transport:
    """Sends requests from a background thread's event loop; its coroutines must run there.

    Args:
        base_url: Up to and including `/v1`.
        key: Sent, never shown.
        model: The model's name, for messages.
        usage: Where retries, answers that were none and second copies are counted.
        timeout_s: Longest wait for one answer, in seconds.
        max_retries: How often one request is sent again after a failure that may pass.
        hedging: Decides on second copies; None for none.

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
        """The server's answer, asked for again and a second time as needed.

        A successful response that `read` finds no answer in is a failure that may pass, unless the model has never
        answered: then it is asked twice more, and what is behind the URL is no such server.

        Args:
            call: The request.
            read: Makes the answer of a body; raises NoAnswerError where it is none.
            number: Decides the jitter of waits.
            most_retries: Bounds the retries further.
            optional: The server may lack this path; then it is rejected, not an error.

        Raises:
            LLMError: Wrong key, unknown model or path, no quota; or asked as often as allowed.
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
        """The first copy that is answered wins; for a fourth, the first is given up.

        What failed before goes out `twice` at once, as others are likely to wait for it by now; so does, in a storm,
        what is slow; and where one of several copies fails, another takes its place.
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
        """Send once more; of four copies the oldest is given up."""
        self._usage.hedged += 1
        if len(copies) == _MOST_COPIES:
            copies.pop(0).cancel()
        copies.append(asyncio.ensure_future(self._post(call, read)))

    async def _post(self, call: HTTPCall, read: Callable[[bytes], T]) -> T | Rejected | _Failure:
        """Send once; returns the answer, or what stands in its way if that may pass or is of this request alone."""
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
            # Without its cause: some of aiohttp's errors hold the request's headers, and with them the key.
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
        # Servers have been seen to quote the whole key back, and answers are kept. Short ones are no secrets.
        key = self.session.headers.get("Authorization", "").removeprefix("Bearer ")
        if len(key) < _SHORTEST_KEY:
            return content
        return content.replace(key.encode(), b"***").replace(key.replace("/", "\\/").encode(), b"***")


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes | None:
    """What the server sent, unpacked; None where it is more than `most` bytes: the rest is not read."""
    if (response.content_length or 0) > most:
        return None
    content = bytearray()
    async for part in response.content.iter_any():
        content += part
        if len(content) > most:
            return None
    return bytes(content)


def _backoff_s(number: int, attempt: int, at_once: bool) -> float:
    """0.25 s, 0.5 s, 1 s, ... with jitter; the first of them is left out where most failures are of one call alone."""
    if at_once and attempt == 0:
        return 0.0
    # Jitter by prompt: what failed together must not come back together.
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
            # No limit of its own: a second copy must not wait behind those that hang.
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
