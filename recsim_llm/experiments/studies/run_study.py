"""Runs a study: trains the policies that need it and evaluates all on the same people; finished parts are reused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from recsim_llm.agents.fitted_sources import load_source
from recsim_llm.agents.long_term.long_term_population import make_long_term, rule_of
from recsim_llm.agents.population import Population
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.backend import open_backend
from recsim_llm.experiments.simulation.rollout import choose_visitors, rollout
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.experiments.studies.study import Study, StudyEntry
from recsim_llm.experiments.studies.study_table import StudyRow, make_rows, write_table
from recsim_llm.experiments.training.offline_log import CollectConfig, collect
from recsim_llm.experiments.training.train import TrainConfig, train
from recsim_llm.policies import make_policy, policy_class
from recsim_llm.policies.feedback import Learner
from recsim_llm.policies.planners.planner import Planner
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.runs import Run
from recsim_llm.runs.store import is_begun
from recsim_llm.types import Usage
from recsim_llm.untrusted import read_json

STUDY = "study.json"
TRAINING = "training"
"""Folder of trainings, with their curves and checkpoints."""
CURVE_POINTS = 20
"""Number of points of a learning curve."""


def run_study(study: Study, out: Path, progress: bool = True) -> list[StudyRow]:
    """Run a study, or resume one.

    Args:
        study: The study.
        out: Folder: `trained/seedS` holds policies, `runs/seedS` recorded runs (`recsim-llm replay`), next to the
            tables and reports. Finished parts in it are reused.
        progress: Show progress bars.

    Returns:
        The rows of the table.

    Raises:
        ConfigError: The study cannot work.
        RecordingError: The folder holds another study.
    """
    study.check()
    _check_people(study)
    _claim(study, out)
    runs: dict[str, dict[int, Run]] = {entry.label: {} for entry in study.entries}
    for seed in range(study.seeds):
        for entry in study.entries:
            if seed < (entry.seeds or study.seeds):
                runs[entry.label][seed] = _one(study, entry, seed, out, progress)
    rows = make_rows(study, runs, {entry.label: _learning_costs(study, entry, out) for entry in study.entries})
    write_table(rows, out)
    return rows


def _one(study: Study, entry: StudyEntry, seed: int, out: Path, progress: bool) -> Run:
    """Return the evaluation of one row with one seed, recorded now unless it exists."""
    folder = out / "runs" / f"seed{seed}"
    done = folder / entry.label
    if (done / "run.json").exists() and Run(done).finished:
        return Run(done)
    trained = _trained(study, entry, seed, out / "trained" / f"seed{seed}", progress)
    config = study.simulation(entry, seed, trained)
    (run,) = simulate(config, folder, resume=is_begun(done), progress=progress)
    return run


def _trained(study: Study, entry: StudyEntry, seed: int, folder: Path, progress: bool) -> str:
    """The policy's file if it must be trained first; "" if it is fitted to the log."""
    if not entry.trains:
        return ""
    path = folder / f"{entry.label}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"partial-{path.name}"
        if entry.steps:
            last = _train(study, entry, seed, folder / TRAINING / path.name, progress)
            partial.write_bytes(last.read_bytes())
        else:
            (_learn if entry.learn else _fit_offline)(study, entry, seed, partial)
        partial.replace(path)
    return str(path)


