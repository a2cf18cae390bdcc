"""Plug-in user models and agent kinds, by `module:Class` or an entry point (`recsim_llm.plugins`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsim_llm import plugins
from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.llm.kind_registry import Material
from recsim_llm.agents.society.social_turns import SocialTexts
from recsim_llm.agents.user_model import UserModel
from recsim_llm.checked import check_options, shown
from recsim_llm.errors import ConfigError
from recsim_llm.spec import parse_spec

USER_METHODS = ("reset", "react", "observe", "describe")
_KIND = ("begin", "query", "react", "observe", "reflect", "context", "change")
_SIZES = ("num_users", "num_items", "rating_levels")
_KIND_HAS = ("memory", "leaving", "counts", "slogans", *_SIZES)


@dataclass(frozen=True)
class OwnUsers:
    """A user model or an agent kind that is not built in.

    Attributes:
        name: `module:Class`, or the name of an entry point.
        make: The class; called with a `Material`, and the options by name.
        options: The options after the question mark.
    """

    name: str
    make: Callable[..., Any]
    options: dict[str, Any]

    @property
    def is_kind(self) -> bool:
        """Whether it is an agent kind, which a language model plays, and not a whole user model."""
        return _has(self.make, _KIND)

    @property
    def asks_llm(self) -> bool:
        """Whether its people are played by a language model: all kinds, and user models that say `asks_llm = True`."""
        return self.is_kind or bool(getattr(self.make, "asks_llm", False))


def own_names() -> list[str]:
    """Names of the user models and agent kinds that installed packages provide."""
    return sorted({*plugins.plugin_names(plugins.USER_MODELS), *plugins.plugin_names(plugins.AGENTS)})


def find_own(user_model: str) -> OwnUsers | None:
    """The user model or agent kind of a name that is not built in; None where no package provides it.

    Args:
        user_model: `module:Class` or the name of an entry point, each with `?option=value&option=value` or without.

    Raises:
        ConfigError: It cannot be imported, is neither of the two, or does not take these options.
    """
    kind, rest, options = parse_spec(user_model)
    name = f"{kind}:{rest}" if rest else kind
    found, group = None, ""
    for group in (plugins.USER_MODELS, plugins.AGENTS):
        found = found or plugins.load_plugin(name, group, "a user model or an agent kind")
    if found is None:
        return None
    if inspect.isclass(found) and not _has(found, USER_METHODS) and not _has(found, _KIND):
        raise ConfigError(
            f"{name} is neither a user model, which has {', '.join(USER_METHODS)}, nor an agent kind, which has "
            f"{', '.join(_KIND)}. Add what it lacks (docs/plugins.md)."
        )
    plugins.check_class(found, name, (), "a user model or an agent kind")
    with plugins.running_plugin(name):
        parameters = list(inspect.signature(found).parameters)
        if not parameters:
            raise ConfigError(f"{name} takes no arguments; it is made with a Material and its options: add them.")
        check_options(options, found, f"User model '{name}'", besides=parameters[:1])
    return OwnUsers(name, found, options)


def make_own(own: OwnUsers, material: Material) -> UserModel:
    """Build the users.

    Args:
        own: From `find_own`.
        material: Their inputs, including the language model.

    Raises:
        ConfigError: The class raises an error, its result does not fit the data set, or a language model is missing.
    """
    if own.asks_llm and material.llm is None:
        raise ConfigError(f"{own.name} users need a model: --llm transformers:smollm2-135m, for example (llm=...).")
    with plugins.running_plugin(own.name):
        made = own.make(material, **own.options)
    check_users(made, own.name, (len(material.personas), len(material.dataset.catalogue)), own.is_kind)
    if not own.is_kind:
        users: UserModel = made
        return users
    assert material.llm is not None, "checked above"
    social = SocialTexts(material.dataset.catalogue, material.personas, float(material.dataset.rating_levels[-1]))
    activity = np.array([p.activity for p in material.personas], dtype=np.int64)
    return AgentUsers(material.llm, made, social, activity)


def check_users(made: Any, name: str, sizes: tuple[int, int], is_kind: bool = False) -> None:
    """Refuse users, or a kind, that do not fit a data set.

    Args:
        made: The object.
        name: Its name in error messages.
        sizes: How many people and items there are.
        is_kind: Whether it is an agent kind.

    Raises:
        ConfigError: An attribute is missing, sizes differ, or the rating levels are no ascending positive numbers.
    """
    missing = [part for part in (_KIND_HAS if is_kind else (*USER_METHODS, *_SIZES)) if not hasattr(made, part)]
    if missing:
        raise ConfigError(f"{name} lacks {', '.join(missing)}. Add what is missing (docs/plugins.md).")
    if (made.num_users, made.num_items) != sizes:
        raise ConfigError(
            f"{name} has {made.num_users} users and {made.num_items} items, the data set {sizes[0]} and {sizes[1]}."
        )
    try:
        levels = np.asarray(made.rating_levels, dtype=np.float64)
    except (TypeError, ValueError):
        levels = np.zeros(0)
    if levels.ndim != 1 or not len(levels) or not (levels > 0).all() or not (np.diff(levels) > 0).all():
        raise ConfigError(f"{name}: rating_levels must be ascending stars above 0, not {shown(made.rating_levels)}.")


def _has(found: Any, members: tuple[str, ...]) -> bool:
    return all(hasattr(found, member) for member in members)
