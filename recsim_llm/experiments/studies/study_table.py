"""The table of a study, one row per policy, from recorded runs alone; CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recsim_llm.agents.fitted_sources import load_source, statistical_parameters
from recsim_llm.experiments.studies.comparing import Mean, Pair, against_best, best_of, mean_over
from recsim_llm.experiments.studies.study import Study
from recsim_llm.experiments.studies.study_measures import (
    MEASURES,
    StudyShelf,
    coverage,
    reward_by_turn,
    session_values,
    survival,
)
from recsim_llm.runs import Run
from recsim_llm.types import Floats

MAIN = "reward_stayed"
"""The measure that policies are compared by."""

FIXED = "fixed-list"
BOUNDS = ("oracle", FIXED)
"""Rows that know the truth: they never count as the best recommender."""

COLUMNS = {
    "length_stayed": "Len",
    "reward_each": "R_each",
    "reward_stayed": "R_traj",
    "of_bound": "of bound",
    "personal": "personal",
    "length_counted": "Len+",
    "reward_each_counted": "R_each+",
    "reward_counted": "R_traj+",
    "at_cap": "at cap",
    "coverage": "coverage",
    "genre_diversity": "genre div.",
    "vector_diversity": "vector div.",
    "novelty": "novelty",
    "popular_share": "popular",
    "repeat_share": "repeats",
}
"""Headings by measure; + marks EasyRL4Rec's convention, which counts the turn that makes a person leave."""


_STAY = 9
"""Columns of the first table."""
TOLD = "told_exit"
"""Key in a row's costs, from a planner's own counts: 1 if it was told the exit rule, 0 if not."""
COSTS = ("calls", "tokens", "learning_calls", "learning_tokens", "seconds")
"""Costs of a row, summed over seeds."""
_EXTRA = ("less_than_best", "less_than_best_error", "p_adjusted", *COSTS)


@dataclass(frozen=True)
class StudyRow:
    """A policy's row.

    Attributes:
        policy: Label of the policy.
        users: Number of evaluated sessions, one per person and seed.
        means: Means by measure.
        pair: Comparison with the best of the recommenders by `MAIN`; None for the best itself.
        survival: (T + 1,) share of people still there after each turn.
        reward_by_turn: (T,) mean reward of the people who had the turn.
        costs: Calls, tokens and seconds, summed over seeds; the policy's own counts are means per seed.
    """

    policy: str
    users: int
    means: Mapping[str, Mean]
    pair: Pair | None
    survival: Floats
    reward_by_turn: Floats
    costs: Mapping[str, float] = field(default_factory=dict)


def make_rows(
    study: Study, runs: Mapping[str, Mapping[int, Run]], learning: Mapping[str, Mapping[str, float]]
) -> list[StudyRow]:
    """The rows of a study, in its order.

    Args:
        study: The study.
        runs: Finished runs by label, then by seed.
        learning: Costs of learning before the runs, by label.
    """
    data, split = load_source(study.dataset)
    shelf = StudyShelf.of(split.train, data.catalogue, statistical_parameters(study.dataset).item_factors)
    values = {label: _values(by_seed, shelf) for label, by_seed in runs.items()}
    means = {label: _means(values[label], runs[label], shelf) for label in runs}
    main = {label: v[MAIN] for label, v in values.items()}
    contenders = [label for label in runs if label not in BOUNDS] or list(runs)
    best = best_of({label: main[label] for label in contenders})
    pairs = against_best({label: main[label] for label in contenders}, best)
    return [
        StudyRow(
            label,
            len(main[label]),
            {**means[label], "of_bound": _of_bound(main, label), "personal": _personal(main, label)},
            pairs.get(label),
            _average([survival(run.step_batch(), study.pages) for run in by_seed.values()]),
            _average([reward_by_turn(run.step_batch(), study.pages) for run in by_seed.values()]),
            {**costs_of(list(by_seed.values())), **learning.get(label, {})},
        )
        for label, by_seed in runs.items()
    ]


