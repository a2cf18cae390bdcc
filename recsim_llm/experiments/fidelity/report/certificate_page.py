"""The certificate as one self-contained HTML page. Everything that comes from a certificate is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Certificate, Metric
from recsim_llm.experiments.fidelity.measure_labels import MEASURES, label_of
from recsim_llm.experiments.fidelity.report.page_style import STYLE
from recsim_llm.experiments.fidelity.report.plots import FIGURES, INK, PAPER
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
    title,
)

_CLASSES = {PASS: "pass", FAIL: "fail", NOT_MEASURABLE: "unknown"}
_ARROWS = {"higher": "&uarr;", "lower": "&darr;", "near 1": "&rarr;1"}
_WORDS = {PASS: "pass", FAIL: "FAIL"}


def html_page(certificate: Certificate, drawn: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        certificate: The certificate to show.
        drawn: SVG texts from `plots.figures`.
    """
    say = html.escape
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>Fidelity of {say(title(certificate))}</title><style>{STYLE}</style></head><body><main>",
        f'<p class="over">Fidelity certificate</p><h1>{say(title(certificate))}</h1>',
        f'<p class="lead">{say(headline(certificate))}</p>',
        _warnings(certificate.warnings),
        _facts(facts(certificate)),
        _overview(drawn),
        f'<h2>Main metrics</h2><p class="soft">{say(READING)} Arrows say which way is better.</p>',
        _metric_table(certificate),
        *_discrimination(certificate),
        *_baselines(certificate),
        *_figures(drawn),
        *_notes(certificate.notes),
        *_command(certificate.notes),
        *_meanings(certificate),
        "</main></body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _warnings(warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in warnings)
    return f'<aside class="warnings"><strong>Read this first</strong><ul>{items}</ul></aside>' if warnings else ""


def _facts(known: Mapping[str, str]) -> str:
    items = "".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in known.items())
    return f'<dl class="facts">{items}</dl>'


def _overview(drawn: Mapping[str, str]) -> str:
    if "overview" not in drawn:
        return ""
    forms = {"broad": "overview", "narrow": "overview-narrow"}
    images = "".join(
        f'<div class="{kind}">{_inline(name, drawn[name], OVERVIEW)}</div>' for kind, name in forms.items()
    )
    return f'<figure class="wide">{images}<figcaption>{html.escape(OVERVIEW)}</figcaption></figure>'


