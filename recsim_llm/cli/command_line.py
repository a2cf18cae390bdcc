"""The command line `recsim-llm`: a thin layer over functions that can be called from Python as well."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import tyro
from annotated_types import Ge, Le, MinLen
from tyro.conf import (
    FlagCreatePairsOff,
    OmitArgPrefixes,
    OmitSubcommandPrefixes,
    Positional,
    UseAppendAction,
    subcommand,
)
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from recsim_llm import __version__
from recsim_llm.checked import (
    AnyPath,
    CountOrNone,
    InFile,
    Name,
    OutFile,
    OutFolder,
    Text,
    check_fields,
    option_of,
)
from recsim_llm.cli import commands, measuring, studying
from recsim_llm.cli.agentcf_command import AgentCFCommand, AgentCFLearn, AgentCFRank, run_agentcf
from recsim_llm.cli.dashboard_command import LOOPBACK, run_dashboard
from recsim_llm.cli.tuning_command import run_assess, run_tune
from recsim_llm.errors import BudgetError, RecsimError
from recsim_llm.experiments.backend import Engines
from recsim_llm.experiments.fidelity.calibrate import CalibrateConfig
from recsim_llm.experiments.fidelity.certify import CertifyConfig
from recsim_llm.experiments.simulation.config import DEFAULT_LLM, SimulationConfig
from recsim_llm.experiments.training.train import TrainConfig
from recsim_llm.experiments.tuning.assessment.assess import AssessConfig
from recsim_llm.experiments.tuning.task import TuneConfig
from recsim_llm.language.wrappers.budget import Budget


@dataclass(frozen=True)
class DataList:
    """List the data sets that can be loaded by name."""


@dataclass(frozen=True)
class DataGet:
    """Fetch a data set into the cache, with checksum."""

    name: Positional[Name]
    """Name, as in 'recsim-llm data list'."""


@dataclass(frozen=True)
class DataCommand:
    """Data sets: list, get."""

    command: Annotated[DataList, subcommand("list")] | Annotated[DataGet, subcommand("get")]


@dataclass(frozen=True)
class ModelsList:
    """List the models that can be used by name."""


@dataclass(frozen=True)
class ModelsGet:
    """Fetch a model into the cache, with checksum."""

    name: Positional[Name]
    """Name, as in 'recsim-llm models list'."""


@dataclass(frozen=True)
class ModelsCommand:
    """Local models: list, get."""

    command: Annotated[ModelsList, subcommand("list")] | Annotated[ModelsGet, subcommand("get")]


@dataclass(frozen=True)
class SimulateCommand:
    """Let policies meet a population, page by page; record every step."""

    config: OmitArgPrefixes[SimulationConfig] = field(default_factory=SimulationConfig)
    out: OutFolder | None = None
    """Folder of the runs, one a policy; default runs/DATASET-USERMODEL-seedSEED."""
    resume: bool = False
    """Go on with the runs in the folder, which must be there: finished steps are kept, nothing is asked twice."""
    dry_run: bool = False
    """Only print the most LLM calls and tokens that this could cost."""
    engines: OmitArgPrefixes[Engines] = field(default_factory=Engines)
    budget: OmitArgPrefixes[Budget] = field(default_factory=Budget)


@dataclass(frozen=True)
class ReplayCommand:
    """Run a recorded simulation again without a model and compare every step bit for bit."""

    run: Positional[AnyPath]
    """A run folder, or a folder of runs."""


@dataclass(frozen=True)
class CompareCommand:
    """Print one table over runs, with 95 % intervals over users, paired differences, and what interventions did."""

    runs: Positional[Annotated[tuple[AnyPath, ...], MinLen(1)]]
    """Run folders, or folders of runs."""
    out: OutFile | None = None
    """Write the same to this Markdown file, with diffusion curves by round where there were interventions."""


@dataclass(frozen=True)
class DashboardCommand:
    """Look at runs in the browser: replay sessions, inspect people, compare policies; also while runs are written."""

    runs: Positional[OutFolder]
    """A run folder, or a folder that holds runs."""
    port: Annotated[int, Ge(1), Le(65_535)] = 8501
    """Where to listen."""
    address: str = LOOPBACK
    """Who can reach it: 127.0.0.1 is this machine only. There is no login (docs/dashboard.md)."""
    interview_host: UseAppendAction[tuple[str, ...]] = ()
    """A server (HOST or HOST:PORT) that interviews may send your key to where a run names it; once for each. That of
    OPENAI_BASE_URL always may."""


@dataclass(frozen=True)
class TraitsCommand:
    """Print whether people of different traits behave differently, in the declared direction, with intervals."""

    run: Positional[AnyPath]
    """A run folder, or a folder of runs."""


@dataclass(frozen=True)
class InterviewCommand:
    """Ask a recorded agent a question; it answers from its persona and its memory, as they were at that moment."""

    run: Positional[AnyPath]
    """A run folder."""
    question: Positional[str] = ""
    """What to ask. Without a question and a user: everybody is asked how satisfied they are, 1 to 10, and why."""
    user: Text = ""
    """The person, by the data set's own id."""
    after: CountOrNone | None = None
    """Ask after this page of the session, from 1 (in a society: after this round); default: after the last."""
    llm: Name = DEFAULT_LLM
    """Backend that answers: transformers:NAME_OR_FOLDER or openai:MODEL."""


