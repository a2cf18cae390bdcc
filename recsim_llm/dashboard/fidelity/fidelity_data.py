"""Data of the Fidelity page: positions of metrics between floor and ceiling, tables, and what is not measurable.

Words, numbers and groups are those of the certificate's own report (`fidelity.report.wording`). Draws nothing.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Certificate, Metric
from recsim_llm.experiments.fidelity.measure_labels import label_of
from recsim_llm.experiments.fidelity.report.wording import (
    baseline_rows,
    best_rows,
    cut,
    discrimination_tests,
    grouped,
    interval,
    number,
)

if TYPE_CHECKING:
    import pandas as pd

    from recsim_llm.dashboard.view import RunView

LEFT, RIGHT = -0.2, 1.2
"""Ends of the scale on which floors are at 0 and ceilings at 1; values beyond are clipped to the ends."""
BELOW, ABOVE = "below the scale", "above the scale"
WORDS = {PASS: "passes", FAIL: "fails", NOT_MEASURABLE: "not measurable"}
_LONGEST = 40
_ARROWS = {"higher": "↑", "lower": "↓", "near 1": "→ 1"}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Numbers of main metrics that passed, failed and could not be measured."""

    passed: int
    failed: int
    unknown: int


def verdicts(certificate: Certificate) -> Verdicts:
    """Counts over the main metrics, as in the headline."""
    main = [metric.verdict for name, metric in certificate.metrics.items() if label_of(name).headline]
    return Verdicts(main.count(PASS), main.count(FAIL), len(main) - main.count(PASS) - main.count(FAIL))


def scale_rows(certificate: Certificate, everything: bool = False) -> pd.DataFrame:
    """Metrics that have a value, a floor and a ceiling, each on a scale from its floor (0) to its ceiling (1).

    Args:
        certificate: The certificate.
        everything: All metrics, or only the main ones.

    Returns:
        One row per metric, below one for the title of its group. row counts from 0 at the top; title marks group
        titles; at, at_low, at_high, at_bar are positions, clipped to `LEFT`..`RIGHT`, NaN if missing; verdict is in
        words, and mark equals it or, if the value is clipped, is `BELOW` or `ABOVE`; the rest are texts.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for group, names in grouped(certificate):
        members = [
            name for name in names if has_scale(certificate.metrics[name]) and (everything or label_of(name).headline)
        ]
        if members:
            rows.append({"group": group, "text": group, "title": True})
            rows += [{"group": group, "title": False, **_placed(name, certificate.metrics[name])} for name in members]
    return pd.DataFrame(rows).assign(row=range(len(rows))) if rows else pd.DataFrame()


def has_scale(metric: Metric) -> bool:
    """Whether a metric has a value, and a floor and a ceiling further apart than the ends of its interval."""
    if metric.value is None or metric.floor is None or metric.ceiling is None:
        return False
    spread = 0.0 if metric.low is None or metric.high is None else metric.high - metric.low
    return abs(metric.ceiling - metric.floor) > spread


def _placed(name: str, metric: Metric) -> dict[str, Any]:
    label = label_of(name)
    floor, ceiling = metric.floor or 0.0, metric.ceiling or 0.0

    def at(value: float | None) -> float:
        return math.nan if value is None else (value - floor) / (ceiling - floor)

    def clipped(value: float | None) -> float:
        return at(value) if value is None else min(max(at(value), LEFT), RIGHT)

    place = at(metric.value)
    mark = BELOW if place < LEFT else ABOVE if place > RIGHT else WORDS.get(metric.verdict, metric.verdict)
    return {
        "text": f"{cut(label.text, _LONGEST)} {_arrow(name)}".strip(),
        "at": clipped(metric.value),
        "at_low": clipped(metric.low),
        "at_high": clipped(metric.high),
        "at_bar": clipped(metric.bar),
        "mark": mark,
        "verdict": WORDS.get(metric.verdict, metric.verdict),
        **_texts(metric),
        "meaning": label.meaning,
    }


def _texts(metric: Metric) -> dict[str, str]:
    return {
        "value": number(metric.value),
        "interval": interval(metric, " to ") or "-",
        "floor": number(metric.floor),
        "bar": number(metric.bar),
        "ceiling": number(metric.ceiling),
        "gate": metric.gate or "-",
    }


def _arrow(name: str) -> str:
    label = label_of(name)
    return _ARROWS[label.better] if label.meaning else ""


def metric_table(certificate: Certificate, everything: bool) -> pd.DataFrame:
    """One row per metric with a value, in the order of the report, numbers formatted for people."""
    import pandas as pd

    noted = any(metric.why for metric in certificate.metrics.values() if metric.value is not None)
    rows = [
        {
            "Group": group,
            "Metric": label_of(name).text,
            "Better": _arrow(name),
            **{column.capitalize(): text for column, text in _texts(metric).items()},
            "Verdict": WORDS.get(metric.verdict, metric.verdict),
            **({"Note": metric.why} if noted else {}),
            "Meaning": label_of(name).meaning,
        }
        for group, names in grouped(certificate)
        for name in names
        if (metric := certificate.metrics[name]).value is not None and (everything or label_of(name).headline)
    ]
    return pd.DataFrame(rows).rename(columns={"Interval": "95 % interval"})


def not_measurable(certificate: Certificate) -> dict[str, list[tuple[str, str]]]:
    """Metrics that cannot be measured (name for people, meaning), by reason."""
    found: dict[str, list[tuple[str, str]]] = {}
    for _, names in grouped(certificate):
        for name in names:
            metric = certificate.metrics[name]
            if metric.verdict == NOT_MEASURABLE:
                label = label_of(name)
                found.setdefault(metric.why or "no reason is noted", []).append((label.text, label.meaning))
    return found


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        text: The number, formatted for people.
        best: Whether no other row has a better one.
        small: Small print below it, "" for none.
    """

    text: str
    best: bool = False
    small: str = ""


