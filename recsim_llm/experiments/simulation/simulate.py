"""The main job: runs policies on a population, page by page, and records every step. One run folder per policy."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recsim_llm.agents.fitted_sources import personas
from recsim_llm.agents.long_term.long_term_population import RULE_NOTES
from recsim_llm.agents.named_users import keep_memories, keep_thoughts, own_texts
from recsim_llm.agents.population import Population, SocialPopulation
from recsim_llm.agents.user_model import UserModel
from recsim_llm.certificate import FILE as CERTIFICATE
from recsim_llm.data import load_dataset
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.backend import Engines
from recsim_llm.experiments.progress import progress_bar
from recsim_llm.experiments.simulation.arm_files import (
    LEARNED,
    check_texts,
    fit_missing,
    keep_plan,
    keep_texts,
    learned_of,
    playing,
    save_policies,
)
from recsim_llm.experiments.simulation.config import SimulationConfig, config_json
from recsim_llm.experiments.simulation.cost.gpu_use import GpuUse
from recsim_llm.experiments.simulation.interventions.interventions import (
    CONTROL,
    Intervention,
    NewItem,
    load_interventions,
)
from recsim_llm.experiments.simulation.recorders import Recorders, RunModels, open_models
from recsim_llm.experiments.simulation.society_loop import Diary
from recsim_llm.experiments.simulation.trajectory import Cast, assemble, stream, switched
from recsim_llm.language.wrappers.budget import Budget
from recsim_llm.plugins import object_name
from recsim_llm.policies import check_policy, check_policy_object, known_policies
from recsim_llm.policies.policy_protocol import ExplainedPolicy, Policy
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.runs import (
    Manifest,
    Run,
    RunWriter,
    StepBatch,
    repair,
    write_catalogue,
)
from recsim_llm.runs.events import events_table
from recsim_llm.runs.manifest import FILE
from recsim_llm.runs.recorded_context import save_people, write_history, write_links
from recsim_llm.runs.run import ASKED, MEMORIES, THOUGHTS, WHY, recorded_completions
from recsim_llm.runs.step_notes import asked_table, memory_table, thought_table, why_table
from recsim_llm.runs.store import is_begun
from recsim_llm.types import EMPTY


def simulate(
    config: SimulationConfig,
    out: Path,
    resume: bool = False,
    progress: bool = True,
    engines: Engines | None = None,
    budget: Budget | None = None,
    users: UserModel | None = None,
    policy: Policy | None = None,
) -> list[Run]:
    """Run every policy of the config; on resume, finished runs are left as they are.

    Args:
        config: What to simulate.
        out: Folder; policy P is recorded in `out/P`, and with interventions its control arm in `out/P-control`.
        resume: Continue existing runs instead of refusing them.
        progress: Show a progress bar.
        engines: Where the language model runs; default: in this process.
        budget: Limits on what this call may cost; default: no limit.
        users: A user model of your own, as an object, instead of the config's `user_model`. All policies share this
            object, run after run. A replay needs an equal one: `replay(run, users=...)`.
        policy: A policy of your own, as an object (`policies.policy_protocol.Policy`), instead of the config's
            `policies`, for separate sessions. Its own random draws and what it learned are not stored: to resume or
            replay the run, pass one as it was at the start, `replay(run, policy=...)`.

    Raises:
        ConfigError: The config cannot work, or names a user model beside `users`, or policies beside `policy`.
        RecordingError: A run already exists and `resume` is False, or it was made by another config.
        LLMError: The model cannot answer. Recorded steps are kept; the run can be resumed.
        BudgetError: The budget is used up. Recorded steps are kept; the run can be resumed.
    """
    config = _chosen(config, users, policy)
    if resume:
        _check_begun(config, out)
    plans, texts = arms(config), own_texts(config.user_model)
    runs = []
    with ExitStack() as stack:
        models = open_models(config, engines, budget, stack)
        for name in config.policies:
            for suffix, interventions in plans.items():
                if own_texts(config.user_model) != texts:
                    raise ConfigError(f"The prompts of '{config.user_model}' have changed since this command began.")
                one = replace(config, policies=(name,))
                folder = out / f"{parse_policy(name).label}{suffix}"
                runs.append(_one_run(one, folder, interventions, models, resume, progress, users, policy))
    return runs


def _chosen(config: SimulationConfig, users: UserModel | None, policy: Policy | None) -> SimulationConfig:
    """Return the checked config, with all names filled in."""
    if policy is None:
        return _chosen_people(config, users)
    if config.policies != SimulationConfig().policies:
        raise ConfigError("Give policy=... or the config's policies, not both.")
    if config.rounds:
        raise ConfigError("A policy object shows pages in separate sessions: drop rounds, or name it as module:Class.")
    check_policy_object(policy, config.page_size)
    return replace(_chosen_people(config, users), policies=(object_name(policy),))


def _chosen_people(config: SimulationConfig, users: UserModel | None) -> SimulationConfig:
    if users is None:
        config.check()
        return config.chosen
    if config.user_model or config.llm:
        raise ConfigError("Give users=... or the config's user_model and llm, not both.")
    plain = replace(config, user_model="statistical")
    plain.check()
    return replace(plain.chosen, user_model=object_name(users))


def _check_begun(config: SimulationConfig, out: Path) -> None:
    """Refuse to resume runs that never started: with a mistyped folder everything would be asked and paid for again.

    Raises:
        RecordingError: No run of these policies is in the folder; the message names sibling folders that hold some.
    """
    if any((out / parse_policy(policy).label).is_dir() for policy in config.policies):
        return
    here = [folder.name for folder in out.parent.glob("*") if any(folder.glob(f"*/{FILE}"))]
    close = get_close_matches(out.name, here, n=3, cutoff=0.5) or sorted(here)[:3]
    hint = f" Did you mean {' or '.join(str(out.parent / name) for name in close)}?" if close else ""
    policies = ", ".join(config.policies)
    raise RecordingError(
        f"--resume: there is no run of {policies} in {out}.{hint} Without --resume a new one is begun."
    )


def arms(config: SimulationConfig) -> dict[str, tuple[Intervention, ...]]:
    """The arms of a simulation, as a map from the suffix of the run's name to its interventions.

    In the control arm nothing is changed, and new items never appear.
    """
    if not config.interventions:
        return {"": ()}
    plan = load_interventions(Path(config.interventions), load_dataset(config.dataset), known_policies())
    if not plan:
        raise ConfigError(f"{config.interventions} holds no intervention: both arms would be the same. Leave it out.")
    for policy in switched(plan):
        try:
            check_policy(policy)
        except ConfigError as error:
            raise ConfigError(f"{config.interventions}, policy '{policy}': {error}") from error
    never = tuple(replace(i, round=config.rounds + 1) for i in plan if isinstance(i, NewItem))
    return {"": plan, CONTROL: never}


def _one_run(
    config: SimulationConfig,
    folder: Path,
    interventions: tuple[Intervention, ...],
    models: RunModels,
    resume: bool,
    progress: bool,
    users: UserModel | None,
    policy: Policy | None,
) -> Run:
    there = resume and is_begun(folder)
    damage = repair(folder) if there else ()
    for sentence in damage:
        print(sentence, file=sys.stderr)
    if there:
        check_texts(folder, config)
    if there and not damage and Run(folder).finished:
        _check_same(Run(folder), config)
        return Run(folder)
    return _record(config, folder, interventions, models, there, progress, users, policy)


def _record(
    config: SimulationConfig,
    folder: Path,
    interventions: tuple[Intervention, ...],
    models: RunModels,
    resume: bool,
    progress: bool,
    users: UserModel | None,
    policy: Policy | None,
) -> Run:
    recorders = models.recorders(config, recorded_completions(folder) if resume else {})
    llm_name = models.users.name if models.users else ""
    learned = learned_of(config, llm_name, folder)
    cast = assemble(config, recorders.users, learned, users)
    fitted = {} if policy is not None else fit_missing(config, cast, interventions, folder, recorders.policies)
    manifest = make_manifest(config, cast.population, llm_name, folder.name)
    manifest = replace(manifest, policy_llm=recorders.policies.name if recorders.policies else "")
    writer = RunWriter.resume(folder, manifest, repaired=True) if resume else RunWriter.create(folder, manifest)
    started = time.monotonic()
    before = recorders.usage()  # the backends keep counting from run to run
    scribe, gpu = _Scribe(writer, recorders, cast.population.users), GpuUse()
    try:
        save_policies(folder, fitted)
        if learned:
            learned.save(folder / LEARNED)
        keep_plan(folder, interventions)
        keep_texts(folder, config)
        _describe(cast, config, folder)
        writer.record_side_files()
        catalogue = cast.population.dataset.catalogue
        policies = playing(folder, config, interventions, catalogue, recorders.policies, policy)
        scribe.policy = policies[config.policies[0]]
        happenings = stream(config, cast, policies, interventions)
        total, unit = (config.rounds, "round") if config.rounds else (config.users, "user")
        with progress_bar(total, unit, folder.name, progress) as bar, gpu:
            for happening in happenings:
                bar.update(scribe.write(happening))
        scribe.close()
    except BaseException as stopped:
        scribe.flush()  # answers of the unfinished round are paid for: the resumed run reuses them
        writer.interrupt(type(stopped).__name__)
        raise
    spent = {name: {k: v - before[name][k] for k, v in used.items()} for name, used in recorders.usage().items()}
    done = summary(cast.population.users, spent, time.monotonic() - started)
    counts = getattr(policies[config.policies[0]], "counts", None)
    if counts is not None:
        done["policy"] = counts()
    if config.quit and isinstance(cast.population, Population):
        done["leaving"] = {name: note for name, note in cast.population.notes.items() if name in RULE_NOTES}
    writer.finish({**done, "decisions": scribe.decisions, "gpu_busy": gpu.mean, "certified": cast.population.certified})
    return Run(folder)


class _Scribe:
    """Records what happens, with the model's answers before the steps they led to.

    Attributes:
        policy: The policy that shows the pages.
        decisions: Items on pages that were not recorded before: the work of this command.
    """

    def __init__(self, writer: RunWriter, recorders: Recorders, users: UserModel) -> None:
        self._writer, self._recorders, self._index = writer, recorders, 0
        self.policy: Policy | None = None
        self._notebook, self._thoughts = keep_memories(users), keep_thoughts(users)
        self._recorded = writer.num_parts
        self.decisions = 0
        self._society = False

    def write(self, happening: StepBatch | Diary) -> int:
        """Record a happening; return the run's progress (rounds of a society, else sessions that ended)."""
        if isinstance(happening, Diary):
            self.flush()
            self._writer.write_events(happening.round, events_table(happening.events))
            self._society = True
            return 1
        calls = self._recorders.drain()
        self._writer.write_round(self._index, happening, calls, self._notes(happening))
        if self._index >= self._recorded:
            self.decisions += int((happening.items != EMPTY).sum())
        self._index += 1
        return 0 if self._society else int((happening.left | happening.truncated).sum())

    def _notes(self, steps: StepBatch | None) -> dict[str, pa.Table]:
        notes = {
            ASKED: asked_table(self._recorders.asked(), steps),
            MEMORIES: memory_table(self._notebook, steps),
            THOUGHTS: thought_table(self._thoughts, steps),
        }
        self._notebook.clear()
        self._thoughts.clear()
        if steps is None or not isinstance(self.policy, ExplainedPolicy) or self.policy.why is None:
            return notes
        why, self.policy.why = self.policy.why, None  # clear it: it must not explain pages of another policy
        return {**notes, WHY: why_table(why, steps)}

    def close(self) -> None:
        """Record what came after the last page too."""
        self.flush()
        self._writer.write_notes(self._index, self._notes(None))

    def flush(self) -> None:
        """Record answers that no step has followed yet."""
        calls = self._recorders.drain()
        if calls is not None:
            self._writer.write_calls(self._index, calls)


