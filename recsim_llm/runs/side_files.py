"""Checksums of the side files of a run folder: people, titles, ratings, links, policies, weights, prompts.

Parts have their own checksums (see `run_files.read_parquet`); side files are JSON, `.npz` and small tables, in which a
changed byte can go unnoticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from recsim_llm.errors import RecordingError
from recsim_llm.runs.manifest import FILE, read_manifest
from recsim_llm.runs.run_files import TEMPORARY

ASIDE = ".corrupt"
PROMPTS = "prompts"
"""Folder of the prompt texts that a run was given in place of the package's."""
_FOLDERS = ("", "learned", PROMPTS)
"""Folders of side files, relative to the run folder; the other folders hold parts."""


def checksums(folder: Path) -> dict[str, str]:
    """Return the sha256 of each existing side file, by its path relative to the run folder."""
    found = [path for name in _FOLDERS for path in sorted((folder / name).glob("[!.]*")) if path.is_file()]
    kept = [path for path in found if path.name != FILE and path.suffix not in {ASIDE, TEMPORARY}]
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in kept}


def damaged_files(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """Return the names of side files that are missing or differ from what the run wrote.

    Args:
        folder: A run folder.
        recorded: `Manifest.files`.
    """
    return [name for name, checksum in recorded.items() if _sha256(folder / name) != checksum]


def check_side_files(folder: Path, *names: str) -> None:
    """Check that side files are unchanged.

    Runs from before checksums were recorded, and runs that have just begun, have no checksums to compare.

    Args:
        folder: A run folder.
        names: Only these; none for all.

    Raises:
        RecordingError: A file is missing or was changed.
    """
    recorded = read_manifest(folder).files if (folder / FILE).exists() else {}
    chosen = {name: recorded[name] for name in names or recorded if name in recorded}
    damaged = damaged_files(folder, chosen)
    if damaged:
        raise RecordingError(
            f"{folder / damaged[0]} is missing, or is not what the run wrote. Go on with the command that made the run "
            "and --resume: it is computed again."
        )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
