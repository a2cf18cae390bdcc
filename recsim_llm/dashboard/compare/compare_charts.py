"""Charts of a comparison; a run has the same colour in all of them. Only draws: numbers come from `compare_data`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recsim_llm.dashboard import theme

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    Layered = alt.LayerChart | alt.FacetChart

_ROW = 34


def _colour(runs: Sequence[str], legend: bool = False) -> alt.Color:
    import altair as alt

    scale = alt.Scale(domain=list(runs), range=[theme.CYCLE[i % len(theme.CYCLE)] for i in range(len(runs))])
    shown = alt.Legend(title=None, orient="top", labelLimit=300, columns=4) if legend else None
    return alt.Color("run:N", scale=scale, legend=shown)


def _format(metric: str) -> str:
    return ".1%" if metric == "watch_rate" else ".3f"


def interval_chart(frame: pd.DataFrame, metric: str, unit: str, runs: Sequence[str], against: str = "") -> Layered:
    """A dot with its 95 % interval per run.

    Args:
        frame: Rows of one measure: run, value, low, high, users; absent runs get no row.
        metric: Name of the measure, which decides the number format.
        unit: Title of the axis.
        runs: All runs of the comparison, in the order of rows and colours.
        against: The baseline if the values are differences from it, drawn with a line at 0; else "".
    """
    import altair as alt

    there = set(frame["run"])
    shown = [run for run in runs if run in there]
    axis = alt.Axis(format=_axis_format(metric, bool(against)), tickCount=5)
    scale = alt.Scale(zero=bool(against), nice=True)
    rows = alt.Chart(frame).encode(
        y=alt.Y(
            "run:N",
            title=None,
            sort=shown,
            scale=alt.Scale(domain=shown),
            axis=alt.Axis(labelLimit=140, labelFlush=False),
        ),
        color=_colour(runs),
        tooltip=_interval_tooltip(metric),
    )
    line = rows.mark_rule(strokeWidth=3, opacity=0.55, strokeCap="round").encode(
        x=alt.X("low:Q", title=unit, scale=scale, axis=axis), x2="high:Q"
    )
    dot = rows.mark_point(filled=True, size=120, opacity=1).encode(
        x=alt.X("value:Q", title=unit, scale=scale, axis=axis)
    )
    zero = alt.Chart(alt.InlineData([{"x": 0}])).mark_rule(strokeDash=[4, 4], color=theme.SKIPPED).encode(x="x:Q")
    layers = [zero, line, dot] if against else [line, dot]
    return alt.layer(*layers).properties(height=70 + _ROW * len(shown))


def _axis_format(metric: str, signed: bool) -> str:
    sign = "+" if signed else ""
    return f"{sign}.1~%" if metric == "watch_rate" else f"{sign}.3~g"


def _interval_tooltip(metric: str) -> list[alt.Tooltip]:
    import altair as alt

    numbers = {"value": "mean", "low": "95 % interval from", "high": "to"}
    return [
        alt.Tooltip("run:N", title="run"),
        *(alt.Tooltip(f"{name}:Q", title=title, format=_format(metric)) for name, title in numbers.items()),
        alt.Tooltip("users:Q", title="users with a value", format=","),
    ]


def survival_chart(frame: pd.DataFrame, runs: Sequence[str]) -> Layered:
    """Survival curves of `compare_data.survival`, one line per run (column `run`)."""
    import altair as alt

    base = alt.Chart(frame).encode(
        x=alt.X("page:Q", title="pages seen", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y("alive:Q", title="share of sessions that go on", axis=alt.Axis(format="%"), scale=_unit()),
        color=_colour(runs, legend=True),
    )
    tooltip = [
        alt.Tooltip("run:N", title="run"),
        alt.Tooltip("page:Q", title="after page"),
        alt.Tooltip("alive:Q", title="go on", format=".1%"),
        alt.Tooltip("sessions:Q", title="sessions that saw the page", format=","),
        alt.Tooltip("leaving:Q", title="left after it", format=","),
    ]
    line = base.mark_line(interpolate="step-after", strokeWidth=2.5)
    dots = base.mark_point(filled=True, size=50, opacity=1).encode(tooltip=tooltip)
    return alt.layer(line, dots).properties(height=380)


def _unit() -> alt.Scale:
    import altair as alt

    return alt.Scale(domain=[0, 1])


def share_chart(
    frame: pd.DataFrame, runs: Sequence[str], unit: str, top: float | None = None, by: str = "page"
) -> alt.Chart:
    """A share by page number, one line per run: columns run, page, share.

    Args:
        frame: The rows.
        runs: All runs, in the order of their colours.
        unit: Title of the share axis, "" for none.
        top: Upper end of the share axis; None to fit the data.
        by: Column of the x axis: "page" or "round".
    """
    import altair as alt

    scale = alt.Scale(domain=[0, top]) if top else alt.Scale(zero=True)
    title = "page of the session" if by == "page" else by
    chart: alt.Chart = (
        alt.Chart(frame)
        .mark_line(point=alt.OverlayMarkDef(size=36, filled=True), strokeWidth=2)
        .encode(
            x=alt.X(f"{by}:Q", title=title, axis=alt.Axis(tickMinStep=1, format="d", tickCount=6)),
            y=alt.Y("share:Q", title=unit or None, axis=alt.Axis(format="%", tickCount=4), scale=scale),
            color=_colour(runs),
            tooltip=[
                alt.Tooltip("run:N", title="run"),
                alt.Tooltip(f"{by}:Q", title=by),
                alt.Tooltip("share:Q", title="share", format=".1%"),
            ],
        )
        .properties(height=200)
    )
    return chart


def bar_chart(values: Mapping[str, float], runs: Sequence[str], unit: str, percent: bool) -> Layered:
    """One number in [0, 1] per run, as a dot on a line from 0; no interval, as it describes the run as a whole."""
    import altair as alt

    data = alt.InlineData([{"run": run, "value": value} for run, value in values.items()])
    shown = list(values)
    rows = alt.Chart(data).encode(
        y=alt.Y(
            "run:N",
            title=None,
            sort=shown,
            scale=alt.Scale(domain=shown),
            axis=alt.Axis(labelLimit=140, labelFlush=False),
        ),
        color=_colour(runs),
        tooltip=[
            alt.Tooltip("run:N", title="run"),
            alt.Tooltip("value:Q", title=unit, format=".1%" if percent else ".3f"),
        ],
    )
    axis = alt.Axis(format="%" if percent else ".1f", tickCount=5)
    x = alt.X("value:Q", title=None, scale=_unit(), axis=axis)
    line = rows.mark_rule(strokeWidth=3, opacity=0.35).encode(x=x, x2=alt.datum(0))
    return alt.layer(line, rows.mark_point(filled=True, size=120, opacity=1).encode(x=x)).properties(
        height=40 + _ROW * len(shown)
    )


def learning_chart(frame: pd.DataFrame, column: str, unit: str) -> alt.Chart:
    """One line per training, all seeds of one name in the same colour.

    Args:
        frame: Rows of `learning.curve_frame`.
        column: "reward" or "length".
        unit: Title of the axis.
    """
    import altair as alt

    colour = alt.Color(
        "training:N",
        scale=alt.Scale(range=list(theme.CYCLE)),
        legend=alt.Legend(title=None, orient="top", labelLimit=300),
    )
    chart: alt.Chart = (
        alt.Chart(frame)
        .mark_line(point=alt.OverlayMarkDef(size=28, filled=True), strokeWidth=2, opacity=0.8)
        .encode(
            x=alt.X("step:Q", title="steps in the environment", axis=alt.Axis(format="~s", tickCount=6)),
            y=alt.Y(f"{column}:Q", title=unit, scale=alt.Scale(zero=False)),
            color=colour,
            detail="folder:N",
            tooltip=[
                alt.Tooltip("training:N", title="training"),
                alt.Tooltip("seed:N", title="seed"),
                alt.Tooltip("step:Q", title="steps", format=","),
                alt.Tooltip(f"{column}:Q", title=unit, format=".2f"),
            ],
        )
        .properties(height=320)
    )
    return chart
