"""The main job: policies meet a population, page by page, and every step is recorded. One run folder a policy."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from recsim_llm.agents.llm_users import LLMUsers
from recsim_llm.agents.population import Population, make_population, personas
from recsim_llm.agents.user_model import UserModel
from recsim_llm.environments.sessions import PageRules
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.people import save_people
from recsim_llm.experiments.rollout import choose_visitors, rollout
from recsim_llm.fetch import cache_dir
from recsim_llm.llm import CachedLLM, OpenAILLM, make_llm
from recsim_llm.llm.protocol import LLM
from recsim_llm.policies import POLICIES, load_policy, make_policy
from recsim_llm.policies.protocol import FittedPolicy
from recsim_llm.trajectories import Manifest, RecordingLLM, Run, RunWriter, repair, write_catalogue
from recsim_llm.types import Completion, Ints

DEFAULT_LLM = "transformers:smollm2-135m"


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """What is simulated. Two runs of one config give the same steps.

    Attributes:
        dataset: A data set's name ('recsim-llm data list') or a folder.
        user_model: 'statistical' (arrays, very fast) or 'llm' (language-model agents).
        llm: Backend of LLM users: transformers:NAME_OR_FOLDER, openai:MODEL, or uniform (a stand-in).
        policies: Policies to compare; each gets its own run over the same users and the same random numbers.
        users: How many people visit, one session each.
        pages: Pages after which a session is cut off.
        page_size: Items a page.
        reward: 'rating' (sum of stars of watched items) or 'watch' (their number).
        seed: Seed of who visits and of all sampling.
        batch_size: Sessions side by side; changes speed and memory, not what happens (learning policies apart).
    """

    dataset: str = "synthetic"
    user_model: str = "statistical"
    llm: str = DEFAULT_LLM
    policies: Annotated[tuple[str, ...], tyro.conf.arg(name="policy")] = ("random", "popularity", "ease")
    users: int = 100
    pages: int = 5
    page_size: int = 10
    reward: str = "rating"
    seed: int = 0
    batch_size: int = 256

    def check(self) -> None:
        """Refuse what cannot work.

        Not on construction, where the command line's parser would wrap the sentence in its own.

        Raises:
            ConfigError: No such policy, or a number out of range.
        """
        unknown = [name for name in self.policies if name not in POLICIES]
        if unknown or not self.policies:
            raise ConfigError(f"There is no policy {', '.join(unknown)!r}. Policies: {', '.join(POLICIES)}.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {self.batch_size}.")
        _ = self.rules

    @property
    def rules(self) -> PageRules:
        """The rules of the environment."""
        return PageRules(page_size=self.page_size, max_pages=self.pages, reward=self.reward)


def simulate(config: SimulationConfig, out: Path, resume: bool = False, progress: bool = True) -> list[Run]:
    """Run every policy of the config; finished runs are kept when resuming.

    Args:
        config: What to simulate.
        out: Folder; policy P is recorded in `out/P`.
        resume: Go on with what is already there instead of refusing it.
        progress: Show a progress bar.

    Raises:
        RecordingError: A run is already there and `resume` is False, or was made by another config.
        LLMError: The model cannot answer. What is recorded stays; the run can be resumed.
    """
    config.check()
    backend = _backend(config.llm) if config.user_model == "llm" else None
    return [
        _one_run(replace(config, policies=(name,)), out / name, backend, resume, progress) for name in config.policies
    ]


def _one_run(config: SimulationConfig, folder: Path, backend: LLM | None, resume: bool, progress: bool) -> Run:
    there = resume and (folder / "run.json").exists()
    if there and Run(folder).finished:
        _check_same(Run(folder), config)
        return Run(folder)
    if there:
        for sentence in repair(folder):
            print(sentence, file=sys.stderr)
    return _record(config, folder, backend, there, progress)


def _backend(spec: str) -> LLM:
    """The language model with the user's answer cache around it; a server is asked one small question first."""
    if spec == "uniform":
        return make_llm(spec)
    llm = make_llm(spec)
    if isinstance(llm, OpenAILLM):
        llm.check()
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return CachedLLM(llm, folder / "answers.sqlite")


