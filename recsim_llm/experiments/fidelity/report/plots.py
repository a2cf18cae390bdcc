"""The figures of a certificate, as SVG, made from the certificate alone. Where they are placed is up to the caller."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from recsim_llm.certificate import PASS, Certificate, Metric
from recsim_llm.errors import MissingExtraError
from recsim_llm.experiments.fidelity.measure_labels import label_of
from recsim_llm.experiments.fidelity.report.wording import cut, grouped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, PAPER = "#1b2631", "#ffffff"
"""Colours of text and background, used for nothing else: a page may replace them with its own."""
_SIMULATED, _REAL, _OTHER, _THIRD = "#e0712c", "#3d87c9", "#8a949b", "#a569bd"
_PASS, _FAIL = "#2a9d6f", "#d1495b"
_SIZE = (4.4, 3.1)
_LEFT, _RIGHT = -0.22, 1.16
_LONGEST = 26
"""Most characters of a name in a figure."""
_STYLE = {
    "svg.hashsalt": "recsim-llm", "svg.fonttype": "none", "text.parse_math": False, "font.size": 9,
    "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": _OTHER, "axes.facecolor": "none", "figure.facecolor": PAPER,
    "xtick.color": _OTHER, "ytick.color": _OTHER, "legend.frameon": False, "legend.fontsize": 8,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "text.color": INK, "axes.labelcolor": INK,
    "axes.titlecolor": INK, "lines.markersize": 4.5, "lines.linewidth": 1.6,
}  # fmt: skip
"""Text stays text (it is small and can be searched); a fixed salt and no date give the same bytes every time."""

Curve = Mapping[str, list[Any]]


def need_matplotlib() -> None:
    """Check that figures can be drawn, before a long job begins.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report", "The report of a certificate") from error


