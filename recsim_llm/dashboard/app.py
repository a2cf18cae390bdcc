"""Entry point for Streamlit: the navigation between pages. Start it with `recsim-llm dashboard RUNS_FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.calls import calls_page
from recsim_llm.dashboard.compare import compare_page
from recsim_llm.dashboard.fidelity import fidelity_page
from recsim_llm.dashboard.person import interview_panel, person_page
from recsim_llm.dashboard.population import population_page
from recsim_llm.dashboard.replay import replay_page
from recsim_llm.dashboard.runs import runs_page
from recsim_llm.errors import RecsimError

# Address to title, icon and drawing function of a page. (Streamlit would print a docstring here.)
PAGES: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "": ("Runs", ":material/view_list:", runs_page.show),
    "replay": ("Replay", ":material/play_circle:", replay_page.show),
    "person": ("Person", ":material/person:", person_page.show),
    "population": ("Population", ":material/groups:", population_page.show),
    "compare": ("Compare", ":material/balance:", compare_page.show),
    "fidelity": ("Fidelity", ":material/verified:", fidelity_page.show),
    "calls": ("LLM calls", ":material/forum:", calls_page.show),
}


def main(top: Path, interview_hosts: Sequence[str] = ()) -> None:
    """Draw the page of the current address.

    Args:
        top: The folder of runs.
        interview_hosts: Servers to which interviews may send the viewer's key.
    """
    st.session_state[interview_panel.HOSTS] = tuple(interview_hosts)
    st.set_page_config(page_title="recsim_llm", page_icon="🎬", layout="wide")
    pages = [
        st.Page(_page(show, top), title=title, icon=icon, url_path=path, default=not path)
        for path, (title, icon, show) in PAGES.items()
    ]
    chosen = st.navigation(pages)
    theme.css()
    chosen.run()


def _page(show: Callable[[Path], None], top: Path) -> Callable[[], None]:
    def draw() -> None:
        try:
            show(top)
        except RecsimError as error:
            st.error(theme.plain(str(error)))

    draw.__name__ = show.__module__.rpartition(".")[2]  # Streamlit identifies pages by function name
    return draw


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
