"""Recorded runs: steps, LLM calls, and the folders that keep them (docs/runs.md)."""

from recsim_llm.runs.calls import CallBatch, RecordingLLM, ReplayLLM
from recsim_llm.runs.manifest import Manifest
from recsim_llm.runs.run import Run, find_runs
from recsim_llm.runs.run_tables import export
from recsim_llm.runs.steps import StepBatch, first_difference
from recsim_llm.runs.store import RunWriter, read_catalogue, repair, write_catalogue

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
    "write_catalogue",
]
