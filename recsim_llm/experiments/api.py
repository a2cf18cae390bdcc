"""Functions of the package's top level, for notebooks and scripts; the command line's verbs call them.

Options are keyword arguments with the names of the config's fields. The two `TypedDict`s below repeat those fields so
that editors and type checkers know them (PEP 692); a test holds both to the dataclasses.
"""

from __future__ import annotations

import inspect
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast

import numpy as np

from recsim_llm.agents.certified import certificate_path
from recsim_llm.agents.fitted_sources import Source, load_source
from recsim_llm.agents.named_users import brought_name, check_user_model, model_fingerprint, uses_llm
from recsim_llm.agents.own_users import USER_METHODS
from recsim_llm.agents.user_model import UserModel
from recsim_llm.certificate import FILE, Certificate
from recsim_llm.checked import OutFolder, check_known, check_options, check_value, option_of, shown
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.backend import Engines, open_backend
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certificate_folder
from recsim_llm.experiments.fidelity.certify import certify as measure_fidelity
from recsim_llm.experiments.fidelity.report.plots import need_matplotlib
from recsim_llm.experiments.fidelity.report.report import write_report
from recsim_llm.experiments.metrics import METRICS, Estimate, paired_totals, summarise_totals
from recsim_llm.experiments.simulation.config import SimulationConfig, chosen_model
from recsim_llm.experiments.simulation.simulate import simulate as record
from recsim_llm.language.wrappers.budget import Budget
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.runs import Run, find_runs
from recsim_llm.runs.run_tables import totals_of
from recsim_llm.spec import first_name

if TYPE_CHECKING:
    import pandas as pd

Config = TypeVar("Config", SimulationConfig, CertifyConfig)
Function = TypeVar("Function", bound=Callable[..., Any])


class SimulationOptions(TypedDict, total=False):
    """Fields of `SimulationConfig`, as keyword arguments."""

    dataset: str | PathLike[str]
    user_model: str | UserModel
    llm: str
    policies: str | Sequence[str] | Policy
    users: int
    pages: int
    page_size: int
    reward: str
    seed: int
    batch_size: int
    rounds: int
    graph: str
    interventions: str | PathLike[str]
    word_of_mouth: float
    seek: float
    conformity: float
    exposure: float
    encoder: str
    personas: str | PathLike[str]
    policy_llm: str
    quit: str
    tell_exit: bool
    thoughts: Literal["none", "page"]


class CertifyOptions(TypedDict, total=False):
    """Fields of `CertifyConfig`, as keyword arguments."""

    dataset: str | PathLike[str]
    user_model: str
    llm: str
    split: Literal["random", "temporal"]
    users: int
    rows: int
    naming: bool
    encoder: str
    resamples: int


def _with_fields_of(kind: type) -> Callable[[Function], Function]:
    """Add a config's fields to a function's signature, for `help` and for completion in notebooks."""

    def signed(function: Function) -> Function:
        own = inspect.signature(function)
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        more = [inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default) for f in fields(kind)]
        vars(function)["__signature__"] = own.replace(parameters=[*kept, *more])
        return function

    return signed


@_with_fields_of(SimulationConfig)
def simulate(
    config: SimulationConfig | None = None,
    out: str | PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    engines: Engines | None = None,
    budget: Budget | None = None,
    **options: Unpack[SimulationOptions],
) -> list[Run]:
    """Run each policy on a population, page by page, and record every step: one run per policy.

    >>> import recsim_llm, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> runs = recsim_llm.simulate(policies=["random", "ease"], users=20, pages=2, out=folder, progress=False)
    >>> [run.manifest.policy for run in runs], len(runs[0].sessions())
    (['random', 'ease'], 20)

    Args:
        config: What to simulate; or pass its fields as keyword arguments.
        out: Folder of the runs; policy P is recorded in `out/P`. Default, as on the command line:
            `runs/DATASET-USERMODEL-seedSEED`.
        resume: Continue the runs in the folder, which must exist; finished runs are kept.
        progress: Show progress bars, and print where the runs are.
        engines: Where the language model runs; default: in this process.
        budget: Limits on what this call may cost; default: no limit.
        options: Fields of `SimulationConfig`; with a config, they override its own. `user_model` may also be an object
            (docs/plugins.md): all policies share it, and a replay needs an equal one, `replay(run, users=...)`. So may
            `policies`: one object with `act`, and then `replay(run, policy=...)`.

    Raises:
        ConfigError: A keyword that does not exist, a value out of range, or options that do not go together.
        RecordingError: A run already exists and `resume` is False, or it was made with another config.
        LLMError: The model cannot answer. Recorded steps are kept; call again with `resume=True`.
        BudgetError: The budget is used up. Recorded steps are kept; call again with `resume=True`.
    """
    check_value("resume", resume, bool)
    check_value("progress", progress, bool)
    given, users, policy = dict(options), None, None
    if "user_model" in given and not isinstance(given["user_model"], str):
        users = _users(given.pop("user_model"))
    if hasattr(given.get("policies"), "act"):
        policy = cast("Policy", given.pop("policies"))
    chosen = _config(SimulationConfig, config, given, simulate)
    if users is None:
        chosen, folder = planned(chosen, _folder(out), engines or Engines(), budget or Budget())
    else:
        name = f"{Path(chosen.dataset).name}-{type(users).__name__}-seed{chosen.seed}"
        folder = _folder(out) or Path("runs") / name
    runs = record(chosen, folder, resume, progress, engines, budget, users, policy)
    if progress:
        print(f"Runs are in {folder}.")
    return runs


