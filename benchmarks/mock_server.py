"""A mock OpenAI-compatible server on 127.0.0.1 in its own process that gives the same label reads to every request.

The latency, in seconds, is the first part of the path: `http://127.0.0.1:PORT/0.2/v1`. With the prefix `/vllm` it
acts as a vLLM server, with batches of conversations: `http://127.0.0.1:PORT/vllm/0.2/v1`. With the prefix `/calm` or
`/storm` its labels are stars; in a storm it fails (status 500 after the latency) and hangs, by a hash of the request
and of how often it came. It reads only the parts of a request that decide the form of the answer, and builds each form
once, so that the server itself is not what is measured. Run as
`python -m benchmarks.mock_server`; it prints its address and serves until its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from zlib import crc32

_TOP = [{"token": t, "logprob": lp, "bytes": None} for t, lp in (("Yes", -0.357), ("No", -1.61), ("4", -4.0))]
_TOP += [{"token": f" other{i}", "logprob": -6.0 - i, "bytes": None} for i in range(17)]
_SPACE = {"token": " ", "logprob": -0.01, "bytes": None}
_GAP = 32
_IDS = re.compile(rb'"max_tokens":(\d+).*"logprob_token_ids":\[([^\]]*)\]')
FAILING, HANGING, HANG_S = 0.1, 0.05, 30.0
"""Shares of failing and hanging requests in a storm, and the duration of a hang, in seconds."""
_ANSWERS = {"version": {"version": "0.32.0"}, "models": {"data": [{"id": "mock"}]}}


@lru_cache(maxsize=64)
def answer_of(max_tokens: int) -> bytes:
    """A line of as many labels as fit, at least one."""
    labels = max(1, max_tokens // 2)
    line = [{**_TOP[0], "top_logprobs": _TOP}]
    line += [{**_SPACE, "top_logprobs": [_SPACE]}, line[0]] * (labels - 1)
    usage = {"prompt_tokens": 300, "completion_tokens": len(line), "total_tokens": 300 + len(line)}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "mock"}
    return json.dumps({**head, "choices": [_choice(0, " ".join(["Yes"] * labels), line)], "usage": usage}).encode()


def batch_answer(body: bytes) -> bytes:
    """Response of vLLM to a batch of label reads, field by field."""
    found = _IDS.search(body, body.rfind(b',"max_tokens":'))
    assert found is not None
    return _batch_answer(body.count(b'{"role":"user",'), int(found[1]), tuple(map(int, found[2].split(b","))))


@lru_cache(maxsize=256)
def _batch_answer(conversations: int, max_tokens: int, ids: tuple[int, ...]) -> bytes:
    top = [{"token": f"token_id:{each}", "logprob": -0.5 - i, "bytes": [49]} for i, each in enumerate(ids)]
    label = {**top[0], "top_logprobs": top}
    line = [{**label, "token": f"token_id:{_GAP}"} if place % 2 else label for place in range(max_tokens)]
    choices = [_choice(i, "1", line) for i in range(conversations)]
    tokens = {"prompt_tokens": 300 * conversations, "completion_tokens": max_tokens * conversations}
    return json.dumps({"id": "chatcmpl-1", "model": "mock", "choices": choices, "usage": tokens}).encode()


def _choice(index: int, text: str, line: list[dict[str, Any]]) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None, "tool_calls": [], "reasoning": None}
    rest = {"finish_reason": "length", "stop_reason": None, "token_ids": None}
    return {"index": index, "message": message, "logprobs": {"content": line}, **rest}


def tokens_of(body: bytes) -> list[int]:
    """Tokens of words and spaces, after one token of a prompt."""
    asked = json.loads(body)
    text = asked.get("prompt") or asked["messages"][-1]["content"].replace("?", "")
    words = [_GAP if word == " " else 100 + crc32(word.encode()) % 30_000 for word in re.findall(r" |[^ ]+", text)]
    return words if "prompt" in asked else [7, *words]


def max_tokens_of(body: bytes) -> int:
    """The number after the last `"max_tokens":`, else 1; inside a text its quotes would be escaped."""
    digits = body.rpartition(b'"max_tokens":')[2][:6].split(b",")[0].strip(b" }")
    return int(digits) if digits.isdigit() else 1


def luck_of(key: int, time: int) -> float:
    """A number in [0, 1) that depends only on the request and on how often it came."""
    return crc32(b"%d %d" % (key, time)) / 2**32


@contextmanager
def server() -> Iterator[str]:
    """The address of a running server, without the latency and `/v1`."""
    command = [sys.executable, "-m", "benchmarks.mock_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


async def serve() -> None:
    """Serve until standard input closes."""
    from aiohttp import web

    came: Counter[int] = Counter()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.removeprefix("/vllm")
        weather = path.split("/")[1]
        path = path.removeprefix("/storm").removeprefix("/calm")
        what = path.rpartition("/")[2]
        if request.path.startswith("/vllm") and what in _ANSWERS:
            return web.json_response(_ANSWERS[what])
        body = await request.read()
        if what == "tokenize":
            return web.json_response({"tokens": tokens_of(body)})
        if what not in {"completions", "batch"}:
            raise web.HTTPNotFound
        luck = 1.0
        if weather == "storm":
            key = crc32(body)
            luck, came[key] = luck_of(key, came[key]), came[key] + 1
        await asyncio.sleep(HANG_S if luck < HANGING else float(path.split("/", 2)[1]))
        if HANGING <= luck < HANGING + FAILING:
            return web.json_response({"error": {"message": "out of luck"}}, status=500)
        found = batch_answer(body) if what == "batch" else answer_of(max_tokens_of(body))
        if weather in {"calm", "storm"}:
            found = found.replace(b'"Yes', b'"4').replace(b" Yes", b" 4")
        return web.Response(body=found, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
