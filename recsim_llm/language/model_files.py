"""Loads models and tokenizers without output, and computes a model's identity from its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from logging import ERROR, getLogger
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from recsim_llm.errors import ConfigError, LLMError, ModelNotFoundError, UntrustedCodeError
from recsim_llm.language.models import resolve_model

_SAMPLE_BYTES = 65_536
_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"})


def load_model(name: str, device: Any, dtype: Any, trust_remote_code: bool = False) -> tuple[Any, Any, Path | str]:
    """Load a causal language model for inference.

    Args:
        name: A name of `MODELS`, a folder or a hub id.
        device: A torch device.
        dtype: A torch dtype.
        trust_remote_code: Run Python code that comes with the model.

    Returns:
        The model, its tokenizer, and the folder or hub id they came from (with the revision, if it has one).

    Raises:
        ModelNotFoundError: Neither here nor on the hub.
        UntrustedCodeError: The model needs code of its own, which is not allowed.
        ConfigError: `trust_remote_code` is neither true nor false.
        LLMError: The files are here but cannot be loaded.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _check_trust(trust_remote_code)
    where = resolve_model(name)
    try:
        with quiet(), load_explained(name):
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=trust_remote_code)
            model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, trust_remote_code=trust_remote_code)
    except (ValueError, KeyError, RuntimeError, UnpicklingError) as error:
        raise LLMError(f"The model '{name}' cannot be loaded: {_first_line(error)}") from error
    return model.to(device).eval(), tokenizer, _origin(where, model.config)


def load_tokenizer(name: str, trust_remote_code: bool = False) -> tuple[Any, int | None, Path | str]:
    """Load the tokenizer of a model that another engine serves.

    Returns:
        The tokenizer, the model's context length in tokens (None if not stated), and the folder or hub id they came
        from (with the revision, if it has one).

    Raises:
        ModelNotFoundError: Neither here nor on the hub.
        UntrustedCodeError: The model needs code of its own, and that is not allowed.
    """
    from transformers import AutoConfig, AutoTokenizer

    _check_trust(trust_remote_code)
    where = resolve_model(name)
    with quiet(), load_explained(name):
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=trust_remote_code)
        config = AutoConfig.from_pretrained(where, trust_remote_code=trust_remote_code)
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return tokenizer, length, _origin(where, config)


@contextmanager
def load_explained(name: str) -> Iterator[None]:
    """Turn errors of `transformers` for a model that it cannot find, or may not run, into errors with a remedy.

    Raises:
        ModelNotFoundError: Neither here nor on the hub.
        UntrustedCodeError: The model needs code of its own.
    """
    try:
        yield
    except ValueError as error:
        refuse_code(name, error)
        raise
    except OSError as error:
        raise ModelNotFoundError(
            f"The model '{name}' is neither a name in `recsim-llm models list`, nor a folder with a model, nor can it "
            f"be fetched from the hub ({_first_line(error)}). Try: recsim-llm models get smollm2-135m"
        ) from error


def refuse_code(name: str, error: Exception) -> None:
    """Explain how to allow code that comes with a model, if an error of `transformers` is about that.

    Raises:
        UntrustedCodeError: The error is about such code.
    """
    if "trust_remote_code" in str(error):
        raise UntrustedCodeError(
            f"The model '{name}' brings Python code of its own, which was not run: such code can do whatever you can. "
            "Read it; if you trust it, allow it in the model's line: --llm 'transformers:MODEL?trust_remote_code=true' "
            "(or vllm:). Text encoders and tuning never run it."
        ) from error


def _check_trust(trust_remote_code: bool) -> None:
    if not isinstance(trust_remote_code, bool):  # words such as 'False' would count as true
        raise ConfigError(f"trust_remote_code is true or false, not {trust_remote_code!r}.")


def _origin(where: Path | str, config: Any) -> Path | str:
    revision = getattr(config, "_commit_hash", None)
    return f"{where}@{revision}" if isinstance(where, str) and revision else where


def fingerprint(name: str, origin: Path | str, with_code: bool = False) -> str:
    """Identity of a model: for a folder, its name and a hash over its files (sizes, beginnings and ends); else the id.

    The folder's name is included so that people recognise it; its location is not. Python files are included if they
    are run.
    """
    if isinstance(origin, str):
        return origin
    digest = blake2b(digest_size=6)
    suffixes = _SUFFIXES | {".py"} if with_code else _SUFFIXES
    for path in sorted(each for each in origin.iterdir() if each.suffix in suffixes):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(file.read())
    return f"{Path(name).name}#{digest.hexdigest()}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and notices of `transformers`, and restore its settings on exit."""
    import transformers

    logging: Any = transformers.utils.logging
    hub = getLogger("huggingface_hub")  # logs every retry; the final error is enough
    hub_level = hub.level
    hub.setLevel(ERROR)
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        hub.setLevel(hub_level)
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0][:300]
