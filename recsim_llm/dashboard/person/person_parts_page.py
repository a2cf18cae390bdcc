"""The parts of the Person page below the profile: history, memory, neighbours, sessions, interview."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

import pandas as pd
import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.person import person_charts, person_data, person_html
from recsim_llm.dashboard.person.interview_panel import show_interview
from recsim_llm.dashboard.population import neighbourhood
from recsim_llm.dashboard.run_choice import link, name_of, remember
from recsim_llm.dashboard.view import RunView, open_view

_SESSIONS, _MEMORIES, _MARKS, _ROWS = 30, 100, 2_000, 1_000


@st.cache_data(show_spinner="Reading the person's pages…", max_entries=200)
def _seen(folder: str, stamp: tuple[str | int, ...], user: int) -> pd.DataFrame:
    return person_data.shown(open_view(Path(folder)), user)


@st.cache_data(show_spinner="Reading the person's real ratings…", max_entries=200)
def _history(folder: str, stamp: tuple[str | int, ...], user: int) -> pd.DataFrame:
    return person_data.history(open_view(Path(folder)), user)


@st.cache_data(show_spinner="Drawing the neighbourhood…", max_entries=50)
def _neighbourhood(folder: str, stamp: tuple[str | int, ...], user: int) -> tuple[pd.DataFrame, neighbourhood.Drawn]:
    view = open_view(Path(folder))
    near = neighbourhood.neighbours(view, user)
    return near, neighbourhood.drawn(view, user, near)


class ShownPerson:
    """The displayed person and run."""

    __slots__ = ("raw", "run", "user", "view")

    def __init__(self, top: Path, view: RunView, user: int, raw: str) -> None:
        self.run, self.view, self.user, self.raw = name_of(top, view.folder), view, user, raw

    @property
    def seen(self) -> pd.DataFrame:
        """`person_data.shown`, cached."""
        return _seen(str(self.view.folder), self.view.stamp, self.user)

    @property
    def history(self) -> pd.DataFrame:
        """`person_data.history`, cached."""
        return _history(str(self.view.folder), self.view.stamp, self.user)

    def to_replay(self, session: int, page: int) -> str:
        """Address of the replay of a page."""
        return f"{link('replay', run=self.run, session=session)}&page={page}"

    def to_person(self, raw: str) -> str:
        """Address of another person of the run."""
        return link("person", run=self.run, person=raw)


def _show_history(shown: ShownPerson) -> None:
    real, seen = shown.history, shown.seen
    if real.empty and seen.empty:
        st.info("Neither real ratings nor simulated pages of this person are recorded.")
        return
    if real.empty:
        st.info("This run holds no real ratings of this person (runs of older versions do not), so only the simulated.")
    levels = shown.view.manifest.rating_levels
    shares, genres = person_data.rating_shares(real, seen, levels), person_data.genre_shares(shown.view, real, seen)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("#### How this person rates")
        if shares.empty:
            st.info("Nothing is rated yet.")
        else:
            theme.show_chart(person_charts.ratings_chart(shares), "Shares of each rating level, real beside simulated")
    with right:
        st.markdown("#### Which genres they take up")
        if genres.empty:
            st.info("The run has no catalogue with genres, or nothing was watched yet.")
        else:
            theme.show_chart(person_charts.genres_chart(genres), "Share of titles of each genre, real and simulated")
    _tables(shown, real, seen)


def _tables(shown: ShownPerson, real: pd.DataFrame, seen: pd.DataFrame) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(f"#### Real: {len(real):,} ratings")
        frame = real.iloc[::-1].head(_ROWS)
        dates = pd.to_datetime(frame["time"].where(frame["time"] > 0), unit="s")
        _table(frame.assign(date=dates)[["title", "stars", "date", "genres"]], _columns())
    with right:
        took = int(seen["watched"].sum())
        st.markdown(f"#### Simulated: {took:,} of {len(seen):,} watched")
        frame = seen.head(_ROWS)
        stars = [f"{s:g}" if w else "skipped" for s, w in zip(frame["stars"], frame["watched"], strict=True)]
        links = [shown.to_replay(int(s), int(p)) for s, p in zip(frame["session"], frame["page"], strict=True)]
        _table(
            frame.assign(stars=stars, watch=100 * frame["watch"], page=frame["page"] + 1, replay=links)[
                ["title", "stars", "watch", "replay", "page", "session"]
            ],
            _columns(),
        )


def _columns() -> dict[str, object]:
    column = st.column_config
    return {
        "title": column.TextColumn("Title", width="medium"),
        "stars": "Stars",
        "genres": column.TextColumn("Genres"),
        "date": column.DateColumn("Date", help="Empty where the data set has none"),
        "watch": column.ProgressColumn(
            "Watching", help="Probability of watching", min_value=0, max_value=100, format="%.0f %%", width="small"
        ),
        "session": column.NumberColumn("Session", format="%d"),
        "page": column.NumberColumn("Page", format="%d", width="small"),
        "replay": column.LinkColumn("Replay", display_text="open", width="small"),
    }


def _table(frame: pd.DataFrame, columns: dict[str, object]) -> None:
    if frame.empty:
        st.info("Nothing is recorded.")
        return
    st.dataframe(frame, column_config=columns, hide_index=True, height=360)  # type: ignore[arg-type]
    if len(frame) == _ROWS:
        st.caption(f"The first {_ROWS:,} rows.")


def _show_memory(shown: ShownPerson) -> None:
    frame = person_data.memories(shown.view, shown.user)
    if frame.empty:
        st.info(
            f"No memory of this person is recorded: '{theme.plain(shown.view.manifest.user_model)}' users have none, "
            "or this run is of an older version."
        )
        return
    society = bool(shown.view.manifest.config.get("rounds"))
    st.markdown(f"#### {len(frame):,} memories")
    st.caption("One mark a memory, larger where it matters more to the person. Point at one to read it.")
    theme.show_chart(
        person_charts.memory_chart(frame.tail(_MARKS), by_hour=society), "Memories over time, by kind and importance"
    )
    left, right = st.columns(2, vertical_alignment="bottom")
    kinds = left.pills(
        "Kinds",
        sorted(frame["kind"].unique()),
        selection_mode="multi",
        format_func=theme.plain,
        key=f"kinds {shown.raw}",
    )
    words = right.text_input("Search in memories", key=f"words {shown.raw}")
    found = frame[frame["kind"].isin(kinds)] if kinds else frame
    found = found[found["text"].str.contains(words, case=False, regex=False)] if words else found
    if len(found) > _MEMORIES:
        st.caption(f"The latest {_MEMORIES} of {len(found):,}.")
    latest = found.iloc[::-1].head(_MEMORIES)
    st.html(person_html.memory_rows(latest, [_when(row, society) for row in latest.to_dict("records")]))


def _show_thoughts(shown: ShownPerson) -> None:
    frame = person_data.thoughts(shown.view, shown.user)
    if frame.empty:
        st.info(
            "No thought of this person is recorded. People whom a language model plays are asked for one a page with: "
            "recsim-llm simulate --thoughts page"
        )
        return
    st.markdown(f"#### {len(frame):,} {'thought' if len(frame) == 1 else 'thoughts'}")
    st.caption("Written by the model, for people to read: no choice, reward or memory depends on what was asked after.")
    if len(frame) > _MEMORIES:
        st.caption(f"The latest {_MEMORIES} of {len(frame):,}.")
    st.html(person_html.thought_rows(frame.iloc[::-1].head(_MEMORIES)))


def _when(row: Mapping[Hashable, object], society: bool) -> str:
    hour = f"hour {float(str(row['hour'])):.1f}, " if society else ""
    session, page = int(str(row["session"])), int(str(row["page"]))
    return f"{hour}outside a visit" if session < 0 else f"{hour}session {session}, page {page + 1}"


def _show_neighbours(shown: ShownPerson) -> None:
    view = shown.view
    near, drawn = _neighbourhood(str(view.folder), view.stamp, shown.user)
    if near.empty:
        society = bool(view.manifest.config.get("rounds"))
        st.info(
            "Nobody is linked to this person."
            if society
            else "The people of this run do not know each other. Record a society with: recsim-llm simulate --rounds N"
        )
        return
    more = len(near) - neighbourhood.MOST
    st.markdown(f"#### {len(near):,} {'neighbour' if len(near) == 1 else 'neighbours'}")
    st.caption(
        "Thick lines are the person's own links, thin ones those among its neighbours. Larger marks: more messages. "
        "Click a mark to go to that person."
    )
    if more > 0:
        most = neighbourhood.MOST
        st.caption(f"Drawn are the {most} with most messages; {more:,} more are in the table.")
    _graph(shown, drawn)
    frame = near.head(_ROWS)
    frame = frame.assign(open=[shown.to_person(name) for name in frame["name"]])
    column = st.column_config
    _table(
        frame[["name", "about", "relation", "heard", "told", "open"]],
        {
            "name": column.TextColumn("Person"),
            "about": column.TextColumn("Who"),
            "relation": column.TextColumn("Link"),
            "heard": column.NumberColumn("Heard from", help="Messages that reached this person"),
            "told": column.NumberColumn("Told to", help="Messages of this person that reached the other"),
            "open": column.LinkColumn("Person page", display_text="open"),
        },
    )


def _graph(shown: ShownPerson, drawn: neighbourhood.Drawn) -> None:
    key = f"graph of {shown.raw}"  # one key per person, or a click would apply to the next person's graph

    def go() -> None:
        clicked = st.session_state[key]["selection"].get(neighbourhood.CLICKED)
        if clicked and clicked[0]["name"] != shown.raw:
            remember(person=clicked[0]["name"])

    st.altair_chart(
        neighbourhood.graph_chart(drawn),
        theme="streamlit",
        key=key,
        on_select=go,
        selection_mode=neighbourhood.CLICKED,
        alt=f"Graph of the {len(drawn.people) - 1} people around person {shown.raw}; the table below holds the same.",
    )


def _show_sessions(shown: ShownPerson) -> None:
    seen = shown.seen
    if seen.empty:
        st.info("No page of this person is recorded yet.")
        return
    table = person_data.sessions(seen)
    st.markdown(f"#### {len(table):,} {'session' if len(table) == 1 else 'sessions'}")
    st.caption(
        "One box a page, one cell a title: a number is the stars given, empty was skipped. Open a page to replay."
    )
    for row in table.head(_SESSIONS).to_dict("records"):
        mine = seen[seen["session"] == row["session"]]
        links = [shown.to_replay(int(row["session"]), int(page)) for page in sorted(mine["page"].unique())]
        st.markdown(
            f"**Session {row['session']}** · {row['pages']} {'page' if row['pages'] == 1 else 'pages'} · "
            f"{row['watched']} of {row['shown']} watched · reward {row['reward']:.1f} · {row['end']}"
        )
        st.html(person_html.strip(mine, links))
    if len(table) > _SESSIONS:
        st.caption(f"The first {_SESSIONS} of {len(table):,}; the rest is in the table.")
        links = [shown.to_replay(int(session), 0) for session in table["session"]]
        _table(table.assign(replay=links).head(_ROWS), _columns())
    _diary(shown)


def _diary(shown: ShownPerson) -> None:
    frame = person_data.diary(shown.view, shown.user)
    if frame.empty:
        return
    ids, view = shown.view.raw_ids, shown.view
    with st.expander(f"Diary: {len(frame):,} {'action' if len(frame) == 1 else 'actions'} in the society"):
        others = [ids.get(other, "") if other >= 0 else "" for other in frame["other"]]
        titles = [view.title(item) if item >= 0 else "" for item in frame["item"]]
        rows = frame.assign(**{"with": others, "about": titles})
        _table(rows[["hour", "action", "with", "about", "text"]].head(_ROWS), {})


def _show_interview(shown: ShownPerson) -> None:
    if shown.view.manifest.config.get("rounds"):
        last = shown.view.frame("SELECT max(round) AS last FROM events")["last"].iloc[0]
        moments = 0 if pd.isna(last) else int(last) + 1
    else:
        moments = shown.seen["page"].nunique()
    show_interview(shown.view, shown.raw, moments)


PARTS: dict[str, Callable[[ShownPerson], None]] = {
    "History": _show_history,
    "Memory": _show_memory,
    "Thoughts": _show_thoughts,
    "Neighbours": _show_neighbours,
    "Sessions": _show_sessions,
    "Interview": _show_interview,
}
"""Drawing function of each part by name, in display order."""
