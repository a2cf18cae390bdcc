"""Engines on Ray: overhead of chunks over the same engine in this process, and scaling over copies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.table import Row, best_seconds, seconds
from recsim_llm.errors import MissingExtraError
from recsim_llm.language.backends.ray.ray_backend import RayLLM
from recsim_llm.types import Completion, Prompt, Usage

AGENTS, QUESTIONS = 2_000, 8
SERVICE_S = 0.002
"""Seconds per prompt of the busy engine: those of a small model on a GPU."""


class Idle:
    """Answers at once."""

    name = "idle"

    def __init__(self) -> None:
        self.usage = Usage()
        self._answer = Completion("Yes", (-0.5, -1.0), 400, 1)

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt alike."""
        self.usage.calls += len(prompts)
        return [self._answer] * len(prompts)


class Busy(Idle):
    """Takes a fixed time per prompt without using the CPU."""

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt alike, after a delay."""
        time.sleep(SERVICE_S * len(prompts))
        return super().generate(prompts)


def run(quick: bool) -> Iterator[Row | str]:
    """Chunks beside one call per agent, then 1, 2 and 4 copies."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "The benchmark of engines on Ray") from error

    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=8, **quiet)
    try:
        yield from _chunks(ray, AGENTS // (20 if quick else 1))
        yield from _copies(64 if quick else 512)
    finally:
        ray.shutdown()


def prompts(agents: int) -> list[Prompt]:
    """Eight questions to each agent, 1,700 characters per prompt."""
    system, labels = "You play one person who rates films. " * 10, ("Yes", "No")
    contexts = [f"You are person {agent}. " + "You like quiet films about the sea. " * 35 for agent in range(agents)]
    return [Prompt(system, context, f"Film {i}: watch it?", labels) for context in contexts for i in range(QUESTIONS)]


def _chunks(ray: Any, agents: int) -> Iterator[Row]:
    asked, engine = prompts(agents), "python:benchmarks.ray_chunks:Idle"
    here = best_seconds(lambda: Idle().generate(asked))
    llm = RayLLM(engine, cpus_per_replica=1)
    llm.generate(asked[:100])
    ours = best_seconds(lambda: llm.generate(asked))
    few = asked[: 200 * QUESTIONS]
    pages = [few[start : start + QUESTIONS] for start in range(0, len(few), QUESTIONS)]
    one = ray.remote(_Plain).options(num_cpus=1).remote()
    ray.get(one.answer.remote(pages[0]))
    peer = seconds(lambda: ray.get([one.answer.remote(page) for page in pages]))
    llm.close()
    yield Row(
        f"prompts through one driver to an engine on Ray, {len(asked):,} prompts in chunks",
        len(asked) / ours,
        "prompts/s",
        "50,000/s",
        len(few) / peer,
        "one Ray call an agent, prompts as objects",
    )
    # With engines that take time, the relative cost of transfers falls.
    cost = (ours - here) / len(asked)
    yield Row("the same: processor time of the way there and back, a prompt", cost * 1e6, "µs", "20 µs")


class _Plain:
    """An engine that is called once per agent."""

    def __init__(self) -> None:
        self._llm = Idle()

    def answer(self, page: list[Prompt]) -> list[Completion]:
        return self._llm.generate(page)


def _copies(agents: int) -> Iterator[Row]:
    asked, engine = prompts(agents), "python:benchmarks.ray_chunks:Busy"
    here = seconds(lambda: Busy().generate(asked))
    for replicas in (1, 2, 4):
        llm = RayLLM(engine, cpus_per_replica=1, replicas=replicas, chunk_size=64)
        llm.generate(asked[: 64 * replicas])
        took = seconds(lambda: llm.generate(asked))  # noqa: B023 - called at once
        llm.close()
        what = f"{replicas} copies of an engine of {SERVICE_S * 1e3:g} ms a prompt, {len(asked):,} prompts"
        aim = "5 % overhead: 0.95" if replicas == 1 else "0.9"
        yield Row(f"{what}: efficiency", here / replicas / took, "of 1", aim)
