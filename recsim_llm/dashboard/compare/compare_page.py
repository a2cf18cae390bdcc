"""The Compare page: policies or runs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.compare import compare_data
from recsim_llm.dashboard.compare.compare_parts_page import PARTS, Compared
from recsim_llm.dashboard.run_choice import all_runs, broken_runs, name_of, remember
from recsim_llm.dashboard.view import RunView

_MOST = len(theme.CYCLE)
_RUNS, _PART, _CHOSEN, _LAST = "runs", "show", "compared runs", "last compared runs"


def show(top: Path) -> None:
    """Draw the page."""
    st.title("Compare")
    views = {name_of(top, view.folder): view for view in all_runs(top)}
    _say_broken(broken_runs(top))
    if not views:
        st.info(f"There is no run to compare in {theme.plain(str(top))} yet. Record some with: `recsim-llm simulate`")
        return
    chosen = _choose(views)
    with_pages = {name: views[name] for name in chosen if views[name].run.num_parts}
    for name in chosen:
        if name not in with_pages:
            st.info(f"{theme.plain(name)} holds no page yet and is left out.")
    if not with_pages:
        st.info("Choose at least one run that has recorded a page.")
        return
    short = compare_data.short_names(list(with_pages))
    compared = Compared(top, {short[name]: view for name, view in with_pages.items()})
    cautions = compare_data.cautions(compared.manifests)
    if cautions:
        st.warning("\n".join(f"- {theme.plain(sentence)}" for sentence in cautions))
    PARTS[_choose_part()](compared)


def _say_broken(broken: Mapping[str, str]) -> None:
    if broken:
        one = len(broken) == 1
        with st.expander(f"{len(broken)} {'run' if one else 'runs'} cannot be read"):
            for name, why in broken.items():
                st.markdown(f"**{theme.plain(name)}**: {theme.plain(why)}")


def _choose(views: Mapping[str, RunView]) -> list[str]:
    """The runs selected by the address or the box; the address is the state, and the box writes to it."""
    names = list(views)
    asked = [_known(name, names) for name in st.query_params.get(_RUNS, "").split(",") if name]
    unknown = [name for name in asked if name not in views]
    if unknown:
        st.warning(f"There is no run {theme.plain(', '.join(unknown))} here.")
    last = [name for name in st.session_state.get(_LAST, []) if name in views]
    chosen = [name for name in dict.fromkeys(asked) if name in views] or last or compare_data.newest_folder(names)
    if len(chosen) > _MOST:
        st.caption(f"The first {_MOST} of {len(chosen)} runs: more colours cannot be told apart.")
        chosen = chosen[:_MOST]
    st.session_state[_CHOSEN] = st.session_state[_LAST] = chosen
    _remember_runs(chosen)

    def write() -> None:
        _remember_runs(st.session_state[_CHOSEN])
        st.session_state[_LAST] = st.session_state[_CHOSEN]

    st.multiselect(
        "Runs",
        names,
        key=_CHOSEN,
        on_change=write,
        max_selections=_MOST,
        placeholder="Choose runs",
        help="Each run keeps its colour in every chart. Begin with the one the others are compared to.",
    )
    return chosen


def _known(name: str, names: list[str]) -> str:
    return name if name in names else unquote(name)


def _remember_runs(chosen: list[str]) -> None:
    # Commas separate the names, so a comma within a name is encoded as %2C.
    remember(**{_RUNS: ",".join(quote(name, safe="/ ") if "," in name else name for name in chosen)})


def _choose_part() -> str:
    wanted = st.query_params.get(_PART, "")
    st.session_state["compared part"] = wanted if wanted in PARTS else next(iter(PARTS))

    def write() -> None:
        remember(**{_PART: st.session_state["compared part"]})

    st.segmented_control(
        "Show", list(PARTS), key="compared part", on_change=write, label_visibility="collapsed", required=True
    )
    return str(st.session_state["compared part"])
