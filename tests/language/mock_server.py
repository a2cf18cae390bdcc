"""An OpenAI-compatible server on 127.0.0.1 for tests; it can be slow, rude, forgetful, absent, or a vLLM server."""

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log
from typing import Any
from zlib import crc32

from aiohttp import web

Fault = Callable[[str, int], "web.Response | str | None"]
"""Of (question, attempt): a response to give instead, or "drop", or "hang", or None for a good answer."""
PREFIX = [7, 8, 9]
"""Tokens of a prompt up to its answer, as the mock vLLM cuts it."""


@dataclass
class MockServer:
    """Answers Yes with 0.7 and No with 0.2; use as a context manager.

    As a vLLM server it answers label reads by token ids, with probabilities that depend on the conversation's length.
    """

    latency_s: float | Callable[[str], float] = 0.0
    key: str = ""
    logprobs: bool = True
    tokens: tuple[tuple[str, float], ...] = (("Yes", -0.35667), ("No", -1.60944), ("The", -3.0))
    most_tokens: int = 1_000
    fault: Fault | None = None
    vllm: bool = False
    has_batches: bool = True
    hang_s: float = 30.0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
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
        if self.vllm:
            app.router.add_get("/version", _json({"version": "0.32.0"}))
            app.router.add_get("/v1/models", _json({"data": [{"id": "m"}]}))
            app.router.add_post("/tokenize", self._tokenize)
            app.router.add_get("/metrics", self._metrics)
            if self.has_batches:
                app.router.add_post("/v1/chat/completions/batch", self._answer)
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
        self.paths[request.path] += 1
        try:
            return await self._respond(request)
        finally:
            self.in_flight -= 1

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return problem(401, f"Incorrect API key provided: {request.headers.get('Authorization')}")
        body = json.loads(await request.read())
        self.bodies.append(body)
        batch = request.path.endswith("/batch")
        conversations = body["messages"] if batch else [body["messages"]]
        question = " | ".join([each[-1]["content"] for each in conversations])
        attempt = self.attempts[question]
        self.attempts[question] += 1
        fault = self.fault(question, attempt) if self.fault else None
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault == "hang":
            await asyncio.wait([asyncio.ensure_future(self._stop.wait())], timeout=self.hang_s)
        else:
            await asyncio.sleep(self.latency_s(question) if callable(self.latency_s) else self.latency_s)
        if isinstance(fault, web.Response):
            return fault
        return web.json_response(self._batch(body) if batch else self._completion(body))

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
        usage = {"prompt_tokens": 11, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
        return {"choices": [choice], "usage": usage}

    def _batch(self, body: dict[str, Any]) -> dict[str, Any]:
        choices = [_label_choice(i, messages, body) for i, messages in enumerate(body["messages"])]
        usage = {"prompt_tokens": 11 * len(choices), "completion_tokens": body["max_tokens"] * len(choices)}
        return {"choices": choices, "usage": usage}

    async def _tokenize(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.paths[request.path] += 1
        said = body["messages"][-1] if "messages" in body else {"role": "text", "content": body["prompt"]}
        prefix = [] if said["role"] == "text" else PREFIX
        return web.json_response({"tokens": prefix + ([] if said["role"] == "user" else cut(said["content"]))})

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        asked = sum(len(body["messages"]) for body in self.bodies if "logprob_token_ids" in body)
        counters = {"queries": 11.0 * asked + 500, "hits": 5.5 * asked + 300}
        lines = [f'vllm:prefix_cache_{name}_total{{engine="0"}} {value}' for name, value in counters.items()]
        return web.Response(text="\n".join(["# TYPE counter", *lines, "vllm:other 1.0"]))


def cut(text: str) -> list[int]:
    """Tokens of a text, as the mock vLLM cuts it: words, and each space on its own."""
    return [32 if word == " " else 1_000 + crc32(word.encode()) % 30_000 for word in re.findall(r"\s|\S+", text)]


def _json(answer: dict[str, Any]) -> Callable[[web.Request], Any]:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer)

    return handler


def chances(text: str, ids: list[int]) -> list[float]:
    """The mock vLLM's probabilities of tokens behind a conversation that ends in this text; their sum is 0.9."""
    weights = [1.0 + (len(text) * 7 + token) % 5 for token in ids]
    return [0.9 * weight / sum(weights) for weight in weights]


def _label_choice(index: int, messages: list[dict[str, str]], body: dict[str, Any]) -> dict[str, Any]:
    """A line of labels with spaces between; the likeliest label is said."""
    ids, line = body["logprob_token_ids"], []
    for place in range(body["max_tokens"]):
        top = [(token, log(p)) for token, p in zip(ids, chances(messages[-1]["content"], ids), strict=True)]
        said = max(top, key=lambda each: each[1])[0] if place % 2 == 0 else 32
        named = [{"token": f"token_id:{token}", "logprob": value} for token, value in top]
        line.append({"token": f"token_id:{said}", "logprob": top[0][1], "top_logprobs": named})
    return {"index": index, "message": {"role": "assistant", "content": "?"}, "logprobs": {"content": line}}


def problem(status: int, message: str, headers: dict[str, str] | None = None, code: str = "") -> web.Response:
    """An error in OpenAI's form."""
    return web.json_response({"error": {"message": message, "code": code}}, status=status, headers=headers)
