"""What each command prints. Everything it prints comes from functions that Python callers use as well."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from recsim_llm.agents.fitted_sources import TEST_SHARE
from recsim_llm.agents.hybrid.learned import Learned
from recsim_llm.agents.named_users import WRAPPERS
from recsim_llm.agents.personas.persona import item_means
from recsim_llm.certificate import FILE as CERTIFICATE
from recsim_llm.certificate import failure, read_certificate
from recsim_llm.data import get_dataset_files, list_datasets, load_dataset, split_ratings
from recsim_llm.environments.society import SocietyRules
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.api import planned
from recsim_llm.experiments.backend import Engines
from recsim_llm.experiments.metrics import paired_difference, summarise, table
from recsim_llm.experiments.simulation.arm_files import LEARNED
from recsim_llm.experiments.simulation.config import SimulationConfig, config_of
from recsim_llm.experiments.simulation.cost.cost import dry_run
from recsim_llm.experiments.simulation.cost.cost_report import cost_report, refit_report
from recsim_llm.experiments.simulation.interventions.uptake import curve_table, lines, uptakes
from recsim_llm.experiments.simulation.interview import EXIT_FILE, doubt, exit_interviews, interview_prompt
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.experiments.traits import separation_table, separations
from recsim_llm.experiments.tuning.writer import writer_of
from recsim_llm.language import make_llm
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.language.models import get_model, list_models
from recsim_llm.language.wrappers.budget import Budget
from recsim_llm.runs import Run, find_runs
from recsim_llm.runs.recorded_context import load_people


def data_list() -> None:
    """Print the data sets."""
    _print_rows([asdict(row) for row in list_datasets()])
    print("\nAny other name is read as a folder: plain tables or RecBole atomic files (docs/data.md).")


def data_get(name: str) -> None:
    """Fetch a data set."""
    print(f"{name} is in {get_dataset_files(name)[0].parent}")


def models_list() -> None:
    """Print the models."""
    _print_rows([row._asdict() for row in list_models()])
    print("\nAny other name is read as a folder, or as a model of the hub that transformers knows.")


def models_get(name: str) -> None:
    """Fetch a model."""
    print(f"{name} is in {get_model(name)}")


def run_simulation(config: SimulationConfig, out: Path | None, resume: bool, engines: Engines, budget: Budget) -> None:
    """Simulate, then print the table, what it cost, where the runs are, and what to do next."""
    config, folder = planned(config, out, engines, budget)
    try:
        runs = simulate(config, folder, resume, engines=engines, budget=budget)
    except KeyboardInterrupt:
        print(f"\nInterrupted; every finished page is kept in {folder}.")
        print("Go on with the same command and --resume.")
        raise
    print(run_table(runs))
    if config.asks_llm:
        print(cost_report(runs), end="")
        print(weights_line(runs[0], config.user_model), end="")
    print(refit_report(runs), end="")
    for run in runs:
        print(diary_line(run), end="")
    if not runs[0].manifest.summary["certified"]:
        print(_uncertified(runs[0], config))
    if all(map(_unvisited, runs)):
        print(f"\nRuns are in {folder}.")
        return
    print(f"\nRuns are in {folder}. Next:")
    print(f"  recsim-llm compare {folder}")
    print(f"  recsim-llm replay {folder}")
    if config.asks_llm:
        user = load_people(runs[0].folder)[1][0]
        print(
            f'  recsim-llm interview {runs[0].folder} "What did you like?" --user {user} --llm {writer_of(config.llm)}'
        )


def _uncertified(run: Run, config: SimulationConfig) -> str:
    """Why the users of a run do not count as certified, and what to do."""
    path = run.folder / CERTIFICATE
    if path.exists() and not (certificate := read_certificate(path)).shortfall:
        return (
            f"These users {failure(certificate)}: what they tell of policies need not hold for "
            f"people. Every gate is in {path}; take users that pass, or improve these and measure them again."
        )
    return f"Nobody has measured how faithful these users are. Do: {_certify_command(config)}"


def _certify_command(config: SimulationConfig) -> str:
    llm = f" --llm {config.llm}" if config.llm else ""
    return f"recsim-llm certify --dataset {config.dataset} --user-model {config.user_model}{llm}"


def weights_line(run: Run, user_model: str) -> str:
    """How far the language model was listened to."""
    if user_model.partition(":")[0] not in WRAPPERS:
        return "These answers are the model's as they come, not calibrated to people; --user-model hybrid is.\n"
    weights = Learned.load(run.folder / LEARNED).weights
    return f"{weights.sentence()}\n" if user_model.startswith("hybrid") else ""


def estimate(config: SimulationConfig) -> None:
    """Print the most that a simulation can cost."""
    print("At most, if nobody leaves before the last page and nothing is in a cache:")
    estimates = list(dry_run(config))
    for policy, calls, tokens, repeated in estimates:
        share = f"; {repeated / tokens:.0%} from a prefix cache of a million" if tokens else ""
        print(f"  {policy:<16} {calls:>12,} LLM calls  {tokens:>15,} prompt tokens (characters / 4){share}")
    calls, tokens = sum(e.calls for e in estimates), sum(e.tokens for e in estimates)
    print(f"  {'all':<16} {calls:>12,} LLM calls  {tokens:>15,} prompt tokens; 1 output token a label")


def replay_runs(path: Path) -> None:
    """Replay every run of a folder."""
    for run in find_runs(path):
        done = replay(run)
        print(f"{run.folder}: {done.steps:,} pages identical, bit for bit; {done.calls:,} recorded LLM answers used.")
        print(f"  trajectory {done.trajectory_hash}")


def compare_runs(paths: Sequence[Path], out: Path | None = None) -> None:
    """Print a table over runs, each run's paired difference to the first, and what interventions did to their items.

    Args:
        paths: Run folders, or folders of runs.
        out: A Markdown file for the same, with diffusion curves.
    """
    runs = [run for path in paths for run in find_runs(path)]
    visited = [run for run in runs if not _unvisited(run)]
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


def traits_of(folder: Path) -> None:
    """Print how far the traits of a run's people separate what they did."""
    for run in find_runs(folder):
        config = config_of(run)
        data = load_dataset(config.dataset)
        means = item_means(split_ratings(data.ratings, "temporal", TEST_SHARE).train)
        people = load_people(run.folder)[0]
        print(
            f"{run.manifest.name}\n{separation_table(separations(run.step_batch(), people, data.catalogue, means))}\n"
        )