def make_manifest(
    config: SimulationConfig, population: Population | SocialPopulation, llm_name: str, name: str = ""
) -> Manifest:
    """Build the manifest of a run (`run.json`)."""
    return Manifest(
        name=name or config.policies[0],
        config=config_json(config),
        seed=config.seed,
        versions=versions(),
        dataset=population.dataset.name,
        dataset_checksum=population.dataset.checksum,
        policy=config.policies[0],
        user_model=config.user_model,
        llm=llm_name,
        num_users=config.users,
        page_size=config.page_size,
        rating_levels=population.dataset.rating_levels,
    )


def versions() -> dict[str, str]:
    """Versions that can change a trajectory."""
    import pyarrow

    from recsim_llm import __version__

    return {
        "recsim_llm": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pyarrow.__version__,
    }


def summary(users: UserModel, spent: Mapping[str, Mapping[str, float]], seconds: float) -> dict[str, Any]:
    """Cost and counters of a run.

    Returns:
        Seconds; calls and tokens of each model ("llm", "policy_llm"); outcomes of answers ("answers"), of memories that
        move in stages ("memory"), of texts and of thoughts.
    """
    models = {name: dict(used) for name, used in spent.items()}
    return {"seconds": round(seconds, 3), **models, **users.describe().counts}


def _describe(cast: Cast, config: SimulationConfig, folder: Path) -> None:
    """Write what readers of the run need besides steps: titles, people, certificate. Readers load no data set."""
    dataset = cast.population.dataset
    write_catalogue(folder, dataset.catalogue.items, dataset.catalogue.raw_ids)
    if cast.population.certificate:
        cast.population.certificate.write(folder / CERTIFICATE)
    _background(cast, folder)
    people = personas(config.dataset, config.personas)
    save_people(folder, [people[u] for u in cast.visitors], [dataset.people[u].raw_id for u in cast.visitors])


def _background(cast: Cast, folder: Path) -> None:
    population = cast.population
    mine = population.log.take(np.isin(population.log.users, cast.visitors))
    write_history(folder, mine.users, mine.items, mine.values.astype(np.float64), mine.times)
    if isinstance(population, SocialPopulation):
        graph, here = population.graph, cast.visitors.tolist()
        members = set(here)
        pairs = [(user, other) for user in here for other in graph.neighbours(user).tolist() if other in members]
        write_links(folder, np.array(pairs, dtype=np.int64).reshape(-1, 2))


def _check_same(run: Run, config: SimulationConfig) -> None:
    if run.manifest.config != config_json(config):
        ours, theirs = config_json(config), run.manifest.config
        differing = [f"{k} ({theirs.get(k)} there, {ours[k]} now)" for k in ours if theirs.get(k) != ours[k]]
        raise RecordingError(
            f"{run.folder} holds a finished run with another {', '.join(differing)}. Choose another --out folder."
        )