def _inline(name: str, svg: str, words: str) -> str:
    """Adapt an SVG to the page: the page's colours, the width of its place, and ids unique on the page."""

    def tag(match: re.Match[str]) -> str:
        text = match[0].replace(INK, "currentColor").replace(f"fill: {PAPER}", "fill: none")
        return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)

    svg = re.sub(r"<[^<>]*>", tag, svg)
    opening, rest = svg.split(">", 1)
    opening = re.sub(r'\s(width|height)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{html.escape(words)}">{rest}'


def _metric_table(certificate: Certificate) -> str:
    head = "".join(f"<th{' class=words' if name in _LEFT else ''}>{name}</th>" for name in COLUMNS)
    bodies = []
    for group, names in grouped(certificate):
        rows = "".join(_metric_row(name, certificate.metrics[name]) for name in names)
        first = f'<tr><th scope="rowgroup" colspan="{len(COLUMNS)}">{html.escape(group)}</th></tr>'
        bodies.append(f"<tbody>{first}{rows}</tbody>")
    return _table(head, "\n".join(bodies), "metrics")


def _table(head: str, bodies: str, kind: str = "plain") -> str:
    return f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>\n{bodies}\n</table></div>'


_LEFT = ("metric", "gate")


def _metric_row(name: str, metric: Metric) -> str:
    label = label_of(name)
    arrow = f'<span class="dir">{_ARROWS[label.better]}</span>' if label.meaning else ""
    first = f'<td title="{html.escape(label.meaning)}">{html.escape(label.text)}{arrow}</td>'
    last = f'<td class="verdict">{_verdict(metric)}</td>'
    if metric.value is None:
        return f'<tr>{first}<td class="why" colspan="6">{html.escape(metric.why)}</td>{last}</tr>\n'
    numbers = {
        "value": number(metric.value),
        "95 % interval": interval(metric, " to ") or "-",
        "floor": number(metric.floor),
        "bar": number(metric.bar),
        "ceiling": number(metric.ceiling),
    }
    cells = "".join(f'<td data-of="{of}"{" class=own" * (of == "value")}>{text}</td>' for of, text in numbers.items())
    gate = f'<td class="gate" data-of="gate">{html.escape(metric.gate)}</td>'
    why = f"<small>{html.escape(metric.why)}</small>" if metric.why else ""
    return f"<tr>{first}{cells}{gate}{last.replace('</td>', why + '</td>')}</tr>\n"


def _verdict(metric: Metric) -> str:
    text = html.escape(_WORDS.get(metric.verdict, metric.verdict))
    return f'<span class="{_CLASSES.get(metric.verdict, "unknown")}">{text}</span>'


def _discrimination(certificate: Certificate) -> Iterator[str]:
    tests = discrimination_tests(certificate)
    if not tests:
        return
    yield f'<h2>Telling rated from unrated items</h2><p class="soft">{html.escape(CROSSED)}</p>'
    head = "".join(f'<th title="{html.escape(words)}">{label}</th>' for label, words in _HEADS.items())
    rows = [f"<tr><td>{html.escape(words)}</td>{_crossed(certificate, names)}</tr>" for words, names in tests]
    yield _table(f"<th></th>{head}", f"<tbody>{''.join(rows)}</tbody>")


_HEADS = {{"f1": "F1", "auc": "AUC"}.get(measure, measure): words for measure, words in MEASURES.items()}


def _crossed(certificate: Certificate, names: Sequence[str]) -> str:
    cells = []
    for name in names:
        metric = certificate.metrics.get(name, Metric(None))
        kind = _CLASSES.get(metric.verdict, "unknown")
        around = f"<small>{number(metric.floor)} / {number(metric.bar)}</small>"
        cells.append(f'<td><span class="{kind}">{number(metric.value)}</span>{around}</td>')
    return "".join(cells)


def _baselines(certificate: Certificate) -> Iterator[str]:
    known, rows = baseline_rows(certificate)
    if not known:
        return
    yield '<h2>Beside simple models</h2><p class="soft">On the same rows; the best of each column is underlined.</p>'
    best = {metric: best_rows(metric, [values[k] for _, values in rows]) for k, metric in enumerate(known)}
    head = "".join(f"<th>{html.escape(label_of(metric).text)}</th>" for metric in known)
    body = []
    for place, (name, values) in enumerate(rows):
        cells = "".join(
            f"<td{' class=best' if place in best[metric] else ''}>{number(value)}</td>"
            for metric, value in zip(known, values, strict=True)
        )
        body.append(f"<tr{' class=own' if place == 0 else ''}><td>{html.escape(name)}</td>{cells}</tr>")
    yield _table(f"<th></th>{head}", f"<tbody>{''.join(body)}</tbody>")


def _figures(drawn: Mapping[str, str]) -> Iterator[str]:
    names = [name for name in drawn if name in FIGURES]
    if names:
        images = "".join(f"<figure>{_inline(name, drawn[name], FIGURES[name].title)}</figure>\n" for name in names)
        yield f'<h2>Figures</h2><div class="figures">{images}</div>'


def _notes(notes: Mapping[str, Any]) -> Iterator[str]:
    words, tables = note_parts(notes)
    if words or tables:
        yield "<h2>Fitted, learned, declared</h2>"
    if words:
        yield _facts(words)
    for name, (head, rows) in tables.items():
        top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        yield f"<h3>{html.escape(name)}</h3>{_table(top, f'<tbody>{body}</tbody>')}"


def _command(notes: Mapping[str, Any]) -> Iterator[str]:
    if "command" in notes:
        yield f"<h2>How to reproduce</h2><pre>{html.escape(plain(notes['command']))}</pre>"


def _meanings(certificate: Certificate) -> Iterator[str]:
    names = [name for _, group in grouped(certificate) for name in group if label_of(name).meaning]
    if names:
        items = "\n".join(
            f"<div><dt>{html.escape(label_of(name).text)} <code>{html.escape(name)}</code></dt>"
            f"<dd>{html.escape(label_of(name).meaning)}</dd></div>"
            for name in names
        )
        yield f'<h2>What the metrics mean</h2><dl class="meanings">{items}</dl>'
