"""Run policies against a simulated population, page by page; record every step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from recsim_llm.agents.hybrid.learned import Learned
from recsim_llm.agents.named_users import WRAPPERS
from recsim_llm.certificate import FILE as CERTIFICATE
from recsim_llm.certificate import failure, read_certificate
from recsim_llm.checked import OutFolder
from recsim_llm.cli.run_table import run_table, unvisited
from recsim_llm.experiments.api import planned
from recsim_llm.experiments.backend import Engines
from recsim_llm.experiments.simulation.arm_files import LEARNED
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost import dry_run
from recsim_llm.experiments.simulation.cost.cost_report import cost_report, refit_report
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.experiments.tuning.writer import writer_of
from recsim_llm.language.wrappers.budget import Budget
from recsim_llm.runs import Run
from recsim_llm.runs.recorded_context import load_people
from recsim_llm.spec import first_name


@dataclass(frozen=True)
class SimulateCommand:
    """Options of `recsim-llm simulate`."""

    config: OmitArgPrefixes[SimulationConfig] = field(default_factory=SimulationConfig)
    out: OutFolder | None = None
    """Folder of the runs, one per policy; default runs/DATASET-USERMODEL-seedSEED."""
    resume: bool = False
    """Resume the runs in the folder, which must exist: finished steps are kept, no prompt is sent twice."""
    dry_run: bool = False
    """Only print the most LLM calls and tokens that this could cost."""
    engines: OmitArgPrefixes[Engines] = field(default_factory=Engines)
    budget: OmitArgPrefixes[Budget] = field(default_factory=Budget)


def run(command: SimulateCommand) -> None:
    """Simulate, or only print what it could cost."""
    if command.dry_run:
        estimate(command.config)
    else:
        run_simulation(command.config, command.out, command.resume, command.engines, command.budget)


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
    if all(map(unvisited, runs)):
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
    """Weight of the language model's correction, in a line."""
    if first_name(user_model) not in WRAPPERS:
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


def diary_line(run: Run) -> str:
    """Counts of actions in a society, as a line; "" for runs of sessions."""
    actions = Counter(run.events()["action"].to_pylist())
    if not actions:
        return ""
    heard = actions.pop("hear", 0)
    done = ", ".join(f"{count:,} x {action}" for action, count in sorted(actions.items()))
    return f"{run.manifest.name}: {done}; {heard:,} messages delivered\n"