def _train(study: Study, entry: StudyEntry, seed: int, out: Path, progress: bool) -> Path:
    """Train in the environment with people outside the evaluation; return the file of the last policy.

    Not of the best policy, which `train` writes to `out`: it was selected on the people of the evaluation.
    """
    folder = out.with_suffix("")
    config = TrainConfig(
        policy=entry.policy,
        dataset=study.dataset,
        rule=study.quit,
        max_pages=study.pages,
        steps=entry.steps,
        eval_every=max(TrainConfig().num_envs, entry.steps // CURVE_POINTS),
        eval_users=study.users,
        seed=seed,
        out=out,
        resume=(folder / "training.json").exists(),
        progress=progress,
    )
    train(config)
    return folder / "last.npz"


def _fit_offline(study: Study, entry: StudyEntry, seed: int, path: Path) -> None:
    """Log sessions of another policy with people outside the evaluation, and fit to them."""
    log = collect(
        CollectConfig(
            policy=entry.collect,
            dataset=study.dataset,
            rule=study.quit,
            max_pages=study.pages,
            sessions=entry.sessions,
            epsilon=entry.explore,
            seed=seed,
            held_out=study.users,
        )
    )
    data = path.with_name(f"sessions-{path.name}")
    log.save(data)
    population, spec = _people(study), parse_policy(entry.policy)
    options = {**spec.options, "data": str(data)}
    catalogue = population.dataset.catalogue
    make_policy(spec.name, population.log, catalogue, study.page_size, seed, **options).save(path)


def _learn(study: Study, entry: StudyEntry, seed: int, path: Path) -> None:
    """Let a policy learn from people outside the evaluation, and save it."""
    config = study.simulation(entry, seed).chosen
    with open_backend(config.policy_llm) if config.policies_ask_llm else nullcontext() as llm:
        population = _people(study)
        spec = parse_policy(entry.policy)
        catalogue = population.dataset.catalogue
        policy = make_policy(spec.name, population.log, catalogue, study.page_size, seed, llm, **spec.options)
        if isinstance(policy, Planner):
            policy.tell_exit(rule_of(study.quit), study.tell_exit)
        if not isinstance(policy, Learner):
            raise ConfigError(f"The policy '{entry.policy}' does not learn from people: leave out learn.")
        everybody = choose_visitors(population.users.num_users, population.users.num_users, seed)
        others = everybody[study.users : study.users + entry.learn]
        if len(others) < entry.learn:
            raise ConfigError(f"'{entry.policy}' is to learn from {entry.learn} people; {len(others)} are left.")
        for _ in rollout(study.dataset, population.users, policy, others, config.rules, seed + 1_000, study.batch_size):
            pass
        if isinstance(policy, Planner):
            # The planner must not learn from the people of the evaluation.
            policy.options = replace(policy.options, frozen=True)
        costs = _spent(llm.usage) if llm else {}
        _costs_path(path.with_name(path.name.removeprefix("partial-"))).write_text(json.dumps(costs), encoding="utf-8")
        policy.save(path)


def _costs_path(policy: Path) -> Path:
    return policy.with_name(f"{policy.name}.costs.json")


def _spent(usage: Usage) -> dict[str, float]:
    tokens = usage.prompt_tokens + usage.output_tokens
    return {"learning_calls": usage.calls + usage.cache_hits, "learning_tokens": tokens}


def _learning_costs(study: Study, entry: StudyEntry, out: Path) -> dict[str, float]:
    """LLM answers and new tokens that a policy used while learning, over all seeds; empty if it did not learn."""
    seeds = range(entry.seeds or study.seeds)
    paths = [_costs_path(out / "trained" / f"seed{seed}" / f"{entry.label}.npz") for seed in seeds]
    costs: dict[str, float] = {}
    for path in filter(Path.exists, paths):
        try:
            for name, value in read_json(path).items():
                costs[name] = costs.get(name, 0.0) + float(value)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RecordingError(
                f"{path} is damaged ({error}). Remove the policy beside it: it learns again."
            ) from error
    return costs


def _check_people(study: Study) -> None:
    """Refuse early a study that would stop hours later because nobody is left to learn from."""
    people = load_source(study.dataset)[1].train.num_users
    for entry in study.entries:
        wanted = max(entry.learn, 1)
        if entry.trains and study.users + wanted > people:
            raise ConfigError(
                f"'{entry.policy}' learns from at least {wanted} people outside the evaluation; of {people} people "
                f"{max(people - study.users, 0)} are left. Evaluate on fewer users."
            )


def _has_planners(study: Study) -> bool:
    names = (parse_policy(entry.policy).name for entry in study.entries)
    return any(issubclass(policy_class(name), Planner) for name in names if name)


def _people(study: Study) -> Population:
    return make_long_term(study.dataset, study.user_model, study.llm or None, study.quit)


def _claim(study: Study, out: Path) -> None:
    """Store the study's options; refuse a folder with another study, though rows and seeds may be added or left out."""
    path, now = out / STUDY, study.as_json()
    if path.exists():
        try:
            there = read_json(path)
            # Compared by label, the name of a row's folders.
            rows = {StudyEntry(**row).label: row for row in there["entries"]}
            # Before this option existed, planners were told the rule.
            there.setdefault("tell_exit", study.tell_exit or _has_planners(study))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RecordingError(f"{path} is damaged ({error}). Choose another --out folder.") from error
        changed = [name for name in now if name not in ("entries", "seeds") and there.get(name) != now[name]]
        changed += [entry.label for entry in study.entries if rows.get(entry.label, asdict(entry)) != asdict(entry)]
        if changed:
            raise RecordingError(f"{out} holds a study with another {', '.join(changed)}. Choose another --out folder.")
        # Rows left out this time still have runs here, so their labels must not come back with other options.
        now["entries"] += [row for label, row in rows.items() if label not in {e.label for e in study.entries}]
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=1, ensure_ascii=False), encoding="utf-8")