def _users(given: object) -> UserModel:
    if not all(callable(getattr(given, method, None)) for method in USER_METHODS):
        raise ConfigError(
            f"user_model is a name ('recsim-llm agents' lists them) or an object with {', '.join(USER_METHODS)}, "
            f"not {shown(given)} (docs/plugins.md)."
        )
    users: UserModel = given  # type: ignore[assignment]
    return users


def planned(
    config: SimulationConfig, out: Path | None, engines: Engines, budget: Budget
) -> tuple[SimulationConfig, Path]:
    """Check a simulation before anything is loaded, and choose its folder.

    Returns:
        The config with every default filled in, and the folder of its runs.

    Raises:
        ConfigError: An option cannot work, or would have no effect.
    """
    for name, value, kind in (("engines", engines, Engines), ("budget", budget, Budget)):
        if not isinstance(value, kind):
            raise ConfigError(f"{name} must be a recsim_llm.{kind.__name__}(...), not {shown(value)}.")
    config.check()
    engines.check()
    budget.check()
    llm, config = config.llm, config.chosen
    _check_in_use(config, llm, engines, budget)
    kind_of_users = brought_name(config.user_model).replace(":", "-") or first_name(config.user_model)
    return config, out or Path("runs") / f"{Path(config.dataset).name}-{kind_of_users}-seed{config.seed}"


def _check_in_use(config: SimulationConfig, llm: str, engines: Engines, budget: Budget) -> None:
    """Refuse language-model options when no language model is used: they would silently have no effect."""
    if config.asks_llm or config.policies_ask_llm:
        return
    given = [f"--llm {llm}"] if llm else []
    given += [f"--ray {engines.ray}"] if engines.ray else []
    given += [f"{option_of(name)} {value}" for name, value in asdict(budget).items() if value is not None]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: neither these people nor these policies ask a language model, so this would have no "
            f"effect. Leave it out, or {'take other people with --user-model' if llm else 'name a model with --llm'}."
        )


@_with_fields_of(CertifyConfig)
def certify(
    config: CertifyConfig | None = None,
    out: str | PathLike[str] | None = None,
    progress: bool = True,
    **options: Unpack[CertifyOptions],
) -> Certificate:
    """Measure how faithful simulated users are to held-out behaviour of the same people, and write a certificate.

    A certificate that certifies is also stored for the environments on this machine, which look for it. Needs the extra
    `report`.

    Args:
        config: What to certify; or pass its fields as keyword arguments, as in `certify(dataset="ml-100k")`.
        out: Folder of the certificate; default, as on the command line: `certificates/DATASET-USERMODEL-SPLIT`.
        progress: Show a progress bar, and print where the certificate is.
        options: Fields of `CertifyConfig`; with a config, they override its own.

    Returns:
        The certificate, with its `folder` and `verdict`.

    Raises:
        ConfigError: A keyword that does not exist, or a value that cannot work.
        LLMError: The model cannot answer. Call again: the answers so far are in this machine's cache.
        MissingExtraError: matplotlib is not installed.
    """
    check_value("progress", progress, bool)
    config = _config(CertifyConfig, config, options, certify)
    found = make_certificate(config, _folder(out), progress)
    if progress:
        print(f"The certificate is in {found.folder}.")
    return found


def make_certificate(config: CertifyConfig, out: Path | None, progress: bool = True) -> Certificate:
    """Measure a certificate and write it, printing nothing; `certify` and the command line both call this.

    Args:
        config: What to certify.
        out: Folder of the certificate; None for the default.
        progress: Show a progress bar.

    Raises:
        ConfigError, LLMError, MissingExtraError: As in `certify`.
    """
    need_matplotlib()
    config.check()
    user_model, llm_name = chosen_model(config.user_model, config.llm)
    check_user_model(user_model)
    folder = out or certificate_folder(config, user_model)
    with open_backend(llm_name) if uses_llm(user_model) else nullcontext() as llm:
        found = measure_fidelity(config, user_model, llm, progress)
    command = certify_command(config, user_model, llm_name if llm else "")
    found = publish(replace(found, notes={"command": command, **found.notes}), folder)
    if not found.shortfall:  # an insufficient certificate must not overwrite a stored one that certifies
        made_of = model_fingerprint(user_model, load_source(Source(config.dataset, config.split))[0].catalogue)
        found.write(certificate_path(found.dataset_checksum, user_model, found.llm, made_of))
    return found


def publish(certificate: Certificate, folder: Path) -> Certificate:
    """Write a certificate and its report into a folder; returns it with its folder."""
    certificate.write(folder / FILE)
    write_report(certificate, folder)
    return replace(certificate, folder=folder)