def _values(by_seed: Mapping[int, Run], shelf: StudyShelf) -> dict[str, dict[tuple[int, int], float]]:
    out: dict[str, dict[tuple[int, int], float]] = {name: {} for name in MEASURES}
    for seed, run in by_seed.items():
        users, values = session_values(run.step_batch(), shelf)
        for name, column in values.items():
            out[name] |= {(seed, int(user)): float(value) for user, value in zip(users, column, strict=True)}
    return out


def _means(
    values: Mapping[str, Mapping[tuple[int, int], float]], by_seed: Mapping[int, Run], shelf: StudyShelf
) -> dict[str, Mean]:
    means = {name: mean_over(column) for name, column in values.items()}
    covered = {(seed, 0): coverage(run.step_batch(), len(shelf.counts)) for seed, run in by_seed.items()}
    each = {"reward_each": _ratio(values, "stayed"), "reward_each_counted": _ratio(values, "counted")}
    return {**means, **each, "coverage": mean_over(covered)}


def _ratio(values: Mapping[str, Mapping[tuple[int, int], float]], convention: str) -> Mean:
    """R_traj / Len of the means, as in BiLLP's table; its error by the delta method."""
    length_of = values[f"length_{convention}"]
    rewards, lengths = mean_over(values[f"reward_{convention}"]), mean_over(length_of)
    if not lengths.value > 0:
        return Mean(float("nan"), float("nan"), lengths.n)
    ratio = rewards.value / lengths.value
    residuals = {pair: r - ratio * length_of[pair] for pair, r in values[f"reward_{convention}"].items()}
    return Mean(ratio, mean_over(residuals).error / lengths.value, lengths.n)


def _of_bound(main: Mapping[str, Mapping[tuple[int, int], float]], label: str) -> Mean:
    """Position of the policy between random (0) and the oracle (1), on the people that all three share."""
    if "random" not in main or "oracle" not in main:
        return Mean(float("nan"), float("nan"), 0)
    both = [pair for pair in main[label] if pair in main["random"] and pair in main["oracle"]]
    low, high, own = (np.mean([main[name][pair] for pair in both]) for name in ("random", "oracle", label))
    return Mean(float((own - low) / (high - low)) if high > low else float("nan"), float("nan"), len(both))


def _personal(main: Mapping[str, Mapping[tuple[int, int], float]], label: str) -> Mean:
    """Mean difference to the fixed list that everybody is shown, over the people that both share.

    A gain above that list can only come from telling people apart; below it, nothing shows that the policy does so.
    """
    if FIXED not in main or label == FIXED:
        return Mean(float("nan"), float("nan"), 0)
    return mean_over({pair: value - main[FIXED][pair] for pair, value in main[label].items() if pair in main[FIXED]})


def _average(curves: Sequence[Floats]) -> Floats:
    stacked = np.stack(curves)
    counts = (~np.isnan(stacked)).sum(axis=0)
    mean: Floats = np.divide(
        np.nansum(stacked, axis=0), counts, out=np.full(stacked.shape[1], np.nan), where=counts > 0
    )
    return mean


def costs_of(runs: Sequence[Run]) -> dict[str, float]:
    """Costs of a policy's runs: total seconds, calls and new tokens; the policy's own counts as means over runs.

    A sum over seeds would be wrong for shares, and for items or memories that seeds have in common.
    """
    summaries: list[Mapping[str, Any]] = [run.manifest.summary for run in runs]
    spent = [summary.get("policy_llm") or {} for summary in summaries]
    costs = {
        "seconds": float(sum(summary["seconds"] for summary in summaries)),
        "calls": float(sum(s.get("calls", 0) + s.get("cache_hits", 0) for s in spent)),
        "tokens": float(sum(s.get("prompt_tokens", 0) + s.get("output_tokens", 0) for s in spent)),
    }
    counted = [summary.get("policy") or {} for summary in summaries]
    names = [name for name, value in counted[0].items() if isinstance(value, int | float)]
    costs |= {name: float(np.mean([counts[name] for counts in counted])) for name in names}
    if costs.get("proposals"):
        costs["replaced_share"] = costs["embedding"] / costs["proposals"]
    return costs