Rows = tuple[list[str], list[tuple[str, list[Cell]]]]
"""Column heads, and the name and cells of each row."""


def baseline_table(certificate: Certificate) -> Rows:
    """The user model (first) and its baselines on the same rows; best values marked. No rows without baselines."""
    known, rows = baseline_rows(certificate)
    if not known:
        return [], []
    best = {metric: best_rows(metric, [values[k] for _, values in rows]) for k, metric in enumerate(known)}
    cells = [
        (name, [Cell(number(value), place in best[metric]) for metric, value in zip(known, values, strict=True)])
        for place, (name, values) in enumerate(rows)
    ]
    return [label_of(metric).text for metric in known], cells


def discrimination_table(certificate: Certificate, heads: dict[str, str]) -> Rows:
    """Tests of discriminating rated from unrated items; below each value those of popularity and EASE.

    Args:
        certificate: The certificate.
        heads: Column head per measure.
    """
    rows = []
    for words, names in discrimination_tests(certificate):
        metrics = [certificate.metrics.get(name, Metric(None)) for name in names]
        rows.append((words, [Cell(number(m.value), small=f"{number(m.floor)} / {number(m.bar)}") for m in metrics]))
    return list(heads.values()), rows


def certify_command(view: RunView) -> str:
    """The command line that measures the users of a run and writes the certificate into its folder."""
    manifest = view.manifest
    dataset = str(manifest.config.get("dataset") or manifest.dataset)
    model = str(manifest.config.get("user_model") or manifest.user_model)
    llm = str(manifest.config.get("llm") or "")
    words = ["recsim-llm", "certify", "--dataset", dataset, "--user-model", model]
    words += ["--llm", llm] if llm else []
    return shlex.join([*words, "--out", str(view.folder)])


def of_other_data(view: RunView, certificate: Certificate) -> bool:
    """Whether the certificate was made on other data than the run."""
    there, here = certificate.dataset_checksum, view.manifest.dataset_checksum
    return bool(there and here) and there != here