def figures(certificate: Certificate) -> dict[str, str]:
    """SVG texts by name, "overview" first; one for each curve that the certificate has and this module knows.

    The same certificate gives the same bytes. "overview-narrow" is the overview again, for small screens.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need_matplotlib()
    rows = _overview_rows(certificate)
    drawn = {}
    if rows:
        height = 0.9 + 0.23 * len(rows)
        drawn = {
            name: _svg(lambda axes: _overview(axes, rows), (width, height))
            for name, width in (("overview", 8.0), ("overview-narrow", 4.4))
        }
    for name, figure in FIGURES.items():
        series = _usable(certificate.curves.get(name, {}), figure.needs)
        if series:
            drawn[name] = _svg(lambda axes, f=figure, s=series: _titled(axes, f, s, certificate), _SIZE)  # type: ignore[misc]
    return drawn


def _svg(draw: Callable[[Axes], None], size: tuple[float, float]) -> str:
    from matplotlib import style
    from matplotlib.figure import Figure

    out = io.StringIO()
    # "default" first, so that a user's own matplotlibrc does not change a certificate.
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


class FigureKind(NamedTuple):
    """How a curve is drawn as a figure.

    Attributes:
        title: Title above the figure.
        needs: Series that the figure requires; all of one length.
        draw: Draws the curve onto axes.
        counts: What the curve counts: "ratings" or "people".
    """

    title: str
    needs: tuple[str, ...]
    draw: Callable[[Any, Curve], None]
    counts: str = "people"


def _titled(axes: Axes, figure: FigureKind, series: Curve, certificate: Certificate) -> None:
    figure.draw(axes, series)
    rows = certificate.notes.get("held-out ratings", certificate.notes.get("rows"))
    ratings = f"{rows:,} ratings of " if figure.counts == "ratings" and isinstance(rows, int) else ""
    axes.set_title(f"{figure.title}\n", pad=3)
    axes.annotate(
        f"n = {ratings}{certificate.n_users:,} people", (0, 1), (0, 4), "axes fraction", "offset points", fontsize=8
    )


def _usable(curve: Curve, needs: Sequence[str]) -> dict[str, list[Any]]:
    """The series with NaN for missing values and drawable text; empty if they cannot be drawn."""
    series = {name: [_drawable(value) for value in values] for name, values in curve.items()}
    if any(name not in series for name in needs):
        return {}
    size = len(series[needs[0]])
    numbers = [value for name in needs for value in series[name] if isinstance(value, float)]
    same = all(len(series[name]) == size for name in needs)
    return series if size and same and any(math.isfinite(value) for value in numbers) else {}


def _drawable(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, _LONGEST)
    return float("nan") if value is None else float(value)


class _PlotRow(NamedTuple):
    text: str
    metric: Metric | None


def _overview_rows(certificate: Certificate) -> list[_PlotRow]:
    """Groups and their main metrics, from the top; a group is a row without a metric."""
    rows: list[_PlotRow] = []
    for group, members in grouped(certificate):
        found = [name for name in members if label_of(name).headline and _has_scale(certificate.metrics[name])]
        if found:
            rows += [
                _PlotRow(group, None),
                *(_PlotRow(label_of(name).text, certificate.metrics[name]) for name in found),
            ]
    return [_PlotRow(_drawable(row.text), row.metric) for row in rows]


def _has_scale(metric: Metric) -> bool:
    """Whether floor and ceiling are known and further apart than the ends of the interval."""
    if metric.value is None or metric.floor is None or metric.ceiling is None:
        return False
    spread = 0.0 if metric.low is None or metric.high is None else metric.high - metric.low
    return abs(metric.ceiling - metric.floor) > spread


def _overview(axes: Axes, rows: Sequence[_PlotRow]) -> None:
    """Each metric between its floor (0) and its ceiling (1), with its interval, and the bar as a tick."""
    for place, (_, metric) in enumerate(rows):
        if metric is not None:
            axes.plot([0, 1], [place, place], color=_OTHER, lw=0.6, alpha=0.5, zorder=0)
            _mark(axes, place, metric)
    axes.set_yticks(range(len(rows)), [row.text for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.metric is None else "normal")
    for edge in (0.0, 1.0):
        axes.axvline(edge, color=_OTHER, lw=0.8)
    axes.set(xlim=(_LEFT, _RIGHT), ylim=(len(rows) - 0.4, -1.0))
    axes.set_xticks([0.0, 0.5, 1.0], ["floor", "half-way", "ceiling"])
    axes.tick_params(left=False, bottom=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.legend(handles=_overview_keys(), loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, columnspacing=1.2)


def _overview_keys() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=_PASS, marker="o", ms=6, lw=0, label="passes"),
        Line2D([], [], color=_FAIL, marker="X", ms=6, lw=0, label="fails"),
        Line2D([], [], color=INK, marker="|", ms=10, mew=1.6, lw=0, label="bar (CF)"),
    ]


def _mark(axes: Axes, place: int, metric: Metric) -> None:
    floor, ceiling = metric.floor or 0.0, metric.ceiling or 0.0

    def at(value: float) -> float:
        return min(max((value - floor) / (ceiling - floor), _LEFT + 0.03), _RIGHT - 0.03)

    value = metric.value or 0.0
    colour, shape = (_PASS, "o") if metric.verdict == PASS else (_FAIL, "X")
    share = (value - floor) / (ceiling - floor)
    # Beyond the scale: an arrow at its edge.
    shape = "<" if share < _LEFT else ">" if share > _RIGHT else shape
    if metric.low is not None and metric.high is not None:
        axes.plot([at(metric.low), at(metric.high)], [place, place], color=colour, lw=2)
    if metric.bar is not None:
        axes.plot([at(metric.bar)], [place], "|", color=INK, ms=11, mew=1.6, zorder=3)
    axes.plot([at(value)], [place], shape, color=colour, ms=6, zorder=4)


def _reliability(axes: Axes, curve: Curve) -> None:
    known = [(p, o) for p, o in zip(curve["predicted"], curve["observed"], strict=True) if math.isfinite(p + o)]
    width = 1 / len(curve["share"])
    middles = [(k + 0.5) * width for k in range(len(curve["share"]))]
    axes.bar(middles, curve["share"], 0.9 * width, color=_OTHER, alpha=0.4, label="share of ratings")
    axes.plot([0, 1], [0, 1], color=_OTHER, lw=0.8, ls=":")
    axes.plot([p for p, _ in known], [o for _, o in known], "o-", color=_SIMULATED, label="observed share")
    axes.set(xlabel="predicted P(4 of 5 stars or more)", ylabel="share", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")


def _paired_bars(axes: Axes, places: Sequence[float], width: float, curve: Curve) -> None:
    for shift, name, colour in ((-0.5, "simulated", _SIMULATED), (0.5, "real", _REAL)):
        axes.bar([place + shift * width for place in places], curve[name], width, color=colour, label=name)


def _rating_histogram(axes: Axes, curve: Curve) -> None:
    levels = curve["levels"]
    width = 0.4 * min((b - a for a, b in zip(levels, levels[1:], strict=False)), default=1.0)
    _paired_bars(axes, levels, width, curve)
    bounds = [curve.get(name, []) for name in ("floor_low", "floor_high")]
    if all(len(bound) == len(levels) for bound in bounds):
        centre = [(low + high) / 2 for low, high in zip(*bounds, strict=True)]
        half = [(high - low) / 2 for low, high in zip(*bounds, strict=True)]
        axes.errorbar([x + width / 2 for x in levels], centre, half, fmt="none", ecolor=INK, label="split halves")
    axes.set(xlabel="stars", ylabel="share of ratings")
    axes.set_xticks(levels, [f"{level:g}" for level in levels])
    axes.legend(loc="upper left")


def _user_means(axes: Axes, curve: Curve) -> None:
    names = [name for name in ("simulated", "real") if any(map(math.isfinite, curve[name]))]
    values = [[x for x in curve[name] if math.isfinite(x)] for name in names]
    colours = [{"simulated": _SIMULATED, "real": _REAL}[name] for name in names]
    axes.hist(values, bins=16, color=colours, label=names)
    axes.set(xlabel="mean rating of a person, stars", ylabel=f"people (of {max(map(len, values)):,})")
    axes.legend(loc="upper left")


_SCORERS = {
    "ease": ("EASE", _REAL, "s--"),
    "popularity": ("popularity", _OTHER, "^:"),
    "genre profile": ("genre profile", _THIRD, "D-."),
    "model": ("simulated users", _SIMULATED, "o-"),
}
"""Text, colour and line style of each; lines often overlap, so colour alone does not identify one."""


def _discrimination(axes: Axes, curve: Curve) -> None:
    for name, (text, colour, line) in _SCORERS.items():
        if len(curve.get(name, [])) == len(curve["ratio"]):
            axes.plot(curve["ratio"], curve[name], line, color=colour, label=text)
    axes.axhline(0.5, color=_OTHER, lw=0.8, ls=":")
    axes.set(xlabel="rated : unrated items", ylabel="AUC within people", ylim=(0.45, 1.0))
    axes.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))


def _slots(axes: Axes, curve: Curve) -> None:
    for name, colour, text in (("watched", _SIMULATED, "simulated: watched"), ("relevant", _REAL, "real: relevant")):
        axes.plot(curve["slot"], curve[name], "o-", color=colour, label=text)
    axes.set(xlabel="slot of the page", ylabel="share of items", ylim=(0, None), xticks=_ticks(curve["slot"]))
    axes.legend(loc="best")


def _popularity(axes: Axes, curve: Curve) -> None:
    for name, colour, line in (("simulated", _SIMULATED, "o-"), ("real", _REAL, "o-"), ("shown", _OTHER, "--")):
        if len(curve.get(name, [])) == len(curve["decile"]):
            axes.plot(curve["decile"], curve[name], line, color=colour, label=name)
    axes.set(xlabel="popularity decile of the item (10: most popular)", ylabel="share", xticks=_ticks(curve["decile"]))
    axes.legend(loc="upper left")


def _genres(axes: Axes, curve: Curve) -> None:
    places = list(range(len(curve["genre"])))
    _paired_bars(axes, places, 0.4, curve)
    axes.set_xticks(places, curve["genre"], rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axes.set_ylabel("share of choices")
    axes.legend(loc="upper right")


def _session_length(axes: Axes, curve: Curve) -> None:
    for name, colour in (("simulated", _SIMULATED), ("real", _REAL)):
        axes.step(curve["page"], curve[name], where="post", color=colour, label=name)
    axes.set(xlabel="pages", ylabel="share of sessions still on", ylim=(0, 1.03))
    axes.legend(loc="upper right")


def _ticks(values: Sequence[float]) -> list[float]:
    """At most ten ticks, evenly spaced among the values."""
    return list(values[:: max(-(-len(values) // 10), 1)])


FIGURES: dict[str, FigureKind] = {
    "reliability": FigureKind(
        "Is 70 % liked seven times in ten?", ("predicted", "observed", "share"), _reliability, "ratings"
    ),
    "rating_histogram": FigureKind(
        "The ratings that people give", ("simulated", "real", "levels"), _rating_histogram, "ratings"
    ),
    "user_means": FigureKind("Do people differ as much?", ("simulated", "real"), _user_means, "ratings"),
    "discrimination": FigureKind("Rated or not: uniformly drawn items", ("model", "ratio"), _discrimination),
    "discrimination_popmatched": FigureKind("Rated or not: equally popular items", ("model", "ratio"), _discrimination),
    "popularity_shares": FigureKind("Popularity of what is chosen", ("simulated", "real", "decile"), _popularity),
    "genre_shares": FigureKind("Genres of what is chosen", ("simulated", "real", "genre"), _genres),
    "slots": FigureKind("Does the place on the page decide?", ("watched", "relevant", "slot"), _slots),
    "session_length": FigureKind("How long sessions last", ("simulated", "real", "page"), _session_length),
}
"""Figures by the name of the curve; other curves are not drawn."""
