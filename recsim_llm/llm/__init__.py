"""Language models: the seam (`protocol`), backends, a cache, and the loop that lets agents talk to them."""

from __future__ import annotations

from pathlib import Path

from recsim_llm.errors import ConfigError
from recsim_llm.llm.cache import CachedLLM
from recsim_llm.llm.converse import Turn, converse
from recsim_llm.llm.models import MODELS, ModelRow, get_model, list_models, resolve_model
from recsim_llm.llm.openai_backend import OpenAILLM
from recsim_llm.llm.protocol import LLM, Usage
from recsim_llm.llm.transformers_backend import TransformersLLM
from recsim_llm.llm.uniform import UniformLLM

__all__ = [
    "LLM",
    "MODELS",
    "CachedLLM",
    "ModelRow",
    "OpenAILLM",
    "TransformersLLM",
    "Turn",
    "UniformLLM",
    "Usage",
    "converse",
    "get_model",
    "list_models",
    "make_llm",
    "resolve_model",
]


def make_llm(spec: str, cache: Path | None = None) -> LLM:
    """Make a language model from one line of text.

    Args:
        spec: "transformers:NAME_OR_FOLDER" (a name of `MODELS`, a folder, or a hub id), "openai:MODEL" (server and key
            from OPENAI_BASE_URL and OPENAI_API_KEY), or "uniform".
        cache: File for a `CachedLLM` around it; None for no cache.

    Raises:
        ConfigError: The line is none of these.
        ModelNotFoundError: The model is not on this machine.
        MissingExtraError: The backend's packages are not installed.

    >>> make_llm("uniform").name
    'uniform'
    """
    kind, _, model = spec.partition(":")
    llm: LLM
    if kind == "transformers" and model:
        llm = TransformersLLM(model)
    elif kind == "openai" and model:
        llm = OpenAILLM(model)
    elif spec == "uniform":
        llm = UniformLLM()
    else:
        raise ConfigError(
            f"'{spec}' is no language model. Use transformers:NAME_OR_FOLDER (for example "
            "transformers:smollm2-135m), openai:MODEL, or uniform."
        )
    return llm if cache is None else CachedLLM(llm, cache)
