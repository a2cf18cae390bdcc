"""List the user models that --user-model can name, with the words allowed after their colon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tyro.conf import Positional

from recsim_llm import plugins
from recsim_llm.agents.llm.kind_registry import AGENT_KINDS, KIND_WORDS, KindWord, settable
from recsim_llm.agents.llm.memory.three_stage import ThreeStageOptions
from recsim_llm.agents.llm.recagent.recagent import RecAgentOptions
from recsim_llm.agents.named_users import USER_MODELS, WRAPPERS
from recsim_llm.agents.own_users import find_own
from recsim_llm.checked import Text
from recsim_llm.cli.named_list import NamedThing, OptionLine, example_line, option_line, print_things, written
from recsim_llm.errors import ConfigError
from recsim_llm.option_list import ListedOption, first_line, listed_options

GRAMMAR = (
    "Write a user model as NAME, NAME:word,word or NAME:word?option=value&option=value in quotes:\n"
    "--user-model 'agent4rec:items?memory_bytes=800'. All but statistical need --llm.\n"
    "Made of another one: hybrid:NAME, calibrated:NAME. Your own: my_module:MyUsers (docs/plugins.md).\n"
    "What each kind of agent is: docs/agents/README.md."
)


@dataclass(frozen=True)
class AgentsCommand:
    """Options of `recsim-llm agents`."""

    name: Positional[Text] = ""
    """One user model, to see what each word after its colon means; default: all user models."""


def run(command: AgentsCommand) -> None:
    """Print the user models, or one of them."""
    print_things(listed_agents(), command.name, "agents", GRAMMAR)


def listed_agents() -> list[NamedThing]:
    """Every user model: statistical ones, kinds of agents, and those that wrap another one."""
    models = [NamedThing(name, first_line(make), (), _example(name)) for name, make in USER_MODELS.items()]
    kinds = [_kind(name) for name in AGENT_KINDS]
    inner = ", ".join([*(name for name in USER_MODELS if name != "statistical"), *AGENT_KINDS])
    line = OptionLine("KIND", f"The people that the language model plays; default llm. One of {inner}, with its words.")
    wrappers = [NamedThing(name, about, (line,), _example(f"{name}:llm")) for name, about in WRAPPERS.items()]
    names = sorted({*plugins.plugin_names(plugins.USER_MODELS), *plugins.plugin_names(plugins.AGENTS)})
    return [*models, *kinds, *wrappers, *map(_brought, names)]


def _brought(name: str) -> NamedThing:
    """The user model of an installed package; the line of a broken one says so."""
    try:
        own = find_own(name)
    except ConfigError as error:
        return NamedThing(name, str(error), (), "")
    assert own is not None, "its name comes from the same list"
    options = listed_options(own.make)[1:]  # the first parameter is the material
    return NamedThing(
        name, first_line(own.make), tuple(map(option_line, options)), _example(example_line(name, options))
    )


def _kind(name: str) -> NamedThing:
    taken = KIND_WORDS[name]
    fields = {option.name: option for option in listed_options(taken.options)}
    lines = [OptionLine(word.word, word.help or _meaning(word, fields[word.field])) for word in taken.words]
    settings = _settings(_complete(taken.options()))
    plain = next((f":{word.word}" for word in taken.words if word.field), "")
    example = f"{name}{plain}{settings[0].written}"
    return NamedThing(name, first_line(AGENT_KINDS[name]), (*lines, *settings), f"--user-model '{example}'")


def _complete(options: Any) -> Any:
    """Options with the memory that RecAgent makes for its encoder, whose fields can be set too."""
    return replace(options, memory=ThreeStageOptions()) if isinstance(options, RecAgentOptions) else options


def _settings(options: Any, outer: str = "?") -> list[OptionLine]:
    """What stands behind the question mark of a kind: fields of its options, those of inner ones with a dot."""
    documented = {option.name: option for option in listed_options(type(options))}
    lines, inner = [], dict[str, None]()
    for name in settable(options):
        first, dot, _ = name.partition(".")
        if dot:
            inner[first] = None
            continue
        line = option_line(documented[name]._replace(default=getattr(options, name)))
        lines.append(OptionLine(f"{outer}{line.written}", line.help))
    return lines + [line for name in inner for line in _settings(getattr(options, name), f"{outer}{name}.")]


def _meaning(word: KindWord, field: ListedOption) -> str:
    return f"{field.name}={written(word.value)} instead of {written(field.default)}. {field.help}"


def _example(user_model: str) -> str:
    return f"--user-model {user_model}"
