"""Files of a run's folder besides the recording that a replay needs: policies, interventions and prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from recsim_llm.agents.hybrid.learned import Learned, find_learned
from recsim_llm.agents.llm.kind_registry import AGENT_KINDS
from recsim_llm.agents.llm.kind_texts import OPTION
from recsim_llm.agents.long_term.long_term_population import make_long_term, rule_of
from recsim_llm.agents.named_users import WRAPPERS, learned_identity, own_texts, unwrapped
from recsim_llm.agents.population import Population, SocialPopulation
from recsim_llm.data import Catalogue
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.bounds import make_fixed_list, make_oracle
from recsim_llm.experiments.simulation.config import SimulationConfig, wants_task
from recsim_llm.experiments.simulation.interventions.interventions import PLAN, Intervention, to_json
from recsim_llm.experiments.simulation.rollout import choose_visitors
from recsim_llm.experiments.simulation.trajectory import Cast, switched, wide_page
from recsim_llm.experiments.training.train_world import TaskExits
from recsim_llm.language.protocol import LLM
from recsim_llm.policies import load_policy, open_policy, own_class
from recsim_llm.policies.bounds.fixed_list import FixedList
from recsim_llm.policies.bounds.oracle import Oracle
from recsim_llm.policies.planners.planner import Planner
from recsim_llm.policies.policy_protocol import FittedPolicy, Policy
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.policies.rl.offline.dorl import DORL, NEEDS_TASK
from recsim_llm.runs.manifest import FILE, read_manifest
from recsim_llm.runs.run_files import make_folder, write_durably
from recsim_llm.runs.side_files import PROMPTS
from recsim_llm.spec import first_name, parse_spec, with_option
from recsim_llm.untrusted import read_bytes

LEARNED = "learned"


def fit_missing(
    config: SimulationConfig, cast: Cast, interventions: Sequence[Intervention], folder: Path, llm: LLM | None = None
) -> dict[str, FittedPolicy]:
    """Fit the policies that this run needs and its folder does not hold yet."""
    wide = replace(config, page_size=wide_page(config, interventions))
    names = [name for name in policy_names(config, interventions) if not policy_path(folder, name, config).exists()]
    return {policy_path(folder, name, config).name: fit(wide, cast.population, name, llm) for name in names}


def policy_names(config: SimulationConfig, interventions: Sequence[Intervention]) -> list[str]:
    """The policies of a run: its own, then those that interventions switch to."""
    return list(dict.fromkeys([config.policies[0], *switched(interventions)]))


def fit(
    config: SimulationConfig, population: Population | SocialPopulation, policy: str, llm: LLM | None = None
) -> FittedPolicy:
    """Fit a policy to the platform's existing log, or read the file of a fitted one."""
    if isinstance(population, Population) and policy == Oracle.name:
        return make_oracle(population, config.page_size, config.pages)
    if isinstance(population, Population) and policy == FixedList.name:
        others = choose_visitors(population.users.num_users, population.users.num_users, config.seed)[config.users :]
        return make_fixed_list(population, others, config.page_size, config.pages)
    if wants_task(policy):
        return _task_dorl(config, population, policy)
    made = open_policy(policy, population.log, population.dataset.catalogue, config.page_size, config.seed, llm)
    if isinstance(made, Planner):
        made.tell_exit(rule_of(config.quit) if config.quit else None, config.tell_exit)
    return made


def _task_dorl(config: SimulationConfig, population: Population | SocialPopulation, policy: str) -> DORL:
    """DORL for people who leave by the rule of this simulation."""
    if not config.quit:
        raise ConfigError(f"Policy '{policy}': {NEEDS_TASK}")
    # A separate population, statistical whatever the user model: it only decides who leaves, never what people like.
    people = make_long_term(config.dataset, rule=config.quit).users
    catalogue, options = population.dataset.catalogue, parse_policy(policy).options
    exits = TaskExits(people, config.seed)
    return DORL.for_task(exits, population.log, catalogue, config.page_size, config.seed, **options)


