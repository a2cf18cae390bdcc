"""Recommenders, one file each. Each is fitted on the training log, lives in one file, and sees only observations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

_CLASSIC = (RandomPolicy, Popularity, LivePopularity, BM25, ItemKNN, EASE, ALS, BPR, LightGCN, GRU4Rec, SASRec)
_ADAPTERS_AND_BOUNDS = (EmbeddingPolicy, CornacPolicy, Retrain, FixedList, Oracle)
_LEARNING = (SQN, BCQ, CQL, CRR, DORL, DQN, A2C, PPO)
_PLANNING = (LLMRank, ActOnly, ReAct, Reflexion, BiLLP)

POLICIES: dict[str, type[FittedPolicy]] = {
    policy.name: policy for policy in (*_CLASSIC, *_ADAPTERS_AND_BOUNDS, *_LEARNING, *_PLANNING)
}


def check_policy(text: str) -> PolicySpec:
    """What a line names, after a check that there is such a policy (`policies.policy_spec`).

    Raises:
        ConfigError: There is no policy or file of that name.
    """
    spec = parse_policy(text)
    if spec.file is None and spec.name not in POLICIES:
        raise ConfigError(
            f"There is no policy {shown(spec.name)}.{near(spec.name, POLICIES)} Policies: {', '.join(POLICIES)}."
        )
    if spec.file is None:
        POLICIES[spec.name].check_options(spec.options)
    if spec.file is not None and not spec.file.is_file():
        raise ConfigError(f"There is no policy file {spec.file}. Make one with recsim-llm train, or name a policy.")
    return spec


def asks_llm(text: str) -> bool:
    """Whether a policy, given as a line of text, asks a language model."""
    spec = check_policy(text)
    name = spec.name if spec.file is None else str(read_file(spec.file)["meta_policy"])
    return name in POLICIES and issubclass(POLICIES[name], LLMPolicy)


def open_policy(
    text: str, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, llm: LLM | None = None
) -> FittedPolicy:
    """A policy from a line of text: fitted anew, or read from its file.

    Args:
        text: As `policies.policy_spec.parse_policy` reads it.
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
        name: One of `POLICIES`.
        log: Training ratings.
        catalogue: The items.
        page_size: K.
        seed: Seed of fitting and of the policy's own randomness.
        llm: The language model of policies that ask one.
        options: Those of the policy's `learn_from`, and `min_rating` (see `docs/policies.md`).

    Raises:
        ConfigError: No such policy or option, a page larger than the catalogue, or a language model is missing.
        MissingExtraError: The policy needs a package that is not installed.
    """
    if name not in POLICIES:
        raise ConfigError(f"There is no policy '{name}'. Policies: {', '.join(POLICIES)}.")
    return _connected(POLICIES[name].fit(log, catalogue, page_size, seed, **options), catalogue, llm)


def load_policy(path: Path, catalogue: Catalogue | None = None, llm: LLM | None = None) -> FittedPolicy:
    """Read a fitted policy, of whatever kind, from its file.

    Args:
        path: What `save` wrote.
        catalogue: If given, the policy must have been fitted for as many items.
        llm: The language model of policies that ask one; these need the catalogue too.

    Raises:
        RecordingError: The file is damaged, of a policy that is not registered, or for another catalogue.
    """
    data = read_file(path)
    name, num_items = str(data["meta_policy"]), int(data["known_shape"][1])
    if name not in POLICIES:
        raise RecordingError(f"{path} holds a policy '{name}', which is not registered in POLICIES.")
    if catalogue is not None and num_items != len(catalogue):
        raise RecordingError(
            f"{path} was fitted for a catalogue of {num_items} items; this one has {len(catalogue)}. Fit it again."
        )
    return _connected(POLICIES[name].load(path), catalogue, llm)


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
