"""An OpenAI-compatible server on 127.0.0.1 in a process of its own; it answers anything with the same label read.

The latency, in seconds, is the first part of the path: `http://127.0.0.1:PORT/0.2/v1`. Requests are not parsed and the
answer is made once, so that the server is not what is measured. Run as `python -m benchmarks.mock_server`; it prints
its address and serves until its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TOP = [{"token": t, "logprob": lp, "bytes": None} for t, lp in (("Yes", -0.357), ("No", -1.61), ("4", -4.0))]
_TOP += [{"token": f" other{i}", "logprob": -6.0 - i, "bytes": None} for i in range(17)]
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Yes"},
                "logprobs": {"content": [{**_TOP[0], "top_logprobs": _TOP}]},
                "finish_reason": "length",
            }
        ],
        "usage": {"prompt_tokens": 300, "completion_tokens": 1, "total_tokens": 301},
    }
).encode()


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
        await request.read()
        await asyncio.sleep(float(request.path.split("/", 2)[1]))
        return web.Response(body=ANSWER, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
