"""Print one table over runs, with 95 % intervals over users, paired differences, and effects of interventions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from tyro.conf import Positional

from recsim_llm.checked import AnyPath, OutFile
from recsim_llm.cli.run_table import run_table, unvisited
from recsim_llm.experiments.metrics import paired_difference
from recsim_llm.experiments.simulation.interventions.uptake import curve_table, lines, uptakes
from recsim_llm.runs import Run, find_runs


@dataclass(frozen=True)
class CompareCommand:
    """Options of `recsim-llm compare`."""

    runs: Positional[Annotated[tuple[AnyPath, ...], MinLen(1)]]
    """Run folders, or folders of runs."""
    out: OutFile | None = None
    """Also write it to this Markdown file, with diffusion curves per round if there were interventions."""


def run(command: CompareCommand) -> None:
    """Compare."""
    compare_runs(command.runs, command.out)


def compare_runs(paths: Sequence[Path], out: Path | None = None) -> None:
    """Print a table over runs, each run's paired difference to the first, and effects of interventions on items.

    Args:
        paths: Run folders, or folders of runs.
        out: Markdown file with the same content and diffusion curves.
    """
    runs = [run for path in paths for run in find_runs(path)]
    visited = [run for run in runs if not unvisited(run)]
    found = uptakes(visited)
    text = "\n".join([run_table(runs), *_differences(visited)])
    about = ["\n".join(lines(one)) for one in found]
    print("\n\n".join([text, *about]))
    if out is not None:
        curves = ["\n".join(curve_table(one)) for one in found]
        blocks = [f"```\n{block}\n```" for block in [text, *about]]
        parts = [
            "# Runs compared",
            blocks[0],
            *(part for pair in zip(blocks[1:], curves, strict=True) for part in pair),
        ]
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"\nThe report is {out}.")


def _differences(runs: Sequence[Run]) -> Iterator[str]:
    for first, run in [(runs[0], other) for other in runs[1:]]:
        gap = paired_difference(first.step_batch(), run.step_batch(), "reward")
        yield (
            f"{run.manifest.name} - {first.manifest.name}: reward a session "
            f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], {gap.n} users in both"
        )