def _record(config: SimulationConfig, folder: Path, backend: LLM | None, resume: bool, progress: bool) -> Run:
    policy_name = config.policies[0]
    recorder = RecordingLLM(backend, Run(folder).recorded_completions() if resume else {}) if backend else None
    population = make_population(config.dataset, config.user_model, recorder)
    visitors = choose_visitors(population.users.num_users, config.users, config.seed)
    fitted = None if (folder / "policy.npz").exists() else _fit(config, population)
    manifest = make_manifest(config, population, backend.name if backend else "")
    writer = (RunWriter.resume if resume else RunWriter.create)(folder, manifest)
    started, index = time.monotonic(), 0
    before = asdict(recorder.usage) if recorder else {}  # the backend counts on from run to run
    try:
        policy = _kept(fitted, folder / "policy.npz")
        _describe(population, config, visitors, folder)
        rounds = rollout(
            config.dataset, population.users, policy, visitors, config.rules, config.seed, config.batch_size
        )
        # In a log file, a line every ten seconds is enough.
        interval = 0.1 if sys.stderr.isatty() else 10.0
        with tqdm(total=config.users, unit="user", desc=policy_name, disable=not progress, mininterval=interval) as bar:
            for steps in rounds:
                writer.write_round(index, steps, recorder.drain() if recorder else None)
                index += 1
                bar.update(int((steps.left | steps.truncated).sum()))
    except BaseException as stopped:
        if recorder:  # answers of the unfinished round are paid for: the resumed run finds them
            writer.write_calls(index, recorder.drain())
        writer.interrupt(type(stopped).__name__)
        raise
    spent = {k: v - before[k] for k, v in asdict(recorder.usage).items()} if recorder else {}
    writer.finish(summary(population.users, spent, time.monotonic() - started))
    return Run(folder)


def make_manifest(config: SimulationConfig, population: Population, llm_name: str) -> Manifest:
    """What `run.json` says of a run."""
    return Manifest(
        name=config.policies[0],
        config=_json(config),
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


def config_of(run: Run) -> SimulationConfig:
    """The config a run was made with.

    Raises:
        RecordingError: It was made by a version with other options.
    """
    known = {f.name for f in fields(SimulationConfig)}
    stored: Mapping[str, Any] = run.manifest.config
    if set(stored) != known:
        differing = ", ".join(sorted(set(stored) ^ known))
        raise RecordingError(f"{run.folder}: recorded by a version with other options ({differing}).")
    return SimulationConfig(**{**stored, "policies": tuple(stored["policies"])})


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
    if isinstance(users, LLMUsers):
        out["answers"] = asdict(users.counts)
    return out


def _fit(config: SimulationConfig, population: Population) -> FittedPolicy:
    catalogue = population.dataset.catalogue
    return make_policy(config.policies[0], population.log, catalogue, config.page_size, config.seed)


def _kept(fitted: FittedPolicy | None, path: Path) -> FittedPolicy:
    """The run's policy, always read from its file, so that a resumed run has the very same one."""
    if fitted is not None:
        partial = path.with_suffix(".tmp.npz")
        fitted.save(partial)
        partial.replace(path)
    return load_policy(path)


def _describe(population: Population, config: SimulationConfig, visitors: Ints, folder: Path) -> None:
    """What readers of the run need besides steps: titles and people. Readers never load the data set."""
    write_catalogue(folder, population.dataset.catalogue.items, population.dataset.catalogue.raw_ids)
    save_people(folder, [personas(config.dataset)[u] for u in visitors], population.dataset.people)


def _check_same(run: Run, config: SimulationConfig) -> None:
    if run.manifest.config != _json(config):
        ours, theirs = _json(config), run.manifest.config
        differing = [f"{k} ({theirs.get(k)} there, {ours[k]} now)" for k in ours if theirs.get(k) != ours[k]]
        raise RecordingError(
            f"{run.folder} holds a finished run with another {', '.join(differing)}. Choose another --out folder."
        )


def _json(config: SimulationConfig) -> dict[str, Any]:
    return {**asdict(config), "policies": list(config.policies)}


class NobodyLeaves:
    """A population whose users answer as `users` do, but never leave: for the most that a simulation can cost."""

    def __init__(self, users: UserModel) -> None:
        self._users = users
        self.num_users, self.num_items, self.rating_levels = users.num_users, users.num_items, users.rating_levels
        self.reset, self.react, self.state, self.load = users.reset, users.react, users.state, users.load

    def observe(self, sessions: Any, pages: Any, responses: Any) -> Any:
        """Zero probability of leaving; the users remember, and are asked, all the same."""
        return np.zeros_like(self._users.observe(sessions, pages, responses))


def dry_run(config: SimulationConfig) -> Iterator[tuple[str, int, int]]:
    """The most that each policy's run can cost: yields (policy, LLM calls, prompt tokens).

    The simulation is run with a model that answers everything uniformly, and nobody leaves before the last page. Tokens
    are estimated as characters / 4. Identical prompts of one round count once; answers already in a cache count.
    """
    config.check()
    if config.user_model != "llm":
        yield from ((name, 0, 0) for name in config.policies)
        return
    for name in config.policies:
        recorder = RecordingLLM(make_llm("uniform"), dict[bytes, Completion]())
        population = make_population(config.dataset, config.user_model, recorder)
        visitors = choose_visitors(population.users.num_users, config.users, config.seed)
        policy = _fit(replace(config, policies=(name,)), population)
        users = NobodyLeaves(population.users)
        for _ in rollout(config.dataset, users, policy, visitors, config.rules, config.seed, config.batch_size):
            recorder.drain()
        yield name, recorder.usage.calls, recorder.usage.prompt_tokens
