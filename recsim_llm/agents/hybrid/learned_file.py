"""Small human-readable JSON files of learned numbers: kind, version and values, whatever their meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recsim_llm.errors import RecordingError
from recsim_llm.untrusted import read_json

_FORMAT = 1


def write_learned(path: Path, kind: str, values: dict[str, Any]) -> None:
    """Write JSON values together with their kind and the format version."""
    text = json.dumps({"kind": kind, "format": _FORMAT, **values}, indent=1, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def read_learned(path: Path, kind: str) -> dict[str, Any]:
    """Read what `write_learned` wrote.

    Raises:
        RecordingError: There is no such file, or it is damaged, of another kind or of another version.
    """
    try:
        values = read_json(path)
        found, version = values.pop("kind"), values.pop("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, kind, error) from error
    if found != kind:
        raise RecordingError(f"{path} holds a {found}, not a {kind}. Name the file that was saved as a {kind}.")
    if version != _FORMAT:
        raise RecordingError(
            f"{path} has format {version}, written by another version of recsim_llm; this one reads format {_FORMAT}. "
            f"Fit the {kind} again."
        )
    return dict(values)


def damaged(path: Path, kind: str, error: Exception) -> RecordingError:
    """The error for a file with invalid content."""
    return RecordingError(f"{path} is missing or damaged ({error!r}). Fit the {kind} again.")
