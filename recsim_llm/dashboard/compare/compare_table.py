"""The table of a comparison: for display, as CSV, and as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recsim_llm.dashboard.compare.compare_data import Exposure, label_of
from recsim_llm.experiments.metrics import METRICS, Estimate

if TYPE_CHECKING:
    import pandas as pd

    from recsim_llm.runs import Manifest

_COUNTS = ("users", "sessions", "pages")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
Summaries = Mapping[str, Mapping[str, Estimate]]


def shown_table(runs: Mapping[str, Manifest], summaries: Summaries) -> pd.DataFrame:
    """One row per run, for people: measures as `recsim-llm compare` prints them, "0.412 [0.391, 0.433]"."""
    import pandas as pd

    rows = [
        {
            "Run": name,
            "Policy": runs[name].policy,
            "Users": runs[name].user_model,
            "People": int(summary["users"].value),
            "Sessions": int(summary["sessions"].value),
            **{label_of(metric)[0]: str(summary[metric]) for metric in METRICS},
        }
        for name, summary in summaries.items()
    ]
    return pd.DataFrame(rows)


def csv_text(runs: Mapping[str, Manifest], summaries: Summaries, exposures: Mapping[str, Exposure]) -> str:
    """One row per run, for programs: each measure with `_low`, `_high` and `_users`, all digits, empty for NaN."""
    import pandas as pd

    rows = []
    for name, summary in summaries.items():
        manifest = runs[name]
        row: dict[str, object] = {"run": name, "policy": manifest.policy, "user_model": manifest.user_model}
        row |= {"llm": manifest.llm, "dataset": manifest.dataset, "seed": manifest.seed, "status": manifest.status}
        row |= {count: int(summary[count].value) for count in _COUNTS}
        for metric in METRICS:
            found = summary[metric]
            row |= {metric: found.value, f"{metric}_low": found.low}
            row |= {f"{metric}_high": found.high, f"{metric}_users": found.n}
        shown = exposures[name]
        row |= {"coverage": shown.coverage, "gini": shown.gini, "long_tail_share": shown.tail}
        rows.append(row)
    return pd.DataFrame(rows).to_csv(index=False)


def latex_text(summaries: Summaries, exposures: Mapping[str, Exposure]) -> str:
    """A LaTeX `tabular` for the package booktabs; names are escaped."""
    heads = ["Run", "Users", *(label_of(metric)[0] for metric in METRICS), "Coverage", "Gini", "Long tail"]
    lines = [_line(heads)]
    for name, summary in summaries.items():
        shown = exposures[name]
        numbers = [str(summary[metric]) for metric in METRICS]
        more = [_number(value) for value in (shown.coverage, shown.gini, shown.tail)]
        lines.append(_line([name, f"{int(summary['users'].value):,}", *numbers, *more]))
    body = "\n".join(lines[1:])
    return (
        "% Means over users with 95 % bootstrap intervals; needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}\n\\toprule\n{lines[0]}\n\\midrule\n{body}\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def latex_escaped(text: str) -> str:
    """Escape a text so that LaTeX prints it verbatim, on one line."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()) if letter.isprintable())


def _line(cells: list[str]) -> str:
    # In braces, because a leading bracket would be read as an option of the preceding line's end.
    return f"{' & '.join(f'{{{latex_escaped(cell)}}}' for cell in cells)} \\\\"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
