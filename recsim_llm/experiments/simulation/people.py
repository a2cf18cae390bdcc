"""The visitors of a run, kept in its folder, so that readers need no data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from recsim_llm.data import Person
from recsim_llm.errors import RecordingError
from recsim_llm.runs.side_files import check_side_files
from recsim_llm.types import Persona
from recsim_llm.untrusted import read_json

FILE = "people.json"


def save_people(folder: Path, personas: Sequence[Persona], people: Sequence[Person]) -> None:
    """Write the personas of a run's visitors, with the source's own ids, to `people.json`."""
    rows = [{"raw_id": people[p.user].raw_id, **asdict(p)} for p in personas]
    partial = folder / f"{FILE}.tmp"
    partial.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(folder / FILE)


def load_people(folder: Path) -> tuple[list[Persona], list[str]]:
    """Personas and raw ids of a run's visitors.

    Raises:
        RecordingError: The run holds no people, or the file is damaged.
    """
    check_side_files(folder, FILE)
    path = folder / FILE
    try:
        rows = read_json(path)
        names = {f.name for f in fields(Persona)}
        personas = [Persona(**{k: _tuple(v) for k, v in row.items() if k in names}) for row in rows]
        return personas, [row["raw_id"] for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecordingError(
            f"{path} cannot be read ({error}). Go on with the command that made the run and --resume: it is written "
            "again."
        ) from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
