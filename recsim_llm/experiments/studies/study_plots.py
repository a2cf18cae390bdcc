"""The figures of a study, as SVG text, from its rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsim_llm.experiments.fidelity.report.plots import need_matplotlib
from recsim_llm.experiments.studies.study_table import MAIN, StudyRow
from recsim_llm.experiments.training.train_files import read_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE = {
    "svg.hashsalt": "recsim-llm", "svg.fonttype": "none", "text.parse_math": False, "font.size": 9,
    "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.6,
}  # fmt: skip
_BOUNDS = {"random": "#8a949b", "popularity": "#5f6b73", "fixed-list": "#3f5566", "oracle": "#1b2631"}
_DASHES = ("-", "--", "-.", ":")


def figures(
    rows: Sequence[StudyRow], curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]
) -> dict[str, str]:
    """SVG texts by name.

    Args:
        rows: Rows of the table.
        curves: Learning curves by policy, one per seed: steps and mean reward of the held-out people.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need_matplotlib()
    drawn = {
        "reward": _svg(lambda axes: _bars(axes, rows), (7.5, 0.8 + 0.26 * len(rows))),
        "survival": _svg(lambda axes: _survival(axes, rows), (7.5, 4.2)),
        "reward_by_turn": _svg(lambda axes: _by_turn(axes, rows), (7.5, 4.2)),
    }
    if curves:
        drawn["learning"] = _svg(lambda axes: _learning(axes, rows, curves), (7.5, 4.2))
    return drawn


def _svg(draw: Callable[[Axes], None], size: tuple[float, float]) -> str:
    from matplotlib import style
    from matplotlib.figure import Figure

    out = io.StringIO()
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _colours(rows: Sequence[StudyRow]) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each policy; bounds are grey."""
    others = [row.policy for row in rows if row.policy not in _BOUNDS]
    chosen = {name: (f"C{i % 10}", _DASHES[i // 10 % 4]) for i, name in enumerate(others)}
    return {**chosen, **{name: (colour, ":") for name, colour in _BOUNDS.items()}}


def _bars(axes: Axes, rows: Sequence[StudyRow]) -> None:
    ordered = sorted(rows, key=lambda row: row.means[MAIN].value)
    colours = _colours(rows)
    values = [row.means[MAIN].value for row in ordered]
    errors = [np.nan_to_num(1.96 * row.means[MAIN].error) for row in ordered]
    names = [row.policy for row in ordered]
    axes.barh(names, values, xerr=errors, color=[colours[name][0] for name in names], height=0.7)
    axes.set_title("R_traj and its 95 % interval")


def _survival(axes: Axes, rows: Sequence[StudyRow]) -> None:
    for row, (colour, dash) in _lines(rows):
        axes.plot(np.arange(len(row.survival)), row.survival, color=colour, linestyle=dash, label=row.policy)
    axes.set_title("Share of people still there after each turn")
    axes.set_xlabel("turn")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _by_turn(axes: Axes, rows: Sequence[StudyRow]) -> None:
    for row, (colour, dash) in _lines(rows):
        turns = np.arange(1, len(row.reward_by_turn) + 1)
        # A mean over one or two people is too noisy to show.
        enough = row.survival[:-1] * row.users >= 5
        axes.plot(turns, np.where(enough, row.reward_by_turn, np.nan), color=colour, linestyle=dash, label=row.policy)
    axes.set_title("Mean reward of those who had the turn, where they are at least five")
    axes.set_xlabel("turn")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _learning(
    axes: Axes, rows: Sequence[StudyRow], curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]
) -> None:
    colours = _colours(rows)
    for name, lines in curves.items():
        for number, (steps, rewards) in enumerate(lines):
            colour, dash = colours[name]
            axes.plot(steps, rewards, color=colour, linestyle=dash, alpha=0.8, label=None if number else name)
    for row in rows:
        if row.policy in _BOUNDS:
            axes.axhline(row.means["reward_counted"].value, color=_BOUNDS[row.policy], linestyle=":", linewidth=1)
            axes.annotate(row.policy, (0, row.means["reward_counted"].value), fontsize=8)
    axes.set_title("Learning curves: reward a session of held-out people, one line a seed")
    axes.set_xlabel("steps of training")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _lines(rows: Sequence[StudyRow]) -> list[tuple[StudyRow, tuple[str, str]]]:
    colours = _colours(rows)
    return [(row, colours[row.policy]) for row in rows]


def learning_curves(trained: Path, label: str) -> list[tuple[list[float], list[float]]]:
    """Read the learning curves of a policy, one per seed, from `seedS/training/LABEL/curve.csv` where it exists."""
    found = []
    for path in sorted(trained.glob(f"seed*/training/{label}/curve.csv")):
        points = read_curve(path)
        found.append(([float(point.step) for point in points], [point.reward for point in points]))
    return found