@dataclass(frozen=True)
class CertifyCommand:
    """Measure how faithful simulated users are to held-out behaviour of the same people, and write a certificate."""

    config: OmitArgPrefixes[CertifyConfig] = field(default_factory=CertifyConfig)
    out: OutFolder | None = None
    """Folder of the certificate; default certificates/DATASET-USERMODEL-SPLIT."""
    require: tuple[Name, ...] = ()
    """Exit with 1 unless these hold: a metric's name (its gate must pass), or a rule such as 'rps_skill>=0.215'."""
    predictions: InFile | None = None
    """Certify another simulator from a CSV or Parquet file of its predictions (docs/certificate.md); --dataset names
    the data set whose ids it uses, 'none' for none."""
    log: InFile | None = None
    """With --predictions: what that simulator was fitted on (user_id, item_id, optional rating), for the baselines."""


@dataclass(frozen=True)
class CalibrateCommand:
    """Fit, on people whom no certificate measures, how far a language model's answers are to be believed."""

    config: OmitArgPrefixes[CalibrateConfig] = field(default_factory=CalibrateConfig)


@dataclass(frozen=True)
class RankingCommand:
    """Does the simulator order recommenders as reality does? Needs ratings of randomly shown items or a known truth."""

    dataset: Positional[Name] = "synthetic"
    """'synthetic', or a folder with ratings of randomly shown items (Coat)."""
    out: OutFile | None = None
    """A JSON file for the numbers."""


@dataclass(frozen=True)
class TrainCommand:
    """Train a policy that learns by acting; its file is a policy for --policy."""

    config: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class TuneCommand:
    """Teach a local language model what the people of a data set like; its folder is a model for --llm."""

    config: OmitArgPrefixes[TuneConfig] = field(default_factory=TuneConfig)


@dataclass(frozen=True)
class AssessCommand:
    """Measure a tuned model on what it never learned from, beside collaborative filtering and genres."""

    folder: Positional[AnyPath]
    """Folder of 'recsim-llm tune --out'."""
    config: OmitArgPrefixes[AssessConfig] = field(default_factory=AssessConfig)


@dataclass(frozen=True)
class StudyCommand:
    """Run a study: many policies, several seeds, the same people; one table, one report. Finished parts are kept."""

    study: Positional[Name] = "long-term"
    """A study that comes with the package (long-term, quick), or a TOML file (docs/long_term_study.md)."""
    dataset: Text = ""
    """Another data set than the study's."""
    policies: tuple[Name, ...] = ()
    """Only these rows of the study, or further policies that are fitted to the log."""
    seeds: CountOrNone = 0
    """Another number of seeds."""
    users: CountOrNone = 0
    """Another number of people a seed."""
    policy_llm: Text = ""
    """Another language model of planners."""
    out: OutFolder | None = None
    """Folder; default studies/STUDY-DATASET."""


