"""Print whether people of different traits behave differently, in the declared direction, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from recsim_llm.agents.fitted_sources import TEST_SHARE
from recsim_llm.agents.personas.persona import item_means
from recsim_llm.checked import AnyPath
from recsim_llm.data import load_dataset, split_ratings
from recsim_llm.experiments.simulation.config import config_of
from recsim_llm.experiments.traits import separation_table, separations
from recsim_llm.runs import find_runs
from recsim_llm.runs.recorded_context import load_people


@dataclass(frozen=True)
class TraitsCommand:
    """Options of `recsim-llm traits`."""

    run: Positional[AnyPath]
    """A run folder, or a folder of runs."""


def run(command: TraitsCommand) -> None:
    """Print how far the traits of a run's people separate their behaviour."""
    for run in find_runs(command.run):
        config = config_of(run)
        data = load_dataset(config.dataset)
        means = item_means(split_ratings(data.ratings, "temporal", TEST_SHARE).train)
        people = load_people(run.folder)[0]
        print(
            f"{run.manifest.name}\n{separation_table(separations(run.step_batch(), people, data.catalogue, means))}\n"
        )
