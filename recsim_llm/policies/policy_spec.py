"""Policy strings: a registered name or your own class, with options, or the path of a fitted policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsim_llm.errors import ConfigError
from recsim_llm.plugins import OBJECT, is_class_path
from recsim_llm.spec import parse_spec, without_options

SUFFIX = ".npz"


@dataclass(frozen=True)
class PolicySpec:
    """A parsed policy string.

    Attributes:
        name: Registered name, `module:Class`, or `object:` and the class of an object; "" for a file.
        options: Options for the policy's fit.
        file: The file of a fitted policy; None for a policy to be fitted.
    """

    name: str
    options: dict[str, Any]
    file: Path | None = None

    @property
    def label(self) -> str:
        """A name for tables and folders: letters, digits, and `-=,.` only.

        >>> parse_policy("ease?reg=100").label, parse_policy("trained/dqn-seed0.npz").label
        ('ease,reg=100', 'dqn-seed0')
        >>> parse_policy("my_module:MyPolicy?k=5").label
        'my_module-MyPolicy,k=5'
        """
        if self.file is not None:
            return self.file.stem
        options = "".join(f",{key}={value}" for key, value in self.options.items())
        return "".join(c if c.isalnum() or c in "-=,._" else "-" for c in self.name + options)


def parse_policy(text: str) -> PolicySpec:
    """Parse `NAME` or `module:Class`, optionally with `?option=value&option=value`, or the path of an `.npz` file.

    Nothing is looked up or imported.

    Raises:
        ConfigError: It is none of these.

    >>> parse_policy("ease?reg=100")
    PolicySpec(name='ease', options={'reg': 100}, file=None)
    """
    if text.endswith(SUFFIX) and "?" not in text:
        return PolicySpec("", {}, Path(text))
    if text.startswith(OBJECT):
        return PolicySpec(text, {})
    name, rest, options = parse_spec(text)
    path = f"{name}:{rest}" if ":" in without_options(text) else ""
    if not name or (path and not is_class_path(path)):
        raise ConfigError(
            f"'{text}': write a policy as NAME, NAME?option=value&option=value, module:Class, or FILE{SUFFIX}."
        )
    return PolicySpec(path or name, options)
