"""Wording shared by all forms of a certificate: the headline, numbers, gates, and the order of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Certificate, Metric
from recsim_llm.experiments.fidelity.measure_labels import (
    DISCRIMINATION,
    GROUPS,
    LABELS,
    MEASURES,
    OTHER,
    RATIOS,
    discrimination_name,
    label_of,
)
from recsim_llm.spec import first_name

READING = (
    "Floor: what a trivial model reaches. Bar: what collaborative filtering (CF) of the same log reaches. Ceiling: "
    "what people reach against people, or else the best value possible. Intervals: 95 %, bootstrapped over people."
)
BASELINE_METRICS = (
    "rps_skill", "log_loss", "ece", "auc_like", "rmse_mean", "pairwise_order", "discrimination_1_1_accuracy",
    "discrimination_1_9_f1", "discrimination_popmatched_auc", "exposure_auc",
)  # fmt: skip
_CHECKSUM_DIGITS = 16
_SPLITS = {
    "random": "a random fifth of each person's ratings",
    "temporal": "the latest fifth of each person's ratings",
    "external": "whatever the table of predictions holds",
}


def title(certificate: Certificate) -> str:
    """Title of a certificate: the user model and the data set."""
    # A hybrid is statistical people whom a model may correct; often it is not even asked.
    role = "with" if first_name(certificate.user_model) == "hybrid" else "played by"
    llm = f" {role} {certificate.llm}" if certificate.llm else ""
    return f"{certificate.user_model}{llm} on {certificate.dataset}"


def about(certificate: Certificate) -> str:
    """User model, data set, and how they were measured."""
    return f"{title(certificate)}, {certificate.split} split, {certificate.n_users:,} people."


def facts(certificate: Certificate) -> dict[str, str]:
    """Facts of the measurement by name."""
    rows = certificate.rows
    found = {
        "Simulated users": certificate.user_model,
        "Language model": certificate.llm or "none",
        "Data set": certificate.dataset,
        "Checksum of the data": certificate.dataset_checksum[:_CHECKSUM_DIGITS],
        "Held out": _SPLITS.get(certificate.split, certificate.split),
        "People measured": f"{certificate.n_users:,}",
        "Ratings measured": "" if rows is None else f"{rows:,}",
    }
    return {name: value for name, value in found.items() if value}


def headline(certificate: Certificate) -> str:
    """How many main gates passed, which gates failed, and how many could not be measured, in one to three sentences.

    If too little was measured to certify anything, that comes first.
    """
    main = {name: metric.verdict for name, metric in certificate.metrics.items() if label_of(name).headline}
    more = {name: metric.verdict for name, metric in certificate.metrics.items() if name not in main}
    sentences = [_counted(main, "main gates")]
    if any(verdict != NOT_MEASURABLE for verdict in more.values()):
        sentences.append(f"Of further gates, {_counted(more, '')}")
    unknown = list(main.values()).count(NOT_MEASURABLE)
    if unknown:
        sentences.append(f"{unknown} main gate{'s' * (unknown > 1)} could not be measured")
    return f"{certificate.shortfall} {''.join(f'{sentence}. ' for sentence in sentences)}".strip()


_NAMED = 5


def _counted(verdicts: Mapping[str, str], what: str) -> str:
    failed = [label_of(name).text for name, verdict in verdicts.items() if verdict == FAIL]
    passed = list(verdicts.values()).count(PASS)
    counted = " ".join(word for word in (f"{passed} of {passed + len(failed)}", what, "passed") if word)
    if not failed:
        return counted
    # One more name takes no more space than "and 1 more".
    shown = failed if len(failed) <= _NAMED + 1 else [*failed[:_NAMED], f"and {len(failed) - _NAMED} more"]
    return f"{counted}; {len(failed)} failed: {', '.join(shown)}"


def printable(text: str) -> str:
    """Text without control characters and lone surrogates, which neither terminals nor files handle well."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text)