def certify_command(config: CertifyConfig, user_model: str, llm_name: str) -> str:
    """The command line that reproduces this certificate.

    >>> certify_command(CertifyConfig(users=9, naming=True), "llm", "vllm:x")
    'recsim-llm certify --dataset ml-100k --user-model llm --split random --llm vllm:x --users 9 --naming'
    """
    words = ["recsim-llm", "certify", "--dataset", config.dataset, "--user-model", user_model, "--split", config.split]
    words += ["--llm", llm_name] if llm_name else []
    usual = CertifyConfig()
    for name in ("users", "rows", "encoder", "resamples"):
        if getattr(config, name) != getattr(usual, name):
            words += [f"--{name}", str(getattr(config, name))]
    return shlex.join([*words, *(["--naming"] if config.naming else [])])


def compare(runs: Run | str | PathLike[str] | Sequence[Run | str | PathLike[str]]) -> pd.DataFrame:
    """Every measure of every run with its 95 % interval, and each run's paired difference to the first.

    The numbers of `recsim-llm compare`: means over users, bootstrapped over users (`experiments.metrics`).

    Args:
        runs: Runs, run folders, or folders of runs.

    Returns:
        Indexed by measure and run (its name; its folder where two have one name). value, low, high: the mean and the
        ends of its interval; for the counts users, sessions and pages all three are the count. n: users behind it.
        difference, difference_low, difference_high: this run's value minus the first run's, averaged over the users of
        both runs; n_both: the number of those users. Undefined differences are NaN with n_both 0.
        `table["value"].unstack()` has one column per run.

    Raises:
        RecordingError: There is no run, a run has no page yet, or a file is damaged.
    """
    import pandas as pd

    found = list(_all_runs(runs))
    if not found:
        raise RecordingError("There are no runs to compare: give runs, run folders, or a folder of runs.")
    totals = [totals_of(run.recorded_pages()) for run in found]
    summaries = [summarise_totals(one) for one in totals]
    # The reference is the first run with users: a society without visitors has no values to compare with.
    first = next((i for i, one in enumerate(totals) if len(one.users)), 0)
    rows = []
    for measure in summaries[0]:
        for i, one in enumerate(totals):
            gap = _difference(totals[first], one, measure) if i != first else _NOTHING
            rows.append((*_cells(summaries[i][measure]), *_cells(gap)))
    index = pd.MultiIndex.from_product([list(summaries[0]), _names(found)], names=["measure", "run"])
    return pd.DataFrame(rows, index, ["value", "low", "high", "n", *_DIFFERENCE])


_NOTHING = Estimate(float("nan"), float("nan"), float("nan"), 0)
_DIFFERENCE = ("difference", "difference_low", "difference_high", "n_both")


def _difference(first: Any, other: Any, measure: str) -> Estimate:
    if measure not in METRICS or not len(np.intersect1d(first.users, other.users)):
        return _NOTHING
    try:
        return paired_totals(first, other, measure)
    except ConfigError:  # people in both runs, but none who watched anything in both
        return _NOTHING


def _cells(estimate: Estimate) -> tuple[float, float, float, int]:
    return estimate.value, estimate.low, estimate.high, estimate.n


def _all_runs(runs: object) -> Iterator[Run]:
    if isinstance(runs, Run):
        yield runs
    elif isinstance(runs, str | PathLike):
        yield from find_runs(Path(runs))
    elif isinstance(runs, Sequence):
        for each in runs:
            yield from _all_runs(each)
    else:
        raise ConfigError(f"runs must be runs or folders, not {shown(runs)}.")


def _names(runs: Sequence[Run]) -> list[str]:
    count = Counter(run.manifest.name for run in runs)
    return [run.manifest.name if count[run.manifest.name] == 1 else str(run.folder) for run in runs]


def _config(
    kind: type[Config], config: object, options: Mapping[str, object], function: Callable[..., object]
) -> Config:
    """Return the config that a call describes, with its keyword arguments checked one by one.

    Raises:
        ConfigError: The first argument is not a config, or a keyword or value is invalid.
    """
    where = f"{function.__name__}()"
    if config is not None and not isinstance(config, kind):
        first = fields(kind)[0].name
        raise ConfigError(
            f"{where} takes a {kind.__name__} first, not {shown(config)}; or name its fields: "
            f"{function.__name__}({first}=...)."
        )
    check_known(options, [name for name in inspect.signature(function).parameters if name != "config"], where)
    given = {name: _plain(name, value) for name, value in options.items()}
    check_options(given, kind, where)
    return replace(config, **given) if isinstance(config, kind) else kind(**given)


def _plain(name: str, value: object) -> Any:
    """Convert a value to the config's types: paths to text, several policies to a tuple, NumPy numbers to Python's."""
    if isinstance(value, PathLike):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if name == "policies":
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else value
    return value


def _folder(out: object) -> Path | None:
    if out is None:
        return None
    folder = Path(out) if out and isinstance(out, str | PathLike) else out  # Path("") would be the current folder
    check_value("out", folder, OutFolder)
    return folder if isinstance(folder, Path) else None
