"""The figures of a certificate, as SVG, made from its curves alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recsim_llm.certificate import Certificate
from recsim_llm.errors import MissingExtraError
from recsim_llm.experiments.fidelity.labels import label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = dict[str, list[Any]]
_SIMULATED, _REAL, _OTHER, _GOOD = "#d95f02", "#1b6ca8", "#7f8c8d", "#2a9d5c"
_SIZE = (5.2, 3.3)


def need_matplotlib() -> None:
    """Check that figures can be drawn, before anything long begins.

    Raises:
        MissingExtraError: They cannot.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report", "The report of a certificate") from error


def figures(certificate: Certificate) -> dict[str, str]:
    """SVG texts by name, those whose curves the certificate has; the same certificate gives the same bytes."""
    need_matplotlib()
    drawn = {"overview": _svg(lambda axes: _overview(axes, certificate), (7.5, 7.0))}
    for name, draw in _FIGURES.items():
        curve = certificate.curves.get(name)
        if curve:
            drawn[name] = _svg(lambda axes, draw=draw, curve=curve: draw(axes, dict(curve)), _SIZE)  # type: ignore[misc]
    return drawn


def _svg(draw: Callable[[Axes], None], size: tuple[float, float]) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    # A fixed salt and no date: the same bytes every time. Text stays text: small, and it can be searched.
    with matplotlib.rc_context({"svg.hashsalt": "recsim-llm", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _overview(axes: Axes, certificate: Certificate) -> None:
    """Where each metric lies between its floor (0) and its ceiling (1), with its interval, and the bar as a tick."""
    rows = [
        (label_of(name).text, metric)
        for name, metric in certificate.metrics.items()
        if label_of(name).headline
        and None not in (metric.value, metric.floor, metric.ceiling)
        and metric.floor != metric.ceiling
    ][::-1]
    for place, (_, metric) in enumerate(rows):
        floor, ceiling = metric.floor or 0.0, metric.ceiling or 0.0

        def at(value: float | None, floor: float = floor, ceiling: float = ceiling) -> float:
            return min(max(((value or 0.0) - floor) / (ceiling - floor), -0.3), 1.1)

        colour = _GOOD if metric.verdict == "pass" else _SIMULATED
        if metric.low is not None and metric.high is not None:
            axes.plot([at(metric.low), at(metric.high)], [place, place], color=colour, lw=1.5)
        axes.plot([at(metric.value)], [place], "o", color=colour, ms=5)
        if metric.bar is not None:
            axes.plot([at(metric.bar)], [place], "|", color="black", ms=11, mew=1.5)
    for edge, style in ((0.0, ":"), (1.0, "-")):
        axes.axvline(edge, color=_OTHER, lw=0.8, ls=style)
    axes.set_yticks(range(len(rows)), [text for text, _ in rows])
    axes.set_xlim(-0.32, 1.12)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xticks([0.0, 0.5, 1.0], ["floor", "half-way", "ceiling"])
    axes.set_title("Every metric between its floor and its ceiling (| collaborative filtering)", fontsize=10)


def _reliability(axes: Axes, curve: Curve) -> None:
    points = [
        (p, o) for p, o in zip(curve["predicted"], curve["observed"], strict=True) if p is not None and o is not None
    ]
    axes.plot([0, 1], [0, 1], color=_OTHER, lw=0.8, ls=":")
    axes.bar(
        [0.05 + 0.1 * k for k in range(len(curve["share"]))],
        curve["share"],
        0.09,
        color="#d5dbdb",
        label="share of rows",
    )
    axes.plot([p for p, _ in points], [o for _, o in points], "o-", color=_SIMULATED, label="observed")
    axes.set(xlabel="predicted probability of liking", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("Reliability: is 70 % liked seven times in ten?")
    axes.legend(frameon=False)


def _rating_histogram(axes: Axes, curve: Curve) -> None:
    width = 0.38 * min((b - a for a, b in zip(curve["levels"], curve["levels"][1:], strict=False)), default=1.0)
    for shift, name, colour in ((-0.5, "simulated", _SIMULATED), (0.5, "real", _REAL)):
        axes.bar([level + shift * width for level in curve["levels"]], curve[name], width, color=colour, label=name)
    axes.set(xlabel="stars", ylabel="share of ratings", xticks=curve["levels"])
    axes.set_title("Ratings that people give")
    axes.legend(frameon=False)


def _discrimination(axes: Axes, curve: Curve, title: str = "Telling rated from unrated items") -> None:
    colours = {"model": _SIMULATED, "ease": _REAL, "popularity": _OTHER, "genre profile": "#b5a642"}
    for name, colour in colours.items():
        values = [float("nan") if value is None else value for value in curve.get(name, [])]
        if values:
            axes.plot(curve["ratio"], values, "o-", color=colour, label=name)
    axes.axhline(0.5, color=_OTHER, lw=0.8, ls=":")
    axes.set(xlabel="rated : unrated", ylabel="AUC within people", ylim=(0.45, 1.0))
    axes.set_title(title)
    axes.legend(frameon=False, ncols=2)


def _matched(axes: Axes, curve: Curve) -> None:
    _discrimination(axes, curve, "The same against equally popular items")


def _slots(axes: Axes, curve: Curve) -> None:
    for name, colour, text in (("watched", _SIMULATED, "simulated: watched"), ("relevant", _REAL, "real: relevant")):
        axes.plot(curve["slot"], curve[name], "o-", color=colour, label=text)
    axes.set(xlabel="slot of the page", ylabel="share", ylim=(0, None))
    axes.set_title("Does the place on the page decide?")
    axes.legend(frameon=False)


def _popularity(axes: Axes, curve: Curve) -> None:
    for name, colour, style in (("simulated", _SIMULATED, "o-"), ("real", _REAL, "o-"), ("shown", _OTHER, ":")):
        axes.plot(curve["decile"], curve[name], style, color=colour, label=name)
    axes.set(
        xlabel="popularity decile of the item (10: most popular)", ylabel="share of choices", xticks=curve["decile"]
    )
    axes.set_title("Popularity of what is chosen, from the same items")
    axes.legend(frameon=False)


def _genres(axes: Axes, curve: Curve) -> None:
    places = range(len(curve["genre"]))
    for shift, name, colour in ((-0.2, "simulated", _SIMULATED), (0.2, "real", _REAL)):
        axes.bar([place + shift for place in places], curve[name], 0.4, color=colour, label=name)
    axes.set_xticks(list(places), curve["genre"], rotation=60, ha="right", fontsize=7)
    axes.set_ylabel("share of choices")
    axes.set_title("Genres of what is chosen, from the same items")
    axes.legend(frameon=False)


def _user_means(axes: Axes, curve: Curve) -> None:
    axes.hist([curve["simulated"], curve["real"]], bins=16, color=[_SIMULATED, _REAL], label=["simulated", "real"])
    axes.set(xlabel="mean stars of a person", ylabel=f"people (of {len(curve['real'])})")
    axes.set_title("Do people differ as much as people do?")
    axes.legend(frameon=False)


def _session_length(axes: Axes, curve: Curve) -> None:
    for name, colour in (("simulated", _SIMULATED), ("real", _REAL)):
        axes.step(curve["page"], curve[name], where="post", color=colour, label=name)
    axes.set(xlabel="pages", ylabel="share of sessions still on", ylim=(0, 1))
    axes.set_title("How long sessions last")
    axes.legend(frameon=False)


_FIGURES: dict[str, Callable[[Any, Curve], None]] = {
    "reliability": _reliability,
    "rating_histogram": _rating_histogram,
    "user_means": _user_means,
    "discrimination": _discrimination,
    "discrimination_popmatched": _matched,
    "popularity_shares": _popularity,
    "genre_shares": _genres,
    "slots": _slots,
    "session_length": _session_length,
}
