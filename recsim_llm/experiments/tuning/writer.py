"""Chooses the writer for a tuned model: its base model, since tuning teaches labels and unlearns texts."""

from __future__ import annotations

from pathlib import Path

from recsim_llm.errors import ConfigError
from recsim_llm.spec import split_name, without_options
from recsim_llm.untrusted import read_json

NUMBERS = "tuning.json"
"""File of a tuned model's folder that records its tuning."""


def writer_of(llm: str) -> str:
    """The language model that answers in words where `llm` reads labels.

    Args:
        llm: A model spec, such as `transformers:FOLDER`.

    Returns:
        If the model is a tuned folder, the same backend with the model that the tuning started from; else `llm`.

    Raises:
        ConfigError: Tuned folders name each other as their base model, or one has options in its spec.

    >>> writer_of("transformers:smollm2-135m")
    'transformers:smollm2-135m'
    """
    kind, rest = split_name(llm)
    name = without_options(rest)
    options = rest.removeprefix(name)
    if kind not in ("transformers", "vllm"):
        return llm
    seen = {name}
    while name and (path := Path(name) / NUMBERS).is_file():
        try:
            base = str(read_json(path)["config"]["model"])
        except (OSError, ValueError, KeyError, TypeError):
            break  # `assess` reports what is wrong with the folder; it is still a model by itself
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
    return f"{kind}:{name}{options}"
