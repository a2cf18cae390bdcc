"""Replays a run from its recorded calls, with no model present, and compares every step bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

from recsim_llm.agents.population import make_population
from recsim_llm.errors import RecordingError
from recsim_llm.experiments.rollout import choose_visitors, rollout
from recsim_llm.experiments.simulate import config_of
from recsim_llm.policies import load_policy
from recsim_llm.trajectories import ReplayLLM, Run, first_difference


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found.

    Attributes:
        steps: Session-steps that were compared, all identical.
        calls: Recorded LLM answers that were used.
        trajectory_hash: sha256 of the trajectory.
    """

    steps: int
    calls: int
    trajectory_hash: str


def replay(run: Run) -> Replayed:
    """Run the recorded simulation again from its recorded calls.

    Raises:
        RecordingError: The data set is another one than then, an answer was not recorded, or a step differs.
    """
    config = config_of(run)
    recorded = run.recorded_completions()
    llm = ReplayLLM(run.manifest.llm, recorded) if config.user_model == "llm" else None
    population = make_population(config.dataset, config.user_model, llm)
    if population.dataset.checksum != run.manifest.dataset_checksum:
        raise RecordingError(f"{run.folder}: the data set {config.dataset} has changed since the run was recorded.")
    visitors = choose_visitors(population.users.num_users, config.users, config.seed)
    policy = load_policy(run.folder / "policy.npz")
    again = rollout(config.dataset, population.users, policy, visitors, config.rules, config.seed, config.batch_size)
    steps = 0
    # zip stops with the recording: an interrupted run is replayed as far as it goes.
    for part, batch in zip(run.iter_parts(), again, strict=False):
        difference = first_difference(part, batch)
        if difference is not None:
            raise RecordingError(f"{run.folder}: the replay differs from the recording: {difference}.")
        steps += len(batch.session)
    return Replayed(steps, len(recorded), run.trajectory_hash())