def write_table(rows: Sequence[StudyRow], out: Path) -> None:
    """Write `table.csv` (one number per cell, errors in separate columns) and `table.json`."""
    with (out / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["policy", "users", *(n for name in COLUMNS for n in (name, f"{name}_error")), *_EXTRA, TOLD])
        for row in rows:
            cells = [x for name in COLUMNS for x in (row.means[name].value, row.means[name].error)]
            pair = (row.pair.difference.value, row.pair.difference.error, row.pair.adjusted) if row.pair else ("",) * 3
            writer.writerow([row.policy, row.users, *cells, *pair, *_costs(row)])
    values = [
        {
            "policy": row.policy,
            "users": row.users,
            "means": {name: [_json(m.value), _json(m.error), m.n] for name, m in row.means.items()},
            "against_best": _pair_json(row.pair) if row.pair else None,
            "costs": dict(row.costs),
        }
        for row in rows
    ]
    (out / "table.json").write_text(json.dumps(values, indent=1), encoding="utf-8")


def _costs(row: StudyRow) -> list[float | str]:
    return [*(row.costs.get(name, 0.0) for name in COSTS), row.costs.get(TOLD, "")]


def _pair_json(pair: Pair) -> dict[str, float | int | None]:
    gap = pair.difference
    numbers = {"difference": _json(gap.value), "error": _json(gap.error), "n": gap.n}
    return {**numbers, "p": pair.p, "p_adjusted": pair.adjusted}


def _json(value: float) -> float | None:
    return None if np.isnan(value) else value


def tables(rows: Sequence[StudyRow]) -> list[list[list[str]]]:
    """Two tables as cells, heading first: session length and satisfaction; what people see and what it costs.

    Seconds are left out because they vary between executions: a resumed study has exactly the same tables.
    """
    compared = [["less than best", "p (Holm)"], *(_compared(row) for row in rows)]
    costs = [["calls", "tokens"], *(_cost_cells(row) for row in rows)]
    stay, see = list(COLUMNS)[:_STAY], list(COLUMNS)[_STAY:]
    if told_apart(rows):
        compared = [[*cells, told] for cells, told in zip(compared, _told_cells(rows), strict=True)]
    return [
        [[*first, *second] for first, second in zip(_cells(rows, stay), compared, strict=True)],
        [[*first, *second] for first, second in zip(_cells(rows, see), costs, strict=True)],
    ]


def _cells(rows: Sequence[StudyRow], names: Sequence[str]) -> list[list[str]]:
    heading = ["policy", "sessions", *(COLUMNS[name] for name in names)]
    return [heading, *([row.policy, str(row.users), *(_cell(n, row.means[n]) for n in names)] for row in rows)]


def _compared(row: StudyRow) -> list[str]:
    return [str(row.pair.difference), f"{row.pair.adjusted:.4f}"] if row.pair else ["", ""]


def told_apart(rows: Sequence[StudyRow]) -> bool:
    """Whether some planners were told the exit rule and others were not, which makes comparing them unfair."""
    return len({row.costs[TOLD] for row in rows if TOLD in row.costs}) > 1


def _told_cells(rows: Sequence[StudyRow]) -> list[str]:
    return ["told the rule", *({None: "", 0.0: "no"}.get(row.costs.get(TOLD), "yes") for row in rows)]


def _cost_cells(row: StudyRow) -> list[str]:
    calls, tokens = (row.costs[name] + row.costs.get(f"learning_{name}", 0.0) for name in ("calls", "tokens"))
    return [f"{calls:,.0f}", f"{tokens:,.0f}"]


def text_table(rows: Sequence[StudyRow]) -> str:
    """The tables in Markdown, which reads as plain text too."""
    return "\n\n".join(_text(lines) for lines in tables(rows))


def _text(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    rule = "| " + " | ".join("-" * w for w in widths) + " |"
    return "\n".join([text[0], rule, *text[1:]])


def _cell(name: str, mean: Mean) -> str:
    if name in ("at_cap", "coverage", "popular_share", "repeat_share", "of_bound"):
        return "-" if np.isnan(mean.value) else f"{mean.value:.1%}"
    return str(mean)
