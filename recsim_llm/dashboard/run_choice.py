"""Selection of a run: found below a folder, chosen in the sidebar, stored in the address of the page."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.view import RunView, open_view, sentence
from recsim_llm.errors import RecordingError
from recsim_llm.runs.manifest import FILE

_KEY = "run"


def run_folders(top: Path) -> list[Path]:
    """The run folders below one, itself included, up to four levels down; newest first."""
    patterns = (FILE, *("/".join(["*"] * depth) + f"/{FILE}" for depth in range(1, 5)))
    found = {path.parent: path.stat().st_mtime for pattern in patterns for path in top.glob(pattern)}
    return sorted(found, key=lambda folder: (-found[folder], str(folder)))


def all_runs(top: Path) -> list[RunView]:
    """The readable runs below a folder, newest first."""
    return [view for folder in run_folders(top) if isinstance(view := _opened(folder), RunView)]


def broken_runs(top: Path) -> dict[str, str]:
    """Reasons by relative folder for runs that cannot be read."""
    found = {name_of(top, folder): _opened(folder) for folder in run_folders(top)}
    return {name: view for name, view in found.items() if isinstance(view, str)}


def name_of(top: Path, folder: Path) -> str:
    """A run folder relative to the top one; "." for itself."""
    return folder.relative_to(top).as_posix()


def choose_run(top: Path) -> RunView | None:
    """The run selected by the sidebar or the address; None, after a message, if there is none.

    Raises:
        RecordingError: The chosen run cannot be read.
    """
    names = [name_of(top, folder) for folder in run_folders(top)]
    if not names:
        st.info(f"There is no run in {theme.plain(top)} yet. Record one with:")
        st.code(f"recsim-llm simulate --dataset synthetic --out {shlex.quote(str(top))}", language="bash")
        return None
    wanted = st.query_params.get(_KEY) or st.session_state.get("last run", names[0])
    if wanted not in names:
        st.warning(f"There is no run '{theme.plain(wanted)}' here; this is {theme.plain(names[0])}.")
        wanted = names[0]
    chosen = st.sidebar.selectbox("Run", names, index=names.index(wanted))
    st.session_state["last run"] = chosen
    if chosen != wanted:
        st.query_params.clear()  # session and page belong to the other run
    remember(run=chosen)
    return open_view(top / chosen)


def number(name: str, default: int = 0, low: int = 0, high: int | None = None) -> int:
    """An integer from the page's address, clipped to low..high; the default if it is missing or not a number."""
    try:
        value = int(st.query_params.get(name, default))
    except ValueError:
        value = default
    return max(low, value if high is None else min(value, high))


def remember(**values: object) -> None:
    """Store the selection in the page's address, so that the link can be shared."""
    for name, value in values.items():
        if st.query_params.get(name) != str(value):
            st.query_params[name] = str(value)


def link(path: str, /, **values: object) -> str:
    """The address of a page: `link("replay", run="demo/ease", session=3, page=2)`."""
    return f"{path or '.'}?{urlencode({name: str(value) for name, value in values.items()})}"


def _opened(folder: Path) -> RunView | str:
    try:
        return open_view(folder)
    except RecordingError as error:
        return sentence(error)
