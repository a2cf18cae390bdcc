"""Policy files: one `.npz` of plain arrays per policy, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.errors import ConfigError, DataError, RecordingError
from recsim_llm.untrusted import read_arrays

Arrays = Mapping[str, NDArray[Any]]

_FORMAT = 1
_NEEDED = ("policy", "page_size", "seed")


def write_file(path: Path, meta: Mapping[str, str | int], known: Arrays, fitted: Arrays) -> None:
    """Write a policy to exactly this path.

    Args:
        path: The file; an existing one is replaced.
        meta: At least `policy` (registered name), `page_size` and `seed`.
        known: `indptr`, `indices` and `shape` of the logged (U, N) interactions.
        fitted: Learned arrays, by name.

    Raises:
        ConfigError: An array holds Python objects, which only a pickle could hold.
    """
    arrays = {"meta_format": np.array(_FORMAT)}
    for part, content in (("meta", meta), ("known", known), ("fitted", fitted)):
        arrays |= {f"{part}_{name}": np.asarray(value) for name, value in content.items()}
    objects = [name for name, array in arrays.items() if array.dtype.hasobject]
    if objects:
        raise ConfigError(f"{', '.join(objects)}: a policy file holds numbers and text, not Python objects.")
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stubs take arrays for allow_pickle


def read_file(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a policy file, named `meta_...`, `known_...` and `fitted_...`.

    Raises:
        RecordingError: The file is missing, damaged, or of another version.
    """
    if not path.is_file():
        raise RecordingError(f"{path}: there is no such policy file. Fit a policy and save it there.")
    try:
        data = read_arrays(path)
    except (OSError, DataError) as error:
        raise RecordingError(f"{path} is not a policy file, or damaged ({error}). Fit the policy again.") from error
    problem = _problem(data)
    if problem:
        raise RecordingError(f"{path} is not a policy file ({problem}). Fit the policy again.")
    return data


def _problem(data: Arrays) -> str:
    found = str(data.get("meta_format", "none"))
    if found != str(_FORMAT):
        return f"format {found}, this version reads {_FORMAT}"
    needed = [f"meta_{n}" for n in _NEEDED] + ["known_indptr", "known_indices", "known_shape"]
    missing = [name for name in needed if name not in data]
    return f"without {', '.join(missing)}" if missing else ""
