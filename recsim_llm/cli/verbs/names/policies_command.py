"""List the policies that --policy can name, with their options, defaults and ranges."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from recsim_llm.checked import Text
from recsim_llm.cli.named_list import NamedThing, example_line, option_line, print_things
from recsim_llm.errors import ConfigError
from recsim_llm.option_list import ListedOption, first_line
from recsim_llm.policies import known_policies, policy_class
from recsim_llm.policies.policy_protocol import ListedPolicy

GRAMMAR = (
    "Write a policy as NAME, NAME?option=value&option=value in quotes, or FILE.npz: --policy random 'ease?reg=100'\n"
    "Your own as my_module:MyPolicy (docs/plugins.md). What each is: docs/policies.md."
)


@dataclass(frozen=True)
class PoliciesCommand:
    """Options of `recsim-llm policies`."""

    name: Positional[Text] = ""
    """One policy, to see what each of its options means; default: all policies."""


def run(command: PoliciesCommand) -> None:
    """Print the policies, or one of them."""
    print_things(listed_policies(), command.name, "policies", GRAMMAR)


def listed_policies() -> list[NamedThing]:
    """Every policy, built in or from an installed package, with its options as described by its class."""
    things = []
    for name in known_policies():
        try:
            kind = policy_class(name)
        except ConfigError as error:  # a package is broken; the others are still listed
            things.append(NamedThing(name, str(error), (), ""))
            continue
        options: list[ListedOption] = kind.listed_options() if isinstance(kind, ListedPolicy) else []
        example = f"--policy '{example_line(name, options)}'"
        things.append(NamedThing(name, first_line(kind), tuple(map(option_line, options)), example))
    return things
