"""Keys of prompts: a hash of the model's name and of every field of the prompt except `about`."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from recsim_llm.types import Prompt

KEY_BYTES = 16
_VERSION = 1


def prompt_keys(llm_name: str, prompts: Iterable[Prompt]) -> list[bytes]:
    """Hash prompts; fastest if prompts that share system and context are adjacent.

    Every text is preceded by its length, so that different prompts never serialise alike. The part that neighbours
    share is hashed once, and the state of the hash is copied.

    Args:
        llm_name: `LLM.name`: everything about the model that can change an answer.
        prompts: The prompts.

    Returns:
        One key of 16 bytes (BLAKE2b) per prompt.
    """
    keys = []
    shared: tuple[str, str] | None = None
    stem = blake2b(digest_size=KEY_BYTES)
    for system, context, question, choices, schema, max_tokens, temperature, seed, slots, adapter, _ in prompts:
        if shared != (system, context):
            shared = (system, context)
            lengths = f"{_VERSION} {len(llm_name)} {len(system)} {len(context)} "
            # surrogatepass: a text with half a surrogate pair, as in truncated texts, needs a key too.
            text = (lengths + llm_name + system + context).encode("utf-8", "surrogatepass")
            stem = blake2b(text, digest_size=KEY_BYTES)
        lengths = f"{len(question)} {len(schema)} {max_tokens} {float(temperature)!r} {seed} "
        if slots != 1:  # one slot is hashed as before slots existed, so that older caches stay valid
            lengths += f"x{slots} "
        if adapter:
            lengths += f"+{len(adapter)} {adapter} "
        sizes = " ".join([str(len(choice)) for choice in choices])
        key = stem.copy()
        key.update(f"{lengths}{sizes}|{question}{schema}{''.join(choices)}".encode("utf-8", "surrogatepass"))
        keys.append(key.digest())
    return keys


def prompt_key(llm_name: str, prompt: Prompt) -> bytes:
    """The key of one prompt (see `prompt_keys`).

    >>> prompt_key("uniform", Prompt("", "", "Rain?")).hex()
    '8cad82474669e992a33bc506f50a7dbc'
    """
    return prompt_keys(llm_name, (prompt,))[0]
