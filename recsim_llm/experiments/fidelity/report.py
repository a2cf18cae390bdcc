"""The certificate to read: one HTML file with its figures inside, and Markdown. Made from the certificate alone."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recsim_llm.certificate import FAIL, PASS, Certificate, Metric
from recsim_llm.experiments.fidelity.labels import GROUPS, label_of
from recsim_llm.experiments.fidelity.plots import figures
from recsim_llm.experiments.fidelity.screen import about, failed_first, headline, interval, number

_HEAD = ("metric", "value", "95 % interval", "floor", "bar", "ceiling", "gate", "verdict")
_BASELINE_METRICS = (
    "rps_skill", "rmse_mean", "log_loss", "ece", "discrimination_1_1_accuracy", "discrimination_1_1_f1",
    "discrimination_1_1_auc", "discrimination_popmatched_1_1_auc", "exposure_auc",
)  # fmt: skip
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2833;--paper:#fff;--card:#f6f7f8;--line:#d5dbdb;--soft:#6b7780}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecef;--paper:#14181c;--card:#1d2329;--line:#38424b;--soft:#9aa7b0}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0}
main{max-width:68rem;margin:0 auto;padding:1.5rem 1rem 4rem}h1{margin:.2em 0;font-size:1.7rem}h2{margin-top:2.2em}
.lead{font-size:1.15rem}.soft{color:var(--soft)}
.box{border-left:4px solid #d95f02;background:var(--card);padding:.6em 1em;margin:1em 0}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.86rem}
th,td{padding:.32em .6em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:11rem}
td.gate{white-space:normal;min-width:9rem}
tr.group td{font-weight:600;background:var(--card);text-align:left}.pass{color:#1e8449;font-weight:600}
.fail{color:#c0392b;font-weight:700}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1rem}
figure{margin:0;background:#fff;border:1px solid var(--line);border-radius:6px;padding:.4rem}
figure svg{width:100%;height:auto}
figure.wide{grid-column:1/-1;max-width:52rem}code,pre{background:var(--card);padding:.15em .35em;border-radius:4px}
pre{padding:.8em;overflow-x:auto}dt{font-weight:600;margin-top:.5em}dd{margin:0 0 0 1em}
@media print{main{max-width:none}figure,tr{break-inside:avoid}}
"""