def policy_path(folder: Path, name: str, config: SimulationConfig) -> Path:
    """Path of a policy in a run: its own in `policy.npz`, one that it is switched to under its name."""
    if name == config.policies[0]:
        return folder / "policy.npz"
    plain = re.sub(r"[^\w.-]+", "_", name)
    # Two specs with options may differ only in characters that a file name cannot hold.
    return folder / f"policy-{plain if plain == name else f'{plain[:80]}-{sha256(name.encode()).hexdigest()[:8]}'}.npz"


def save_policies(folder: Path, fitted: Mapping[str, FittedPolicy]) -> None:
    """Write fitted policies, by file name."""
    for name, policy in fitted.items():
        partial = (folder / name).with_suffix(".tmp.npz")
        policy.save(partial)
        partial.replace(folder / name)


def load_policies(
    folder: Path,
    config: SimulationConfig,
    interventions: Sequence[Intervention],
    catalogue: Catalogue,
    llm: LLM | None = None,
) -> dict[str, FittedPolicy]:
    """Load a run's policies, always from their files, so that a resumed run uses exactly the same ones."""
    names = policy_names(config, interventions)
    return {name: load_policy(policy_path(folder, name, config), catalogue, llm, own_class(name)) for name in names}


def playing(
    folder: Path,
    config: SimulationConfig,
    interventions: Sequence[Intervention],
    catalogue: Catalogue,
    llm: LLM | None = None,
    own: Policy | None = None,
) -> Mapping[str, Policy]:
    """The policies of a run: the object that a Python caller passed, else those of `load_policies`."""
    if own is not None:
        return {config.policies[0]: own}
    return load_policies(folder, config, interventions, catalogue, llm)


def learned_of(config: SimulationConfig, llm_name: str, folder: Path) -> Learned | None:
    """Return the calibration of the language model in a run: from its folder, else from this machine's store.

    Raises:
        ConfigError: Nobody has calibrated the model yet.
    """
    if first_name(config.user_model) not in WRAPPERS:
        return None
    kept = folder / LEARNED
    if kept.exists():
        return Learned.load(kept)
    return find_learned(learned_identity(config.dataset, config.user_model, llm_name), config.dataset)


def check_texts(folder: Path, config: SimulationConfig) -> None:
    """Check that the folder of `?prompts=FOLDER` holds the texts that a run was begun with.

    Raises:
        RecordingError: It does not.
    """
    files = read_manifest(folder).files if (folder / FILE).exists() else {}
    recorded = {name: checksum for name, checksum in files.items() if Path(name).parent.name == PROMPTS}
    texts = own_texts(config.user_model)
    now = {f"{PROMPTS}/{name}": sha256(text).hexdigest() for name, text in texts.files().items()} if texts else {}
    changed = sorted(name for name in {*recorded, *now} if recorded.get(name) != now.get(name))
    if files and changed:
        raise RecordingError(
            f"{folder} was begun with other texts of prompts ({', '.join(changed)}). The run has kept them in "
            f"{folder / PROMPTS}: put those back, or choose another --out folder for the new ones."
        )


def keep_texts(folder: Path, config: SimulationConfig) -> None:
    """Write the texts of `?prompts=FOLDER` into a run."""
    texts = own_texts(config.user_model)
    files = texts.files() if texts else {}
    if files:
        make_folder(folder / PROMPTS)
    for name, text in files.items():
        write_durably(folder / PROMPTS / name, text)
    for stale in (folder / PROMPTS).glob("*.md"):
        if stale.name not in files:  # of a run that was killed before it asked anything
            stale.unlink()


def with_kept_texts(folder: Path, config: SimulationConfig) -> SimulationConfig:
    """The config of a run, with the prompts that it has kept in place of the folder that it was given."""
    played = unwrapped(config.user_model)
    if first_name(played) not in AGENT_KINDS or OPTION not in parse_spec(played).options:
        return config
    return replace(config, user_model=with_option(config.user_model, OPTION, str(folder / PROMPTS)))


def keep_plan(folder: Path, interventions: Sequence[Intervention]) -> None:
    """Write the interventions of a run's arm.

    Raises:
        RecordingError: The run was started with other interventions.
    """
    text = json.dumps(to_json(interventions), indent=1, ensure_ascii=False)
    path = folder / PLAN
    if path.exists() and read_bytes(path) != text.encode():
        raise RecordingError(f"{folder} was begun with other interventions. Choose another --out folder.")
    if interventions:
        path.write_text(text, encoding="utf-8")
