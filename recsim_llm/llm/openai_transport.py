"""HTTP to an OpenAI-compatible server: one connection pool in a thread of its own, retries, second copies, errors."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from recsim_llm.errors import LLMError, MissingExtraError
from recsim_llm.llm.hedging import Hedging
from recsim_llm.llm.openai_wire import explain_status, has_no_quota, retry_after_s
from recsim_llm.llm.protocol import Usage
from recsim_llm.seeding import uniforms

if TYPE_CHECKING:
    import aiohttp

_CONNECT_TRIES = 3
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 30.0
_RETRIED = frozenset({408, 409, 429})
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


class Call(NamedTuple):
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
    """A failure that may pass: why, what to do if it does not, and how often and when to try again."""

    reason: str
    advice: str
    max_retries: int = 1_000
    wait_s: float | None = None


class Transport:
    """Sends requests from a background thread's event loop; its coroutines must run there.

    Args:
        base_url: Up to and including `/v1`.
        key: Sent, never shown.
        model: The model's name, for messages.
        usage: Where retries and second copies are counted.
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
        self.loop, self.session = _start(key)

    async def send(
        self, call: Call, number: int = 0, *, most_retries: int = 1_000, optional: bool = False
    ) -> bytes | Rejected:
        """The body of the server's answer, asked for again and a second time as needed.

        Args:
            call: The request.
            number: Decides the jitter of waits.
            most_retries: Bounds the retries further.
            optional: The server may lack this path; then it is rejected, not an error.

        Raises:
            LLMError: Wrong key, unknown model or path, no quota; or asked as often as allowed.
        """
        attempt = 0
        while True:
            outcome = await self._first_outcome(call)
            if isinstance(outcome, Rejected) and outcome.lasting and not optional:
                raise LLMError(outcome.reason)
            if not isinstance(outcome, _Failure):
                return outcome
            if attempt >= min(self._max_retries, outcome.max_retries, most_retries):
                raise LLMError(f"{outcome.reason} (asked {attempt + 1} times). {outcome.advice}")
            await asyncio.sleep(outcome.wait_s if outcome.wait_s is not None else _backoff_s(number, attempt))
            attempt += 1
            self._usage.retries += 1

    async def _first_outcome(self, call: Call) -> bytes | Rejected | _Failure:
        """The first copy that is answered wins; of a third, sent after twice the wait, the first is given up for."""
        if self._hedging is None:
            return await self._post(call)
        self._hedging.sent()
        copies = [asyncio.ensure_future(self._post(call))]
        sent_at, factor = self.loop.time(), 1.0
        try:
            while True:
                look_s = self._hedging.look_s(call.kind, self.loop.time() - sent_at, factor)
                await asyncio.wait(copies, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                outcomes = [copy.result() for copy in copies if copy.done()]
                answer = next((each for each in outcomes if not isinstance(each, _Failure)), None)
                if answer is not None or len(outcomes) == len(copies):
                    return outcomes[0] if answer is None else answer
                copies = [copy for copy in copies if not copy.done()]
                if not outcomes and self._hedging.may_copy(call.kind, self.loop.time() - sent_at, factor):
                    self._usage.hedged += 1
                    sent_at, factor = self.loop.time(), 2.0 * factor
                    if len(copies) == 2:
                        copies.pop(0).cancel()
                    copies.append(asyncio.ensure_future(self._post(call)))
        finally:
            for copy in copies:
                copy.cancel()

    async def _post(self, call: Call) -> bytes | Rejected | _Failure:
        """Send once; returns the answer, or what stands in its way if that may pass or is of this request alone."""
        import aiohttp

        url = call.path if "://" in call.path else self._base_url + call.path
        limit = aiohttp.ClientTimeout(total=self._timeout_s * (1 + call.answers // 8))
        started = self.loop.time()
        try:
            method = "GET" if call.body is None else "POST"
            async with self.session.request(method, url, data=call.body, timeout=limit) as response:
                content = self._without_key(await response.read())
                status, retry_after = response.status, response.headers.get("Retry-After")
        except aiohttp.ClientConnectorError as error:
            advice = "Start the server, or correct base_url / OPENAI_BASE_URL."
            return _Failure(f"The server {self._base_url} cannot be reached: {error.os_error}", advice, _CONNECT_TRIES)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            reason = "did not answer in time" if isinstance(error, TimeoutError) else "dropped the connection"
            return _Failure(f"The server {self._base_url} {reason}", "Lower concurrency or raise timeout_s.")
        except (aiohttp.ClientError, ValueError) as error:
            # Without its cause: some of aiohttp's errors hold the request's headers, and with them the key.
            raise LLMError(f"The request to {self._base_url} could not be made: {type(error).__name__}.") from None
        if status == 200:
            if self._hedging is not None:
                self._hedging.answered(call.kind, self.loop.time() - started)
            return content
        return self._not_answered(status, content, retry_after)

    def _not_answered(self, status: int, content: bytes, retry_after: str | None) -> Rejected | _Failure:
        reason = explain_status(status, content, self._model, self._base_url)
        if (status in _RETRIED or status >= 500) and not has_no_quota(status, content):
            advice = "Lower concurrency, or look into the server's log."
            return _Failure(reason, advice, wait_s=retry_after_s(retry_after))
        return Rejected(reason, lasting=status not in _REJECTED)

    def _without_key(self, content: bytes) -> bytes:
        # Servers have been seen to quote the whole key back, and answers are kept. Short ones are no secrets.
        key = self.session.headers.get("Authorization", "").removeprefix("Bearer ")
        if len(key) < _SHORTEST_KEY:
            return content
        return content.replace(key.encode(), b"***").replace(key.replace("/", "\\/").encode(), b"***")


def _backoff_s(number: int, attempt: int) -> float:
    # Jitter by prompt: what failed together must not come back together.
    jitter = 0.5 + 0.5 * float(uniforms(number, attempt))
    return float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt) * jitter)


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
