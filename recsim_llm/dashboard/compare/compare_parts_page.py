"""The parts of the Compare page: measures, differences, length of sessions, what was shown, learning, interventions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.compare import compare_charts, compare_data, compare_table
from recsim_llm.dashboard.compare.compare_data import Exposure
from recsim_llm.dashboard.replay import learning
from recsim_llm.dashboard.view import RunView, open_view
from recsim_llm.experiments.metrics import METRICS, Estimate, summarise_totals
from recsim_llm.experiments.simulation.interventions.uptake import Uptake, lines, uptakes
from recsim_llm.runs import Run
from recsim_llm.runs.run_tables import Totals

if TYPE_CHECKING:
    import pandas as pd
    from streamlit.elements.lib.column_types import ColumnConfig

    from recsim_llm.runs import Manifest

_GENRES = 8
_CURVES = ["with the intervention", "without", "similar popularity"]
_BASELINE = "baseline"
Stamp = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """The runs of a comparison.

    Attributes:
        top: The folder of runs.
        views: The runs by short name, in the order of their colours.
    """

    top: Path
    views: Mapping[str, RunView]

    @property
    def manifests(self) -> dict[str, Manifest]:
        """Manifests by short name."""
        return {name: view.manifest for name, view in self.views.items()}

    @property
    def names(self) -> list[str]:
        """Short names of the runs."""
        return list(self.views)


@st.cache_data(show_spinner="Adding up what everybody did…", max_entries=50)
def _totals(folder: str, stamp: Stamp) -> Totals:
    return open_view(Path(folder)).totals()


@st.cache_data(show_spinner="Measuring, with intervals over users…", max_entries=50)
def _summary(folder: str, stamp: Stamp) -> dict[str, Estimate]:
    return summarise_totals(_totals(folder, stamp))


@st.cache_data(show_spinner="Comparing person by person…", max_entries=100)
def _differences(folder: str, stamp: Stamp, other: str, other_stamp: Stamp) -> tuple[int, dict[str, Estimate]]:
    return compare_data.differences(_totals(folder, stamp), _totals(other, other_stamp))


@st.cache_data(show_spinner="Following sessions to their end…", max_entries=50)
def _survival(folder: str, stamp: Stamp) -> pd.DataFrame:
    return compare_data.survival(open_view(Path(folder)))


@st.cache_data(show_spinner="Counting what was shown…", max_entries=50)
def _shown(folder: str, stamp: Stamp) -> tuple[Exposure, pd.DataFrame, pd.DataFrame]:
    """Exposure in total, the share of the long tail by page, and the shares of genres by page."""
    view = open_view(Path(folder))
    counts, size = compare_data.shown_counts(view), len(view.items)
    head = compare_data.head_of(view, size) if size else frozenset()
    last = compare_data.well_seen(_survival(folder, stamp))
    seen = counts[counts["page"] < last]
    tail = compare_data.tail_by_page(seen, head) if head else seen.head(0)
    drift = compare_data.genre_drift(seen, view.items) if size else seen.head(0)
    return compare_data.exposure(counts, size, head), tail, drift


def _keys(compared: Compared) -> Iterator[tuple[str, str, Stamp]]:
    for name, view in compared.views.items():
        yield name, str(view.folder), view.stamp


def _measures(compared: Compared) -> None:
    summaries = {name: _summary(folder, stamp) for name, folder, stamp in _keys(compared)}
    st.caption("A dot is the mean over users, its line the 95 % bootstrap interval over users. Point at one for more.")
    _grid(compare_data.interval_frame(summaries), compared.names)
    st.dataframe(
        compare_table.shown_table(compared.manifests, summaries),
        hide_index=True,
        column_config=_columns(),
    )
    for name, summary in summaries.items():
        missing = summary["users"].n - summary["mean_rating"].n
        if missing:
            st.caption(f"{theme.plain(name)}: {missing:,} of {summary['users'].n:,} people watched nothing and have no "
                       "mean rating.")  # fmt: skip
    exposures = {name: _shown(folder, stamp)[0] for name, folder, stamp in _keys(compared)}
    left, right, _ = st.columns([1, 1, 3])
    csv = compare_table.csv_text(compared.manifests, summaries, exposures)
    left.download_button("CSV", csv, "comparison.csv", "text/csv", icon=":material/download:", width="stretch")
    latex = compare_table.latex_text(summaries, exposures)
    right.download_button("LaTeX", latex, "comparison.tex", icon=":material/download:", width="stretch")


def _columns() -> dict[str, ColumnConfig]:
    column = st.column_config
    counts = {name: column.NumberColumn(format="localized") for name in ("People", "Sessions")}
    helps = {name: f"{unit}: mean over users [95 % interval]" for name, unit in compare_data.LABELS.values()}
    return {**counts, **{name: column.TextColumn(help=text) for name, text in helps.items()}}


def _grid(frame: pd.DataFrame, runs: list[str], against: str = "") -> None:
    """One small chart per measure, two in a row."""
    columns = st.columns(2, gap="large")
    for place, metric in enumerate(METRICS):
        rows = frame[frame["metric"] == metric]
        name, unit = compare_data.label_of(metric)
        with columns[place % 2]:
            st.markdown(f"##### {name}")
            if rows["value"].isna().all():
                st.caption("Nobody has a value.")
                continue
            unit = f"{unit}, less that of {against}" if against else unit
            chart = compare_charts.interval_chart(rows, metric, unit, runs, against)
            theme.show_chart(chart, f"{name} of each run with 95 % intervals: {unit}")


def _paired(compared: Compared) -> None:
    if len(compared.names) < 2:
        st.info("Choose a second run to compare this one with.")
        return
    baseline = _choose_baseline(compared.names)
    base = compared.views[baseline]
    found, common = {}, {}
    for name, view in compared.views.items():
        if name == baseline:
            continue
        if not compare_data.same_people(base.manifest, view.manifest):
            st.info(f"{theme.plain(name)} is of other data than {theme.plain(baseline)}: its people are other people.")
            continue
        number, gaps = _differences(str(base.folder), base.stamp, str(view.folder), view.stamp)
        if number:
            found[name], common[name] = gaps, number
        else:
            st.info(f"{theme.plain(name)} and {theme.plain(baseline)} have nobody in common.")
    if not found:
        st.info("No chosen run shares people with the baseline, so there is nothing to pair.")
        return
    _say_common(common, baseline)
    frame = compare_data.interval_frame(found)
    _grid(frame, compared.names, baseline)
    people = st.column_config.NumberColumn(format="localized")
    st.dataframe(_gap_table(found, common), hide_index=True, column_config={"People in both": people})


def _choose_baseline(names: list[str]) -> str:
    wanted = st.query_params.get(_BASELINE, names[0])
    st.session_state["chosen baseline"] = wanted if wanted in names else names[0]

    def write() -> None:
        st.query_params[_BASELINE] = st.session_state["chosen baseline"]

    left, _ = st.columns([1, 2])
    left.selectbox("Baseline", names, key="chosen baseline", on_change=write)
    return str(st.session_state["chosen baseline"])


def _say_common(common: Mapping[str, int], baseline: str) -> None:
    numbers = sorted(set(common.values()))
    people = f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"
    st.caption(
        f"Each person's value less that of the same person under {theme.plain(baseline)}, averaged over the {people} "
        "people in both runs, with 95 % intervals. Where the line does not touch 0, the runs differ by more than the "
        "choice of people explains."
    )


def _gap_table(found: Mapping[str, Mapping[str, Estimate]], common: Mapping[str, int]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for name, gaps in found.items():
        texts = {compare_data.label_of(metric)[0]: _signed(gaps[metric]) for metric in METRICS if metric in gaps}
        rows.append({"Run": name, "People in both": common[name], **texts})
    return pd.DataFrame(rows)


def _signed(gap: Estimate) -> str:
    ends = "" if math.isnan(gap.low) else f" [{gap.low:+.3f}, {gap.high:+.3f}]"
    return f"{gap.value:+.3f}{ends}"


def _length(compared: Compared) -> None:
    import pandas as pd

    frames = {name: _survival(folder, stamp) for name, folder, stamp in _keys(compared)}
    st.caption(
        "Share of sessions that go on after each page, by Kaplan and Meier: sessions that are cut off at the page "
        "limit, or still going on, count for as long as they were seen."
    )
    frame = pd.concat([frame.assign(run=name) for name, frame in frames.items()])
    theme.show_chart(
        compare_charts.survival_chart(frame, compared.names),
        "Share of sessions that go on, by pages seen, for each run",
    )
    columns = {"page": "Pages seen", "alive": "Share that go on", "sessions": "Sessions that saw it", "leaving": "Left"}
    with st.expander("As a table"):
        table = frame[["run", *columns]].rename(columns={"run": "Run", **columns})
        st.dataframe(
            table,
            hide_index=True,
            column_config={"Share that go on": st.column_config.NumberColumn(format="percent")},
        )


def _exposure(compared: Compared) -> None:
    found = {name: _shown(folder, stamp) for name, folder, stamp in _keys(compared)}
    st.caption("What the policies showed, whether or not it was watched. These numbers belong to a run as a whole.")
    kinds = {
        "Coverage": ("share of the catalogue that was shown", "coverage", True),
        "Concentration": ("Gini: 0 all titles alike, 1 one takes all", "gini", False),
        "Long tail": ("share outside the most popular fifth", "tail", True),
    }
    for column, (title, (unit, attribute, percent)) in zip(st.columns(3, gap="large"), kinds.items(), strict=True):
        with column:
            st.markdown(f"##### {title}")
            st.caption(f"{unit[0].upper()}{unit[1:]}.")
            values = {name: float(getattr(parts[0], attribute)) for name, parts in found.items()}
            known = {name: value for name, value in values.items() if not math.isnan(value)}
            if known:
                chart = compare_charts.bar_chart(known, compared.names, unit, percent)
                theme.show_chart(chart, f"{title} of each run: {unit}")
            _say_unknown([name for name in values if name not in known], attribute)
    _tail_drift({name: parts[1] for name, parts in found.items()}, compared.names)
    _genre_drift({name: parts[2] for name, parts in found.items()}, compared.names)


def _legend(runs: list[str]) -> None:
    """The legend of run colours, shared by a group of small charts."""
    dot = "<span style='color: {}; font-size: 1.2em'>●</span> <span class='rs-text' dir='auto'>{}</span>"
    parts = [dot.format(theme.CYCLE[i % len(theme.CYCLE)], theme.escaped(run)) for i, run in enumerate(runs)]
    st.html(
        f"<div style='display: flex; gap: 1.2rem; flex-wrap: wrap'>{''.join(f'<div>{p}</div>' for p in parts)}</div>"
    )


def _say_unknown(names: list[str], attribute: str) -> None:
    if names:
        lacking = "catalogue or no history" if attribute == "tail" else "catalogue"
        st.caption(f"Not known for {theme.plain(', '.join(names))}: there is no {lacking} in the run.")


def _joined(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    known = [frame.assign(run=name) for name, frame in frames.items() if len(frame)]
    return pd.concat(known) if known else pd.DataFrame()


def _tail_drift(frames: Mapping[str, pd.DataFrame], runs: list[str]) -> None:
    frame = _joined(frames)
    if frame.empty or frame["page"].nunique() < 2:
        return
    st.markdown("#### Long tail by page")
    st.caption("Share of each page's titles outside the fifth of the catalogue that is most popular in real ratings.")
    _legend(runs)
    chart = compare_charts.share_chart(frame, runs, "share of slots", 1.0)
    theme.show_chart(chart, "Share of the long tail by page number, for each run")


def _genre_drift(frames: Mapping[str, pd.DataFrame], runs: list[str]) -> None:
    frame = _joined(frames)
    if frame.empty:
        st.info("No run has a catalogue, so genres are not known.")
        return
    st.markdown("#### Genres by page")
    genres = compare_data.main_genres([part for part in frames.values() if len(part)], _GENRES)
    st.caption(
        f"Share of each genre in what was shown on each page, the {len(genres)} most shown genres; a title of several "
        f"genres counts for each in equal parts. Pages that fewer than {compare_data.FEW} sessions saw are left out."
    )
    _legend(runs)
    top = min(1.0, 1.05 * float(frame.loc[frame["genre"].isin(genres), "share"].max()))
    columns = st.columns(min(4, len(genres)))
    for place, genre in enumerate(genres):
        with columns[place % len(columns)]:
            st.markdown(f"**{theme.plain(genre)}**")
            chart = compare_charts.share_chart(frame[frame["genre"] == genre], runs, "", top)
            theme.show_chart(chart, f"Share of {genre} by page number, for each run")


@st.cache_data(show_spinner="Looking for learning curves…", ttl=30, max_entries=5)
def _trainings(top: str) -> tuple[list[learning.Training], list[str]]:
    return learning.find_trainings(Path(top))


def _learning(compared: Compared) -> None:
    found, unreadable = _trainings(str(compared.top))
    for folder in unreadable:
        st.caption(f"The curve in {theme.plain(folder)} cannot be read, or is being written right now.")
    if not found:
        st.info(
            "No training lies in this folder. `recsim-llm train` and `recsim-llm study` keep learning curves: open the "
            "dashboard on the folder that holds them to see them here."
        )
        return
    names = sorted({training.name for training in found})
    key = "chosen trainings"
    chosen = st.multiselect(
        "Trainings", names, default=names[: len(theme.CYCLE)], key=key, max_selections=len(theme.CYCLE)
    )
    frame = learning.curve_frame([training for training in found if training.name in chosen])
    if frame.empty:
        st.info("Choose a training.")
        return
    st.caption("Means over sessions of held-out people, while the policy trains. A line a seed.")
    for column, (name, title, unit) in zip(
        st.columns(2, gap="large"),
        (("reward", "Reward", "reward a session"), ("length", "Session length", "pages a session")),
        strict=True,
    ):
        with column:
            st.markdown(f"##### {title}")
            theme.show_chart(compare_charts.learning_chart(frame, name, unit), f"{title} by steps of training")


@st.cache_data(show_spinner="Following items round by round…", max_entries=20)
def _uptakes(folders: tuple[str, ...], stamps: tuple[Stamp, ...]) -> list[Uptake]:
    return uptakes([Run(folder) for folder in folders])


def _interventions(compared: Compared) -> None:
    keys = list(_keys(compared))
    found = _uptakes(tuple(folder for _, folder, _ in keys), tuple(stamp for *_, stamp in keys))
    if not found:
        st.info(
            "None of these runs has an intervention about an item, or the run without it is not among them. Choose "
            "both: `simulate --interventions FILE` records them side by side."
        )
        return
    for one in found:
        head, *sentences = lines(one)
        st.markdown(f"##### {theme.plain(head)}")
        theme.show_chart(compare_charts.share_chart(_curves(one), _CURVES, "have watched it", by="round"), head)
        _legend(_CURVES)
        st.markdown("\n".join(f"- {theme.plain(sentence.strip())}" for sentence in sentences))


def _curves(one: Uptake) -> pd.DataFrame:
    """One row per curve and round: run, round (from 1), share."""
    import pandas as pd

    rounds = range(1, one.curves.shape[1] + 1)
    rows = [
        (name, number, share)
        for name, curve in zip(_CURVES, one.curves, strict=True)
        for number, share in zip(rounds, curve.tolist(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", "round", "share"])


PARTS: dict[str, Callable[[Compared], None]] = {
    "Measures": _measures,
    "Differences": _paired,
    "Session length": _length,
    "What was shown": _exposure,
    "Learning": _learning,
    "Interventions": _interventions,
}
"""Drawing function of each part by name, in display order."""
