"""The report of a study: Markdown, and one HTML file with embedded figures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from recsim_llm.agents.long_term.long_term_population import rule_of
from recsim_llm.experiments.simulation.simulate import versions
from recsim_llm.experiments.studies.study import Study
from recsim_llm.experiments.studies.study_plots import figures, learning_curves
from recsim_llm.experiments.studies.study_table import BOUNDS, COSTS, TOLD, StudyRow, tables, text_table, told_apart
from recsim_llm.policies import asks_llm

FIGURES = {
    "reward": "Reward a session",
    "survival": "Who is still there",
    "reward_by_turn": "Reward by turn",
    "learning": "Learning curves",
}

READING = (
    "Len, R_each and R_traj leave out the turn that makes a person leave, as BiLLP's tables do; Len+, R_each+ and "
    "R_traj+ count it, as EasyRL4Rec does. Values are means ± standard error over seeds and people "
    "(docs/long_term_study.md). 'of bound' is how far R_traj lies between random (0 %) and the oracle (100 %), which "
    "knows everybody's taste and the rule, greedily. 'personal' is the mean difference of R_traj to the fixed list, "
    "which shows everybody the same items: what a policy earns above it comes from telling people apart. 'less than "
    "best' is the mean difference to the best recommender "
    "over the same people and luck, with the p-value of a sign-flip test after Holm's correction; the best is chosen "
    "among those with the most people. Calls and tokens include those of the learning phase."
)


def write_report(study: Study, rows: Sequence[StudyRow], out: Path) -> list[Path]:
    """Write `report.md`, `report.html` and `plots/*.svg` into the study's folder.

    Returns:
        The files, HTML and Markdown first.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    found = {entry.label: learning_curves(out / "trained", entry.label) for entry in study.entries}
    drawn = figures(rows, {label: curves for label, curves in found.items() if curves})
    (out / "plots").mkdir(exist_ok=True)
    texts = {"report.html": _html(study, rows, drawn), "report.md": _markdown(study, rows, drawn)}
    texts |= {f"plots/{name}.svg": svg for name, svg in drawn.items()}
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")
    return [out / name for name in texts]


