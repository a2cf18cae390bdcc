"""A real vLLM engine: label reads after growing prompts, and one free text per page, in turns on one engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.table import Row, seconds
from recsim_llm.agents.population import make_population
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.errors import DataError, DownloadError
from recsim_llm.experiments.simulation.cost.cost import NobodyLeaves
from recsim_llm.language.protocol import LLM
from recsim_llm.language.uniform import UniformLLM
from recsim_llm.types import Completion, Prompt

MODEL = os.environ.get("RECSIM_LLM_TEST_MODEL", "smollm2-135m")
DATASET = os.environ.get("RECSIM_LLM_BENCH_DATASET", "ml-100k")
PAGE_SIZE, PAGES = 4, 2
_PEER_IS = "one free-text call a page with Agent4Rec's parts (agent4rec:text), all at once: a thread pool at its best"


class Listening:
    """Answers uniformly and stores its prompts."""

    def __init__(self) -> None:
        self._llm = UniformLLM()
        self.name, self.usage, self.heard = self._llm.name, self._llm.usage, list[Prompt]()

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """As `UniformLLM`."""
        self.heard += prompts
        return self._llm.generate(prompts)


def run(quick: bool) -> Iterator[Row | str]:
    """The prompts of 200 people's first two pages, asked in both ways; a second of each in turn, page by page."""
    from recsim_llm.language.backends.vllm.vllm_backend import VllmLLM

    people = 16 if quick else 200
    try:
        ours, theirs = (pages_of(kind, people) for kind in ("dialogue", "agent4rec:text,genres"))
    except (DataError, DownloadError) as missing:
        yield f"vllm: {missing}"
        return
    # The peer's text is not checked against a schema here.
    free = [[prompt._replace(schema="") for prompt in page] for page in theirs]
    llm = VllmLLM(MODEL, max_model_len=2_048)
    try:
        llm.generate([page[0]._replace(context="") for page in (ours[0], free[0])])  # the instructions of both
        (our_s, our), (peer_s, peer) = _in_turns(llm, ours, free)
    finally:
        llm.close()
    decisions = people * PAGE_SIZE * PAGES
    sizes = f"vLLM on {_device(llm)}, {people} people x {PAGES} pages of {PAGE_SIZE}"
    yield Row(f"{sizes}: decisions", decisions / our_s, "decisions/s", "5x", decisions / peer_s, _PEER_IS)
    for what, spent in (("sent and written", (our[0], peer[0])), ("computed", (our[1], peer[1]))):
        mine, other = (tokens / decisions for tokens in spent)
        yield Row(f"{sizes}: tokens {what} a decision", mine, "tokens", "a fifth", other, "the same")


def pages_of(kind: str, people: int) -> list[list[Prompt]]:
    """Prompts of agents of a kind on each of the first pages; nobody leaves."""
    llm = Listening()
    users = NobodyLeaves(make_population(DATASET, kind, llm).users)
    env = PageVectorEnv(people, DATASET, users, page_size=PAGE_SIZE, max_pages=PAGES, autoreset_mode="disabled")
    env.reset(seed=0)
    pages = []
    rng = np.random.default_rng(0)
    for _ in range(PAGES):
        llm.heard.clear()
        shown = [rng.choice(users.num_items, PAGE_SIZE, replace=False) for _ in range(people)]
        env.step(np.array(shown))
        pages.append(llm.heard[:people])  # re-asks after unusable answers come later
    return pages


def _in_turns(llm: LLM, *ways: list[list[Prompt]]) -> list[tuple[float, tuple[int, int]]]:
    """Wall time of each way, and its tokens: all, and those that the engine computed."""
    times, tokens = [0.0] * len(ways), [(0, 0)] * len(ways)
    for page in range(PAGES):
        for i, way in enumerate(ways):
            before = replace(llm.usage)
            times[i] += seconds(lambda: llm.generate(way[page]))  # noqa: B023 - called at once
            spent = _tokens(llm) - (before.prompt_tokens + before.output_tokens)
            cached = llm.usage.cached_tokens - before.cached_tokens
            tokens[i] = (tokens[i][0] + spent, tokens[i][1] + spent - cached)
    return list(zip(times, tokens, strict=True))


def _tokens(llm: LLM) -> int:
    return llm.usage.prompt_tokens + llm.usage.output_tokens


def _device(llm: LLM) -> str:
    return "CPU" if ":cpu:" in llm.name else "GPU"
