"""`python -m benchmarks [NAME ...] [--quick]`: prints each row as it is measured and one table at the end."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

from benchmarks import (
    costs,
    dashboard,
    environment,
    gpu,
    label_reads,
    memory,
    overhead,
    page_calls,
    policies,
    population,
    ray_chunks,
    recall,
    resume,
    server,
    store,
    storm,
    training,
    tuning,
    vllm_engine,
)
from benchmarks.table import Benchmark, Row, number, show
from recsim_llm.errors import MissingExtraError, ModelNotFoundError

BENCHMARKS: dict[str, Benchmark] = {
    "environment": environment.run,
    "costs": costs.run,
    "overhead": overhead.run,
    "page-calls": page_calls.run,
    "memory": memory.run,
    "population": population.run,
    "server": server.run,
    "ray": ray_chunks.run,
    "label-reads": label_reads.run,
    "policies": policies.run,
    "recall": recall.run,
    "store": store.run,
    "resume": resume.run,
    "storm": storm.run,
    "training": training.run,
    "tuning": tuning.run,
    "dashboard": dashboard.run,
    "vllm": vllm_engine.run,
    "gpu": gpu.run,
}

RESULTS = Path(__file__).parent / "results"
ON_REQUEST = ("vllm", "gpu", "dashboard")
"""Benchmarks that run only if named: they need their own environment or machine."""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and size, beside a peer's way.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"any of: {', '.join(BENCHMARKS)} (default: all but {' and '.join(ON_REQUEST)})",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, figures mean little")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; benchmarks: {', '.join(BENCHMARKS)}")
    started = perf_counter()
    print(machine(), flush=True)
    rows, left_out = run(options.names or [name for name in BENCHMARKS if name not in ON_REQUEST], options.quick)
    print(f"\n{show(rows)}\n" if rows else "")
    for sentence in left_out:
        print(f"Left out: {sentence}")
    print(f"{perf_counter() - started:.0f} s in all{' (--quick: figures mean little)' if options.quick else ''}.")


def run(names: list[str], quick: bool) -> tuple[list[Row], list[str]]:
    """Rows, and sentences about skipped benchmarks."""
    rows: list[Row] = []
    left_out: list[str] = []
    for name in names:
        first = len(rows)
        for result in _results(name, quick):
            if isinstance(result, Row):
                rows.append(result)
                peer = f", peer {number(result.peer)}, {number(result.ratio, 'x')}" if result.peer is not None else ""
                print(f"[{name}] {result.measure}: {number(result.ours)} {result.unit}{peer}", flush=True)
            else:
                left_out.append(result)
                print(f"[{name}] left out: {result}", flush=True)
        if not quick:
            keep(name, rows[first:])
    return rows, left_out


def keep(name: str, rows: list[Row], folder: Path = RESULTS) -> None:
    """Write rows to `folder`/NAME.json, with the machine they were measured on; writes nothing without rows."""
    if rows:
        folder.mkdir(exist_ok=True)
        figures = [asdict(row) | {"ratio": row.ratio} for row in rows]
        text = json.dumps({"machine": machine(), "rows": figures}, indent=1)
        (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def _results(name: str, quick: bool) -> Iterator[Row | str]:
    try:
        yield from BENCHMARKS[name](quick)
    except (MissingExtraError, ModelNotFoundError) as missing:
        yield f"{name}: {missing}"


def machine() -> str:
    """The machine of the measurements, in one line."""
    packages = ", ".join(f"{name} {_version(name)}" for name in ("numpy", "torch", "gymnasium"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {_cpu()}; {platform.system()}; Python {platform.python_version()}, {packages}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