def interview_user(folder: Path, user: str, question: str, after: int | None, llm: str) -> None:
    """Print an agent's answer."""
    if not (user and question):
        raise ConfigError("An interview needs a question and a --user; with neither, everybody is asked at the end.")
    prompt = interview_prompt(Run(folder), user, question, after)
    answer = make_llm(_writer(llm)).generate([prompt])[0].text.strip()
    print(answer)
    if said := doubt("\n".join((prompt.system, prompt.context, prompt.question)), answer):
        print(said, file=sys.stderr)


def _writer(llm: str) -> str:
    writer = writer_of(llm)
    if writer != llm:
        print(f"{llm} was tuned to answer by labels; {writer}, which it began with, writes.", file=sys.stderr)
    return writer


def interview_everybody(folder: Path, llm: str) -> None:
    """Ask everybody how satisfied they are; print the mean and where the answers are."""
    counts = AnswerCounts()
    answers = exit_interviews(Run(folder), make_llm(_writer(llm)), counts)
    ratings = [a.rating for a in answers if a.rating is not None]
    mean = f"mean satisfaction {sum(ratings) / len(ratings):.2f} of 10" if ratings else "no usable answer"
    print(f"{len(answers)} people asked, {len(ratings)} usable answers, {counts.reasked} asked again: {mean}.")
    print(f"Every rating with its reason is in {folder / EXIT_FILE}")


def diary_line(run: Run) -> str:
    """What people of a society did, as a line; "" for runs of sessions."""
    actions = Counter(run.events()["action"].to_pylist())
    if not actions:
        return ""
    heard = actions.pop("hear", 0)
    done = ", ".join(f"{count:,} x {action}" for action, count in sorted(actions.items()))
    return f"{run.manifest.name}: {done}; {heard:,} messages delivered\n"


def run_table(runs: Sequence[Run]) -> str:
    """The main table: a row a run; below it, a sentence on each society that nobody visited."""
    if not runs:
        raise RecordingError("There are no runs to show.")
    rows = [(run.manifest.name, summarise(run.step_batch())) for run in runs if not _unvisited(run)]
    return "\n".join([*([table(rows)] if rows else []), *(_why_empty(run) for run in runs if _unvisited(run))])


def _unvisited(run: Run) -> bool:
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


def _print_rows(rows: Sequence[dict[str, object]]) -> None:
    columns = list(rows[0])
    text = [[str(row[c]) for c in columns] for row in rows]
    widths = [max(len(c), *(len(line[i]) for line in text)) for i, c in enumerate(columns)]
    for line in [columns, *text]:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())
