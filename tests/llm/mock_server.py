"""An OpenAI-compatible server on 127.0.0.1 for tests; it can be slow, rude, forgetful or absent."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Fault = Callable[[str, int], "web.Response | str | None"]
"""Of (question, attempt): a response to give instead, or "drop", or "hang", or None for a good answer."""


@dataclass
class MockServer:
    """Answers Yes with 0.7 and No with 0.2; use as a context manager."""

    latency_s: float = 0.0
    key: str = ""
    logprobs: bool = True
    tokens: tuple[tuple[str, float], ...] = (("Yes", -0.35667), ("No", -1.60944), ("The", -3.0))
    most_tokens: int = 1_000
    fault: Fault | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""

    def __enter__(self) -> "MockServer":
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self, started: threading.Event) -> None:
        self._loop.run_until_complete(self._main(started))
        self._loop.close()

    async def _main(self, started: threading.Event) -> None:
        self._stop = asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._respond(request)
        finally:
            self.in_flight -= 1

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return problem(401, f"Incorrect API key provided: {request.headers.get('Authorization')}")
        body = json.loads(await request.read())
        self.bodies.append(body)
        question = body["messages"][-1]["content"]
        attempt = self.attempts[question]
        self.attempts[question] += 1
        fault = self.fault(question, attempt) if self.fault else None
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        await asyncio.sleep(30 if fault == "hang" else self.latency_s)
        return fault if isinstance(fault, web.Response) else web.json_response(self._completion(body))

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": self.tokens[0][0]}}
        if body.get("logprobs") and self.logprobs:
            top = [{"token": token, "logprob": logprob} for token, logprob in self.tokens]
            label = {**top[0], "top_logprobs": top[: body["top_logprobs"]]}
            space = {"token": " ", "logprob": -0.01, "top_logprobs": [{"token": " ", "logprob": -0.01}]}
            line = [space if place % 2 else label for place in range(body["max_tokens"])][: self.most_tokens]
            choice["message"]["content"] = "".join([each["token"] for each in line])
            choice["logprobs"] = {"content": line}
        if "response_format" in body:
            choice["message"]["content"] = json.dumps({"asked": body["messages"][-1]["content"]})
        elif not body.get("logprobs"):
            choice["message"]["content"] = f"{body['messages'][-1]['content']} / {body.get('seed')}"
        return {"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 1}}


def problem(status: int, message: str, headers: dict[str, str] | None = None, code: str = "") -> web.Response:
    """An error in OpenAI's form."""
    return web.json_response({"error": {"message": message, "code": code}}, status=status, headers=headers)
