"""Runs that are killed with kill -9 at random moments and resumed: lost work, and the cost of resuming."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.table import Row
from recsim_llm.runs import Run

LLM = "python:recsim_llm.testing.scripted:hash_choice_llm"


def run(quick: bool) -> Iterator[Row]:
    """Agents of a scripted model, killed several times in a row until the run has ended."""
    users, runs = (40, 1) if quick else (400, 5)
    luck = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="recsim-llm-resume-") as folder:
        home = Path(folder)
        whole_s = _go_on(home / "whole", users, None) or 0.0
        whole = Run(home / "whole" / "ease")
        expected = _steps(home / "whole")
        kills = lost = equal = 0
        resumed_s = 0.0
        for number in range(runs):
            out = home / f"killed{number}"
            for _ in range(4):
                # Starting takes part of the time; most kills come after it.
                ended = _go_on(out, users, luck.uniform(0.5, 1.0) * whole_s)
                kills += ended is None
                # All recorded steps must equal those of the undisturbed run.
                lost += sum(expected[name] != content for name, content in _steps(out).items())
            resumed_s += _go_on(out, users, None) or 0.0
            lost += len(expected) - len(_steps(out))
            equal += Run(out / "ease").trajectory_hash() == whole.trajectory_hash()
    yield Row(f"{kills} kills -9 of {runs} runs: steps lost", lost, "parts", "0")
    yield Row("the same: runs that ended with the undisturbed trajectory", equal / runs, "of 1", "1")
    yield Row("the same: the command that ended the run, whole run 1", resumed_s / runs / whole_s, "of 1")


def _go_on(out: Path, users: int, seconds: float | None) -> float | None:
    """Begin or resume the run, and kill it after some seconds; the wall time if it ended by itself, else None."""
    options = [
        "--dataset",
        "synthetic:0:500",
        "--user-model",
        "agent4rec:genres",
        "--llm",
        LLM,
        "--policy",
        "ease",
        "--batch-size",
        "20",
    ]
    options += ["--resume"] if (out / "ease").is_dir() else []  # if killed before the run had begun, start it
    command = [sys.executable, "-m", "recsim_llm", "simulate", *options, "--users", str(users), "--out", str(out)]
    env = os.environ | {"RECSIM_LLM_HOME": str(out.parent / f"home-{out.name}")}
    started = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            code = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            return None
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}")
    return time.perf_counter() - started


def _steps(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "ease" / "steps").glob("part-*.parquet")}