def cut(text: str, width: int) -> str:
    """Text on one line, truncated if it is too long."""
    text = " ".join(printable(text).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def number(value: float | None) -> str:
    """A number with about three significant digits, at most 8 characters; "-" for none."""
    if value is None:
        return "-"
    size = abs(value)
    if 0 < size < 0.001:
        return f"{value:.1e}"
    return f"{value:.4f}" if 0 < size < 0.1 else f"{value:.3f}" if size < 1000 else f"{value:.3g}"


def interval(metric: Metric, between: str = ", ") -> str:
    """Both ends of the interval, "" for none."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{number(metric.low)}{between}{number(metric.high)}"


def short_gate(gate: str) -> str:
    """A gate without the numbers that have their own columns: ">= bar", "<= 5*ceiling"."""
    named = re.sub(r"\S+ \(([^()]*)\)", r"\1", gate)
    return (
        named.replace(" x ", "*")
        .replace(" and ", ", ")
        .replace("with the whole interval", "interval")
        .replace("within the interval", "high end")
    )


def grouped(certificate: Certificate) -> Iterator[tuple[str, list[str]]]:
    """Groups with the names of their metrics, in the order of `GROUPS` and of labels, without the table of forty."""
    crossed = {name for row in discrimination_tests(certificate) for name in row[1]}
    known = [name for name in LABELS if name in certificate.metrics]
    ordered = [*known, *(name for name in certificate.metrics if name not in LABELS)]
    for group in (*GROUPS, OTHER):
        members = [name for name in ordered if label_of(name).group == group]
        names = [name for name in members if name not in crossed or label_of(name).headline]
        if names:
            yield group, names


def discrimination_tests(certificate: Certificate) -> list[tuple[str, list[str]]]:
    """Each discrimination test that was run: its description, and its measures' names in the order of `MEASURES`."""
    tests = []
    for test in DISCRIMINATION:
        for ratio in RATIOS:
            names = [discrimination_name(test, ratio, measure) for measure in MEASURES]
            words = "equally popular" if test != DISCRIMINATION[0] else "uniform"
            if any(name in certificate.metrics for name in names):
                tests.append((f"1:{ratio}, {words}", names))
    return tests


def baseline_rows(certificate: Certificate) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """Metrics that baselines have, and one row of values for the simulator and for each baseline."""
    sources = [*certificate.baselines.values()]
    known = [m for m in BASELINE_METRICS if any(values.get(m) is not None for values in sources)]
    own = {m: certificate.metrics[m].value for m in known if m in certificate.metrics}
    rows = [(certificate.user_model, own), *certificate.baselines.items()]
    return known, [(name, [values.get(m) for m in known]) for name, values in rows]


def best_rows(metric: str, values: Sequence[float | None]) -> set[int]:
    """Indices of the best values of a metric, compared as printed."""
    better = label_of(metric).better
    cost = {
        i: abs(value - 1) if better == "near 1" else value if better == "lower" else -value
        for i, value in enumerate(values)
        if value is not None
    }
    best = min(cost, key=cost.__getitem__, default=-1)
    return {i for i in cost if number(values[i]) == number(values[best])}


COLUMNS = ("metric", "value", "95 % interval", "floor", "bar", "ceiling", "gate", "verdict")
OVERVIEW = (
    "Where each main metric lies between its floor (left) and its ceiling (right), with its 95 % interval. The tick is "
    "collaborative filtering; an arrow points beyond the scale. Metrics without floor or ceiling are in the table only."
)
CROSSED = (
    "20 items a person, 1 rated to 1, 2, 3 or 9 unrated ones, drawn uniformly or as popular as the rated ones. Below "
    "each value: popularity / EASE. Uniform tests are mostly tests of popularity."
)
_NOTE_TITLES = {"hybrid": "How far the language model is believed, cell by cell"}
_SHOWN_ELSEWHERE = ("command", "held-out ratings", "rows")

Table = tuple[list[str], list[list[str]]]


def note_parts(notes: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Table]]:
    """Split notes into short ones and tables: head and rows."""
    words: dict[str, str] = {}
    tables: dict[str, Table] = {}
    for name, value in notes.items():
        if name in _SHOWN_ELSEWHERE:
            continue
        if isinstance(value, list | tuple) and value and all(isinstance(row, Mapping) for row in value):
            head = list(dict.fromkeys(str(key) for row in value for key in row))
            body = [[plain(row[key]) if key in row else "" for key in head] for row in value]
            tables[_NOTE_TITLES.get(name, name)] = head, body
        else:
            words[name] = plain(value)
    return words, tables


def plain(value: Any) -> str:
    """A note's value in plain words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return "-" if value is None else str(value)
