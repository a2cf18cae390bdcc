"""The table of a study: a row a policy, from recorded runs alone; CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recsim_llm.agents.sources import load_source, statistical_parameters
from recsim_llm.experiments.study.comparing import Mean, Pair, against_best, mean_over
from recsim_llm.experiments.study.measures import (
    MEASURES,
    Shelf,
    coverage,
    reward_by_turn,
    session_values,
    survival,
)
from recsim_llm.experiments.study.study import Study
from recsim_llm.trajectories import Run
from recsim_llm.types import Floats

MAIN = "reward_stayed"
"""The measure that policies are compared by."""

COLUMNS = {
    "length_stayed": "Len",
    "reward_each": "R_each",
    "reward_stayed": "R_traj",
    "of_bound": "of bound",
    "length_counted": "Len+",
    "reward_counted": "R_traj+",
    "at_cap": "at cap",
    "coverage": "coverage",
    "genre_diversity": "genre div.",
    "vector_diversity": "vector div.",
    "novelty": "novelty",
    "popular_share": "popular",
    "repeat_share": "repeats",
}
"""Measure to heading; + marks EasyRL4Rec's convention, which counts the turn that makes a person leave."""


@dataclass(frozen=True)
class Row:
    """A policy's row.

    Attributes:
        policy: Its label.
        users: Sessions it was evaluated on, one a person and seed.
        means: Measure to mean.
        pair: Against the best of the recommenders by `MAIN`; None for the best itself.
        survival: (T + 1,) share of people still there after each turn.
        reward_by_turn: (T,) mean reward of those who had the turn.
        costs: Calls, tokens, seconds and what the policy counts, summed over seeds.
    """

    policy: str
    users: int
    means: Mapping[str, Mean]
    pair: Pair | None
    survival: Floats
    reward_by_turn: Floats
    costs: Mapping[str, float] = field(default_factory=dict)


def make_rows(study: Study, runs: Mapping[str, Mapping[int, Run]]) -> list[Row]:
    """The rows of a study, in its order.

    Args:
        study: The study.
        runs: Label to seed to run, all finished.
    """
    data, split = load_source(study.dataset)
    shelf = Shelf.of(split.train, data.catalogue, statistical_parameters(study.dataset).item_factors)
    values = {label: _values(by_seed, shelf) for label, by_seed in runs.items()}
    means = {label: _means(values[label], runs[label], shelf) for label in runs}
    main = {label: v[MAIN] for label, v in values.items()}
    contenders = [label for label in runs if label != "oracle"] or list(runs)
    best = max(contenders, key=lambda label: means[label][MAIN].value)
    pairs = against_best({label: main[label] for label in contenders}, best)
    return [
        Row(
            label,
            len(main[label]),
            {**means[label], "of_bound": _of_bound(main, label)},
            pairs.get(label),
            _average([survival(run.step_batch(), study.pages) for run in by_seed.values()]),
            _average([reward_by_turn(run.step_batch(), study.pages) for run in by_seed.values()]),
            _costs(list(by_seed.values())),
        )
        for label, by_seed in runs.items()
    ]


def _values(by_seed: Mapping[int, Run], shelf: Shelf) -> dict[str, dict[tuple[int, int], float]]:
    out: dict[str, dict[tuple[int, int], float]] = {name: {} for name in MEASURES}
    for seed, run in by_seed.items():
        users, values = session_values(run.step_batch(), shelf)
        for name, column in values.items():
            out[name] |= {(seed, int(user)): float(value) for user, value in zip(users, column, strict=True)}
    return out


def _means(
    values: Mapping[str, Mapping[tuple[int, int], float]], by_seed: Mapping[int, Run], shelf: Shelf
) -> dict[str, Mean]:
    means = {name: mean_over(column) for name, column in values.items()}
    covered = {(seed, 0): coverage(run.step_batch(), len(shelf.counts)) for seed, run in by_seed.items()}
    return {**means, "reward_each": _ratio(values), "coverage": mean_over(covered)}


