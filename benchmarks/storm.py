"""Wall time of a run whose server fails and hangs, beside that of the same run in calm weather."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.mock_server import FAILING, HANG_S, HANGING, server
from benchmarks.table import Row
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate

_LATENCY_S = 0.5


def run(quick: bool) -> Iterator[Row]:
    """200 people see up to 4 pages, one call per page, 0.5 s per call; 10 % of calls fail and 5 % hang for 30 s."""
    users = 50 if quick else 200
    weather = f"{FAILING:.0%} of calls fail, {HANGING:.0%} hang for {HANG_S:.0f} s"
    for kind, what in (("agent4rec:genres", "a call a page"), ("agent4rec:genres,items", "4 calls a page at once")):
        for way, name in (("", "any server"), ("/vllm", "vLLM batches")):
            with server() as address:
                calm = _run_seconds(f"{address}{way}/calm/{_LATENCY_S}/v1", kind, users)
                stormy = _run_seconds(f"{address}{way}/storm/{_LATENCY_S}/v1", kind, users)
            case = f"{users} people x 4 pages, {what}, {_LATENCY_S} s a call, {name}"
            yield Row(f"{case}: calm", calm[0], "s")
            yield Row(f"{case}: {weather}", stormy[0], "s")
            yield Row(f"{case}: storm over calm", stormy[0] / calm[0], "times", "1.3")
            yield Row(f"{case}: copies sent over calls", stormy[1], "share", "0.25")


def _run_seconds(url: str, kind: str, users: int) -> tuple[float, float]:
    """Wall time of a run in seconds, after its people were created, and copies per call; without a cache."""
    with tempfile.TemporaryDirectory() as folder, _home(folder):
        llm = f"openai:mock?base_url={url}&api_key=none"
        config = SimulationConfig(
            user_model=kind, llm=llm, policies=("popularity",), users=users, pages=4, page_size=4, quit=""
        )
        (run,) = simulate(config, Path(folder) / "run", progress=False)
        used = run.manifest.summary["llm"]
        return run.manifest.summary["seconds"], used["hedged"] / used["calls"]


@contextmanager
def _home(folder: str) -> Iterator[None]:
    before = os.environ.get("RECSIM_LLM_HOME")
    os.environ["RECSIM_LLM_HOME"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["RECSIM_LLM_HOME"]
        else:
            os.environ["RECSIM_LLM_HOME"] = before
