"""The certificate on one screen of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, Certificate, Metric
from recsim_llm.experiments.fidelity.labels import label_of
from recsim_llm.experiments.fidelity.wording import about, grouped, headline, interval, number, short_gate

WIDTH, HEIGHT = 100, 45
_VERDICTS = {FAIL: "FAIL", NOT_MEASURABLE: "n/a"}


def certificate_table(certificate: Certificate) -> str:
    """The main metrics and whatever else failed, at most 100 columns and 45 lines: numbers, gate and verdict."""
    top = [*_wrapped(about(certificate)), *_wrapped(headline(certificate)), "", _HEAD]
    bottom = [line for warning in certificate.warnings for line in _wrapped(f"! {warning}")]
    most = max(HEIGHT - len(top) - min(len(bottom), _WARNING_LINES), 1)
    body = list(_rows(certificate, also_failed=True))
    if len(body) > most:
        body = list(_rows(certificate, also_failed=False))
    if len(body) > most:
        body = [*body[: most - 1], " ... more in the report"]
    room = HEIGHT - len(top) - len(body)
    if len(bottom) > room:
        bottom = [*bottom[: room - 1], "! ... more in the report"]
    return "\n".join(line.rstrip() for line in [*top, *body, *bottom])


_WARNING_LINES = 6


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _cells(*cells: str) -> str:
    text, value, ends, floor, bar, ceiling, gate, verdict = cells
    return (
        f" {_cut(text, 26):<26} {value:>8} {ends:>18} {floor:>7} {bar:>7} {ceiling:>7} {_cut(gate, 15):<15} {verdict}"
    )


_HEAD = _cells("", "value", "95 % interval", "floor", "bar", "ceiling", "gate", "")


def _rows(certificate: Certificate, also_failed: bool) -> Iterator[str]:
    for group, members in grouped(certificate):
        failed = [name for name in members if also_failed and certificate.metrics[name].verdict == FAIL]
        names = [name for name in members if label_of(name).headline or name in failed]
        missing: dict[str, list[str]] = {}
        if names:
            yield group
        for name in names:
            metric = certificate.metrics[name]
            if metric.value is None:
                missing.setdefault(metric.why, []).append(label_of(name).text)
            else:
                yield _row(label_of(name).text, metric)
        for why, texts in missing.items():
            yield from textwrap.wrap(
                f"not measurable: {', '.join(texts)} ({why})", WIDTH, initial_indent=" ", subsequent_indent="   "
            )


def _row(text: str, metric: Metric) -> str:
    numbers = (number(value) for value in (metric.floor, metric.bar, metric.ceiling))
    verdict = _VERDICTS.get(metric.verdict, metric.verdict)
    return _cells(text, number(metric.value), interval(metric, ".."), *numbers, short_gate(metric.gate), verdict)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
