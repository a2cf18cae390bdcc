"""The charts of the Population page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from recsim_llm.dashboard.theme import CYCLE, REAL, SIMULATED

if TYPE_CHECKING:
    import pandas as pd

    from recsim_llm.dashboard.population.society_data import Drawing

_HEIGHT = 230
_SHARE = alt.Axis(format=".0%")
_SOURCE = alt.Color("source:N", title=None, scale=alt.Scale(domain=["simulated", "real"], range=[SIMULATED, REAL]))


def ratings(frame: pd.DataFrame) -> alt.Chart:
    """Share of each number of stars, simulated beside real."""
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            x=alt.X("stars:O", title="stars", axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("source:N", sort=["simulated", "real"]),
            y=alt.Y("share:Q", title="share of the ratings", axis=_SHARE),
            color=_SOURCE,
            tooltip=["source", "stars", alt.Tooltip("share", format=".1%")],
        )
    )
    return chart


def genres(frame: pd.DataFrame) -> alt.Chart:
    """Share of each genre, simulated beside real."""
    order = alt.EncodingSortField("share", op="max", order="descending")
    chart: alt.Chart = (
        alt.Chart(frame, height=max(_HEIGHT, 20 * frame["genre"].nunique()))
        .mark_point(filled=True, size=80)
        .encode(
            x=alt.X("share:Q", title="share of the genres taken up", axis=_SHARE),
            y=alt.Y("genre:N", title=None, sort=order, axis=alt.Axis(labelOverlap=False)),
            color=_SOURCE,
            shape=alt.Shape("source:N", title=None, sort=["simulated", "real"]),
            tooltip=["genre", "source", alt.Tooltip("share", format=".1%")],
        )
    )
    return chart


def lengths(frame: pd.DataFrame) -> alt.Chart:
    """Share of the sessions by their pages."""
    return _bars(frame, "pages:O", "pages of a session", "share of the sessions", ["pages", "n"])


def slots(frame: pd.DataFrame) -> alt.Chart:
    """Share of shown titles that were watched, by slot."""
    frame = frame.rename(columns={"watched": "share"})
    tooltip: list[str | alt.Tooltip] = [
        "slot",
        "shown",
        alt.Tooltip("expected", format=".1%", title="mean probability"),
    ]
    return _bars(frame, "slot:O", "slot of the page", "share watched", tooltip)


def traits(frame: pd.DataFrame) -> alt.Chart:
    """People by trait and level."""
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_bar(color=SIMULATED, cornerRadiusEnd=3)
        .encode(
            x=alt.X("trait:N", title=None, axis=alt.Axis(labelAngle=0)),
            xOffset="level:O",
            y=alt.Y("people:Q", title="people at level 1, 2, 3"),
            opacity=alt.Opacity("level:O", legend=None, scale=alt.Scale(range=[0.45, 0.7, 1.0])),
            tooltip=["trait", "level", "people"],
        )
    )
    return chart


def popularity(frame: pd.DataFrame) -> alt.Chart:
    """Share of what was shown, watched and rated, by tenths of the titles."""
    sources = alt.Scale(domain=["shown", "watched", "rated in the log"], range=[CYCLE[4], SIMULATED, REAL])
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_line(point=True)
        .encode(
            x=alt.X("tenth:O", title="tenth of the titles, most rated first", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("share:Q", title="share", axis=_SHARE),
            color=alt.Color("source:N", title=None, scale=sources),
            tooltip=["source", "tenth", alt.Tooltip("share", format=".1%")],
        )
    )
    return chart


def degrees(frame: pd.DataFrame) -> alt.Chart:
    """People by number of acquaintances."""
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_bar(color=SIMULATED)
        .encode(
            x=alt.X("friends:Q", title="acquaintances"),
            y=alt.Y("people:Q", title="people"),
            tooltip=["friends", "people"],
        )
    )
    return chart


def graph(drawn: Drawing) -> alt.LayerChart:
    """People as points, the larger the more they know; friendships as lines."""
    x, y = alt.X("x:Q", axis=None), alt.Y("y:Q", axis=None)
    lines = alt.Chart(drawn.ties).mark_rule(opacity=0.15, color="gray").encode(x=x, y=y, x2="x2:Q", y2="y2:Q")
    people = drawn.people.assign(group=drawn.people["community"].clip(upper=len(CYCLE)).astype(str))
    points = (
        alt.Chart(people)
        .mark_circle(opacity=0.9)
        .encode(
            x=x,
            y=y,
            size=alt.Size("friends:Q", legend=None, scale=alt.Scale(range=[20, 250])),
            color=alt.Color("group:N", legend=None, scale=alt.Scale(range=list(CYCLE))),
            tooltip=["user", "friends", "community"],
        )
    )
    chart: alt.LayerChart = alt.LayerChart(layer=[lines, points]).properties(height=2 * _HEIGHT)
    return chart


def diffusion(frame: pd.DataFrame) -> alt.Chart:
    """People who had heard of a title, and who had watched it afterwards, by simulated hours."""
    colours = alt.Scale(domain=["heard of it", "watched it afterwards"], range=[CYCLE[4], SIMULATED])
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_line(interpolate="step-after", point=True)
        .encode(
            x=alt.X("hour:Q", title="simulated hours since the run began"),
            y=alt.Y("people:Q", title="people"),
            color=alt.Color("what:N", title=None, scale=colours),
            tooltip=["what", "people", alt.Tooltip("hour", format=".1f")],
        )
    )
    return chart


def _bars(frame: pd.DataFrame, x: str, title: str, label: str, tooltip: list[str | alt.Tooltip]) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(frame, height=_HEIGHT)
        .mark_bar(color=SIMULATED, cornerRadiusEnd=3)
        .encode(
            x=alt.X(x, title=title, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("share:Q", title=label, axis=_SHARE),
            tooltip=[*tooltip, alt.Tooltip("share", format=".1%")],
        )
    )
    return chart
