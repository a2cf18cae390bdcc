"""Time to open and to switch pages of the dashboard in a real browser, for a usual run and a huge one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.table import Row
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Manifest, Run, RunWriter, StepBatch, write_catalogue
from recsim_llm.testing.dashboard_browser import Browser, missing, serving
from recsim_llm.types import Item

PAGES = ("", "replay", "person", "population", "compare", "fidelity", "calls")
TITLES = ("Replay", "Person", "Population", "Compare", "Fidelity", "LLM calls", "Runs")
PEOPLE, PAGE_SIZE, LEVELS, ITEMS, PAGES_EACH = 1_000, 4, (1.0, 2.0, 3.0, 4.0, 5.0), 1_000, 5
PART = 100_000


def run(quick: bool) -> Iterator[Row | str]:
    """Seconds until a page is finished: by its address, when the server has just started; then by the sidebar."""
    if missing():
        yield missing()
        return
    rows = PART if quick else 10_000_000
    with tempfile.TemporaryDirectory(prefix="recsim-llm-bench-") as top:
        usual, huge = Path(top) / "usual", Path(top) / "huge"
        config = SimulationConfig(
            dataset=f"synthetic:0:{PEOPLE}", users=PEOPLE, pages=PAGES_EACH, page_size=PAGE_SIZE, policies=("ease",)
        )
        simulate(config, usual, progress=False)
        yield from _opened(usual, f"{PEOPLE:,} people x {PAGES_EACH} x {PAGE_SIZE}", "ease", "2", "1")
        _write(huge / "run", rows)
        yield from _opened(huge, f"{rows:,} step rows", "run", "usable", "usable")


def _opened(top: Path, what: str, run: str, opened: str, switched: str) -> Iterator[Row]:
    with serving(top) as address, Browser() as browser:
        browser.driver.get(f"{address}/_stcore/health")  # excludes Chromium's own start
        for page in PAGES:
            key = "runs" if page == "compare" else "run"
            seconds = browser.open(f"{address}/{page}?{key}={run}")
            yield Row(f"dashboard, {what}: {page or 'runs'}, opened cold", seconds, "s", opened)
        for title in TITLES:
            yield Row(f"dashboard, {what}: switch to {title}", browser.switch(title), "s", switched)


def _write(folder: Path, rows: int) -> None:
    """A run of many step rows: random, but with sessions of some pages, in parts of 100,000."""
    manifest = Manifest(
        name="run",
        config={"rounds": 0},
        seed=0,
        versions={},
        dataset="bench",
        dataset_checksum="",
        policy="random",
        user_model="statistical",
        llm="",
        num_users=rows // PAGES_EACH,
        page_size=PAGE_SIZE,
        rating_levels=LEVELS,
    )
    writer = RunWriter.create(folder, manifest)
    items = [Item(i, f"Title {i}", 2000, ("Drama", "Comedy")[: 1 + i % 2]) for i in range(ITEMS)]
    write_catalogue(folder, items, [str(i) for i in range(ITEMS)])
    rng = np.random.default_rng(0)
    for index in range(rows // PART):
        writer.write_round(index, _steps(rng, index))
    writer.finish({"seconds": 1.0})
    assert Run(folder).finished


def _steps(rng: np.random.Generator, index: int) -> StepBatch:
    row = np.arange(PART)
    session, page = index * (PART // PAGES_EACH) + row // PAGES_EACH, row % PAGES_EACH
    watch = rng.random((PART, PAGE_SIZE))
    watched = rng.random((PART, PAGE_SIZE)) < watch
    stars = rng.integers(1, len(LEVELS) + 1, (PART, PAGE_SIZE)).astype(np.float64)
    start = rng.integers(0, ITEMS - PAGE_SIZE, PART)
    return StepBatch(
        session=session,
        user=session.copy(),
        page=page,
        items=start[:, None] + np.arange(PAGE_SIZE),
        watch=watch,
        rating_probs=np.full((PART, PAGE_SIZE, len(LEVELS)), 1 / len(LEVELS)),
        watched=watched,
        ratings=np.where(watched, stars, 0.0),
        leave=np.full(PART, 0.1),
        left=page == PAGES_EACH - 1,
        truncated=np.zeros(PART, dtype=np.bool_),
        reward=np.where(watched, stars, 0.0).sum(axis=1),
    )
