"""Replays a run from its recorded calls, with no model present, and compares every step bit for bit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from recsim_llm.agents.named_users import brought_name, keep_thoughts
from recsim_llm.agents.user_model import UserModel
from recsim_llm.errors import RecordingError
from recsim_llm.experiments.simulation.arm_files import learned_of, playing, policy_names, with_kept_texts
from recsim_llm.experiments.simulation.config import SimulationConfig, config_of
from recsim_llm.experiments.simulation.interventions.interventions import kept_plan
from recsim_llm.experiments.simulation.society_loop import Diary
from recsim_llm.experiments.simulation.trajectory import Cast, assemble, stream
from recsim_llm.plugins import is_class_path, object_name, refuse_within
from recsim_llm.policies import check_policy_object
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.runs import ReplayLLM, Run, StepBatch, first_difference
from recsim_llm.runs.events import events_table, first_different_event
from recsim_llm.runs.run import THOUGHTS, part_numbers
from recsim_llm.runs.side_files import check_side_files
from recsim_llm.runs.step_notes import first_different_thought, thought_table


@dataclass(frozen=True, slots=True)
class Replayed:
    """Result of a replay.

    Attributes:
        steps: Session-steps that were compared, all identical.
        calls: Recorded LLM answers that were used.
        trajectory_hash: sha256 of the trajectory.
    """

    steps: int
    calls: int
    trajectory_hash: str


def replay(run: Run | str | PathLike[str], users: UserModel | None = None, policy: Policy | None = None) -> Replayed:
    """Run a recorded simulation again from its recorded calls; thoughts, which no hash covers, must be equal too.

    Classes that the run names and that are not built in are imported (docs/plugins.md).

    Args:
        run: The run, or its folder.
        users: User model equal to the object that `simulate` was given; None for all other runs.
        policy: As `users`, for a policy that was an object; as it was at the start of the run.

    Raises:
        ConfigError: A class that the run names cannot be imported, or lies beside the run; or an object is missing.
        RecordingError: The data set has changed, an answer was not recorded, or a step differs.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    cast = recast(run, users)
    again = happenings(run, cast, policy)
    steps, diaries = run.iter_parts(), run.iter_events()
    thoughts, part, compared = keep_thoughts(cast.population.users), 0, 0
    # Runs of older versions did not store the texts that agents wrote.
    kept = bool(part_numbers(run.folder, THOUGHTS)) or config_of(run).thoughts == "page"
    # An interrupted run is replayed up to the end of its recording.
    for happening in _as_far_as_recorded(run, again):
        if isinstance(happening, Diary):
            difference = first_different_event(next(diaries), events_table(happening.events))
        else:
            difference = first_difference(next(steps), happening)
            if difference is None and kept:
                difference = first_different_thought(run.thoughts(part), thought_table(thoughts, happening))
            thoughts.clear()
            part, compared = part + 1, compared + len(happening)
        if difference is not None:
            raise RecordingError(f"{run.folder}: the replay differs from the recording: {difference}.")
    return Replayed(compared, len(run.recorded_completions()), run.trajectory_hash())


def recast(run: Run, users: UserModel | None = None) -> Cast:
    """Return the people of a recorded run, played by its recorded answers; arguments as in `replay`.

    Raises:
        ConfigError: As in `replay`.
        RecordingError: The data set has changed, or a file of the run was changed.
    """
    check_side_files(run.folder)
    config = config_of(run)
    _admit_code(run, config)
    if users is not None and config.user_model != object_name(users):
        raise RecordingError(f"{run.folder}: its people are '{config.user_model}', not '{object_name(users)}'.")
    llm = ReplayLLM(run.manifest.llm, run.recorded_completions()) if config.asks_llm else None
    config = with_kept_texts(run.folder, config)
    cast = assemble(config, llm, learned_of(config, run.manifest.llm, run.folder), users)
    if cast.population.dataset.checksum != run.manifest.dataset_checksum:
        raise RecordingError(f"{run.folder}: the data set {config.dataset} has changed since the run was recorded.")
    return cast


def _admit_code(run: Run, config: SimulationConfig) -> None:
    """Print which classes and functions named by the run are about to be imported; refuse those that came with it.

    A run's folder may come from a stranger: it may name code that this user has, but must not bring code.
    """
    policies = [parse_policy(policy) for policy in policy_names(config, kept_plan(run.folder))]
    named = [config.reward, brought_name(config.user_model), *(spec.name for spec in policies if spec.file is None)]
    for name in filter(is_class_path, named):
        file = refuse_within(name, run.folder.absolute().parent)
        print(f"{run.folder} names {name}: it is imported{f' from {file}' if file else ''}.", file=sys.stderr)


def happenings(run: Run, cast: Cast, policy: Policy | None = None) -> Iterator[StepBatch | Diary]:
    """Recompute what happened in a recorded run; arguments as in `replay`.

    Raises:
        ConfigError: As in `replay`.
        RecordingError: The run's policy is not of this object's class.
    """
    config, plan = config_of(run), kept_plan(run.folder)
    if policy is not None:
        if config.policies[0] != object_name(policy):
            raise RecordingError(f"{run.folder}: its policy is '{config.policies[0]}', not '{object_name(policy)}'.")
        check_policy_object(policy, config.page_size)
    llm = ReplayLLM(run.manifest.policy_llm, run.recorded_completions()) if run.manifest.policy_llm else None
    policies = playing(run.folder, config, plan, cast.population.dataset.catalogue, llm, policy)
    return stream(config, cast, policies, plan)


def _as_far_as_recorded(run: Run, again: Iterator[StepBatch | Diary]) -> Iterator[StepBatch | Diary]:
    steps, rounds = run.num_parts, sum(1 for _ in run.iter_events())
    while steps or rounds:
        happening = next(again, None)
        if happening is None:
            return
        steps, rounds = (steps, rounds - 1) if isinstance(happening, Diary) else (steps - 1, rounds)
        yield happening
