"""Decisions per second through one client core, beside the stock client as others use it: in threads and asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.mock_server import server
from benchmarks.table import Row, seconds
from benchmarks.world import page_prompts
from recsim_llm.errors import MissingExtraError
from recsim_llm.language.backends.openai.openai_backend import OpenAILLM
from recsim_llm.types import Prompt

_THREADS = 500
_SEMAPHORE = 128


def run(quick: bool) -> Iterator[Row]:
    """At a latency of 0.2 s (a busy GPU): in batches as with a vLLM server, and one prompt per request as elsewhere.

    The peers send one prompt per request: Agent4Rec from 500 threads (`core/agent4rec`), OASIS from one event loop
    behind a semaphore of 128. Neither supports batches.
    """
    _need("aiohttp", "openai")
    _need("openai", "dev")
    count, single, peers = (6_000, 600, 300) if quick else (60_000, 6_000, 1_500)
    prompts = page_prompts(-(-count // 8), 4)[:count]
    with server() as address:
        plain = f"{address}/0.2/v1"
        threads = threads_per_second(plain, prompts[:peers])
        tasks = tasks_per_second(plain, prompts[:peers])
        of_threads = f"stock openai client on {_THREADS} threads (Agent4Rec's way), {peers:,} prompts"
        of_tasks = f"async stock client, semaphore {_SEMAPHORE} (OASIS's way), {peers:,} prompts"
        batched = ours_per_second(f"{address}/vllm/0.2/v1", prompts)
        name = f"client core, 0.2 s a call, vLLM batches, {count:,} prompts"
        yield Row(name, batched, "decisions/s", "15,000/s; 35x", threads, of_threads)
        yield Row(name, batched, "decisions/s", "15,000/s; 200x", tasks, of_tasks)
        singly = ours_per_second(plain, prompts[:single])
        yield Row(
            f"client core, 0.2 s a call, any server, {single:,} prompts",
            singly,
            "decisions/s",
            "4x",
            threads,
            of_threads,
        )


def ours_per_second(url: str, prompts: Sequence[Prompt]) -> float:
    """Through `OpenAILLM`; a tenth as many prompts are sent first, to open connections."""
    llm = OpenAILLM("mock", base_url=url, api_key="none")
    try:
        llm.generate(prompts[: len(prompts) // 10])
        return len(prompts) / seconds(lambda: llm.generate(prompts))
    finally:
        llm.close()


def threads_per_second(url: str, prompts: Sequence[Prompt]) -> float:
    """One client shared by all threads, as its manual says; the same request, the same log-probabilities read."""
    from openai import DefaultHttpxClient, OpenAI

    with OpenAI(base_url=url, api_key="none", http_client=DefaultHttpxClient(trust_env=False)) as client:

        def ask(prompt: Prompt) -> list[float]:
            return _labels(client.chat.completions.create(**_request(prompt)), prompt)

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(ask, prompts[:_THREADS]))  # warm-up of imports, connections and threads
            return len(prompts) / seconds(lambda: list(pool.map(ask, prompts)))


def tasks_per_second(url: str, prompts: Sequence[Prompt]) -> float:
    """One task per prompt, all at once, limited by one semaphore."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    async def ask_all() -> float:
        http = DefaultAsyncHttpxClient(trust_env=False)
        async with AsyncOpenAI(base_url=url, api_key="none", http_client=http) as client:
            semaphore, loop = asyncio.Semaphore(_SEMAPHORE), asyncio.get_running_loop()

            async def ask(prompt: Prompt) -> list[float]:
                async with semaphore:
                    return _labels(await client.chat.completions.create(**_request(prompt)), prompt)

            await asyncio.gather(*map(ask, prompts[:_SEMAPHORE]))
            started = loop.time()
            await asyncio.gather(*map(ask, prompts))
            return len(prompts) / (loop.time() - started)

    return asyncio.run(ask_all())


def _request(prompt: Prompt) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": f"{prompt.context}\n{prompt.question}"},
    ]
    options = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}
    return {"model": "mock", "messages": messages, **options}


def _labels(completion: Any, prompt: Prompt) -> list[float]:
    tops = completion.choices[0].logprobs.content[0].top_logprobs
    return [top.logprob for top in tops if top.token in prompt.choices]


def _need(package: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtraError(package, extra, "The benchmark of a server")
