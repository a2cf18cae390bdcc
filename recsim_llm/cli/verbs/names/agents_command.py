"""List the user models that --user-model can name, with the words allowed after their colon."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from recsim_llm import plugins
from recsim_llm.agents.llm.kind_registry import AGENT_KINDS, KIND_WORDS, KindWord
from recsim_llm.agents.named_users import USER_MODELS, WRAPPERS
from recsim_llm.agents.own_users import find_own
from recsim_llm.checked import Text
from recsim_llm.cli.named_list import NamedThing, OptionLine, example_line, option_line, print_things, written
from recsim_llm.errors import ConfigError
from recsim_llm.option_list import ListedOption, first_line, listed_options

GRAMMAR = (
    "Write a user model as NAME, or NAME:word,word: --user-model agent4rec:items. All but statistical need --llm.\n"
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
    lines = tuple(OptionLine(word.word, word.help or _meaning(word, fields[word.field])) for word in taken.words)
    plain = next((f":{word.word}" for word in taken.words if word.field), "")
    return NamedThing(name, first_line(AGENT_KINDS[name]), lines, _example(f"{name}{plain}"))


def _meaning(word: KindWord, field: ListedOption) -> str:
    return f"{field.name}={written(word.value)} instead of {written(field.default)}. {field.help}"


def _example(user_model: str) -> str:
    return f"--user-model {user_model}"
