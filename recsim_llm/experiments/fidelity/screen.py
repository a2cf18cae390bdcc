"""The certificate on one screen of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Certificate, Metric
from recsim_llm.experiments.fidelity.labels import GROUPS, label_of

WIDTH = 100


def certificate_table(certificate: Certificate) -> str:
    """The main metrics, at most 100 columns wide: value and interval, floor, bar, ceiling, verdict."""
    lines = [headline(certificate), about(certificate), ""]
    lines.append(f"{'':<30} {'value':>8} {'95 % interval':>18} {'floor':>7} {'bar':>7} {'ceiling':>7}  verdict")
    for group in (*GROUPS, "Other"):
        rows = [name for name in certificate.metrics if label_of(name).group == group and label_of(name).headline]
        if rows:
            lines.append(group)
            lines += [_row(label_of(name).text, certificate.metrics[name]) for name in rows]
    lines += [line for warning in certificate.warnings for line in _wrapped(f"! {warning}")]
    return "\n".join(line.rstrip() for line in lines)


def headline(certificate: Certificate) -> str:
    """How many gates passed, in a sentence."""
    verdicts = [metric.verdict for metric in certificate.metrics.values()]
    passed, failed, unknown = (verdicts.count(verdict) for verdict in (PASS, FAIL, NOT_MEASURABLE))
    return f"{passed} of {passed + failed} measurable gates passed, {failed} failed; {unknown} not measurable."


def about(certificate: Certificate) -> str:
    """What was measured on what."""
    llm = f" played by {certificate.llm}" if certificate.llm else ""
    people = f"{certificate.split} split, {certificate.n_users} people"
    return f"{certificate.user_model}{llm} on {certificate.dataset}, {people}."


def number(value: float | None) -> str:
    """Three significant places or so, "-" for none."""
    if value is None:
        return "-"
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}"


def interval(metric: Metric) -> str:
    """The interval, "" for none."""
    return "" if metric.low is None or metric.high is None else f"[{number(metric.low)}, {number(metric.high)}]"


def failed_first(certificate: Certificate) -> Sequence[str]:
    """Names of the metrics that failed."""
    return [name for name, metric in certificate.metrics.items() if metric.verdict == FAIL]


def _row(text: str, metric: Metric) -> str:
    if metric.verdict == NOT_MEASURABLE and metric.value is None:
        return f"  {text:<28} not measurable: {metric.why}"[:WIDTH]
    verdict = "FAIL" if metric.verdict == FAIL else metric.verdict
    numbers = " ".join(f"{number(value):>7}" for value in (metric.floor, metric.bar, metric.ceiling))
    return f"  {text[:28]:<28} {number(metric.value):>8} {interval(metric):>18} {numbers}  {verdict}"[:WIDTH]


def _wrapped(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, subsequent_indent="  ")
