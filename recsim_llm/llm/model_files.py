"""Loads a model and its tokenizer quietly, and tells its identity from its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from logging import ERROR, getLogger
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from recsim_llm.errors import LLMError, ModelNotFoundError
from recsim_llm.llm.models import resolve_model

_SAMPLE_BYTES = 65_536
_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"})


def load_model(name: str, device: Any, dtype: Any) -> tuple[Any, Any, Path | str]:
    """Load a causal language model for inference.

    Args:
        name: A name of `MODELS`, a folder or a hub id.
        device: A torch device.
        dtype: A torch dtype.

    Returns:
        The model, its tokenizer, and the folder or hub id they came from (with the revision, where it has one).

    Raises:
        ModelNotFoundError: Neither here nor on the hub.
        LLMError: The files are here but cannot be loaded.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = resolve_model(name)
    try:
        with quiet(), not_found_explained(name):
            # Said aloud: where nothing is said, a terminal is asked whether code of the folder may run.
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, trust_remote_code=False)
    except (ValueError, KeyError, RuntimeError, UnpicklingError) as error:
        raise LLMError(f"The model '{name}' cannot be loaded: {_first_line(error)}") from error
    return model.to(device).eval(), tokenizer, _origin(where, model.config)


def load_tokenizer(name: str) -> tuple[Any, int | None, Path | str]:
    """Load what is needed to write prompts for a model that something else serves.

    Returns:
        The tokenizer, the tokens that the model reads at most (None where it does not say), and the folder or hub id
        they came from (with the revision, where it has one).

    Raises:
        ModelNotFoundError: Neither here nor on the hub.
    """
    from transformers import AutoConfig, AutoTokenizer

    where = resolve_model(name)
    with quiet(), not_found_explained(name):
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return tokenizer, length, _origin(where, config)


@contextmanager
def not_found_explained(name: str) -> Iterator[None]:
    """Turn what `transformers` raises for a model that it cannot find into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise ModelNotFoundError(
            f"The model '{name}' is neither a name in `recsim-llm models list`, nor a folder with a model, nor can it "
            f"be fetched from the hub ({_first_line(error)}). Try: recsim-llm models get smollm2-135m"
        ) from error


def _origin(where: Path | str, config: Any) -> Path | str:
    revision = getattr(config, "_commit_hash", None)
    return f"{where}@{revision}" if isinstance(where, str) and revision else where


def fingerprint(name: str, origin: Path | str) -> str:
    """Identity of a model: of a folder the name and a hash over its files (sizes, beginnings and ends), else the id.

    The name of the folder is in it so that people recognise it; where the folder lies is not.
    """
    if isinstance(origin, str):
        return origin
    digest = blake2b(digest_size=6)
    for path in sorted(each for each in origin.iterdir() if each.suffix in _SUFFIXES):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(file.read())
    return f"{Path(name).name}#{digest.hexdigest()}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and notices of `transformers`, and put its settings back."""
    import transformers

    logging: Any = transformers.utils.logging
    hub = getLogger("huggingface_hub")  # tells of every retry; the error at the end says enough
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
