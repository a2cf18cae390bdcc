"""The registry of agent kinds: builds a kind for one data set from name and options. A new kind is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, get_type_hints

from recsim_llm.agents.llm.agent4rec.agent4rec import Agent4Rec, Agent4RecOptions
from recsim_llm.agents.llm.agent_kind import AgentKind
from recsim_llm.agents.llm.agentcf.agentcf import AgentCF, AgentCFOptions
from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.agents.llm.dialogue.dialogue import Dialogue, DialogueOptions
from recsim_llm.agents.llm.kind_texts import OPTION, KindTexts, read_kind_texts
from recsim_llm.agents.llm.memory.three_stage import ThreeStageOptions
from recsim_llm.agents.llm.recagent.recagent import RecAgent, RecAgentOptions, calibrated_enhancement
from recsim_llm.checked import Name, Share, check_known, check_value, shown
from recsim_llm.data import Dataset, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.language.encoders import TextEncoder
from recsim_llm.language.protocol import LLM
from recsim_llm.types import Persona

_THRESHOLD = "threshold="


class Material(NamedTuple):
    """The inputs of a kind.

    Attributes:
        dataset: Catalogue, people, rating levels.
        log: The training ratings.
        personas: `personas[u].user == u`.
        encoder: One text encoder for the whole population.
        options: Words after the colon of a user model's name ("agent4rec:text,genres").
        settings: Fields of the kind's options behind its question mark ("agent4rec?memory_bytes=800").
        llm: The language model, for plug-in user models; kinds only receive its answers.
    """

    dataset: Dataset
    log: Ratings
    personas: tuple[Persona, ...]
    encoder: TextEncoder
    options: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = MappingProxyType({})
    llm: LLM | None = None


class KindWord(NamedTuple):
    """An option word, written after the colon of a kind's name.

    Attributes:
        word: The word; a part in capitals stands for a value.
        field: The field of the kind's options that it sets, whose docstring and default describe it; "" where the word
            has a value of its own.
        value: Value that the field is set to.
        help: Help text where there is no such field.
    """

    word: str
    field: str = ""
    value: Any = None
    help: str = ""


class KindWords(NamedTuple):
    """The option words of a kind.

    Attributes:
        options: The kind's options.
        words: The words; any number of them may be given, separated by commas.
    """

    options: type
    words: tuple[KindWord, ...]


_ITEMS, _TEXT = KindWord("items", "one_by_one", True), KindWord("text", "answers", "text")
_GENRES = KindWord("genres", "tastes", "genres")
_ENHANCEMENT = KindWord(
    f"{_THRESHOLD}VALUE",
    help="calibrated (to the encoder, the default), published, or a number between 0 and 1: how alike a new "
    "observation and a memory must be for the memory to be enhanced.",
)
_FOLDER = KindWord(
    "FOLDER", help="Memories of 'recsim-llm agentcf learn'; default: everybody begins with the same sentence."
)
KIND_WORDS: dict[str, KindWords] = {
    "agent4rec": KindWords(Agent4RecOptions, (_TEXT, _ITEMS, _GENRES)),
    "recagent": KindWords(RecAgentOptions, (_TEXT, _ITEMS, _ENHANCEMENT)),
    "agentcf": KindWords(AgentCFOptions, (_ITEMS, _FOLDER)),
    "dialogue": KindWords(DialogueOptions, (_ITEMS,)),
}
"""The option words of each kind of `AGENT_KINDS`; 'recsim-llm agents' lists them."""


def _agent4rec(m: Material) -> AgentKind:
    """Agent4Rec (Zhang et al., SIGIR 2024): traits and tastes, emotional and factual memories, feelings about pages."""
    options = _options("agent4rec", m, m.options)
    return Agent4Rec(m.dataset.catalogue, m.personas, m.dataset.rating_levels, m.log, m.encoder, options)


def _recagent(m: Material) -> AgentKind:
    """RecAgent (Wang et al., TOIS): sensory, short-term and long-term memory; insights and forgetting."""
    thresholds = sorted(option for option in m.options if option.startswith(_THRESHOLD))
    if len(thresholds) > 1:
        raise ConfigError(f"The user model 'recagent' takes one threshold, not {', '.join(thresholds)}.")
    memory = _stages(thresholds[0].removeprefix(_THRESHOLD)) if thresholds else None
    if memory is None and any(name.startswith("memory.") for name in m.settings):
        memory = ThreeStageOptions(enhancement=calibrated_enhancement(m.encoder))
    options = _options("recagent", m, m.options - set(thresholds), memory=memory)
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
    """AgentCF (Zhang et al., WWW 2024): people and items describe themselves in words, and learn from each other."""
    folders = sorted(m.options - {_ITEMS.word})
    if len(folders) > 1:
        raise ConfigError(f"The user model 'agentcf' takes one folder of memories, not {', '.join(folders)}.")
    memories = AgentCFMemories.load(Path(folders[0]), m.dataset.catalogue) if folders else None
    options = _options("agentcf", m, m.options - set(folders))
    return AgentCF(m.dataset.catalogue, m.personas, m.dataset.rating_levels, memories, m.log, m.encoder, options)


def _dialogue(m: Material) -> AgentKind:
    """A conversation that only grows: each page is the next turn, so a prefix cache spares the earlier ones."""
    options = _options("dialogue", m, m.options)
    return Dialogue(m.dataset.catalogue, m.personas, m.dataset.rating_levels, options)


def kind_texts(kind: str, settings: Mapping[str, Any]) -> KindTexts:
    """The prompt texts of a kind with these settings.

    Raises:
        ConfigError: The kind takes no texts from outside, or those of the folder break a rule (`read_kind_texts`).
    """
    if OPTION not in settings:
        return KindTexts(kind)
    takers = [name for name, words in KIND_WORDS.items() if OPTION in settable(words.options())]
    if kind not in takers:
        raise ConfigError(
            f"The user model '{kind}' takes no prompts of your own (?{OPTION}=FOLDER). These do: {', '.join(takers)}."
        )
    folder = settings[OPTION]
    check_value(f"The user model '{kind}': {OPTION}", folder, Name)
    return read_kind_texts(kind, folder)


AGENT_KINDS: dict[str, Callable[[Material], AgentKind]] = {
    "agent4rec": _agent4rec,
    "recagent": _recagent,
    "agentcf": _agentcf,
    "dialogue": _dialogue,
}


def _options(kind: str, m: Material, words: frozenset[str], **more: Any) -> Any:
    """The kind's options: its defaults, then what the words set, then what the settings set.

    Raises:
        ConfigError: A word or a field is unknown, or a value is of another type or out of its range.
    """
    plain = KIND_WORDS[kind].options(**more, **_fields(kind, words))
    return with_settings(plain, m.settings, f"The user model '{kind}'")


def with_settings(options: Any, settings: Mapping[str, Any], where: str) -> Any:
    """A frozen dataclass with some fields replaced, those of inner ones by "outer.inner".

    Args:
        options: The dataclass.
        settings: Values by field.
        where: What the message of an error begins with.

    Raises:
        ConfigError: There is no such field, or its value is of another type or out of its range.

    >>> with_settings(DialogueOptions(), {"memory_bytes": 800, "leaving.base": -1.5}, "dialogue").leaving.base
    -1.5
    """
    check_known(settings, settable(options), where)
    hints = get_type_hints(type(options), include_extras=True)
    for name, value in settings.items():
        outer, dot, inner = name.partition(".")
        if dot:
            changed = with_settings(getattr(options, outer), {inner: value}, f"{where}: {outer}")
        else:
            check_value(f"{where}: {name}", value, hints[name])
            changed = value
        options = replace(options, **{outer: changed})
    return options


def settable(options: Any) -> list[str]:
    """The fields that a line of text can set: numbers, words and switches, also inside of inner dataclasses.

    >>> settable(DialogueOptions())[:4]
    ['memory_bytes', 'one_by_one', 'prompts', 'leaving.base']
    """
    names = []
    for each in fields(options):
        value = getattr(options, each.name)
        if is_dataclass(value):
            names += [f"{each.name}.{inner}" for inner in settable(value)]
        elif isinstance(value, bool | int | float | str):
            names.append(each.name)
    return names


def _fields(kind: str, given: frozenset[str]) -> dict[str, Any]:
    """The fields of the kind's options that the words set.

    Raises:
        ConfigError: A word is unknown.
    """
    known = {word.word: word for word in KIND_WORDS[kind].words}
    wrong = [word for word in sorted(given) if word not in known or not known[word].field]
    if wrong:
        raise ConfigError(
            f"The user model '{kind}' has no option '{', '.join(wrong)}'; it has {', '.join(sorted(known))}."
        )
    return {known[word].field: known[word].value for word in given}
