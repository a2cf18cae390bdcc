"""Parser of one-line model specs: `KIND:MODEL`, with options of the backend after a question mark."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from recsim_llm.errors import ConfigError

KEY_ENV = "api_key_env"
"""The option that names the environment variable of the key."""
KEY_VARIABLE = "OPENAI_API_KEY"
HOW_TO_GIVE_KEYS = f"set the environment variable {KEY_VARIABLE}, or name another one with ?{KEY_ENV}=NAME"
_SECRET_WORDS = frozenset({
    "key", "apikey", "token", "secret", "password", "passwd", "passphrase", "pwd", "authorization", "auth", "bearer",
    "credential", "credentials", "jwt", "signature", "sig",
})  # fmt: skip
_SHORTEST_KEY = 8
"""Shorter keys ("none", "EMPTY") are placeholders for servers without keys, and may occur in any word."""


class Spec(NamedTuple):
    """A parsed spec.

    Attributes:
        kind: Name of the backend.
        model: Name, folder or hub id of the model; "" where the backend needs none.
        options: Keyword arguments of the backend's constructor.
    """

    kind: str
    model: str
    options: dict[str, Any]


def parse_spec(text: str) -> Spec:
    """Parse a spec such as `vllm:smollm2-135m?dtype=float32&max_model_len=2048`.

    Values are read as JSON if they are valid JSON (numbers, true, null), else as text.

    Raises:
        ConfigError: An option without a value, or named twice; a key or password.

    >>> parse_spec("vllm:some/model?max_model_len=2048&dtype=float32")
    Spec(kind='vllm', model='some/model', options={'max_model_len': 2048, 'dtype': 'float32'})
    """
    refuse_secrets(text)
    name, asked, rest = text.partition("?")
    kind, model = split_name(name)
    options: dict[str, Any] = {}
    for number, part in enumerate(rest.split("&") if asked else [], 1):
        key, found, value = part.partition("=")
        if not (key and found) or key in options:
            # The message does not repeat the text: a misplaced value may be a key.
            wrong = f"'{key}' is there twice" if key in options else f"number {number} does not"
            raise ConfigError(f"'{name}': options look like ?name=value&name=value, each once; {wrong}.")
        options[key] = _value(value)
    return Spec(kind, model, options)


def split_name(text: str) -> tuple[str, str]:
    """Split a spec at its first colon, and leave what follows unread.

    >>> split_name("hybrid:agent4rec:items?memory_bytes=800"), split_name("ml-100k")
    (('hybrid', 'agent4rec:items?memory_bytes=800'), ('ml-100k', ''))
    """
    name, _, rest = text.partition(":")
    return name, rest


def first_name(text: str) -> str:
    """The name at the start of a spec, before a colon or a question mark.

    >>> first_name("hybrid:agent4rec:items"), first_name("agent4rec?memory_bytes=800")
    ('hybrid', 'agent4rec')
    """
    return re.split("[:?]", text, maxsplit=1)[0]


def without_options(text: str) -> str:
    """A spec up to its question mark.

    >>> without_options("openai:m?base_url=http://localhost:8000/v1")
    'openai:m'
    """
    return text.partition("?")[0]


def with_option(text: str, option: str, value: str) -> str:
    """A spec with an option set to a text, in place of its own value of that option.

    >>> with_option("agent4rec?prompts=mine&reflect_every=1", "prompts", "run/prompts")
    'agent4rec?reflect_every=1&prompts="run/prompts"'
    """
    name, _, rest = text.partition("?")
    kept = [part for part in rest.split("&") if part and part.partition("=")[0] != option]
    written = json.dumps(value).replace("&", "\\u0026")  # an ampersand would begin the next option
    return f"{name}?{'&'.join([*kept, f'{option}={written}'])}"


def refuse_secrets(text: str) -> None:
    """Refuse a spec or a URL that contains a key: specs are stored in run folders and shown in messages.

    Args:
        text: A spec as `parse_spec` reads it, or the URL of a server.

    Raises:
        ConfigError: An option or a field of the URL's query is called `api_key`, `token`, `password` or the like; the
            URL holds a user or password; or the text holds the key that is in OPENAI_API_KEY. The message repeats
            none of it.

    >>> refuse_secrets("openai:m?base_url=http://localhost:8000/v1&api_key_env=MY_KEY")
    """
    plain = _decoded(text)
    found = next(_secrets(plain), "")
    key = os.environ.get(KEY_VARIABLE, "")
    if len(key) >= _SHORTEST_KEY and key in plain:
        found = f"the value of {KEY_VARIABLE}"
    if found:
        raise ConfigError(
            f"A line of text that names a model, policy or server holds {found}. Such lines are kept in run folders "
            "and shown in messages, so take it out: keys come from the environment only. To give one, "
            f"{HOW_TO_GIVE_KEYS}."
        )


def _decoded(text: str) -> str:
    """Percent-decode the text, however often it was encoded."""
    while (plain := unquote(text)) != text:
        text = plain
    return text


def _secrets(plain: str) -> Iterator[str]:
    for name in re.findall(r"[?&;#]([^=?&;#]*)=", plain):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        secret = _SECRET_WORDS.intersection(re.split(r"[^a-z0-9]+", words))
        if secret and name != KEY_ENV:
            yield f"an option with '{min(secret)}' in its name"
    if re.search(r"(?:://|\bbase_url=)[^?#&]*@", plain):
        yield "a user or password in a URL (base_url)"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
