"""Cost of recording: time and bytes per user-step, beside one JSON line per user-step."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.table import Row, seconds
from benchmarks.world import folder, people, random_pages
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.experiments.simulation.rollout import step_batch
from recsim_llm.runs import Manifest, RunWriter, StepBatch

USERS, PAGE = 1024, 10
_MANIFEST = Manifest(
    name="bench", config={}, seed=0, versions={}, dataset="bench", dataset_checksum="", policy="random",
    user_model="statistical", llm="", num_users=USERS, page_size=PAGE, rating_levels=(1.0, 2.0, 3.0, 4.0, 5.0),
)  # fmt: skip


def run(quick: bool) -> Iterator[Row]:
    """Both write real rounds and flush each round to disk before the next."""
    rounds = _rounds(3 if quick else 20)
    count = sum(len(steps) for steps in rounds)
    measure = f"store, {USERS:,} users a round, K={PAGE}, R=5"
    with tempfile.TemporaryDirectory(prefix="recsim-llm-bench-") as top:
        ours, our_bytes = _measure(_write_run, rounds, Path(top) / "run")
        peer, peer_bytes = _measure(_write_lines, rounds, Path(top) / "lines")
    peer_is = "a JSON line a user-step, fsync a round"
    yield Row(f"{measure}: time", 1e6 * ours / count, "us/user-step", "", 1e6 * peer / count, peer_is)
    yield Row(f"{measure}: size", our_bytes / count, "bytes/user-step", "", peer_bytes / count, peer_is)


def _rounds(count: int) -> list[StepBatch]:
    env = PageVectorEnv(USERS, folder(), StatisticalUsers(people()))
    env.reset(seed=0)
    rounds = []
    for pages in random_pages(USERS, PAGE, count):
        env.step(pages)
        assert env.last is not None
        rounds.append(step_batch(env.last, 0))
    return rounds


def _measure(write: Callable[[list[StepBatch], Path], None], rounds: list[StepBatch], path: Path) -> tuple[float, int]:
    spent = seconds(lambda: write(rounds, path))
    return spent, sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _write_run(rounds: list[StepBatch], path: Path) -> None:
    writer = RunWriter.create(path, _MANIFEST)
    for index, steps in enumerate(rounds):
        writer.write_round(index, steps)
    writer.finish({})


def _write_lines(rounds: list[StepBatch], path: Path) -> None:
    path.mkdir()
    with (path / "steps.jsonl").open("w", encoding="utf-8") as file:
        for steps in rounds:
            file.writelines(f"{json.dumps(step)}\n" for step in _dictionaries(steps))
            file.flush()
            os.fsync(file.fileno())


def _dictionaries(steps: StepBatch) -> Iterator[dict[str, object]]:
    names = [name for name in StepBatch.__slots__ if name != "thoughts"]
    columns = [getattr(steps, name).tolist() for name in names]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))
