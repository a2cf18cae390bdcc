"""A language model in one line of text: `KIND:MODEL`, with options of the backend behind a question mark."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from recsim_llm.errors import ConfigError


class Spec(NamedTuple):
    """What a line says.

    Attributes:
        kind: Name of the backend.
        model: Name, folder or hub id of the model; "" where the backend needs none.
        options: Keyword arguments of the backend's constructor.
    """

    kind: str
    model: str
    options: dict[str, Any]


def parse_spec(text: str) -> Spec:
    """Read a line such as `vllm:smollm2-135m?dtype=float32&max_model_len=2048`.

    Values are read as JSON where they are JSON (numbers, true, null), else as text.

    Raises:
        ConfigError: An option without a value, or named twice.

    >>> parse_spec("vllm:some/model?max_model_len=2048&dtype=float32")
    Spec(kind='vllm', model='some/model', options={'max_model_len': 2048, 'dtype': 'float32'})
    """
    name, asked, rest = text.partition("?")
    kind, _, model = name.partition(":")
    options: dict[str, Any] = {}
    for part in rest.split("&") if asked else []:
        key, found, value = part.partition("=")
        if not (key and found) or key in options:
            raise ConfigError(f"'{text}': options look like ?name=value&name=value, each once; '{part}' does not.")
        options[key] = _value(value)
    return Spec(kind, model, options)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
