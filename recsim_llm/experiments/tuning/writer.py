"""Who writes for a tuned model: the one that it began with. Labels are what tuning teaches; texts it unlearns."""

from __future__ import annotations

from pathlib import Path

from recsim_llm.errors import ConfigError
from recsim_llm.untrusted import read_json

NUMBERS = "tuning.json"
"""File of a tuned model's folder that says how it came about."""


def writer_of(llm: str) -> str:
    """The language model that answers in words where `llm` reads labels.

    Args:
        llm: A model in a line of text: `transformers:FOLDER`, for example.

    Returns:
        Where the model is a tuned folder, the same backend with the model that the tuning began with; else `llm`.

    Raises:
        ConfigError: Tuned folders name each other as what they began with, or one brings options along.

    >>> writer_of("transformers:smollm2-135m")
    'transformers:smollm2-135m'
    """
    kind, _, rest = llm.partition(":")
    name, mark, options = rest.partition("?")
    if kind not in ("transformers", "vllm"):
        return llm
    seen = {name}
    while name and (path := Path(name) / NUMBERS).is_file():
        try:
            base = str(read_json(path)["config"]["model"])
        except (OSError, ValueError, KeyError, TypeError):
            break  # `assess` says what is wrong with the folder; a model of its own it still is
        if base == name:
            break
        if "?" in base:
            raise ConfigError(f"{path}: the model '{base}' has options, which only a command line may give.")
        if base in seen:
            raise ConfigError(
                f"{path} says that the tuning began with {base}, and that folder names this one: nobody writes. Name "
                "a model with --llm, or correct 'model' in that file."
            )
        seen.add(base)
        name = base
    return f"{kind}:{name}{mark}{options}"
