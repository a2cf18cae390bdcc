"""The fidelity certificate of a population: metrics with floor, bar and ceiling, and its JSON file.

`experiments.fidelity` measures; environments check whether a population has a certificate; the report needs only the
file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from recsim_llm.errors import RecordingError
from recsim_llm.untrusted import read_json

FILE = "certificate.json"
FORMAT_VERSION = 1
PASS, FAIL, NOT_MEASURABLE = "pass", "fail", "not measurable"
_NAMED = 3  # most failed gates that a sentence lists
LEAST_PEOPLE, LEAST_ROWS = 30, 200
"""Least people and rows to certify anything: below, 95 % intervals cover too rarely (see docs/certificate.md)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; numbers are None if they cannot be computed.

    Attributes:
        value: Value of the user model.
        low, high: Ends of its 95 % interval, bootstrapped over users.
        floor: Value of a trivial model (a constant, the histogram, popularity; docs/certificate.md says which).
        bar: Value of a collaborative-filtering model of the same people on the same rows.
        ceiling: Value of real people against real people (split-half), or the best possible value.
        gate: The rule for the verdict, as a sentence: ">= 0.21 (bar)".
        verdict: "pass", "fail" or "not measurable".
        why: Reason if not measurable, else "".
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    bar: float | None = None
    ceiling: float | None = None
    gate: str = ""
    verdict: str = NOT_MEASURABLE
    why: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """Measured fidelity of a user model.

    Attributes:
        metrics: Metrics by name (docs/certificate.md).
        dataset, dataset_checksum: Data set it was measured on; the checksum is "" for an external file.
        user_model: Name as on the command line, or the name of the predictions file.
        llm: Name of the language model, "" without one.
        split: "random", "temporal" or "external".
        n_users: Number of people measured.
        warnings: Sentences: leakage alarms, parameters that are declared rather than fitted.
        baselines: Values on the same rows, by baseline, then metric.
        curves: Series for plots, by name: {"rating_histogram": {"simulated": [...], "real": [...]}, ...}.
        notes: Whether parts are declared, fitted or learned: {"leave": "declared", ...}.
        folder: Folder it was written to or read from, None without a file; not part of the content.
    """

    metrics: Mapping[str, Metric]
    dataset: str
    user_model: str
    split: str
    n_users: int
    warnings: tuple[str, ...] = ()
    llm: str = ""
    dataset_checksum: str = ""
    baselines: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        passed = f"{self.judged - len(self.failed)} of {self.judged}"
        where = None if self.folder is None else str(self.folder)
        return (
            f"Certificate({self.user_model!r}, dataset={self.dataset!r}, verdict={self.verdict!r}, "
            f"gates_passed={passed!r}, n_users={self.n_users}, folder={where!r})"
        )

    @property
    def rows(self) -> int | None:
        """Number of held-out rows measured, None if the notes lack it."""
        rows = self.notes.get("held-out ratings", self.notes.get("rows"))
        return rows if isinstance(rows, int) else None

    @property
    def shortfall(self) -> str:
        """Why this certificate certifies nothing, as a sentence; "" if it certifies."""
        lacks = []
        if self.n_users < LEAST_PEOPLE:
            lacks.append(f"people measured: {self.n_users:,}, needed: {LEAST_PEOPLE}")
        if self.rows is not None and self.rows < LEAST_ROWS:
            lacks.append(f"held-out rows measured: {self.rows:,}, needed: {LEAST_ROWS}")
        if all(metric.verdict == NOT_MEASURABLE for metric in self.metrics.values()):
            lacks.append("no gate could be judged")
        return f"This certifies nothing: {'; '.join(lacks)}." if lacks else ""

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the metrics whose gate failed."""
        return tuple(name for name, metric in self.metrics.items() if metric.verdict == FAIL)

    @property
    def judged(self) -> int:
        """Number of gates that passed or failed; the others could not be measured."""
        return sum(metric.verdict != NOT_MEASURABLE for metric in self.metrics.values())

    @property
    def verdict(self) -> str:
        """Either "passed" (enough was measured, no gate failed), "failed" or "certifies nothing" (see `shortfall`)."""
        if self.shortfall:
            return "certifies nothing"
        return "failed" if self.failed else "passed"

    def write(self, path: Path) -> None:
        """Write as JSON; numbers that are not finite become null."""
        content = {"format_version": FORMAT_VERSION, "shortfall": self.shortfall, **asdict(self)}
        del content["folder"]
        text = json.dumps(_finite(content), indent=1, ensure_ascii=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)


def failure(certificate: Certificate) -> str:
    """Number and names of the failed gates, as a clause: "failed 2 of 40 gates (rps_skill, ece)"."""
    names = certificate.failed
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"failed {len(names)} of {certificate.judged} gates ({', '.join(names[:_NAMED])}{more})"


def read_certificate(path: Path) -> Certificate:
    """Read what `Certificate.write` wrote.

    Raises:
        RecordingError: The file is missing, not a certificate, or of another version.
    """
    try:
        values = read_json(path)
        version = values.pop("format_version")
        if version != FORMAT_VERSION:
            raise RecordingError(f"{path} is a certificate of format {version}, not {FORMAT_VERSION}; certify again.")
        metrics = {name: Metric(**entry) for name, entry in values.pop("metrics").items()}
        known = {f.name for f in fields(Certificate)} - {"folder"}
        values = {key: value for key, value in values.items() if key in known}
        return Certificate(metrics=metrics, folder=path.parent, **{**values, "warnings": tuple(values["warnings"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordingError(f"{path} is not a certificate ({error!r}). Make one with: recsim-llm certify") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
