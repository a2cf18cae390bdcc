"""Charts of a certificate: metrics between floor and ceiling, and its curves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.fidelity.fidelity_data import ABOVE, BELOW, LEFT, RIGHT, WORDS
from recsim_llm.experiments.fidelity.report.plots import FIGURES
from recsim_llm.experiments.fidelity.report.wording import cut

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from recsim_llm.certificate import Certificate

    Layered = alt.LayerChart | alt.FacetChart

Curve = Mapping[str, Sequence[Any]]
_PASSES, _FAILS, _UNKNOWN = WORDS.values()
_COLOURS = {_PASSES: theme.BLUE, _FAILS: theme.VERMILION, _UNKNOWN: theme.SKIPPED}
_SHAPES = {_PASSES: "circle", _FAILS: "cross", _UNKNOWN: "diamond", BELOW: "triangle-left", ABOVE: "triangle-right"}
_SIDES = {"simulated": theme.SIMULATED, "real": theme.REAL, "shown": theme.SKIPPED}
_HEIGHT, _LONGEST = 300, 26


def scale_chart(rows: pd.DataFrame) -> Layered:
    """One row per metric of `scale_rows`: line from floor to ceiling, the bar as a tick, value and interval."""
    import altair as alt

    titles = rows.loc[rows["title"].astype(bool), "row"].tolist()
    axis = alt.Axis(
        labelExpr=f"{json.dumps(rows['text'].tolist())}[datum.value]",
        labelLimit=260,
        labelFontSize=13,
        labelFontWeight=alt.condition(f"indexof({titles}, datum.value) >= 0", alt.value("bold"), alt.value("normal")),
        ticks=False,
        domain=False,
        grid=False,
        labelOverlap=False,
        labelFlush=False,
    )
    metrics = rows[~rows["title"].astype(bool)].assign(start=0.0, end=1.0, left=LEFT, right=RIGHT)
    y = alt.Y("row:O", title=None, axis=axis, scale=alt.Scale(domain=rows["row"].tolist(), padding=0.1))
    base = alt.Chart(metrics).encode(y=y)
    layers = [
        base.mark_rule(strokeWidth=6, opacity=0.25, color=theme.SKIPPED, strokeCap="round").encode(
            x=_place("start"), x2="end:Q"
        ),
        base.mark_rule(strokeWidth=4, opacity=0.7).encode(x=_place("at_low"), x2="at_high:Q", color=_verdict_colour()),
        base.mark_tick(thickness=3, size=20, color=theme.ORANGE).encode(x=_place("at_bar")),
        base.mark_point(filled=True, size=130, opacity=1).encode(
            x=_place("at"), color=_verdict_colour(), shape=_mark_shape()
        ),
        # Invisible, so that the whole row shows the tooltip.
        base.mark_bar(opacity=0).encode(x=_place("left"), x2="right:Q", tooltip=_scale_tooltip()),
    ]
    return alt.layer(*layers).properties(height=60 + 25 * len(rows))


def _place(name: str) -> alt.X:
    import altair as alt

    axis = alt.Axis(
        values=[0, 0.5, 1],
        labelExpr="['floor', 'half-way', 'ceiling'][datum.value * 2]",
        orient="top",
        grid=True,
        domain=False,
        labelFontSize=13,
    )
    return alt.X(f"{name}:Q", title=None, scale=alt.Scale(domain=[LEFT, RIGHT], nice=False), axis=axis)


def _verdict_colour() -> alt.Color:
    import altair as alt

    scale = alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values()))
    return alt.Color("verdict:N", scale=scale, legend=None)


def _mark_shape() -> alt.Shape:
    import altair as alt

    return alt.Shape("mark:N", scale=alt.Scale(domain=list(_SHAPES), range=list(_SHAPES.values())), legend=None)


def _scale_tooltip() -> list[alt.Tooltip]:
    import altair as alt

    titles = {"text": "metric", "value": "value", "interval": "95 % interval", "floor": "floor", "bar": "bar (CF)"}
    titles |= {"ceiling": "ceiling", "gate": "gate", "verdict": "verdict", "meaning": "meaning"}
    return [alt.Tooltip(f"{name}:N", title=title) for name, title in titles.items()]


def curve_charts(certificate: Certificate) -> dict[str, tuple[str, alt.Chart | Layered]]:
    """Title and chart of each curve of the certificate that this module supports, by name; titles as in the report."""
    drawn = {}
    for name, draw in _DRAW.items():
        series = _usable(certificate.curves.get(name, {}), FIGURES[name].needs)
        if series:
            drawn[name] = FIGURES[name].title, draw(series)
    return drawn


def _usable(curve: Curve, needs: Sequence[str]) -> dict[str, list[Any]]:
    """The series as long as the needed ones; {} if a needed one is missing, empty or of another length."""
    if any(name not in curve for name in needs):
        return {}
    size = len(curve[needs[0]])
    series = {name: [_value(value) for value in values] for name, values in curve.items() if len(values) == size}
    numbers = [x for name in needs for x in series.get(name, ()) if isinstance(x, float) and math.isfinite(x)]
    return series if numbers and all(name in series for name in needs) else {}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, _LONGEST)
    return math.nan if value is None else float(value)


def _long(series: Mapping[str, list[Any]], key: str, names: Mapping[str, str]) -> pd.DataFrame:
    """One row per value: x, who (in words), y; missing values are left out."""
    import pandas as pd

    rows = [
        (x, words, y)
        for name, words in names.items()
        if name in series
        for x, y in zip(series[key], series[name], strict=True)
        if math.isfinite(y)
    ]
    return pd.DataFrame(rows, columns=["x", "who", "y"])


def _sides(colours: Mapping[str, str]) -> alt.Color:
    import altair as alt

    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color("who:N", scale=scale, legend=_legend())


def _legend() -> alt.Legend:
    import altair as alt

    return alt.Legend(title=None, orient="top", columns=2)


def _tooltip(x: str, y: str, number: str = ".1%") -> list[alt.Tooltip]:
    import altair as alt

    kind = [alt.Tooltip("who:N", title="of"), alt.Tooltip("x", title=x)]
    return [*kind, alt.Tooltip("y:Q", title=y, format=number)]


def _lines(
    series: Mapping[str, list[Any]], key: str, colours: Mapping[str, str], x: alt.X, y: alt.Y, **line: Any
) -> Layered:
    import altair as alt

    frame = _long(series, key, {name: name for name in colours})
    colours = {name: colour for name, colour in colours.items() if name in set(frame["who"])}
    shapes = alt.Shape("who:N", legend=_legend(), scale=alt.Scale(domain=list(colours)))
    base = alt.Chart(frame).encode(x=x, y=y, color=_sides(colours))
    tooltip = _tooltip(str(x.title), str(y.title), ".3f")
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(shape=shapes, tooltip=tooltip)
    return alt.layer(base.mark_line(strokeWidth=2.5, **line), dots).properties(height=_HEIGHT)


def _bars(series: Mapping[str, list[Any]], key: str, x: str, y: str, angle: int = 0) -> alt.Chart:
    import altair as alt

    sides = {name: _SIDES[name] for name in ("simulated", "real")}
    frame = _long(series, key, {name: name for name in sides})
    chart: alt.Chart = (
        alt.Chart(frame)
        .mark_bar(cornerRadiusTopLeft=2, cornerRadiusTopRight=2)
        .encode(
            x=alt.X(
                "x:O" if key == "levels" else "x:N",
                title=x,
                sort=None,
                axis=alt.Axis(labelAngle=angle, labelOverlap=False),
            ),
            xOffset=alt.XOffset("who:N", sort=list(sides)),
            y=alt.Y("y:Q", title=y, axis=alt.Axis(format="%", tickCount=4)),
            color=_sides(sides),
            tooltip=_tooltip(x or key, y),
        )
        .properties(height=_HEIGHT)
    )
    return chart


def _reliability(series: dict[str, list[Any]]) -> Layered:
    import altair as alt
    import pandas as pd

    size = len(series["share"])
    frame = pd.DataFrame({name: series[name] for name in ("predicted", "observed", "share")})
    frame = frame.assign(low=[k / size for k in range(size)], high=[(k + 1) / size for k in range(size)])
    unit = alt.Scale(domain=[0, 1])
    x_title, y_title = "predicted probability of liking (4 of 5 stars or more)", "share"
    tooltip = [
        alt.Tooltip("predicted:Q", title="predicted", format=".1%"),
        alt.Tooltip("observed:Q", title="observed", format=".1%"),
        alt.Tooltip("share:Q", title="share of ratings", format=".1%"),
    ]
    y = alt.Y("observed:Q", title=y_title, scale=unit, axis=alt.Axis(format="%"))
    x = alt.X("predicted:Q", title=x_title, scale=unit, axis=alt.Axis(format="%"))
    bars = (
        alt.Chart(frame)
        .mark_bar(color=theme.SKIPPED, opacity=0.35)
        .encode(
            x=alt.X("low:Q", title=x_title, scale=unit),
            x2="high:Q",
            y=alt.Y("share:Q", title=y_title, scale=unit),
            y2=alt.datum(0),
        )
    )
    ideal = alt.Chart(alt.InlineData([{"p": 0, "o": 0}, {"p": 1, "o": 1}]))
    diagonal = ideal.mark_line(strokeDash=[4, 4], color=theme.SKIPPED).encode(
        x=alt.X("p:Q", scale=unit), y=alt.Y("o:Q", scale=unit)
    )
    known = alt.Chart(frame.dropna()).encode(x=x, y=y)
    line = known.mark_line(strokeWidth=2.5, color=theme.SIMULATED)
    dots = known.mark_point(filled=True, size=70, opacity=1, color=theme.SIMULATED).encode(tooltip=tooltip)
    return alt.layer(bars, diagonal, line, dots).properties(height=_HEIGHT)


def _user_means(series: dict[str, list[Any]]) -> alt.Chart:
    import altair as alt
    import pandas as pd

    sides = {name: _SIDES[name] for name in ("simulated", "real")}
    rows = [(name, x) for name in sides for x in series[name] if math.isfinite(x)]
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame(rows, columns=["who", "mean"]))
        .mark_bar(opacity=0.55)
        .encode(
            x=alt.X("mean:Q", bin=alt.Bin(maxbins=20), title="mean rating of a person, stars"),
            y=alt.Y("count()", title="people", stack=None),
            color=_sides(sides),
            tooltip=[alt.Tooltip("who:N", title="of"), alt.Tooltip("count()", title="people")],
        )
        .properties(height=_HEIGHT)
    )
    return chart


def _discrimination(series: dict[str, list[Any]]) -> Layered:
    import altair as alt

    names = {"model": "simulated users", "ease": "EASE", "popularity": "popularity", "genre profile": "genre profile"}
    renamed = {words: series[name] for name, words in names.items() if name in series} | {"ratio": series["ratio"]}
    colours = dict(zip(names.values(), (theme.BLUE, theme.ORANGE, theme.SKIPPED, theme.PINK), strict=True))
    x = alt.X("x:N", title="rated : unrated titles", sort=None, axis=alt.Axis(labelAngle=0))
    y = alt.Y("y:Q", title="AUC within people", scale=alt.Scale(zero=False))
    return _lines(renamed, "ratio", colours, x, y)


def _popularity(series: dict[str, list[Any]]) -> Layered:
    import altair as alt

    x = alt.X("x:O", title="popularity of the title (10: most popular tenth)", axis=alt.Axis(labelAngle=0, format="d"))
    y = alt.Y("y:Q", title="share of choices", axis=alt.Axis(format="%", tickCount=4))
    return _lines(series, "decile", _SIDES, x, y)


def _slots(series: dict[str, list[Any]]) -> Layered:
    import altair as alt

    words = {"simulated: watched": "watched", "real: relevant": "relevant"}
    renamed = {text: series[name] for text, name in words.items()} | {"slot": series["slot"]}
    colours = dict(zip(words, (theme.SIMULATED, theme.REAL), strict=True))
    x = alt.X("x:O", title="slot of the page", axis=alt.Axis(labelAngle=0, format="d"))
    y = alt.Y("y:Q", title="share of titles", axis=alt.Axis(format="%", tickCount=4))
    return _lines(renamed, "slot", colours, x, y)


def _session_length(series: dict[str, list[Any]]) -> Layered:
    import altair as alt

    x = alt.X("x:Q", title="pages", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("y:Q", title="share of sessions still on", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    return _lines(series, "page", {n: _SIDES[n] for n in ("simulated", "real")}, x, y, interpolate="step-after")


_DRAW: dict[str, Callable[[dict[str, list[Any]]], alt.Chart | Layered]] = {
    "reliability": _reliability,
    "rating_histogram": lambda series: _bars(series, "levels", "stars", "share of ratings"),
    "user_means": _user_means,
    "discrimination": _discrimination,
    "discrimination_popmatched": _discrimination,
    "popularity_shares": _popularity,
    "genre_shares": lambda series: _bars(series, "genre", "", "share of choices", -45),
    "slots": _slots,
    "session_length": _session_length,
}
"""Chart function by curve name, in the order of the report's figures."""
