"""The registry of agent kinds: from a name and options to a design for one data set. A new kind is one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from recsim_llm.agents.llm.agent4rec.agent4rec import Agent4Rec, Agent4RecOptions
from recsim_llm.agents.llm.agent_kind import AgentKind
from recsim_llm.agents.llm.agentcf.agentcf import AgentCF, AgentCFOptions
from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.agents.llm.dialogue.dialogue import Dialogue, DialogueOptions
from recsim_llm.agents.llm.memory.three_stage import ThreeStageOptions
from recsim_llm.agents.llm.recagent.recagent import RecAgent, RecAgentOptions
from recsim_llm.checked import Share, check_value, shown
from recsim_llm.data import Dataset, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.language.protocol import LLM
from recsim_llm.types import Persona

_THRESHOLD = "threshold="


class Material(NamedTuple):
    """What a kind is made of.

    Attributes:
        dataset: Catalogue, people, rating levels.
        log: The training ratings.
        personas: `personas[u].user == u`.
        encoder: One text encoder for the whole population.
        options: Words behind the colon of a user model's name ("agent4rec:text,genres").
        llm: The language model, for user models that others bring; kinds are handed its answers.
    """

    dataset: Dataset
    log: Ratings
    personas: tuple[Persona, ...]
    encoder: TextEncoder
    options: frozenset[str] = frozenset()
    llm: LLM | None = None


def _agent4rec(m: Material) -> AgentKind:
    _check("agent4rec", m.options, {"text", "items", "genres"})
    options = Agent4RecOptions(
        answers="text" if "text" in m.options else "labels",
        tastes="genres" if "genres" in m.options else "llm",
        one_by_one="items" in m.options,
    )
    return Agent4Rec(m.dataset.catalogue, m.personas, m.dataset.rating_levels, m.log, m.encoder, options)


def _recagent(m: Material) -> AgentKind:
    thresholds = sorted(option for option in m.options if option.startswith(_THRESHOLD))
    _check("recagent", m.options - set(thresholds), {"text", "items", f"{_THRESHOLD}VALUE"})
    if len(thresholds) > 1:
        raise ConfigError(f"The user model 'recagent' takes one threshold, not {', '.join(thresholds)}.")
    options = RecAgentOptions(
        answers="text" if "text" in m.options else "labels",
        memory=_stages(thresholds[0].removeprefix(_THRESHOLD)) if thresholds else None,
        one_by_one="items" in m.options,
    )
    return RecAgent(m.dataset.catalogue, m.personas, m.dataset.rating_levels, m.encoder, options)


def _stages(threshold: str) -> ThreeStageOptions | None:
    """The memory of "recagent:threshold=VALUE"; None for "calibrated", which the kind does by itself."""
    if threshold in ("calibrated", "published"):
        return None if threshold == "calibrated" else ThreeStageOptions()
    try:
        least = float(threshold)
    except ValueError:
        raise ConfigError(
            f"recagent: threshold must be calibrated, published or a number between 0 and 1, not {shown(threshold)}."
        ) from None
    check_value("recagent: threshold", least, Share)
    return ThreeStageOptions(enhancement=least)


def _agentcf(m: Material) -> AgentKind:
    folders = sorted(m.options - {"items"})
    if len(folders) > 1:
        raise ConfigError(f"The user model 'agentcf' takes one folder of memories, not {', '.join(folders)}.")
    memories = AgentCFMemories.load(Path(folders[0]), m.dataset.catalogue) if folders else None
    options = AgentCFOptions(one_by_one="items" in m.options)
    return AgentCF(m.dataset.catalogue, m.personas, m.dataset.rating_levels, memories, m.log, m.encoder, options)


def _dialogue(m: Material) -> AgentKind:
    _check("dialogue", m.options, {"items"})
    options = DialogueOptions(one_by_one="items" in m.options)
    return Dialogue(m.dataset.catalogue, m.personas, m.dataset.rating_levels, options)


AGENT_KINDS: dict[str, Callable[[Material], AgentKind]] = {
    "agent4rec": _agent4rec,
    "recagent": _recagent,
    "agentcf": _agentcf,
    "dialogue": _dialogue,
}


def _check(kind: str, options: frozenset[str], known: set[str]) -> None:
    if options - known:
        wrong = ", ".join(sorted(options - known))
        raise ConfigError(f"The user model '{kind}' has no option '{wrong}'; it has {', '.join(sorted(known))}.")
