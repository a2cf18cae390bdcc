"""The certificate on one screen of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Certificate, Metric
from recsim_llm.experiments.fidelity.measure_labels import label_of
from recsim_llm.experiments.fidelity.report.wording import (
    about,
    baseline_rows,
    cut,
    grouped,
    headline,
    interval,
    number,
    printable,
    short_gate,
)

WIDTH, HEIGHT = 100, 45
_WARNING_LINES = 6
_VERDICTS = {PASS: "pass", FAIL: "FAIL", NOT_MEASURABLE: "n/a"}


def certificate_table(certificate: Certificate) -> str:
    """The main metrics and whatever else failed, at most 100 columns and 45 lines: numbers, gate and verdict.

    If that does not fit, other metrics are dropped first, then the names of the groups, then the last lines.
    """
    top = [*_wrapped(about(certificate)), *_wrapped(headline(certificate)), "", _HEAD]
    bottom = [line for warning in certificate.warnings for line in _wrapped(f"! {warning}")]
    room = HEIGHT - len(top) - min(len(bottom), _WARNING_LINES)
    for also_failed, groups in ((True, True), (False, True), (False, False)):
        body = list(_rows(certificate, also_failed, groups))
        if len(body) <= room:
            break
    body = _shortened(body, room)
    return "\n".join(line.rstrip() for line in [*top, *body, *_shortened(bottom, HEIGHT - len(top) - len(body))])


def _shortened(lines: list[str], room: int) -> list[str]:
    return lines if len(lines) <= room else [*lines[: room - 1], " ... more in the report"]


def _cells(*cells: str) -> str:
    text, value, ends, floor, bar, ceiling, gate, verdict = cells
    return f" {cut(text, 26):<26} {value:>8} {ends:>18} {floor:>7} {bar:>7} {ceiling:>7} {cut(gate, 15):<15} {verdict}"


_HEAD = _cells("", "value", "95 % interval", "floor", "bar", "ceiling", "gate", "")


def _rows(certificate: Certificate, also_failed: bool, groups: bool) -> Iterator[str]:
    for group, members in grouped(certificate):
        failed = [name for name in members if also_failed and certificate.metrics[name].verdict == FAIL]
        names = [name for name in members if label_of(name).headline or name in failed]
        missing: dict[str, list[str]] = {}
        if names and groups:
            yield group
        for name in names:
            metric = certificate.metrics[name]
            if metric.value is None:
                missing.setdefault(metric.why, []).append(label_of(name).text)
            else:
                yield _row(label_of(name).text, metric)
        for why, texts in missing.items():
            yield from _wrapped(f"not measurable: {', '.join(texts)} ({why})", " ")


def _row(text: str, metric: Metric) -> str:
    numbers = (number(value) for value in (metric.floor, metric.bar, metric.ceiling))
    verdict = _VERDICTS.get(metric.verdict, "?")
    return _cells(text, number(metric.value), interval(metric, ".."), *numbers, short_gate(metric.gate), verdict)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(printable(text), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


_ON_SCREEN = {
    "rps_skill": "RPS skill",
    "rmse_mean": "RMSE",
    "log_loss": "log-loss",
    "discrimination_1_1_accuracy": "1:1 acc.",
    "discrimination_1_1_f1": "1:1 F1",
    "discrimination_popmatched_auc": "matched AUC",
    "exposure_auc": "shown AUC",
}


def baseline_table(certificate: Certificate) -> str:
    """The simulator and the simple models on the same rows, one line each; "" if there are none."""
    known, rows = baseline_rows(certificate)
    places = [i for i, metric in enumerate(known) if metric in _ON_SCREEN]
    if not places or not certificate.baselines:
        return ""
    lines = [f"{'':<20}" + "".join(f"{_ON_SCREEN[known[i]]:>12}" for i in places)]
    for name, values in rows:
        cells = "".join(f"{'-' if values[i] is None else number(values[i]):>12}" for i in places)
        lines.append(f"{cut(printable(name), 20):<20}{cells}")
    return "\n".join(lines)
