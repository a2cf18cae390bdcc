"""Language models: the interface (`protocol`), backends, a cache, and the loop that runs agents against a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from recsim_llm import plugins
from recsim_llm.checked import Text, check_options, check_value, shown
from recsim_llm.errors import ConfigError
from recsim_llm.language.backends.openai.openai_backend import OpenAILLM
from recsim_llm.language.backends.ray.ray_backend import RayLLM
from recsim_llm.language.backends.transformers.transformers_backend import TransformersLLM
from recsim_llm.language.backends.vllm.vllm_backend import VllmLLM
from recsim_llm.language.converse import Turn, converse
from recsim_llm.language.models import MODELS, ModelRow, get_model, list_models, resolve_model
from recsim_llm.language.protocol import LLM, Usage
from recsim_llm.language.uniform import UniformLLM
from recsim_llm.language.wrappers.cache import CachedLLM
from recsim_llm.spec import parse_spec, split_name, without_options

__all__ = [
    "LLM",
    "MODELS",
    "NO_OPTIONS",
    "CachedLLM",
    "ModelRow",
    "OpenAILLM",
    "RayLLM",
    "TransformersLLM",
    "Turn",
    "UniformLLM",
    "Usage",
    "VllmLLM",
    "converse",
    "get_model",
    "known_backends",
    "list_models",
    "make_llm",
    "resolve_model",
]


NO_OPTIONS = ("self", "model", "api_key")
"""Constructor parameters of backends that cannot be set as options after the question mark of a spec."""


def make_llm(spec: str, cache: Path | None = None) -> LLM:
    """Create a language model from a one-line spec.

    Args:
        spec: "transformers:MODEL" or "vllm:MODEL" (in this process; a name of `MODELS`, a folder, or a hub id),
            "openai:MODEL" (server and key from OPENAI_BASE_URL and OPENAI_API_KEY; ?api_key_env=NAME names another
            variable, and a key in the line is refused), "ray:NAME" (engines that another process has started under
            this name), "python:MODULE:FUNCTION" (your own: a function that returns an `LLM`), "uniform", or a name that
            an installed package brings (docs/plugins.md). Options of the backend's constructor may follow:
            "vllm:MODEL?max_model_len=2048".
        cache: File for a `CachedLLM` around it; None for no cache.

    Raises:
        ConfigError: The spec matches none of these forms, or names an unknown option of the backend.
        ModelNotFoundError: The model is not on this machine.
        MissingExtraError: The backend's packages are not installed.

    >>> make_llm("uniform").name
    'uniform'
    """
    check_value("--llm", spec, Text)
    kind, model, options = parse_spec(spec)
    own = None if kind in _BACKENDS else plugins.load_plugin(kind, plugins.BACKENDS, "a language model")
    if own is None and (kind not in _BACKENDS or bool(model) == (kind == "uniform")):
        brought = "".join(f"{name}, " for name in plugins.plugin_names(plugins.BACKENDS))
        raise ConfigError(
            f"'{without_options(spec)}' is no language model. Use transformers:NAME_OR_FOLDER (for example "
            f"transformers:smollm2-135m), vllm:NAME_OR_FOLDER, openai:MODEL, ray:NAME, python:MODULE:FUNCTION, "
            f"{brought}or uniform."
        )
    if own is not None:
        return _wrapped(_plugged(own, kind, model, options), cache)
    make = _BACKENDS[kind]
    # The message does not repeat the whole spec: the value of a misspelt option may be a key.
    check_options(options, make, f"'{without_options(spec)}': {kind}", besides=NO_OPTIONS)
    return _wrapped(make(model, **options) if model else make(**options), cache)


def known_backends() -> dict[str, Callable[..., LLM]]:
    """Constructor of each built-in backend, by name; installed packages add others.

    The first parameter of a constructor is the model, if it has one; the others, except `NO_OPTIONS`, are options.

    >>> list(known_backends())
    ['transformers', 'vllm', 'openai', 'ray', 'python', 'uniform']
    """
    return dict(_BACKENDS)


def _joined(model: str) -> LLM:
    """Engines that another process has started on a Ray cluster under the name MODEL."""
    return RayLLM.join(model)


def _wrapped(llm: LLM, cache: Path | None) -> LLM:
    return llm if cache is None else CachedLLM(llm, cache)


def _plugged(make: Callable[..., LLM], kind: str, model: str, options: Mapping[str, Any]) -> LLM:
    """Create the model of an installed package; its class or function takes the model's name, if there is one."""
    if not callable(make):
        raise ConfigError(f"The language model '{kind}' is {shown(make)}, which cannot be called.")
    with plugins.running_plugin(kind):
        check_options(options, make, f"'{kind}'", besides=NO_OPTIONS)
        llm = make(model, **options) if model else make(**options)
    if not _is_llm(llm):
        raise ConfigError(f"The language model '{kind}' made {shown(llm)}, which lacks name, usage or generate.")
    return llm


def _is_llm(made: object) -> bool:
    return all(hasattr(made, member) for member in ("name", "usage", "generate"))


def _own(model: str) -> LLM:
    """Your own model: MODEL is MODULE:FUNCTION, a function without arguments that returns an `LLM`."""
    module, function = split_name(model)
    try:
        plugins.look_here_too(module)
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"'python:{model}' names no function that can be imported ({error}). Write python:MODULE:FUNCTION."
        ) from error
    llm: LLM | None = make() if _takes_nothing(make) else None
    if not _is_llm(llm):
        raise ConfigError(
            f"'python:{model}' names no function that takes no arguments and returns a language model: an object with "
            f"name, usage and generate (language.protocol.LLM). What it names is {shown(make if llm is None else llm)}."
        )
    assert llm is not None
    return llm


def _takes_nothing(make: object) -> bool:
    try:
        return callable(make) and signature(make).bind() is not None
    except (TypeError, ValueError):  # it needs arguments, or it is built in and has no signature
        return False


_BACKENDS: dict[str, Callable[..., LLM]] = {
    "transformers": TransformersLLM,
    "vllm": VllmLLM,
    "openai": OpenAILLM,
    "ray": _joined,
    "python": _own,
    "uniform": UniformLLM,
}
