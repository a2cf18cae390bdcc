"""The Person page: one person of a run, in the real data and in the simulation."""

from __future__ import annotations

import math
from pathlib import Path

import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.person import person_data, person_html
from recsim_llm.dashboard.person.person_parts_page import PARTS, ShownPerson
from recsim_llm.dashboard.run_choice import choose_run, remember
from recsim_llm.dashboard.view import RunView, open_view
from recsim_llm.runs.run_tables import Totals
from recsim_llm.types import Persona

_FIRST = next(iter(PARTS))
_CHOICES = 5_000  # above it, a select box would send the browser too many names
_LABELS = {
    "watch_rate": ("Watch rate", "share of the titles shown that were watched"),
    "mean_rating": ("Mean rating", "mean stars of what was watched"),
    "session_length": ("Session length", "pages a session"),
    "reward": ("Reward", "sum of rewards a session"),
}


def show(top: Path) -> None:
    """Draw the page."""
    view = choose_run(top)
    if view is None:
        return
    everybody = _visitors(str(view.folder), view.stamp)
    if not everybody:
        st.title("Person")
        st.info("Nobody is recorded in this run yet. Come back when its first page is there.")
        return
    raw = _choose(view, everybody)
    if raw is None:
        return
    user = everybody[raw]
    st.html(person_html.style())
    _profile(view, user, raw)
    part = _choose_part()
    PARTS[part](ShownPerson(top, view, user, raw))


@st.cache_data(show_spinner="Looking up the people of the run…", max_entries=20)
def _visitors(folder: str, stamp: tuple[str | int, ...]) -> dict[str, int]:
    return person_data.visitors(open_view(Path(folder)))


@st.cache_data(show_spinner="Adding up what everybody did…", max_entries=20)
def _totals(folder: str, stamp: tuple[str | int, ...]) -> Totals:
    return open_view(Path(folder)).totals()


def _choose(view: RunView, everybody: dict[str, int]) -> str | None:
    """The id selected by the address or the box; the address is the state, and the box writes to it."""
    names = list(everybody)
    last = f"last person of {view.folder}"  # opening another page removes the person from the address
    wanted: str = st.query_params.get("person", st.session_state.get(last, names[0]))
    if wanted not in everybody:
        st.warning(f"Nobody of the id {theme.plain(wanted)} is in this run; this is {theme.plain(names[0])}.")
        wanted = names[0]
    remember(person=wanted)
    st.session_state["chosen person"] = st.session_state[last] = wanted

    def write() -> None:
        remember(person=st.session_state["chosen person"])

    if len(names) > _CHOICES:
        st.sidebar.text_input("Person, by the data set's id", key="chosen person", on_change=write)
        st.sidebar.caption(f"{len(names):,} people, {theme.plain(names[0])} to {theme.plain(names[-1])}.")
        return wanted
    people = view.people
    about = {raw: person_data.about(people.get(user)) for raw, user in everybody.items()}
    st.sidebar.selectbox(
        "Person",
        names,
        key="chosen person",
        on_change=write,
        format_func=lambda raw: f"{raw} · {about[raw]}" if about[raw] else raw,
        help="Type to search by the data set's id, age, gender or occupation.",
    )
    return wanted


def _choose_part() -> str:
    wanted = st.query_params.get("part", _FIRST)
    st.session_state["chosen part"] = wanted if wanted in PARTS else _FIRST

    def write() -> None:
        remember(part=st.session_state["chosen part"])

    st.segmented_control(
        "Show", list(PARTS), key="chosen part", on_change=write, label_visibility="collapsed", required=True
    )
    return str(st.session_state["chosen part"])


def _profile(view: RunView, user: int, raw: str) -> None:
    persona = view.people.get(user)
    left, right = st.columns([2, 3], vertical_alignment="center")
    notes = [f"user {user} of {view.manifest.dataset}, played by '{view.manifest.user_model}'"]
    left.html(person_html.headline(raw, person_data.about(persona), notes))
    with right:
        _measures(view, user)
    if persona is None:
        st.info("This run holds no people.json, so nothing is known of the person but what it did.")
        return
    for column, trait in zip(st.columns(3), person_data.traits(persona), strict=True):
        column.html(person_html.trait_card(trait))
    _tastes(view, persona)


def _measures(view: RunView, user: int) -> None:
    found = person_data.measures(_totals(str(view.folder), view.stamp), user)
    if not found:
        st.info("This person has not been shown a page yet.")
        return
    for column, (name, measured) in zip(st.columns(len(found)), found.items(), strict=True):
        label, meaning = _LABELS.get(name, (name.replace("_", " ").capitalize(), ""))
        mean = f"everybody: {_number(name, measured.everybody)}"
        column.html(person_html.figure(label, _number(name, measured.value), mean, meaning))


def _number(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.0%}" if name == "watch_rate" else f"{value:.2f}"


def _tastes(view: RunView, persona: Persona) -> None:
    st.html("<div style='height: 0.5rem'></div>")
    sides = (
        ("Likes", persona.likes, persona.liked_items, "var(--simulated)", "no genre stands out"),
        ("Dislikes", persona.dislikes, persona.disliked_items, "var(--left)", "no genre stands out"),
    )
    for column, (name, genres, items, colour, nothing) in zip(st.columns(2), sides, strict=True):
        with column:
            st.markdown(f"**{name}**")
            st.html(person_html.pills(genres, nothing, colour))
            st.html(person_html.titles([view.title(item) for item in items], "no example"))
    st.caption(
        "Profile, traits and tastes come from the person's real training ratings (mean: "
        f"{persona.mean_rating:.2f} stars), nothing else."
    )
