"""Reads the prompt texts of an agent kind from its folder; every other word of a prompt comes from the data."""

from __future__ import annotations

from functools import cache
from importlib import resources
from string import Template


@cache
def prompt_text(kind: str, name: str) -> str:
    """The text of `prompts/<kind>/<name>.md`, without the final newline.

    Raises:
        FileNotFoundError: There is no such file.
    """
    return (resources.files("recsim_llm.agents") / "prompts" / kind / f"{name}.md").read_text("utf-8").rstrip("\n")


@cache
def template(kind: str, name: str) -> Template:
    """The text of `prompts/<kind>/<name>.md` as a template."""
    return Template(prompt_text(kind, name))


@cache
def phrases(kind: str) -> dict[str, Template]:
    """The one-line phrases of `prompts/<kind>/phrases.md`, written `name: phrase`."""
    lines = [line.partition(": ") for line in prompt_text(kind, "phrases").splitlines()]
    return {name: Template(text) for name, _, text in lines}
