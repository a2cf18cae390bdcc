"""Run a recorded simulation again without a model and compare every step bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from recsim_llm.checked import AnyPath
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.runs import find_runs


@dataclass(frozen=True)
class ReplayCommand:
    """Options of `recsim-llm replay`."""

    run: Positional[AnyPath]
    """A run folder, or a folder of runs."""


def run(command: ReplayCommand) -> None:
    """Replay every run of a folder."""
    for run in find_runs(command.run):
        done = replay(run)
        print(f"{run.folder}: {done.steps:,} pages identical, bit for bit; {done.calls:,} recorded LLM answers used.")
        print(f"  trajectory {done.trajectory_hash}")
