"""The main job: policies meet a population, page by page, and every step is recorded. One run folder a policy."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from recsim_llm.agents.agent_users import AgentUsers
from recsim_llm.agents.llm_users import LLMUsers
from recsim_llm.agents.named_users import played_by_llm
from recsim_llm.agents.population import Population, SocialPopulation
from recsim_llm.agents.sources import personas
from recsim_llm.agents.user_model import UserModel
from recsim_llm.certificate import FILE as CERTIFICATE
from recsim_llm.data import load_dataset
from recsim_llm.errors import RecordingError
from recsim_llm.experiments.arm_files import LEARNED, fit_missing, keep_plan, learned_of, load_policies, save_policies
from recsim_llm.experiments.backend import Engines, open_backend
from recsim_llm.experiments.config import SimulationConfig, config_json
from recsim_llm.experiments.gpu_use import GpuUse
from recsim_llm.experiments.interventions import Intervention, NewItem, load_interventions
from recsim_llm.experiments.living import Diary
from recsim_llm.experiments.people import save_people
from recsim_llm.experiments.trajectory import Cast, assemble, stream
from recsim_llm.llm.budget import Budget
from recsim_llm.llm.protocol import LLM
from recsim_llm.policies import POLICIES
from recsim_llm.trajectories import Manifest, RecordingLLM, Run, RunWriter, StepBatch, repair, write_catalogue
from recsim_llm.trajectories.events import events_table
from recsim_llm.types import EMPTY


def simulate(
    config: SimulationConfig,
    out: Path,
    resume: bool = False,
    progress: bool = True,
    engines: Engines | None = None,
    budget: Budget | None = None,
) -> list[Run]:
    """Run every policy of the config; finished runs are kept when resuming.

    Args:
        config: What to simulate.
        out: Folder; policy P is recorded in `out/P`, and with interventions its control arm in `out/P-control`.
        resume: Go on with what is already there instead of refusing it.
        progress: Show a progress bar.
        engines: Where the language model runs; default: in this process.
        budget: What this call may cost; default: without limit.

    Raises:
        ConfigError: The config cannot work.
        RecordingError: A run is already there and `resume` is False, or was made by another config.
        LLMError: The model cannot answer. What is recorded stays; the run can be resumed.
        BudgetError: The budget is used up. What is recorded stays; the run can be resumed.
    """
    config.check()
    config = config.chosen
    plans = arms(config)
    runs = []
    with open_backend(config.llm, engines, budget) if config.asks_llm else nullcontext() as backend:
        for name in config.policies:
            for suffix, interventions in plans.items():
                one = replace(config, policies=(name,))
                runs.append(_one_run(one, out / f"{name}{suffix}", interventions, backend, resume, progress))
    return runs


def arms(config: SimulationConfig) -> dict[str, tuple[Intervention, ...]]:
    """The arms of a simulation: suffix of the run's name to its interventions.

    In the control arm nothing is changed, and new items stay away for ever.
    """
    if not config.interventions:
        return {"": ()}
    plan = load_interventions(Path(config.interventions), load_dataset(config.dataset), tuple(POLICIES))
    never = tuple(replace(i, round=config.rounds + 1) for i in plan if isinstance(i, NewItem))
    return {"": plan, "-control": never}


def _one_run(
    config: SimulationConfig,
    folder: Path,
    interventions: tuple[Intervention, ...],
    backend: LLM | None,
    resume: bool,
    progress: bool,
) -> Run:
    there = resume and (folder / "run.json").exists()
    if there and Run(folder).finished:
        _check_same(Run(folder), config)
        return Run(folder)
    if there:
        for sentence in repair(folder):
            print(sentence, file=sys.stderr)
    return _record(config, folder, interventions, backend, there, progress)


def _record(
    config: SimulationConfig,
    folder: Path,
    interventions: tuple[Intervention, ...],
    backend: LLM | None,
    resume: bool,
    progress: bool,
) -> Run:
    recorder = RecordingLLM(backend, Run(folder).recorded_completions() if resume else {}) if backend else None
    learned = learned_of(config, backend.name if backend else "", folder)
    cast = assemble(config, recorder, learned)
    fitted = fit_missing(config, cast, interventions, folder)
    manifest = make_manifest(config, cast.population, backend.name if backend else "", folder.name)
    writer = (RunWriter.resume if resume else RunWriter.create)(folder, manifest)
    started = time.monotonic()
    before = asdict(recorder.usage) if recorder else {}  # the backend counts on from run to run
    scribe, gpu = _Scribe(writer, recorder), GpuUse()
    try:
        save_policies(folder, fitted)
        if learned:
            learned.save(folder / LEARNED)
        keep_plan(folder, interventions)
        _describe(cast, config, folder)
        happenings = stream(config, cast, load_policies(folder, config, interventions), interventions)
        # In a log file, a line every ten seconds is enough.
        interval = 0.1 if sys.stderr.isatty() else 10.0
        total, unit = (config.rounds, "round") if config.rounds else (config.users, "user")
        bar = tqdm(total=total, unit=unit, desc=folder.name, disable=not progress, mininterval=interval)
        with bar, gpu:
            for happening in happenings:
                bar.update(scribe.write(happening))
        scribe.flush()
    except BaseException as stopped:
        scribe.flush()  # answers of the unfinished round are paid for: the resumed run finds them
        writer.interrupt(type(stopped).__name__)
        raise
    spent = {k: v - before[k] for k, v in asdict(recorder.usage).items()} if recorder else {}
    done = summary(cast.population.users, spent, time.monotonic() - started)
    writer.finish({**done, "decisions": scribe.decisions, "gpu_busy": gpu.mean, "certified": cast.population.certified})
    return Run(folder)


class _Scribe:
    """Writes down what happens, with the model's answers before the steps they led to.

    Attributes:
        decisions: Items on pages that were not on record before: what this command has worked for.
    """

    def __init__(self, writer: RunWriter, recorder: RecordingLLM | None) -> None:
        self._writer, self._recorder, self._index = writer, recorder, 0
        self._recorded = writer.num_parts
        self.decisions = 0
        self._society = False

    def write(self, happening: StepBatch | Diary) -> int:
        """Record; return by how much the run has come forward (rounds of a society, else sessions that ended)."""
        if isinstance(happening, Diary):
            self.flush()
            self._writer.write_events(happening.round, events_table(happening.events))
            self._society = True
            return 1
        self._writer.write_round(self._index, happening, self._recorder.drain() if self._recorder else None)
        if self._index >= self._recorded:
            self.decisions += int((happening.items != EMPTY).sum())
        self._index += 1
        return 0 if self._society else int((happening.left | happening.truncated).sum())

    def flush(self) -> None:
        """Keep answers that no step has followed yet."""
        if self._recorder:
            self._writer.write_calls(self._index, self._recorder.drain())


def make_manifest(
    config: SimulationConfig, population: Population | SocialPopulation, llm_name: str, name: str = ""
) -> Manifest:
    """What `run.json` says of a run."""
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


def summary(users: UserModel, spent: Mapping[str, float], seconds: float) -> dict[str, Any]:
    """Cost of a run: seconds, calls, tokens, and how answers came out."""
    out: dict[str, Any] = {"seconds": round(seconds, 3)}
    if spent:
        out["llm"] = dict(spent)
    played = played_by_llm(users)
    if isinstance(played, (LLMUsers, AgentUsers)):
        out["answers"] = asdict(played.counts)
    return out


def _describe(cast: Cast, config: SimulationConfig, folder: Path) -> None:
    """What readers of the run need besides steps: titles, people, how faithful they are. Readers load no data set."""
    dataset = cast.population.dataset
    write_catalogue(folder, dataset.catalogue.items, dataset.catalogue.raw_ids)
    if cast.population.certificate:
        cast.population.certificate.write(folder / CERTIFICATE)
    save_people(folder, [personas(config.dataset, config.personas)[u] for u in cast.visitors], dataset.people)


def _check_same(run: Run, config: SimulationConfig) -> None:
    if run.manifest.config != config_json(config):
        ours, theirs = config_json(config), run.manifest.config
        differing = [f"{k} ({theirs.get(k)} there, {ours[k]} now)" for k in ours if theirs.get(k) != ours[k]]
        raise RecordingError(
            f"{run.folder} holds a finished run with another {', '.join(differing)}. Choose another --out folder."
        )
