"""The manifest of a run, stored as `run.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from recsim_llm.checked import Count, CountOrNone, Name, Positive, Seed, check_fields
from recsim_llm.errors import ConfigError, DamagedRunError, RecordingError
from recsim_llm.runs.run_files import write_durably
from recsim_llm.untrusted import read_json

FILE = "run.json"
FORMAT_VERSION = 3
# Fields that may differ between a run and its resumption.
_PROGRESS = {"created", "status", "summary", "stopped_by", "parts", "files"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that determines a run, and its progress.

    Attributes:
        name: Name of the run.
        config: Its options, JSON values.
        seed: Seed for all sampling.
        versions: Package versions that can change a trajectory, by package.
        dataset: Name of the data set.
        dataset_checksum: sha256 of its content.
        policy: Name of the recommender.
        user_model: Name of the user model.
        llm: Name of the language model with all settings that can change an answer; "" for none.
        num_users: Number of visiting users.
        page_size: K, items per page.
        rating_levels: (R,) stars, ascending, positive.
        created: When the run began: UTC, ISO 8601.
        status: "running" (also after a kill), "finished" or "interrupted".
        stopped_by: Why it was interrupted; "" otherwise.
        parts: Number of parts of a finished run; 0 before.
        summary: Cost of a finished run, JSON values.
        policy_llm: As `llm`, for the policy's language model; "" for none.
        files: sha256 of each file beside the parts, by its name in the folder (see `side_files`).
        format_version: Version of the run folder's format.
    """

    name: Name
    config: dict[str, Any]
    seed: Seed
    versions: dict[str, str]
    dataset: str
    dataset_checksum: str
    policy: str
    user_model: str
    llm: str
    num_users: Count
    page_size: Count
    rating_levels: Annotated[tuple[Positive, ...], MinLen(1)]
    created: str = ""
    status: Literal["running", "finished", "interrupted"] = "running"
    stopped_by: str = ""
    parts: CountOrNone = 0
    summary: dict[str, Any] = field(default_factory=dict)
    policy_llm: str = ""
    files: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> None:
        """Write `run.json`, atomically.

        Raises:
            RecordingError: It cannot be written, or config or summary holds values that JSON cannot represent.
        """
        try:
            text = json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)
            write_durably(folder / FILE, f"{text}\n".encode())
        except (TypeError, ValueError) as error:
            raise RecordingError(f"Config and summary of a run must be JSON values: {error}.") from error


def read_manifest(folder: Path) -> Manifest:
    """Read the `run.json` of a run folder.

    Raises:
        RecordingError: The folder is not a run, or its `run.json` has another version.
        DamagedRunError: Its `run.json` is damaged.
    """
    path = folder / FILE
    try:
        values = read_json(path)
        version = values.pop("format_version")
    except (FileNotFoundError, NotADirectoryError):
        raise RecordingError(_not_a_run(folder)) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(
            f"{path} is damaged ({error!r}). Go on with the command that made the run and --resume: it is written "
            "again, and what was recorded is kept."
        ) from error
    if version != FORMAT_VERSION:
        age = "a newer" if isinstance(version, int) and version > FORMAT_VERSION else "another"
        raise RecordingError(
            f"{path} has format {version}, written by {age} version of recsim_llm; this one reads format "
            f"{FORMAT_VERSION}. Install that version to read it, or record the run again in another folder."
        )
    names = {f.name for f in fields(Manifest)} - {"format_version"}
    values = {"policy_llm": "", "files": {}, **values}  # fields added in later versions
    if set(values) != names:
        wrong = ", ".join(sorted(set(values) ^ names))
        raise RecordingError(f"{path} has missing or unknown entries: {wrong}. Record the run again in another folder.")
    return _checked(path, values)


def _checked(path: Path, values: dict[str, Any]) -> Manifest:
    if isinstance(values["rating_levels"], list):
        values = {**values, "rating_levels": tuple(values["rating_levels"])}
    manifest = Manifest(**values)
    try:
        check_fields(manifest, str)
    except ConfigError as error:
        raise DamagedRunError(
            f"{path} is damaged: {error} Go on with the command that made the run and --resume: it is written again, "
            "and what was recorded is kept."
        ) from None
    return manifest


def _not_a_run(folder: Path) -> str:
    if not folder.exists():
        return f"{folder} does not exist. Record a run with: recsim-llm simulate --out {folder}"
    return f"{folder} is not a run: it has no {FILE}. Name a folder that 'recsim-llm simulate --out' has made."


def check_same(folder: Path, there: Manifest, now: Manifest) -> None:
    """Check that a run is resumed with the settings that it was begun with.

    Raises:
        RecordingError: Config, versions, data or models differ; the message names each difference.
    """
    # Through JSON, so that a tuple in a config equals the list that was stored.
    a, b = (json.loads(json.dumps(asdict(m))) for m in (there, now))
    found = list(_differences(a, b))
    if found:
        raise RecordingError(
            f"{folder} was begun with other settings: {'; '.join(found)}. "
            "Go on with the old ones, or choose another folder."
        )


def _differences(there: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name in dict.fromkeys([*there, *now]):
        if not prefix and name in _PROGRESS:
            continue
        old, new = there.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name} was {old!r}, is {new!r}"