def write_report(certificate: Certificate, folder: Path) -> list[Path]:
    """Write `certificate.html`, `certificate.md` and the figures under `plots/`.

    Returns:
        The files, HTML and Markdown first.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawn = figures(certificate)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    page, text = folder / "certificate.html", folder / "certificate.md"
    page.write_text(_page(certificate, drawn), encoding="utf-8")
    text.write_text(_markdown(certificate, drawn), encoding="utf-8")
    plots = [folder / "plots" / f"{name}.svg" for name in drawn]
    for path, svg in zip(plots, drawn.values(), strict=True):
        path.write_text(svg, encoding="utf-8")
    return [page, text, *plots]


def _grouped(certificate: Certificate) -> Iterator[tuple[str, list[str]]]:
    for group in (*GROUPS, "Other"):
        names = [name for name in certificate.metrics if label_of(name).group == group]
        if names:
            yield group, names


def _cells(name: str, metric: Metric) -> list[str]:
    numbers = [number(value) for value in (metric.floor, metric.bar, metric.ceiling)]
    verdict = metric.verdict if not metric.why else f"{metric.verdict}: {metric.why}"
    return [label_of(name).text, number(metric.value), interval(metric), *numbers, metric.gate, verdict]


def _failures(certificate: Certificate) -> str:
    failed = [label_of(name).text for name in failed_first(certificate) if label_of(name).headline]
    return f"Failed: {', '.join(failed)}." if failed else ""


def _baseline_rows(certificate: Certificate) -> tuple[list[str], list[list[str]]]:
    known = [m for m in _BASELINE_METRICS if any(m in values for values in certificate.baselines.values())]
    own = {m: certificate.metrics[m].value for m in known if m in certificate.metrics}
    rows: list[tuple[str, Mapping[str, float | None]]] = [(certificate.user_model, own), *certificate.baselines.items()]
    return known, [[name, *(number(values.get(m)) for m in known)] for name, values in rows]


def _page(certificate: Certificate, drawn: Mapping[str, str]) -> str:
    say = html.escape
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Fidelity of {say(certificate.user_model)}</title><style>{_STYLE}</style><main>",
        f"<p class=soft>Fidelity certificate</p><h1>{say(about(certificate))}</h1>",
        f"<p class=lead>{say(headline(certificate))} {say(_failures(certificate))}</p>",
        *(f"<p class=box>{say(warning)}</p>" for warning in certificate.warnings),
        f"<figure class=wide>{drawn['overview']}</figure>",
        "<h2>Every metric</h2><p class=soft>Floor: a trivial model. Bar: collaborative filtering of the same log. "
        "Ceiling: people against people, or the best value possible. Intervals: bootstrap over people.</p>",
        f"<div class=scroll><table><tr>{_tags('th', _HEAD)}</tr>{''.join(_metric_rows(certificate))}</table></div>",
        "<h2>Figures</h2><div class=figures>",
        *(f"<figure>{svg}</figure>" for name, svg in drawn.items() if name != "overview"),
        "</div><h2>Beside simple models</h2>",
        _baseline_table(certificate),
        "<h2>Fitted, learned, declared</h2>",
        _notes(certificate.notes),
        "<h2>What the metrics mean</h2><dl>",
        *(
            f"<dt>{say(label_of(name).text)} <code>{say(name)}</code></dt><dd>{say(label_of(name).meaning)}</dd>"
            for name in certificate.metrics
            if label_of(name).meaning
        ),
        "</dl></main></html>\n",
    ]
    return "\n".join(parts)


def _metric_rows(certificate: Certificate) -> Iterator[str]:
    for group, names in _grouped(certificate):
        yield f"<tr class=group><td colspan={len(_HEAD)}>{group}</td></tr>"
        for name in names:
            *cells, gate, verdict = _cells(name, certificate.metrics[name])
            kind = {PASS: "pass", FAIL: "fail"}.get(certificate.metrics[name].verdict, "soft")
            first = f"<td title='{html.escape(label_of(name).meaning)}'>{html.escape(cells[0])}</td>"
            last = f"<td class=gate>{html.escape(gate)}</td><td class='gate {kind}'>{html.escape(verdict)}</td>"
            yield f"<tr>{first}{_tags('td', cells[1:])}{last}</tr>"


def _baseline_table(certificate: Certificate) -> str:
    known, rows = _baseline_rows(certificate)
    head = _tags("th", ["", *(label_of(name).text for name in known)])
    body = "".join(f"<tr>{_tags('td', row)}</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _notes(notes: Mapping[str, Any]) -> str:
    parts = []
    for name, value in notes.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            head = _tags("th", list(value[0]))
            body = "".join(f"<tr>{_tags('td', [_plain(cell) for cell in row.values()])}</tr>" for row in value)
            parts.append(f"<h3>{html.escape(name)}</h3><div class=scroll><table><tr>{head}</tr>{body}</table></div>")
        else:
            tag = ("<pre>", "</pre>") if name == "command" else ("", "")
            parts.append(f"<p><b>{html.escape(name)}</b>: {tag[0]}{html.escape(_plain(value))}{tag[1]}</p>")
    return "".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(_plain(one) for one in value) if isinstance(value, list | tuple) else str(value)


def _tags(tag: str, cells: Sequence[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)


def _markdown(certificate: Certificate, drawn: Mapping[str, str]) -> str:
    lines = [
        f"# Fidelity: {_cell(about(certificate))}",
        "",
        f"**{headline(certificate)}** {_failures(certificate)}",
        "",
    ]
    lines += [f"> {_cell(warning)}\n" for warning in certificate.warnings]
    lines += ["![overview](plots/overview.svg)", ""]
    for group, names in _grouped(certificate):
        lines += [f"## {group}", "", *_table(_HEAD, [_cells(name, certificate.metrics[name]) for name in names]), ""]
    known, rows = _baseline_rows(certificate)
    lines += ["## Beside simple models", "", *_table(["", *(label_of(m).text for m in known)], rows), ""]
    lines += [f"![{name}](plots/{name}.svg)" for name in drawn if name != "overview"]
    lines += ["", "## Fitted, learned, declared", ""]
    for name, value in certificate.notes.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            table = [[_plain(cell) for cell in row.values()] for row in value]
            lines += [f"**{_cell(name)}**", "", *_table(list(value[0]), table), ""]
        else:
            lines.append(f"- {_cell(name)}: `{_plain(value)}`")
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(map(_cell, head))} |"
    yield f"|{'|'.join(' --- ' for _ in head)}|"
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")
