"""List the backends of language models that --llm can name, with their options, defaults and ranges."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from tyro.conf import Positional

from recsim_llm import plugins
from recsim_llm.checked import Text
from recsim_llm.cli.named_list import NamedThing, example_line, option_line, print_things
from recsim_llm.errors import ConfigError
from recsim_llm.language import NO_OPTIONS, known_backends
from recsim_llm.option_list import first_line, listed_options

GRAMMAR = (
    "Write a language model as BACKEND:MODEL, with options behind a question mark and in quotes: "
    "--llm 'vllm:MODEL?dtype=float32'\nNames of models: recsim-llm models list. Keys of servers: docs/servers.md."
)


@dataclass(frozen=True)
class BackendsCommand:
    """Options of `recsim-llm backends`."""

    name: Positional[Text] = ""
    """One backend, to see what each of its options means; default: all backends."""


def run(command: BackendsCommand) -> None:
    """Print the backends, or one of them."""
    print_things(listed_backends(), command.name, "backends", GRAMMAR)


def listed_backends() -> list[NamedThing]:
    """Every backend, built in or from an installed package, as described by its constructor."""
    things = []
    makers: dict[str, Any] = dict(known_backends())
    for name in plugins.plugin_names(plugins.BACKENDS):
        try:
            makers.setdefault(name, plugins.load_plugin(name, plugins.BACKENDS, "a language model"))
        except ConfigError as error:
            things.append(NamedThing(name, str(error), (), ""))
    for name, make in makers.items():
        options = listed_options(make, NO_OPTIONS)
        model = f"{name}:MODEL" if "model" in inspect.signature(make).parameters else name
        example = f"--llm '{example_line(model, options)}'"
        things.append(NamedThing(name, first_line(make), tuple(map(option_line, options)), example))
    return things
