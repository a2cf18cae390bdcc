"""Who writes for a tuned model: the one that it began with. Labels are what tuning teaches; texts it unlearns."""

from __future__ import annotations

import json
from pathlib import Path

NUMBERS = "tuning.json"
"""File of a tuned model's folder that says how it came about."""


def writer_of(llm: str) -> str:
    """The language model that answers in words where `llm` reads labels.

    Args:
        llm: A model in a line of text: `transformers:FOLDER`, for example.

    Returns:
        Where the model is a tuned folder, the same backend with the model that the tuning began with; else `llm`.

    >>> writer_of("transformers:smollm2-135m")
    'transformers:smollm2-135m'
    """
    kind, _, rest = llm.partition(":")
    name, mark, options = rest.partition("?")
    path = Path(name) / NUMBERS
    if kind not in ("transformers", "vllm") or not name or not path.is_file():
        return llm
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["config"]["model"]
    except (ValueError, KeyError, TypeError):
        return llm  # `assess` says what is wrong with the folder; a model of its own it still is
    if base == name or "?" in str(base):  # the folder names a model; options are the user's to give
        return llm
    return writer_of(f"{kind}:{base}{mark}{options}")
