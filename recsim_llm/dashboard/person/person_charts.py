"""Charts of one person: ratings, genres and memories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.person.person_data import REAL, SIMULATED

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_SHOWN_TEXT = 200


def _sides() -> alt.Color:
    import altair as alt

    scale = alt.Scale(domain=[REAL, SIMULATED], range=[theme.REAL, theme.SIMULATED])
    return alt.Color("who:N", scale=scale, legend=alt.Legend(title=None, orient="top"))


def ratings_chart(shares: pd.DataFrame) -> alt.Chart:
    """Bars of `person_data.rating_shares`: real beside simulated, one pair per rating level."""
    import altair as alt

    chart: alt.Chart = (
        alt.Chart(shares)
        .mark_bar(cornerRadiusTopLeft=3, cornerRadiusTopRight=3)
        .encode(
            x=alt.X("stars:O", title="stars", axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("who:N", sort=[REAL, SIMULATED]),
            y=alt.Y("share:Q", title="share of the ratings", axis=alt.Axis(format="%", tickCount=5)),
            color=_sides(),
            tooltip=[
                alt.Tooltip("who:N", title="history"),
                alt.Tooltip("stars:O", title="stars"),
                alt.Tooltip("count:Q", title="ratings"),
                alt.Tooltip("share:Q", title="share", format=".0%"),
            ],
        )
        .properties(height=350)
    )
    return chart


def genres_chart(shares: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Two dots per genre of `person_data.genre_shares`, real and simulated, joined by a line."""
    import altair as alt

    order = list(dict.fromkeys(shares["genre"]))
    x = alt.X("share:Q", title="share of the titles rated or watched", axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("genre:N", title=None, sort=order, axis=alt.Axis(labelLimit=160, labelOverlap=False))
    ends = alt.Chart(shares).encode(y=y)
    line = ends.mark_rule(strokeWidth=2, opacity=0.35).encode(
        x=alt.X("min(share):Q", title="share of the titles rated or watched"), x2="max(share):Q"
    )
    tooltip = [
        alt.Tooltip("genre:N", title="genre"),
        alt.Tooltip("who:N", title="history"),
        alt.Tooltip("count:Q", title="titles"),
        alt.Tooltip("share:Q", title="share", format=".0%"),
    ]
    shape = alt.Shape("who:N", scale=alt.Scale(domain=[REAL, SIMULATED], range=["diamond", "circle"]), legend=None)
    dots = ends.mark_point(filled=True, size=110, opacity=1).encode(x=x, color=_sides(), shape=shape, tooltip=tooltip)
    return alt.layer(line, dots).properties(height=max(280, 30 * len(order) + 110))


def memory_chart(frame: pd.DataFrame, by_hour: bool) -> alt.Chart:
    """The timeline of `person_data.memories`: one mark per memory, in rows by kind, sized by importance.

    Args:
        frame: Memories.
        by_hour: Whether the time axis is simulated hours; else the order of the memories.
    """
    import altair as alt

    short = [text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}…" for text in frame["text"]]
    x = (
        alt.X("hour:Q", title="simulated hours since the run began")
        if by_hour
        else alt.X("step:Q", title="memories, in the order they were made", axis=alt.Axis(tickMinStep=1, format="d"))
    )
    chart: alt.Chart = (
        alt.Chart(frame.assign(short=short))
        .mark_circle(opacity=0.8)
        .encode(
            x=x,
            y=alt.Y("kind:N", title=None, axis=alt.Axis(labelFontSize=13)),
            color=alt.Color("kind:N", scale=alt.Scale(range=list(theme.CYCLE)), legend=None),
            size=alt.Size("importance:Q", scale=alt.Scale(range=[40, 320]), legend=None),
            tooltip=[
                alt.Tooltip("short:N", title="memory"),
                alt.Tooltip("kind:N", title="kind"),
                alt.Tooltip("importance:Q", title="importance", format=".2f"),
                alt.Tooltip("hour:Q", title="simulated hour", format=".1f"),
            ],
        )
        .properties(height=70 + 44 * frame["kind"].nunique())
    )
    return chart