def _ratio(values: Mapping[str, Mapping[tuple[int, int], float]]) -> Mean:
    """R_traj / Len of the means, as in BiLLP's table; its error by the delta method."""
    rewards, lengths = mean_over(values["reward_stayed"]), mean_over(values["length_stayed"])
    if not lengths.value > 0:
        return Mean(float("nan"), float("nan"), lengths.n)
    ratio = rewards.value / lengths.value
    residuals = {pair: r - ratio * values["length_stayed"][pair] for pair, r in values["reward_stayed"].items()}
    return Mean(ratio, mean_over(residuals).error / lengths.value, lengths.n)


def _of_bound(main: Mapping[str, Mapping[tuple[int, int], float]], label: str) -> Mean:
    """How far from random (0) to the oracle (1) the policy gets, on the people that all three have."""
    if "random" not in main or "oracle" not in main:
        return Mean(float("nan"), float("nan"), 0)
    both = [pair for pair in main[label] if pair in main["random"] and pair in main["oracle"]]
    low, high, own = (np.mean([main[name][pair] for pair in both]) for name in ("random", "oracle", label))
    return Mean(float((own - low) / (high - low)) if high > low else float("nan"), float("nan"), len(both))


def _average(curves: Sequence[Floats]) -> Floats:
    stacked = np.stack(curves)
    counts = (~np.isnan(stacked)).sum(axis=0)
    mean: Floats = np.divide(
        np.nansum(stacked, axis=0), counts, out=np.full(stacked.shape[1], np.nan), where=counts > 0
    )
    return mean


def _costs(runs: Sequence[Run]) -> dict[str, float]:
    costs: dict[str, float] = {}
    for run in runs:
        summary: Mapping[str, Any] = run.manifest.summary
        spent = summary.get("policy_llm") or {}
        parts = {
            "seconds": summary["seconds"],
            "calls": spent.get("calls", 0) + spent.get("cache_hits", 0),
            "tokens": spent.get("prompt_tokens", 0) + spent.get("output_tokens", 0),
            **{name: value for name, value in (summary.get("policy") or {}).items() if isinstance(value, int | float)},
        }
        for name, value in parts.items():
            costs[name] = costs.get(name, 0.0) + float(value)
    return costs


def write_table(rows: Sequence[Row], out: Path) -> None:
    """Write `table.csv` (a number a cell, errors in columns of their own) and `table.json`."""
    with (out / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["policy", "users", *(n for name in COLUMNS for n in (name, f"{name}_error")), "p_adjusted"])
        for row in rows:
            cells = [x for name in COLUMNS for x in (row.means[name].value, row.means[name].error)]
            writer.writerow([row.policy, row.users, *cells, row.pair.adjusted if row.pair else ""])
    values = [
        {
            "policy": row.policy,
            "users": row.users,
            "means": {name: [_json(m.value), _json(m.error), m.n] for name, m in row.means.items()},
            "against_best": [str(row.pair.difference), row.pair.p, row.pair.adjusted] if row.pair else None,
            "costs": dict(row.costs),
        }
        for row in rows
    ]
    (out / "table.json").write_text(json.dumps(values, indent=1), encoding="utf-8")


def _json(value: float) -> float | None:
    return None if np.isnan(value) else value


def text_table(rows: Sequence[Row]) -> str:
    """The table in Markdown, which reads as plain text too."""
    lines = [["policy", "sessions", *COLUMNS.values(), "less than best", "p (Holm)"]]
    for row in rows:
        cells = [_cell(name, row.means[name]) for name in COLUMNS]
        gap = [str(row.pair.difference), f"{row.pair.adjusted:.4f}"] if row.pair else ["", ""]
        lines.append([row.policy, str(row.users), *cells, *gap])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    rule = "| " + " | ".join("-" * w for w in widths) + " |"
    return "\n".join([text[0], rule, *text[1:]])


def _cell(name: str, mean: Mean) -> str:
    if name in ("at_cap", "coverage", "popular_share", "repeat_share", "of_bound"):
        return "-" if np.isnan(mean.value) else f"{mean.value:.1%}"
    return str(mean)
