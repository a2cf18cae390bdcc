"""The Runs page, the start page: all runs, their results, and those in progress."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.run_choice import broken_runs, link, name_of, run_folders
from recsim_llm.dashboard.runs.run_list import RUNNING, RunRow, run_row
from recsim_llm.dashboard.view import open_view
from recsim_llm.errors import RecordingError

_REFRESH = 3.0  # seconds, while something is being written
_MOST = 7  # number of run colours of the Compare page
_PAGES = {
    "replay": ("Replay", ":material/play_circle:"),
    "person": ("Person", ":material/person:"),
    "population": ("Population", ":material/groups:"),
    "fidelity": ("Fidelity", ":material/verified:"),
    "calls": ("LLM calls", ":material/forum:"),
}


def show(top: Path) -> None:
    """Draw the page."""
    st.title("Runs")
    st.markdown("Simulated people met recommenders, page by page. Every step is on record: choose a run, and look.")
    running = any(row.status == RUNNING for row in _rows(top))
    st.fragment(run_every=_REFRESH if running else None)(_everything)(top)


@st.cache_data(show_spinner="Reading a run…", max_entries=500)
def _row(folder: str, stamp: tuple[str | int, ...], name: str) -> RunRow:
    return run_row(open_view(Path(folder)), name)


def _rows(top: Path) -> list[RunRow]:
    rows = []
    for folder in run_folders(top):
        try:
            rows.append(_row(str(folder), open_view(folder).stamp, name_of(top, folder)))
        except RecordingError:
            continue  # `broken_runs` says why
    return sorted(rows, key=lambda row: row.created, reverse=True)


def _everything(top: Path) -> None:
    rows = _rows(top)
    if rows:
        _figures(rows)
        _live(rows)
        _open(rows, _table(rows))
    else:
        st.info("There is no run here yet. Record a first one, without any model, in a few seconds:")
        words = ["recsim-llm", "simulate", "--dataset", "synthetic", "--policy", "random", "popularity", "ease"]
        st.code(shlex.join([*words, "--out", str(top)]), language="bash")
    for name, why in broken_runs(top).items():
        st.warning(f"**{theme.plain(name)}** cannot be shown. {theme.plain(why)}")


def _figures(rows: list[RunRow]) -> None:
    figures = {
        "Runs": len(rows),
        "Sessions": sum(row.sessions for row in rows),
        "Pages shown": sum(row.pages for row in rows),
        "LLM calls": sum(row.calls for row in rows),
    }
    for place, (label, value) in zip(st.columns(len(figures)), figures.items(), strict=True):
        place.metric(label, f"{value:,}")


def _live(rows: list[RunRow]) -> None:
    for row in rows:
        if row.status == RUNNING:
            st.progress(
                row.progress, text=f"{theme.plain(row.name)} is running: {row.progress:.0%}, {row.pages:,} pages"
            )


def _table(rows: list[RunRow]) -> list[str]:
    """The table; returns the names of the rows that are selected."""
    frame = pd.DataFrame([asdict(row) for row in rows])
    columns = _columns()
    chosen = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key="runs",
        column_order=[name for name in columns if name != "llm" or frame["llm"].any()],
        column_config=columns,
    )
    return [rows[k].name for k in chosen["selection"]["rows"] if k < len(rows)]


def _columns() -> dict[str, ColumnConfig | str | None]:
    c = st.column_config
    return {
        "name": c.TextColumn("Run", pinned=True),
        "status": c.TextColumn("Status"),
        "progress": c.ProgressColumn("Done", min_value=0.0, max_value=1.0, format="percent", width="small"),
        "policy": c.TextColumn("Policy"),
        "users": c.TextColumn("Users", help="The user model: who plays the people."),
        "dataset": c.TextColumn("Data set"),
        "people": c.NumberColumn("People", format="localized"),
        "sessions": c.NumberColumn("Sessions", format="localized"),
        "watch_rate": c.NumberColumn(
            "Watch rate", format="percent", help="Mean over people: watched of what was shown."
        ),
        "mean_rating": c.NumberColumn("Mean rating", format="%.2f", help="Mean over people of their mean stars."),
        "length": c.NumberColumn("Length", format="%.2f", help="Pages a session, mean over people."),
        "seconds": c.NumberColumn("Seconds", format="%.1f"),
        "calls": c.NumberColumn("LLM calls", format="localized"),
        "tokens": c.NumberColumn("Tokens", format="compact"),
        "verdict": c.TextColumn("Certificate", help="Gates of the fidelity certificate; 'the truth': invented people."),
        "llm": c.TextColumn("Language model"),
        "created": c.DatetimeColumn("Begun", format="distance"),
    }


def _open(rows: list[RunRow], chosen: list[str]) -> None:
    if len(chosen) > 1:
        some = chosen[:_MOST]
        address = link("compare", runs=",".join(name.replace("%", "%25").replace(",", "%2C") for name in some))
        st.link_button(f"Compare these {len(some)} runs", address, icon=":material/balance:", type="primary")
        return
    name = chosen[0] if chosen else rows[0].name
    st.caption(
        f"Open {theme.plain(name)}" + ("" if chosen else " (the newest; tick others in the table to open or compare)")
    )
    with st.container(horizontal=True):
        for page, (label, icon) in _PAGES.items():
            st.link_button(label, link(page, run=name), icon=icon)
