"""Measure whether the simulator ranks recommenders as reality does; needs randomly shown items or a known truth."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tyro.conf import Positional

from recsim_llm.checked import Name, OutFile
from recsim_llm.experiments.fidelity.ranking.ranking_validity import measure_ranking, ranking_table
from recsim_llm.runs.run_files import make_folder, write_durably


@dataclass(frozen=True)
class RankingCommand:
    """Options of `recsim-llm ranking`."""

    dataset: Positional[Name] = "synthetic"
    """'synthetic', or a folder with ratings of randomly shown items (Coat)."""
    out: OutFile | None = None
    """A JSON file for the numbers."""


def run(command: RankingCommand) -> None:
    """Measure ranking validity and print the table."""
    out = command.out
    if out:
        make_folder(out.parent)  # fail before an hour of measuring, not after
    found = measure_ranking(command.dataset)
    print(ranking_table(found))
    if out:
        write_durably(out, f"{json.dumps(found.as_json(), indent=1)}\n".encode(), "Name another --out.")
        print(f"\nNumbers are in {out}.")
