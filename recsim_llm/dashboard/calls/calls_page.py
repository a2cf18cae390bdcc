"""The LLM calls page: the model's prompts and answers, their cost, and failures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.calls import calls_data
from recsim_llm.dashboard.calls.calls_data import KINDS, PAGE, Search
from recsim_llm.dashboard.run_choice import choose_run, link, name_of, remember
from recsim_llm.dashboard.view import RunView, open_view
from recsim_llm.language.label_reads import unseen_labels

if TYPE_CHECKING:
    import altair as alt

_COUNTERS = {
    "malformed": "answers that could not be used",
    "unseen": "label reads with a label not among the server's alternatives",
    "reasked": "prompts sent again with a reminder",
    "fallbacks": "questions answered by the fallback",
    "cache_hits": "prompts answered from a cache",
    "duplicates": "prompts that equalled another",
    "cached_tokens": "prompt tokens that the engine did not read again",
    "retries": "calls sent again after a failure",
}


def show(top: Path) -> None:
    """Draw the page."""
    view = choose_run(top)
    if view is None:
        return
    st.title("LLM calls")
    if not (view.manifest.llm or view.manifest.policy_llm):
        st.info("No language model took part in this run: its people are fitted to ratings, its policy too.")
        return
    names = [name for name in (view.manifest.llm, view.manifest.policy_llm) if name]
    st.caption(" and ".join(dict.fromkeys(theme.plain(name) for name in names)))
    found = _sums(str(view.folder), view.stamp)
    if not found.calls:
        st.info("No call is recorded yet, or all its answers were known before.")
        return
    _figures(found)
    _charts(view)
    st.subheader("Every prompt")
    _search(top, view)


@st.cache_data(show_spinner="Counting calls…", max_entries=20)
def _sums(folder: str, stamp: tuple[str | int, ...]) -> calls_data.Sums:
    return calls_data.sums(open_view(Path(folder)))


@st.cache_data(show_spinner="Adding up calls…", max_entries=20)
def _frames(folder: str, stamp: tuple[str | int, ...]) -> dict[str, pd.DataFrame]:
    view = open_view(Path(folder))
    return {
        "rounds": calls_data.rounds(view),
        "sizes": calls_data.sizes(view),
        "answers": calls_data.answers(view),
        "mass": calls_data.label_mass(view),
    }


@st.cache_data(show_spinner="Searching…", max_entries=50)
def _found(folder: str, stamp: tuple[str | int, ...], search: Search) -> int:
    return calls_data.found(open_view(Path(folder)), search)


def _figures(found: calls_data.Sums) -> None:
    figures = {"Calls": f"{found.calls:,}", "Tokens read": f"{found.read:,}", "Tokens written": f"{found.written:,}"}
    figures["Refused"] = f"{found.refused:,}"
    if found.seconds:
        figures["Seconds a call"] = f"{found.seconds / found.calls:.3f}"
    for place, (label, value) in zip(st.columns(len(figures)), figures.items(), strict=True):
        place.metric(label, value)
    if found.seconds:
        st.caption("Seconds a call: time inside the model over all calls of the run; single calls are not timed.")
    counted = [f"{found.counters[name]:,.0f} {words}" for name, words in _COUNTERS.items() if name in found.counters]
    if counted:
        st.markdown(" · ".join(counted))
    else:
        st.caption("Malformed and repeated answers are counted when the run has finished.")
    if warning := unseen_labels(found.counters):
        st.warning(warning)


def _charts(view: RunView) -> None:
    frames = _frames(str(view.folder), view.stamp)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Calls a round")
        theme.show_chart(_bars(frames["rounds"], "round", "calls", "round"), "Number of calls in each round")
    with right:
        st.markdown("##### How long the prompts were")
        sizes = frames["sizes"].assign(label=frames["sizes"]["tokens"].map("{:,}".format))
        order = sizes["label"].tolist()
        theme.show_chart(_bars(sizes, "label", "calls", "tokens, at least", order), "Prompts by their tokens")
    if frames["answers"].empty:
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### What was answered, where labels were offered")
        table = frames["answers"].rename(columns={"asked": "labels", "answer": "likeliest"})
        st.dataframe(table, hide_index=True, height=220)
    with right:
        st.markdown("##### Probability of all labels together")
        mass = frames["mass"].assign(label=frames["mass"]["mass"].map("{:.0%}".format))
        chart = _bars(mass, "label", "calls", "label mass, at least", mass["label"].tolist())
        theme.show_chart(chart, "Distribution of the probability of all labels together")
        st.caption(
            "Labels that the server returned. Near 100 %: the model answers the question. Near 0: it wants to say "
            "something else."
        )


def _bars(frame: pd.DataFrame, x: str, y: str, title: str, order: list[str] | None = None) -> alt.Chart:
    import altair as alt

    axis = alt.X(f"{x}:O", title=title, sort=order, axis=alt.Axis(labelAngle=0, labelOverlap=True))
    marks = alt.Chart(frame, height=200).mark_bar(color=theme.SIMULATED, cornerRadiusEnd=3)
    chart: alt.Chart = marks.encode(x=axis, y=alt.Y(f"{y}:Q", title=y), tooltip=[x, y])
    return chart


def _search(top: Path, view: RunView) -> None:
    words, kind, refused = st.columns([4, 2, 2], vertical_alignment="bottom")
    search = Search(
        words=words.text_input("Search", placeholder="in prompts and answers", value=st.query_params.get("words", "")),
        kind=kind.selectbox("Answer", ["", *KINDS], format_func=lambda name: name or "all") or "",
        refused=refused.toggle("Only refused"),
    )
    remember(words=search.words)
    count = _found(str(view.folder), view.stamp, search)
    last = max(0, (count - 1) // PAGE)
    page = int(st.number_input("Page of the list", 1, last + 1, 1)) - 1 if last else 0
    st.caption(f"{count:,} calls" + (f", page {page + 1:,} of {last + 1:,}" if last else ""))
    if not count:
        return
    rows = calls_data.listed(view, search, page)
    short = rows.assign(question=rows["question"].str.slice(0, 200), answer=rows["text"].str.slice(0, 200))
    chosen = st.dataframe(
        short,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        column_order=["round", "question", "answer", "prompt_tokens", "output_tokens"],
        column_config={"prompt_tokens": "read", "output_tokens": "written"},
    )
    ticked = chosen["selection"]["rows"]
    _whole(top, view, str(rows["id"][ticked[0] if ticked and ticked[0] < len(rows) else 0]))


def _whole(top: Path, view: RunView, key: str) -> None:
    one = calls_data.call(view, key)
    run = name_of(top, view.folder)
    for session, user, page in calls_data.places(view, key):
        raw = view.raw_ids.get(user, str(user))
        who = theme.plain(raw)
        if session < 0:
            st.markdown(f"Asked for [person {who}]({link('person', run=run, person=raw)}), between visits")
        else:
            address = link("replay", run=run, session=session, page=page)
            st.markdown(f"Asked for person {who}: [session {session}, page {page + 1}]({address})")
    for part in ("system", "context", "question"):
        if one[part]:
            st.caption(part)
            st.code(one[part], language=None, wrap_lines=True)
    st.caption(f"answer: {one['prompt_tokens']:,} tokens read, {one['output_tokens']:,} written")
    st.code(one["refused"] or one["text"], language=None, wrap_lines=True)
    _labels(one)


def _labels(one: dict[str, Any]) -> None:
    choices, logprobs = list(one["choices"]), list(one["logprobs"])
    if not choices or len(logprobs) != len(choices) * int(one["slots"]):
        return
    places = [(slot + 1, choice) for slot in range(int(one["slots"])) for choice in choices]
    rows = [(slot, choice, math.exp(p)) for (slot, choice), p in zip(places, logprobs, strict=True)]
    bar = st.column_config.ProgressColumn("probability", min_value=0.0, max_value=1.0, format="%.4f")
    frame = pd.DataFrame(rows, columns=["slot", "label", "probability"])
    st.dataframe(frame, hide_index=True, column_config={"probability": bar})