Command = (
    Annotated[DataCommand, subcommand("data")]
    | Annotated[ModelsCommand, subcommand("models")]
    | Annotated[SimulateCommand, subcommand("simulate")]
    | Annotated[ReplayCommand, subcommand("replay")]
    | Annotated[CompareCommand, subcommand("compare")]
    | Annotated[TraitsCommand, subcommand("traits")]
    | Annotated[InterviewCommand, subcommand("interview")]
    | Annotated[CertifyCommand, subcommand("certify")]
    | Annotated[CalibrateCommand, subcommand("calibrate")]
    | Annotated[RankingCommand, subcommand("ranking")]
    | Annotated[AgentCFCommand, subcommand("agentcf")]
    | Annotated[TrainCommand, subcommand("train")]
    | Annotated[TuneCommand, subcommand("tune")]
    | Annotated[AssessCommand, subcommand("assess")]
    | Annotated[StudyCommand, subcommand("study")]
    | Annotated[DashboardCommand, subcommand("dashboard")]
)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of `recsim-llm`.

    Exit codes: 0 done, 1 a named error, 2 wrong usage, 3 stopped at its budget, 130 interrupted.
    """
    if list(sys.argv[1:] if args is None else args) == ["--version"]:
        print(f"recsim-llm {__version__}")
        return
    try:
        run(_parse(args))
    except BudgetError as stopped:
        print(f"recsim-llm: {stopped}", file=sys.stderr)
        raise SystemExit(3) from None
    except RecsimError as error:
        print(f"recsim-llm: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nrecsim-llm: interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe has gone (`recsim-llm ... | head`); closing stdout again would raise once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(args: Sequence[str] | None) -> Command:
    return tyro.cli(
        Command,
        config=(OmitSubcommandPrefixes, FlagCreatePairsOff),
        prog="recsim-llm",
        description="LLM-powered users inside a Gymnasium environment, for recommender policies to practise on "
        f"(version {__version__}).",
        args=args,
        registry=_numbers(),
    )


def _numbers() -> ConstructorRegistry:
    """Numbers and paths stay text where they are none: one sentence then tells what the option may be (`checked`)."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type is not Path:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="PATH",
            instance_from_str=lambda words: _path(words[0]),
            is_instance=lambda value: isinstance(value, Path),
            str_from_instance=lambda value: [str(value)],
        )

    @registry.primitive_rule
    def number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        kind = info.type
        if kind not in (int, float):
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=kind.__name__.upper(),
            instance_from_str=lambda words: _number(kind, words[0]),
            is_instance=lambda value: isinstance(value, kind) and not isinstance(value, bool),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _path(word: str) -> Path | str:
    if word == "None":
        raise ValueError("no path")  # an option may have no value
    return Path(word) if word else word  # Path("") would be the folder we are in


def _number(kind: type, word: str) -> Any:
    try:
        number = kind(word)
        return number if math.isfinite(number) else word
    except OverflowError:
        return number  # a whole number beyond all floats
    except ValueError:
        if word == "None":
            raise  # an option may have no value
        return word


_POSITIONAL = get_args(Positional[int])[1]


def check_command(command: Command | AgentCFLearn | AgentCFRank) -> None:
    """Check every option of a command, before anything is loaded.

    Raises:
        ConfigError: A value is of another type or out of its range, or two do not go together.
    """
    hints = get_type_hints(type(command), include_extras=True)
    positional = {name for name, hint in hints.items() if _POSITIONAL in get_args(hint)[1:]}
    check_fields(command, lambda name: name.upper() if name in positional else option_of(name))
    for part in vars(command).values():
        if is_dataclass(part) and hasattr(part, "check"):
            part.check()


def run(command: Command) -> None:
    """Carry out one parsed command."""
    check_command(command)
    match command:
        case DataCommand(DataList()):
            commands.data_list()
        case DataCommand(DataGet(name)):
            commands.data_get(name)
        case ModelsCommand(ModelsList()):
            commands.models_list()
        case ModelsCommand(ModelsGet(name)):
            commands.models_get(name)
        case SimulateCommand(config, out, resume, True):
            commands.estimate(config)
        case SimulateCommand(config, out, resume, _, engines, budget):
            commands.run_simulation(config, out, resume, engines, budget)
        case ReplayCommand(folder):
            commands.replay_runs(folder)
        case CompareCommand(folders, out):
            commands.compare_runs(folders, out)
        case TraitsCommand(folder):
            commands.traits_of(folder)
        case CertifyCommand(config, out, require, None, None):
            measuring.run_certify(config, out, require)
        case CertifyCommand(config, out, require, predictions, log):
            measuring.run_certify_predictions(config, predictions, log, out, require)
        case CalibrateCommand(config):
            measuring.run_calibrate(config)
        case RankingCommand(dataset, out):
            measuring.run_ranking(dataset, out)
        case AgentCFCommand(inner):
            check_command(inner)
            run_agentcf(inner)
        case TrainCommand(config):
            studying.run_training(config)
        case TuneCommand(config):
            run_tune(config)
        case AssessCommand(folder, config):
            run_assess(folder, config)
        case DashboardCommand(runs, port, address, hosts):
            run_dashboard(runs, port, address, hosts)
        case StudyCommand(name, dataset, policies, seeds, users, policy_llm, out):
            study = studying.chosen_study(name, dataset, policies, seeds, users, policy_llm)
            studying.run_study_command(study, out or studying.study_folder(name, study.dataset))
        case InterviewCommand(folder, "", "", None, llm):
            commands.interview_everybody(folder, llm)
        case InterviewCommand(folder, question, user, after, llm):
            commands.interview_user(folder, user, question, after, llm)
