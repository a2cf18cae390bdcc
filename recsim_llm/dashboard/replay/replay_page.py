"""The Replay page: one session of a run, stepped through or played, page by page."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.person import person_data
from recsim_llm.dashboard.replay import replay_context, replay_data, replay_html
from recsim_llm.dashboard.replay.replay_parts_page import show_calls, show_person, show_policy
from recsim_llm.dashboard.run_choice import choose_run, link, name_of, number, remember
from recsim_llm.dashboard.view import RunView, open_view

_PACES = {"½×": 4.0, "1×": 2.0, "2×": 1.0, "4×": 0.5}  # seconds per page
_CHOICES = 5_000  # above it, a select box would send the browser too many names
_MARKS = 120  # above it, the strip counts what was watched instead of drawing it
_PLAYING, _DUE, _PACE, _STRIP = "replay playing", "replay due", "replay pace", "replay strip"


def show(top: Path) -> None:
    """Draw the page."""
    view = choose_run(top)
    if view is None:
        return
    places = _spans(str(view.folder), view.stamp)
    if places.last < 0:
        st.title("Replay")
        st.info("No page of a session is recorded in this run yet. Come back when its first page is there.")
        return
    # The catalogue and the people are read once per run, not once per step.
    kept = _view(str(view.folder), view.stamp)
    visit = _choose(kept, places)
    if visit is not None:
        st.html(replay_html.style())
        _replay(top, kept, visit)


@st.cache_resource(show_spinner=False, max_entries=4)
def _view(folder: str, stamp: tuple[str | int, ...]) -> RunView:
    return open_view(Path(folder))


@st.cache_data(show_spinner="Finding the sessions of the run…", max_entries=20)
def _spans(folder: str, stamp: tuple[str | int, ...]) -> replay_data.Spans:
    return replay_data.spans(open_view(Path(folder)))


@st.cache_data(show_spinner="Reading the session…", max_entries=200)
def _session(folder: str, stamp: tuple[str | int, ...], session: int) -> replay_data.Session | None:
    return replay_data.session(_view(folder, stamp), _spans(folder, stamp), session)


@st.cache_data(show_spinner="Reading the session…", max_entries=200)
def _visit(folder: str, stamp: tuple[str | int, ...], session: int) -> replay_context.RecordedVisit | None:
    return replay_context.visit_of(open_view(Path(folder)), session)


@st.cache_data(show_spinner="Looking up the people of the run…", max_entries=20)
def _visitors(folder: str, stamp: tuple[str | int, ...]) -> dict[str, int]:
    return person_data.visitors(_view(folder, stamp))


@st.cache_data(show_spinner="Looking up the person's sessions…", max_entries=200)
def _sessions_of(folder: str, stamp: tuple[str | int, ...], user: int) -> list[int]:
    return replay_data.sessions_of(open_view(Path(folder)), user)


def _choose(view: RunView, places: replay_data.Spans) -> replay_data.Session | None:
    """The session selected by the address or the boxes; the address is the state, and the boxes write to it."""
    key = f"last session of {view.folder}"  # opening another page removes it from the address
    chosen = number("session", default=st.session_state.get(key, 0), high=places.last)
    wanted = st.query_params.get("session", str(chosen))
    if wanted != str(chosen):
        st.warning(f"There is no session {theme.plain(wanted)} in this run; this is session {chosen}.")
    remember(session=chosen)
    st.session_state[key] = chosen
    visit = _session(str(view.folder), view.stamp, chosen)
    _choose_number(chosen, places.last)
    _choose_person(view, visit)
    if visit is None:
        st.title("Replay")
        st.info(f"Session {chosen} is not recorded yet. Choose another one on the left.")
    return visit


def _choose_number(chosen: int, last: int) -> None:
    key = "replay session"
    st.session_state[key] = chosen
    st.sidebar.number_input(
        "Session",
        min_value=0,
        max_value=last,
        step=1,
        key=key,
        on_change=lambda: _open(st.session_state[key]),
        help=f"Sessions are numbered from 0 to {last:,}, in the order in which people visited.",
    )


def _choose_person(view: RunView, visit: replay_data.Session | None) -> None:
    key = "replay person"
    st.session_state[key] = None if visit is None else _raw(view, visit.user)

    def go() -> None:
        name = st.session_state[key] or ""
        user = replay_data.user_named(view, name)
        mine = [] if user is None else _sessions_of(str(view.folder), view.stamp, user)
        if mine:
            _open(mine[0])
        else:
            st.toast(f"Person {theme.plain(name)} has no session in this run yet.")

    if view.manifest.num_users > _CHOICES:
        st.sidebar.text_input("Person, by the data set's id", key=key, on_change=go)
    else:
        _offer_everybody(view, key, go)
    if visit is not None:
        _choose_visit(_sessions_of(str(view.folder), view.stamp, visit.user), visit.number)


def _offer_everybody(view: RunView, key: str, go: Callable[[], None]) -> None:
    everybody = _visitors(str(view.folder), view.stamp)
    about = {name: person_data.about(view.people.get(user)) for name, user in everybody.items()}
    st.sidebar.selectbox(
        "Person",
        list(everybody),
        key=key,
        on_change=go,
        format_func=lambda name: f"{name} · {about[name]}" if about.get(name) else str(name),
        help="Type to search by the data set's id, age, gender or occupation.",
    )


def _choose_visit(mine: list[int], chosen: int) -> None:
    if len(mine) < 2:
        return
    key = "replay visit"
    st.session_state[key] = chosen
    st.sidebar.selectbox(
        f"Visits of this person ({len(mine)})",
        mine,
        key=key,
        on_change=lambda: _open(st.session_state[key]),
        format_func=lambda session: f"visit {mine.index(session) + 1}, session {session}",
    )


def _raw(view: RunView, user: int) -> str:
    return view.raw_ids.get(user, str(user))


def _open(session: int) -> None:
    remember(session=session, page=0)


def _replay(top: Path, view: RunView, visit: replay_data.Session) -> None:
    last = len(visit.steps) - 1
    page = number("page", high=last)
    remember(page=page)
    step = visit.steps[page]
    st.html(_headline(top, view, visit))
    playing = st.session_state.get(_PLAYING) == _place(view, visit)
    _controls(view, visit, page, playing)
    _strip(visit, page)
    levels = view.manifest.rating_levels
    st.html(replay_html.page(step, levels))
    after = replay_data.ending(visit, view.manifest.status) if page == last else "stayed"
    st.html(replay_html.leaving(step, after))
    _behind(view, visit, step)
    if playing:
        _tick(page, last)


def _headline(top: Path, view: RunView, visit: replay_data.Session) -> str:
    raw, about = _raw(view, visit.user), person_data.about(view.people.get(visit.user))
    shown, watched = sum(step.shown for step in visit.steps), sum(step.watched for step in visit.steps)
    pages = len(visit.steps)
    notes = [
        f"pages by '{view.manifest.policy}'",
        f"{pages} {'page' if pages == 1 else 'pages'}",
        f"{watched} of {shown} titles watched",
        replay_data.ending(visit, view.manifest.status),
    ]
    came = _visit(str(view.folder), view.stamp, visit.number)
    if came is not None:
        looked = f"searched for “{came.text}”" if came.action == "search" else f"came to {came.action}"
        notes.insert(0, f"hour {came.hour:.1f}: {looked}")
    address = link("person", run=name_of(top, view.folder), person=raw)
    return replay_html.headline(visit.number, f"Person {raw}" + f" · {about}" * bool(about), address, notes)


def _place(view: RunView, visit: replay_data.Session) -> tuple[str, int]:
    return str(view.folder), visit.number


def _go(page: int) -> None:
    remember(page=page)
    st.session_state[_DUE] = time.monotonic() + _seconds()


def _seconds() -> float:
    return _PACES.get(st.session_state.get(_PACE) or "1×", 2.0)


def _controls(view: RunView, visit: replay_data.Session, page: int, playing: bool) -> None:
    last = len(visit.steps) - 1

    def play() -> None:
        st.session_state[_PLAYING] = None if playing else _place(view, visit)
        _go(0 if page == last and not playing else page)

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Back",
            icon=":material/skip_previous:",
            shortcut="Left",
            disabled=page == 0,
            on_click=_go,
            args=(page - 1,),
            key="replay back",
        )
        st.button(
            "Pause" if playing else "Play",
            icon=":material/pause:" if playing else ":material/play_arrow:",
            shortcut="P",
            type="primary",
            disabled=last == 0,
            on_click=play,
            key="replay play",
        )
        st.button(
            "Forward",
            icon=":material/skip_next:",
            shortcut="Right",
            disabled=page == last,
            on_click=_go,
            args=(page + 1,),
            key="replay forward",
        )
        st.button(
            "To the exit",
            icon=":material/logout:",
            shortcut="End",
            disabled=page == last,
            on_click=_go,
            args=(last,),
            key="replay exit",
        )
        st.segmented_control(
            "Speed",
            list(_PACES),
            key=_PACE,
            default="1×",
            required=True,
            label_visibility="collapsed",
            help="1× shows a page for two seconds.",
        )


def _strip(visit: replay_data.Session, page: int) -> None:
    """All pages of the session with the watched items; a click opens a page."""
    st.session_state[_STRIP] = page
    small = sum(len(step.cards) for step in visit.steps) <= _MARKS
    st.segmented_control(
        "Pages of the session: filled marks were watched",
        range(len(visit.steps)),
        key=_STRIP,
        on_change=lambda: _go(st.session_state[_STRIP]),
        required=True,
        format_func=lambda index: _mark(visit.steps[index], small),
    )


def _mark(step: replay_data.Step, small: bool) -> str:
    end = " :material/logout:" if step.left else " :material/timer_off:" if step.truncated else ""
    if not small:
        return f"{step.page + 1}: {step.watched}/{step.shown}{end}"
    marks = "".join(
        {replay_data.WATCHED: "●", replay_data.SKIPPED: "○", replay_data.ABSENT: "·"}[c.outcome] for c in step.cards
    )
    return f"{step.page + 1} {marks}{end}"


def _tick(page: int, last: int) -> None:
    """Turn the page when it is due, and stop at the exit."""

    @st.fragment(run_every=_seconds())
    def turn() -> None:
        if time.monotonic() < st.session_state[_DUE]:
            return
        if page < last:
            _go(page + 1)
        if page + 1 >= last:
            st.session_state[_PLAYING] = None
        st.rerun()

    turn()


@st.cache_data(show_spinner="Reading what the policy knew…", max_entries=200)
def _known(folder: str, stamp: tuple[str | int, ...], session: int, page: int) -> tuple[replay_context.Impression, ...]:
    visit = _session(folder, stamp, session)
    return () if visit is None else replay_context.known(_view(folder, stamp), visit, page)


def _behind(view: RunView, visit: replay_data.Session, step: replay_data.Step) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        show_person(view, step)
    with right:
        show_policy(view, step, _known(str(view.folder), view.stamp, visit.number, step.page))
    show_calls(view, visit.number, step)
