"""Recorded runs: steps, LLM calls, and the folders that keep them (docs/runs.md)."""

from recsim_llm.trajectories.calls import CallBatch, RecordingLLM, ReplayLLM
from recsim_llm.trajectories.export import export, to_pandas
from recsim_llm.trajectories.manifest import Manifest
from recsim_llm.trajectories.run import Run, find_runs
from recsim_llm.trajectories.steps import StepBatch, first_difference
from recsim_llm.trajectories.store import RunWriter, read_catalogue, repair, write_catalogue

__all__ = [
    "CallBatch",
    "Manifest",
    "RecordingLLM",
    "ReplayLLM",
    "Run",
    "RunWriter",
    "StepBatch",
    "export",
    "find_runs",
    "first_difference",
    "read_catalogue",
    "repair",
    "to_pandas",
    "write_catalogue",
]
