"""The Population page: everybody of a run, or a segment, beside the real log; and their society."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.population import population_charts, population_data, society_data
from recsim_llm.dashboard.population.population_data import TRAITS, Segment
from recsim_llm.dashboard.run_choice import choose_run
from recsim_llm.dashboard.view import RunView, open_view

if TYPE_CHECKING:
    from streamlit.elements.vega_charts import AltairChart

_LEVELS = {0: "all", 1: "low", 2: "middle", 3: "high"}


def show(top: Path) -> None:
    """Draw the page."""
    view = choose_run(top)
    if view is None:
        return
    st.title("Population")
    if view.run.num_parts == 0:
        st.info("No page is recorded in this run yet. Come back when its first one is there.")
        return
    segment = _choose_segment(view)
    frames = _frames(str(view.folder), view.stamp, segment)
    people = len(view.people) or int(frames["count"]["people"][0])
    here = int(frames["count"]["people"][0])
    st.markdown(f"**{here:,}** people" + ("" if segment.everybody else f" of {people:,} fit the segment"))
    if here == 0:
        st.info("Nobody fits. Open one of the filters in the sidebar again.")
        return
    _figures(frames)
    _society(view)


@st.cache_data(show_spinner="Adding up what everybody did…", max_entries=40)
def _frames(folder: str, stamp: tuple[str | int, ...], segment: Segment) -> dict[str, pd.DataFrame]:
    view = open_view(Path(folder))
    users = population_data.members(view, segment)
    counts = population_data.item_counts(view, users)
    return {
        "count": pd.DataFrame({"people": [population_data.count(view, users)]}),
        "traits": population_data.traits(view, users),
        "ratings": population_data.ratings(view, users),
        "lengths": population_data.lengths(view, users),
        "slots": population_data.slots(view, users),
        "genres": population_data.genres(view, counts),
        "popularity": population_data.popularity(counts),
    }


@st.cache_data(show_spinner="Drawing the social graph…", max_entries=10)
def _drawn(folder: str, stamp: tuple[str | int, ...]) -> society_data.Drawing:
    return society_data.drawing(open_view(Path(folder)))


def _choose_segment(view: RunView) -> Segment:
    if not view.people:
        st.sidebar.caption("The run has no personas, so there are no segments.")
        return Segment()
    st.sidebar.markdown("**Segment**")
    levels = {
        name: int(st.sidebar.selectbox(name.capitalize(), list(_LEVELS), format_func=lambda level: _LEVELS[level]))
        for name in TRAITS
    }
    values = {
        name: str(st.sidebar.selectbox(name.capitalize(), ["", *found], format_func=lambda value: value or "all"))
        for name, found in population_data.options(list(view.people.values())).items()
        if found
    }
    return Segment(**levels, **values)  # type: ignore[arg-type]


def _figures(frames: dict[str, pd.DataFrame]) -> None:
    charts = population_charts
    rows: list[tuple[str, AltairChart, str]] = [
        ("Ratings", charts.ratings(frames["ratings"]), "The log holds the same people's real training ratings."),
        ("Genres taken up", charts.genres(frames["genres"]), "Of titles watched, and of titles rated in the log."),
        ("Session length", charts.lengths(frames["lengths"]), "The log has no counterpart: it knows no sessions."),
        ("Watch rate by slot", charts.slots(frames["slots"]), "The log has no counterpart: it knows no pages."),
        ("Popularity", charts.popularity(frames["popularity"]), "Tenths of the titles that occur, most rated first."),
        ("Traits", charts.traits(frames["traits"]), "From real ratings: levels are cut at percentiles of all people."),
    ]
    for start in range(0, len(rows), 2):
        for place, (title, chart, note) in zip(st.columns(2, gap="large"), rows[start : start + 2], strict=True):
            with place:
                st.markdown(f"##### {title}")
                theme.show_chart(chart, title)
                st.caption(note)


def _society(view: RunView) -> None:
    st.subheader("The society")
    degrees = society_data.degrees(view)
    if degrees.empty:
        st.info("These people do not know each other: the run is one of sessions, or older than recorded graphs.")
        return
    left, right = st.columns([3, 2], gap="large")
    drawn = _drawn(str(view.folder), view.stamp)
    with left:
        st.markdown("##### Who knows whom")
        theme.show_chart(population_charts.graph(drawn), "People as points, friendships as lines")
        more = f" {drawn.left_out:,} more people are not drawn." if drawn.left_out else ""
        st.caption(f"Colours: groups who mostly know each other.{more}")
    with right:
        st.markdown("##### How many they know")
        theme.show_chart(population_charts.degrees(degrees), "People by number of acquaintances")
    _diffusion(view)


def _diffusion(view: RunView) -> None:
    st.markdown("##### How word spreads")
    talked = society_data.talked_about(view)
    if talked.empty:
        st.caption("Nobody has heard of a title from anybody in this run.")
        return
    labels = [f"{title} ({people} people)" for title, people in zip(talked["title"], talked["people"], strict=True)]
    chosen = st.selectbox("Title", range(len(labels)), format_func=lambda k: labels[k])
    frame = society_data.diffusion(view, int(talked["item"][chosen]))
    theme.show_chart(population_charts.diffusion(frame), "People who had heard of the title, by simulated hours")
    st.caption(
        "People who had a message about the title, and those of them who watched it on a visit that began afterwards."
    )
