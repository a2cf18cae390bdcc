"""The main table of runs: one row per run, and a sentence on each society without visits."""

from __future__ import annotations

from collections.abc import Sequence

from recsim_llm.environments.society import SocietyRules
from recsim_llm.errors import RecordingError
from recsim_llm.experiments.metrics import summarise, table
from recsim_llm.runs import Run


def run_table(runs: Sequence[Run]) -> str:
    """The main table: one row per run; below it, a sentence on each society without visits."""
    if not runs:
        raise RecordingError("There are no runs to show.")
    rows = [(run.manifest.name, summarise(run.step_batch())) for run in runs if not unvisited(run)]
    return "\n".join([*([table(rows)] if rows else []), *(_why_empty(run) for run in runs if unvisited(run))])


def unvisited(run: Run) -> bool:
    """Whether a run has ended without any visit."""
    return run.finished and not run.num_parts


def _why_empty(run: Run) -> str:
    rounds, people = run.manifest.config.get("rounds", 0), run.manifest.num_users
    rules = SocietyRules()
    gaps = "{:g}, {:g} or {:g}".format(*rules.gap_hours)
    return (
        f"{run.manifest.name}: nobody visited, so there is no page and no figure: {people:,} people lived through "
        f"{rounds:,} rounds of {rules.round_hours:g} simulated hours, and wake every {gaps} hours "
        "in the mean, by activity. Take more --rounds or more --users."
    )
