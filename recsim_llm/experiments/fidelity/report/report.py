"""The certificate's report: one HTML page, and Markdown with separate figures. Made from the certificate alone."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from recsim_llm.certificate import FAIL, Certificate, Metric
from recsim_llm.experiments.fidelity.measure_labels import MEASURES, label_of
from recsim_llm.experiments.fidelity.report.certificate_page import html_page
from recsim_llm.experiments.fidelity.report.plots import FIGURES, figures
from recsim_llm.experiments.fidelity.report.wording import (
    COLUMNS,
    CROSSED,
    OVERVIEW,
    READING,
    baseline_rows,
    best_rows,
    discrimination_tests,
    facts,
    grouped,
    headline,
    interval,
    note_parts,
    number,
    plain,
    printable,
    title,
)

PAGES = ("certificate.html", "certificate.md")
"""The files for readers that `write_report` writes."""


def write_report(certificate: Certificate, folder: Path) -> list[Path]:
    """Write `certificate.html`, `certificate.md` and `plots/`; the same certificate gives the same bytes.

    Returns:
        The files, HTML and Markdown first.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawn = figures(certificate)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    texts = dict(zip(PAGES, (html_page(certificate, drawn), _markdown(certificate, drawn)), strict=True))
    texts |= {f"plots/{name}.svg": svg for name, svg in drawn.items() if name != "overview-narrow"}
    for name, text in texts.items():
        (folder / name).write_text(printable(text), encoding="utf-8", newline="\n")
    return [folder / name for name in texts]


def _markdown(certificate: Certificate, drawn: Mapping[str, str]) -> str:
    lines = [f"# Fidelity of {_said(title(certificate))}", "", f"**{_said(headline(certificate))}**", ""]
    if certificate.warnings:
        lines += ["> **Read this first**", *(f">\n> - {_said(warning)}" for warning in certificate.warnings), ""]
    lines += [*(f"- {name}: {_said(value)}" for name, value in facts(certificate).items()), ""]
    if "overview" in drawn:
        lines += ["![overview](plots/overview.svg)", "", OVERVIEW, ""]
    lines += ["## Main metrics", "", READING, ""]
    for group, names in grouped(certificate):
        rows = [_cells(name, certificate.metrics[name]) for name in names]
        lines += [f"### {group}", "", *_table(COLUMNS, rows), ""]
    lines += [*_discrimination(certificate), *_baselines(certificate), *_figures(drawn), *_notes(certificate)]
    return "\n".join(lines).rstrip() + "\n"


def _cells(name: str, metric: Metric) -> list[str]:
    numbers = [number(value) for value in (metric.floor, metric.bar, metric.ceiling)]
    verdict = "**FAIL**" if metric.verdict == FAIL else _said(metric.verdict)
    why = f": {_said(metric.why)}" if metric.why else ""
    text, gate = _said(label_of(name).text), _said(metric.gate)
    return [text, number(metric.value), interval(metric, " to "), *numbers, gate, verdict + why]


def _discrimination(certificate: Certificate) -> Iterator[str]:
    tests = discrimination_tests(certificate)
    if not tests:
        return
    yield from ("## Telling rated from unrated items", "", f"{CROSSED} Failed ones are bold.", "")
    rows = [
        [words, *(_crossed(certificate.metrics.get(name, Metric(None))) for name in names)] for words, names in tests
    ]
    yield from _table(["", *MEASURES], rows)
    yield ""


def _crossed(metric: Metric) -> str:
    value = f"**{number(metric.value)}**" if metric.verdict == FAIL else number(metric.value)
    return f"{value} ({number(metric.floor)} / {number(metric.bar)})"


def _baselines(certificate: Certificate) -> Iterator[str]:
    known, rows = baseline_rows(certificate)
    if not known:
        return
    yield from ("## Beside simple models", "", "On the same rows; the best of each column is bold.", "")
    best = {metric: best_rows(metric, [values[k] for _, values in rows]) for k, metric in enumerate(known)}
    body = [
        [_said(name), *(f"**{number(v)}**" if i in best[m] else number(v) for m, v in zip(known, values, strict=True))]
        for i, (name, values) in enumerate(rows)
    ]
    yield from _table(["", *(label_of(metric).text for metric in known)], body)
    yield ""


def _figures(drawn: Mapping[str, str]) -> Iterator[str]:
    names = [name for name in drawn if name in FIGURES]
    if names:
        yield from ("## Figures", "", *(f"![{FIGURES[name].title}](plots/{name}.svg)" for name in names), "")


def _notes(certificate: Certificate) -> Iterator[str]:
    words, tables = note_parts(certificate.notes)
    if words or tables:
        yield from ("## Fitted, learned, declared", "")
    if words:
        yield from (*(f"- {_said(name)}: {_said(value)}" for name, value in words.items()), "")
    for name, (head, rows) in tables.items():
        said = [[_said(cell) for cell in row] for row in rows]
        yield from (f"### {_said(name)}", "", *_table([_said(cell) for cell in head], said), "")
    if "command" in certificate.notes:
        command = " ".join(plain(certificate.notes["command"]).split())
        yield from ("## How to reproduce", "", f"    {command}", "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(' --- ' if k == 0 else ' ---: ' for k in range(len(head)))}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _said(text: str) -> str:
    """Escape text for Markdown: no tags, no cells, no emphasis, one line."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
