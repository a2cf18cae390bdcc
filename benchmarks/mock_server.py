"""An OpenAI-compatible server on 127.0.0.1 in a process of its own; it answers anything with the same label reads.

The latency, in seconds, is the first part of the path: `http://127.0.0.1:PORT/0.2/v1`. Of a request only `max_tokens`
is looked for, as a page of S labels asks for 2 S tokens, and the answer of each length is made once, so that the server
is not what is measured. Run as `python -m benchmarks.mock_server`; it prints its address and serves until its standard
input closes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

_TOP = [{"token": t, "logprob": lp, "bytes": None} for t, lp in (("Yes", -0.357), ("No", -1.61), ("4", -4.0))]
_TOP += [{"token": f" other{i}", "logprob": -6.0 - i, "bytes": None} for i in range(17)]
_SPACE = {"token": " ", "logprob": -0.01, "bytes": None}


@lru_cache(maxsize=64)
def answer_of(max_tokens: int) -> bytes:
    """A line of as many labels as fit, and one at least."""
    labels = max(1, max_tokens // 2)
    line = [{**_TOP[0], "top_logprobs": _TOP}]
    line += [{**_SPACE, "top_logprobs": [_SPACE]}, line[0]] * (labels - 1)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": " ".join(["Yes"] * labels)},
        "logprobs": {"content": line},
        "finish_reason": "length",
    }
    usage = {"prompt_tokens": 300, "completion_tokens": len(line), "total_tokens": 300 + len(line)}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "mock"}
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


def max_tokens_of(body: bytes) -> int:
    """The number behind the last `"max_tokens":`, 1 where there is none; inside a text its quotes would be escaped."""
    digits = body.rpartition(b'"max_tokens":')[2][:6].split(b",")[0].strip(b" }")
    return int(digits) if digits.isdigit() else 1


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

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        await asyncio.sleep(float(request.path.split("/", 2)[1]))
        return web.Response(body=answer_of(max_tokens_of(body)), content_type="application/json")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
