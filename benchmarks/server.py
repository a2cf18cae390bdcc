"""Prompts a second through an OpenAI-compatible server on this machine, beside 100 threads with the stock client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.mock_server import server
from benchmarks.table import Row, seconds
from benchmarks.world import page_prompts
from recsim_llm.errors import MissingExtraError
from recsim_llm.llm.openai_backend import OpenAILLM
from recsim_llm.types import Prompt

THREADS = 100


def run(quick: bool) -> Iterator[Row]:
    """At a latency of 0.2 s (a busy GPU) and of 0.02 s (the client alone is the ceiling)."""
    _need("aiohttp", "openai")
    _need("openai", "dev")
    count, peer_count = (600, 200) if quick else (6_000, 600)
    prompts = page_prompts(-(-count // 8), 4)[:count]
    with server() as address:
        for latency in ("0.2", "0.02"):
            url = f"{address}/{latency}/v1"
            yield Row(
                f"openai backend, {latency} s a call, {count:,} prompts",
                prompts_per_second(url, prompts),
                "prompts/s",
                "10x",
                stock_prompts_per_second(url, prompts[:peer_count]),
                f"stock openai client on {THREADS} threads, {peer_count:,} prompts",
            )


def prompts_per_second(url: str, prompts: Sequence[Prompt]) -> float:
    """Ours, as it comes; connections are made within the time that counts."""
    llm = OpenAILLM("mock", base_url=url, api_key="none")
    try:
        llm.generate(prompts[:2])
        return len(prompts) / seconds(lambda: llm.generate(prompts))
    finally:
        llm.close()


def stock_prompts_per_second(url: str, prompts: Sequence[Prompt]) -> float:
    """One client shared by all threads, as its manual says; the same request, the same log-probabilities read."""
    from openai import DefaultHttpxClient, OpenAI

    with OpenAI(base_url=url, api_key="none", http_client=DefaultHttpxClient(trust_env=False)) as client:

        def ask(prompt: Prompt) -> list[float]:
            completion = client.chat.completions.create(
                model="mock",
                messages=[
                    {"role": "system", "content": prompt.system},
                    {"role": "user", "content": f"{prompt.context}\n{prompt.question}"},
                ],
                max_tokens=1,
                temperature=0.0,
                logprobs=True,
                top_logprobs=20,
            )
            logprobs = completion.choices[0].logprobs
            assert logprobs is not None
            assert logprobs.content
            return [top.logprob for top in logprobs.content[0].top_logprobs if top.token in prompt.choices]

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, prompts[:THREADS]))  # imports, connections and threads are there
            return len(prompts) / seconds(lambda: list(pool.map(ask, prompts)))


def _need(package: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtraError(package, extra, "The benchmark of a server")