def facts(study: Study, rows: Sequence[StudyRow]) -> dict[str, str]:
    """What was run, in words."""
    rule = ", ".join(f"{name} {value}" for name, value in asdict(rule_of(study.quit)).items())
    return {
        "data set": Path(study.dataset).name,  # a folder's name only: its path is private
        "people": f"{study.user_model} {study.llm}".strip() + f"; {study.users} a seed, {study.seeds} seeds",
        "turns": f"at most {study.pages}, {study.page_size} item(s) each",
        "quit rule": rule,
        "planners' model": _planners_model(study) or "none",
        "planners are told the quit rule": _told(rows),
        "training": "; ".join(_trained(study)) or "none but fitting to the log",
        "evaluation": f"{sum(row.costs['seconds'] for row in rows):,.0f} s, training apart",
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


def _planners_model(study: Study) -> str:
    """The language model of the rows that ask one; "" if no row does."""
    return study.policy_llm if any(asks_llm(entry.policy) for entry in study.entries) else ""


def _told(rows: Sequence[StudyRow]) -> str:
    if told_apart(rows):
        return "some are (see the table)"
    return "yes" if any(row.costs.get(TOLD) for row in rows) else "no"


def _trained(study: Study) -> list[str]:
    out = [f"{e.label}: {e.steps:,} steps" for e in study.entries if e.steps]
    out += [f"{e.label}: met {e.learn} other people first" for e in study.entries if e.learn]
    out += [f"{e.label}: {e.sessions:,} sessions of {e.collect}" for e in study.entries if e.collect]
    out += [f"{e.label}: evaluated on the first {e.users} people" for e in study.entries if e.users]
    return out + [f"{e.label}: with the first {e.seeds} seeds" for e in study.entries if e.seeds]


def caveats(study: Study, rows: Sequence[StudyRow] = ()) -> list[str]:
    """What a reader must know before quoting a number."""
    out = [
        "The people are simulated. How faithful they are says their certificate: recsim-llm certify.",
        "The quit rule is declared, not fitted: logs of ratings do not say when people leave.",
        "The test is about these trained policies; how much another training differs, the standard error tells.",
    ]
    if any(entry.users or entry.seeds for entry in study.entries):
        out.append(
            "Rows differ in how many people they were evaluated on: compare them by 'less than best' and 'of bound', "
            "which are about the people that both have. Coverage grows with the number of people."
        )
    if study.page_size > 1 and any(entry.steps or entry.collect for entry in study.entries):
        out.append("Policies were trained with one item a turn, and evaluated with more.")
    if told_apart(rows):
        out.append("Some planners were told the rule by which people leave and others were not: they are no equals.")
    if model := _planners_model(study):
        out.append(f"Planners are as good as their model: {model}.")
    return out


def cost_lines(rows: Sequence[StudyRow]) -> list[str]:
    """Cost of policies that ask a model, and how their titles were grounded; one sentence per policy."""
    lines = []
    for row in rows:
        if row.costs.get("calls"):
            counts = ", ".join(
                f"{name.replace('_', ' ')} {value:,.6g}"
                for name, value in row.costs.items()
                if name not in (*COSTS, TOLD)
            )
            lines.append(
                f"{row.policy}: {row.costs['calls']:,.0f} answers, {row.costs['tokens']:,.0f} new tokens "
                f"({row.costs.get('learning_calls', 0):,.0f} and {row.costs.get('learning_tokens', 0):,.0f} more "
                "to learn before), "
                f"{row.costs['seconds']:,.0f} s; a seed: {counts}."
            )
    return lines


def _markdown(study: Study, rows: Sequence[StudyRow], drawn: Mapping[str, str]) -> str:
    lines = [f"# {study.name}", "", *(f"- {name}: {value}" for name, value in facts(study, rows).items()), ""]
    lines += [text_table(rows), "", READING, ""]
    for name, title in FIGURES.items():
        if name in drawn:
            lines += [f"## {title}", "", f"![{title}](plots/{name}.svg)", ""]
    costs = cost_lines(rows)
    if costs:
        lines += ["## What the planners did", "", *(f"- {line}" for line in costs), ""]
    lines += ["## Before you quote this", "", *(f"- {line}" for line in caveats(study, rows)), ""]
    return "\n".join(lines)


def _html(study: Study, rows: Sequence[StudyRow], drawn: Mapping[str, str]) -> str:
    parts = [f"<h1>{html.escape(study.name)}</h1>", _list([f"{n}: {v}" for n, v in facts(study, rows).items()])]
    parts += [_table(rows, lines) for lines in tables(rows)]
    parts += [f"<p>{html.escape(READING)}</p>"]
    parts += [f"<h2>{title}</h2>{drawn[name]}" for name, title in FIGURES.items() if name in drawn]
    costs = cost_lines(rows)
    if costs:
        parts += ["<h2>What the planners did</h2>", _list(costs)]
    parts += ["<h2>Before you quote this</h2>", _list(caveats(study, rows))]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(study.name)}</title>{_CSS}"
    return f"{head}{''.join(parts)}</html>\n"


def _table(rows: Sequence[StudyRow], lines: Sequence[Sequence[str]]) -> str:
    body = "".join(f"<tr{_mark(row)}>{_cells('td', line)}</tr>" for row, line in zip(rows, lines[1:], strict=True))
    head = f"<thead><tr>{_cells('th', lines[0])}</tr></thead>"
    return f"<div class=wide><table>{head}<tbody>{body}</tbody></table></div>"


def _cells(tag: str, line: Sequence[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line)


def _mark(row: StudyRow) -> str:
    if row.policy in ("random", "popularity", *BOUNDS):
        return " class=bound"
    return " class=best" if row.pair is None else ""


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


_CSS = """<style>
body{font:15px/1.45 system-ui,sans-serif;color:#1b2631;max-width:84rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;font-size:13px;white-space:nowrap}.wide{overflow-x:auto;margin-bottom:1.2rem}
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #dde3e7}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}
tr.bound td{color:#6b7780;font-style:italic}tr.best td{font-weight:600}svg{max-width:100%;height:auto}
</style>"""
