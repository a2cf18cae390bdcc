"""Recommender policies, one module per policy: fitted on the training log, saved as one file, fed observations only."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from inspect import isclass
from pathlib import Path
from typing import Any

from recsim_llm import plugins
from recsim_llm.checked import near, shown
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.language.protocol import LLM
from recsim_llm.policies.bounds.fixed_list import FixedList
from recsim_llm.policies.bounds.oracle import Oracle
from recsim_llm.policies.classic.als import ALS
from recsim_llm.policies.classic.bm25 import BM25
from recsim_llm.policies.classic.bpr import BPR
from recsim_llm.policies.classic.cornac_adapter import CornacPolicy
from recsim_llm.policies.classic.ease import EASE
from recsim_llm.policies.classic.embeddings import EmbeddingPolicy
from recsim_llm.policies.classic.given_scores import GivenLists, GivenScores
from recsim_llm.policies.classic.item_knn import ItemKNN
from recsim_llm.policies.classic.lightgcn import LightGCN
from recsim_llm.policies.classic.popularity import LivePopularity, Popularity
from recsim_llm.policies.classic.random import RandomPolicy
from recsim_llm.policies.llmrank import LLMRank
from recsim_llm.policies.planners.actonly import ActOnly
from recsim_llm.policies.planners.billp import BiLLP
from recsim_llm.policies.planners.react import ReAct
from recsim_llm.policies.planners.reflexion import Reflexion
from recsim_llm.policies.policy_files import read_file
from recsim_llm.policies.policy_protocol import CataloguePolicy, FittedPolicy, LLMPolicy
from recsim_llm.policies.policy_spec import PolicySpec, parse_policy
from recsim_llm.policies.ranking import check_page_size
from recsim_llm.policies.retrain import Retrain
from recsim_llm.policies.rl.offline.dorl import DORL
from recsim_llm.policies.rl.offline.offline_policies import BCQ, CQL, CRR, SQN
from recsim_llm.policies.rl.online import A2C, DQN, PPO
from recsim_llm.policies.sequential.gru4rec import GRU4Rec
from recsim_llm.policies.sequential.sasrec import SASRec
from recsim_llm.spec import split_name

_CLASSIC = (RandomPolicy, Popularity, LivePopularity, BM25, ItemKNN, EASE, ALS, BPR, LightGCN, GRU4Rec, SASRec)
_ADAPTERS_AND_BOUNDS = (EmbeddingPolicy, GivenScores, GivenLists, CornacPolicy, Retrain, FixedList, Oracle)
_LEARNING = (SQN, BCQ, CQL, CRR, DORL, DQN, A2C, PPO)
_PLANNING = (LLMRank, ActOnly, ReAct, Reflexion, BiLLP)

POLICIES: dict[str, type[FittedPolicy]] = {
    policy.name: policy for policy in (*_CLASSIC, *_ADAPTERS_AND_BOUNDS, *_LEARNING, *_PLANNING)
}


_MEMBERS = ("name", "act", "fit", "check_options", "save", "load")


def known_policies() -> list[str]:
    """Names of all policies: the built-in ones, then those that installed packages provide (docs/plugins.md)."""
    return [*POLICIES, *(name for name in plugins.plugin_names(plugins.POLICIES) if name not in POLICIES)]


def policy_class(name: str) -> type[FittedPolicy]:
    """Return the class of a policy by its name.

    Args:
        name: One of `POLICIES`, the name under which an installed package provides the policy, or `module:Class`.

    Raises:
        ConfigError: There is no such policy, or the object of that name is not a policy.

    >>> policy_class("ease").__name__
    'EASE'
    """
    if name in POLICIES:
        return POLICIES[name]
    if name.startswith(plugins.OBJECT):
        raise ConfigError(
            f"This policy was a Python object of {name.removeprefix(plugins.OBJECT)}, which only Python can hand over "
            "again: replay(run, policy=...), simulate(config, out, policy=...)."
        )
    if split_name(name)[0] in POLICIES:
        raise ConfigError(f"Policy {shown(name)}: options go behind a question mark, NAME?option=value&option=value.")
    found = plugins.load_plugin(name, plugins.POLICIES, "a policy")
    if found is None:
        known = known_policies()
        raise ConfigError(f"There is no policy {shown(name)}.{near(name, known)} Policies: {', '.join(known)}.")
    plugins.check_class(found, name, _MEMBERS, "a policy")
    kind: type[FittedPolicy] = found
    # `load_policy` finds the class by this name, which is stored in the policy's file.
    if not isinstance(kind.name, str) or not kind.name:
        raise ConfigError(f"{name}: its attribute 'name' must be text, not {shown(kind.name)}.")
    if POLICIES.get(kind.name, kind) is not kind:
        raise ConfigError(f"{name} has the name of a built-in policy, '{kind.name}'. Give it another: name = '...'.")
    if ":" not in name and kind.name != name:
        raise ConfigError(f"The policy '{name}' is called '{kind.name}' by its class. Its entry point must say so too.")
    return kind


def own_class(text: str) -> type[FittedPolicy] | None:
    """Return the class that a policy string names if it is not built in; None for built-in policies and for files."""
    spec = parse_policy(text)
    return None if spec.file is not None or spec.name in POLICIES else policy_class(spec.name)


def _running(name: str) -> AbstractContextManager[None]:
    return nullcontext() if name in POLICIES else plugins.running_plugin(name)


def check_policy(text: str) -> PolicySpec:
    """Parse a policy string (`policies.policy_spec`) and check that the policy or file exists.

    Raises:
        ConfigError: There is no policy or file of that name.
    """
    spec = parse_policy(text)
    if spec.file is None:
        kind = policy_class(spec.name)
        with _running(spec.name):
            kind.check_options(spec.options)
    if spec.file is not None and not spec.file.is_file():
        raise ConfigError(f"There is no policy file {spec.file}. Make one with recsim-llm train, or name a policy.")
    return spec


def check_policy_object(policy: Any, page_size: int) -> None:
    """Refuse an object that is not a policy, or that fills pages of another size.

    Raises:
        ConfigError: It is refused.
    """
    missing = [member for member in ("name", "page_size", "act") if not hasattr(policy, member)]
    if isclass(policy) or not callable(getattr(policy, "act", None)):
        raise ConfigError(
            f"A policy object has a method act, unlike {shown(policy)}; a class is named: 'module:Class'."
        )
    if missing:
        raise ConfigError(f"{shown(policy)} lacks {', '.join(missing)}. Add what is missing (docs/plugins.md).")
    if policy.page_size != page_size:
        raise ConfigError(f"The policy has page_size={shown(policy.page_size)}, the simulation {page_size}: use one.")


def asks_llm(text: str) -> bool:
    """Whether the policy that a string names is connected to a language model; objects were made with their own."""
    if text.startswith(plugins.OBJECT):
        return False
    spec = check_policy(text)
    if spec.file is None:
        return issubclass(policy_class(spec.name), LLMPolicy)
    kind = _brought(str(read_file(spec.file)["meta_policy"]))
    return kind is not None and issubclass(kind, LLMPolicy)


def open_policy(
    text: str, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, llm: LLM | None = None
) -> FittedPolicy:
    """Return the policy that a string names: newly fitted, or loaded from its file.

    Args:
        text: A policy string, see `policies.policy_spec.parse_policy`.
        log: Training ratings.
        catalogue: The items.
        page_size: K.
        seed: As in `make_policy`.
        llm: As in `make_policy`.

    Raises:
        ConfigError: As in `make_policy`.
        RecordingError: As in `load_policy`.
    """
    spec = check_policy(text)
    if spec.file is None:
        return make_policy(spec.name, log, catalogue, page_size, seed, llm, **spec.options)
    check_page_size(page_size, len(catalogue))
    policy = load_policy(spec.file, catalogue, llm)
    policy.page_size = page_size
    return policy


def make_policy(
    name: str,
    log: Ratings,
    catalogue: Catalogue,
    page_size: int,
    seed: int = 0,
    llm: LLM | None = None,
    **options: Any,
) -> FittedPolicy:
    """Fit a policy by name.

    Args:
        name: As in `policy_class`.
        log: Training ratings.
        catalogue: The items.
        page_size: K.
        seed: Seed for fitting and for the policy's own random draws.
        llm: The language model, for policies that call one.
        options: Options of the policy's `learn_from`, and `min_rating` (see `docs/policies.md`).

    Raises:
        ConfigError: No such policy or option, a page larger than the catalogue, or a language model is missing.
        MissingExtraError: The policy needs a package that is not installed.
    """
    kind = policy_class(name)
    with _running(name):
        fitted = kind.fit(log, catalogue, page_size, seed, **options)
    return _connected(fitted, catalogue, llm)


def load_policy(
    path: Path, catalogue: Catalogue | None = None, llm: LLM | None = None, own: type[FittedPolicy] | None = None
) -> FittedPolicy:
    """Load a fitted policy of any kind from its file.

    Args:
        path: A file that `save` wrote.
        catalogue: If given, the policy must have been fitted for as many items.
        llm: The language model, for policies that call one; these also need `catalogue`.
        own: Your own policy class. The file cannot name it, because loading a file must not choose what is imported.

    Raises:
        RecordingError: The file is damaged, holds an unknown policy, or belongs to another catalogue.
        ConfigError: Your own class cannot read it.
    """
    if own is not None:
        with plugins.running_plugin(own.__name__):
            return _connected(own.load(path), catalogue, llm)
    data = read_file(path)
    name, num_items = str(data["meta_policy"]), int(data["known_shape"][1])
    kind = _brought(name)
    if kind is None:
        raise RecordingError(
            f"{path} holds a policy {shown(name)}, which is neither built in nor brought by an installed package. "
            "Install the package, or, where it is a class of your own, put it into POLICIES (docs/plugins.md)."
        )
    if catalogue is not None and num_items != len(catalogue):
        raise RecordingError(
            f"{path} was fitted for a catalogue of {num_items} items; this one has {len(catalogue)}. Fit it again."
        )
    with _running(name):
        return _connected(kind.load(path), catalogue, llm)


def _brought(name: str) -> type[FittedPolicy] | None:
    """Return the class for a name stored in a file: built in or from an installed package, never `module:Class`."""
    known = name in POLICIES or (":" not in name and name in plugins.plugin_names(plugins.POLICIES))
    return policy_class(name) if known else None


def _connected(policy: FittedPolicy, catalogue: Catalogue | None, llm: LLM | None) -> FittedPolicy:
    if isinstance(policy, CataloguePolicy) and catalogue is not None:
        policy.stock(catalogue)
    if isinstance(policy, LLMPolicy) and catalogue is not None:
        if llm is None:
            raise ConfigError(
                f"The policy '{policy.name}' asks a language model: --policy-llm transformers:smollm2-135m, for "
                "example (llm=... in Python)."
            )
        policy.connect(llm, catalogue)
    return policy
