"""The Fidelity page: the certificate of a run's simulated users, readable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from recsim_llm.certificate import FILE, Certificate
from recsim_llm.dashboard import theme
from recsim_llm.dashboard.fidelity import fidelity_charts, fidelity_data
from recsim_llm.dashboard.fidelity.fidelity_data import Cell
from recsim_llm.dashboard.run_choice import choose_run
from recsim_llm.dashboard.view import RunView
from recsim_llm.experiments.fidelity.measure_labels import MEASURES
from recsim_llm.experiments.fidelity.report.wording import CROSSED, READING, facts, headline, note_parts, plain, title

_STYLE = """
<style>
.fi-tiles { display: flex; gap: 1rem; flex-wrap: wrap; margin: 0.25rem 0 0.5rem; }
.fi-tile { padding: 0.9rem 1.3rem; min-width: 9rem; }
.fi-number { font-size: 2rem; font-weight: 650; line-height: 1.15; }
.fi-scroll { overflow-x: auto; }
.fi-table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
.fi-table th, .fi-table td { padding: 0.4rem 0.7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
.fi-table th { font-weight: 600; white-space: normal; vertical-align: bottom; }
.fi-table th:first-child, .fi-table td:first-child { text-align: left; }
.fi-table small { display: block; opacity: 0.65; }
.fi-best { font-weight: 700; text-decoration: underline; text-underline-offset: 0.2em; }
.fi-own td { background: color-mix(in srgb, currentColor 5%, transparent); }
.fi-facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: 0.8rem 1.5rem; }
.fi-facts small { display: block; opacity: 0.65; }
.fi-key { display: flex; gap: 1.4rem; flex-wrap: wrap; font-size: 0.9rem; }
</style>
"""
_HEADS = {measure: {"f1": "F1", "auc": "AUC"}.get(measure, measure) for measure in MEASURES}


def show(top: Path) -> None:
    """Draw the page."""
    view = choose_run(top)
    if view is None:
        return
    st.title("Fidelity")
    certificate = view.certificate
    if certificate is None:
        _say_none(view)
        return
    st.html(_STYLE)
    _warn(view, certificate)
    _verdict(certificate)
    everything = _overview(certificate)
    _table(certificate, everything)
    _unknown(certificate)
    _curves(certificate)
    _beside(certificate)
    _notes(certificate)
    _command(view, certificate)


def _say_none(view: RunView) -> None:
    model = theme.plain(view.manifest.user_model)
    st.info(
        f"Nobody had measured how faithful the '{model}' users of this run are when it was recorded, so what they do "
        "says nothing about people yet."
    )
    st.markdown("Measure them against held-out ratings of the same people, and keep the certificate in this run:")
    st.code(fidelity_data.certify_command(view), language="bash", wrap_lines=True)
    st.caption(
        "Runs with the same users and data that are recorded on that machine afterwards carry the certificate by "
        "themselves."
    )


def _warn(view: RunView, certificate: Certificate) -> None:
    """Warnings that belong above all numbers."""
    warnings = [theme.plain(warning) for warning in certificate.warnings]
    if certificate.shortfall:
        warnings.insert(0, certificate.shortfall)
    if fidelity_data.of_other_data(view, certificate):
        warnings.insert(0, "This certificate was made on other data than the run: it says little about these users.")
    if warnings:
        lines = "\n".join(f"- {warning}" for warning in warnings)
        st.warning(f"**Read this first**\n\n{lines}", icon=":material/priority_high:")


def _verdict(certificate: Certificate) -> None:
    say, counts = theme.escaped, fidelity_data.verdicts(certificate)
    tiles = (
        ("Main gates passed", counts.passed, theme.BLUE),
        ("Main gates failed", counts.failed, theme.VERMILION),
        ("Not measurable", counts.unknown, theme.SKIPPED),
    )
    boxes = "".join(
        f"<div class='fi-tile rs-line' style='border-left: 5px solid {colour}'><div class='fi-number'>{number}</div>"
        f"<div class='rs-faint'>{name}</div></div>"
        for name, number, colour in tiles
    )
    st.html(
        f"<h3 class='rs-text' dir='auto' style='margin: 0'>{say(title(certificate))}</h3>"
        f"<div class='fi-tiles'>{boxes}</div><p class='rs-text'>{say(headline(certificate))}</p>"
        f"{_facts(facts(certificate))}"
    )


def _facts(known: Mapping[str, str]) -> str:
    say = theme.escaped
    items = "".join(
        f"<div><small>{say(name)}</small><div class='rs-text' dir='auto'>{say(value)}</div></div>"
        for name, value in known.items()
    )
    return f"<div class='fi-facts'>{items}</div>"


def _overview(certificate: Certificate) -> bool:
    st.markdown("#### Between floor and ceiling")
    st.caption(theme.plain(READING))
    everything = st.toggle("All metrics, not only the main ones", key="all metrics of the certificate")
    rows = fidelity_data.scale_rows(certificate, everything)
    if rows.empty:
        st.info("No metric of this certificate has a value, a floor and a ceiling to be drawn between.")
        return everything
    st.html(_key())
    theme.show_chart(
        fidelity_charts.scale_chart(rows), "Each metric between its floor on the left and its ceiling on the right"
    )
    return everything


def _key() -> str:
    marks = (
        ("●", theme.BLUE, "passes"),
        ("✚", theme.VERMILION, "fails"),
        ("◆", theme.SKIPPED, "no gate to pass"),
        ("┃", theme.ORANGE, "bar: collaborative filtering"),
        ("◀ ▶", theme.SKIPPED, "beyond the scale"),
    )
    items = "".join(f"<span><span style='color: {colour}'>{sign}</span> {text}</span>" for sign, colour, text in marks)
    return f"<div class='fi-key'>{items}</div>"


def _table(certificate: Certificate, everything: bool) -> None:
    table = fidelity_data.metric_table(certificate, everything)
    if table.empty:
        return
    st.dataframe(
        table,
        hide_index=True,
        height="auto" if everything else "content",
        column_config={
            "Better": st.column_config.TextColumn(width="small", help="Which direction is better"),
            "Bar": st.column_config.TextColumn(help="What collaborative filtering of the same log reaches"),
            "Floor": st.column_config.TextColumn(help="What a trivial model reaches"),
            "Ceiling": st.column_config.TextColumn(help="What people reach against people, or the best value possible"),
        },
    )
    st.caption("Metrics without floor or ceiling stand only here. The last column says what each one means.")


def _unknown(certificate: Certificate) -> None:
    found = fidelity_data.not_measurable(certificate)
    if not found:
        return
    st.markdown("#### Not measurable, and why")
    for why, metrics in found.items():
        names = ", ".join(theme.plain(name) for name, _ in metrics)
        meanings = "\n".join(f"{name}: {meaning}" for name, meaning in metrics if meaning)
        st.markdown(f"- **{theme.plain(why)}**: {names}", help=theme.plain(meanings) or None)


def _curves(certificate: Certificate) -> None:
    drawn = fidelity_charts.curve_charts(certificate)
    if not drawn:
        return
    st.markdown("#### Simulated beside real")
    found = list(drawn.values())
    for pair in (found[k : k + 2] for k in range(0, len(found), 2)):
        for column, (words, chart) in zip(st.columns(2, gap="large"), pair, strict=False):
            with column:
                st.markdown(f"##### {theme.plain(words)}")
                theme.show_chart(chart, words)


def _beside(certificate: Certificate) -> None:
    heads, rows = fidelity_data.baseline_table(certificate)
    if rows:
        st.markdown("#### Beside simple models")
        st.caption("On the same rows; the best of each column is underlined.")
        st.html(_html_table(heads, rows, own=True))
    heads, rows = fidelity_data.discrimination_table(certificate, _HEADS)
    if rows:
        with st.expander("Telling rated from unrated titles"):
            st.caption(theme.plain(CROSSED))
            st.html(_html_table(heads, rows, own=False))


def _html_table(heads: list[str], rows: list[tuple[str, list[Cell]]], own: bool) -> str:
    say = theme.escaped
    top = "".join(f"<th>{say(head)}</th>" for head in heads)
    body = []
    for place, (name, cells) in enumerate(rows):
        texts = "".join(
            f"<td><span class='{'fi-best' if cell.best else ''}'>{say(cell.text)}</span>"
            f"{f'<small>{say(cell.small)}</small>' if cell.small else ''}</td>"
            for cell in cells
        )
        kind = " class='fi-own'" if own and place == 0 else ""
        body.append(f"<tr{kind}><td dir='auto'>{say(name)}</td>{texts}</tr>")
    return (
        f"<div class='fi-scroll'><table class='fi-table'><thead><tr><th></th>{top}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _notes(certificate: Certificate) -> None:
    words, tables = note_parts(certificate.notes)
    if not (words or tables):
        return
    st.markdown("#### Fitted, learned, declared")
    if words:
        st.html(_facts(words))
    for name, (head, rows) in tables.items():
        st.markdown(f"##### {theme.plain(name)}")
        st.dataframe([dict(zip(head, row, strict=True)) for row in rows], hide_index=True)


def _command(view: RunView, certificate: Certificate) -> None:
    if "command" in certificate.notes:
        st.markdown("#### How to reproduce")
        st.code(plain(certificate.notes["command"]), language="bash", wrap_lines=True)
    data = (view.folder / FILE).read_bytes()
    st.download_button("certificate.json", data, FILE, "application/json", icon=":material/download:")
