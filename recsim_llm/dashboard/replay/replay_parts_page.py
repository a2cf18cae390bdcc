"""Details of a page of the Replay: the person's thoughts and memories, the policy's knowledge, the raw calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.replay import replay_context, replay_data, replay_html
from recsim_llm.dashboard.view import RunView, open_view


@st.cache_data(show_spinner="Reading prompts and answers…", max_entries=100)
def _calls(
    folder: str, stamp: tuple[str | int, ...], part: int, session: int, page: int
) -> tuple[replay_context.RecordedCall, ...]:
    return replay_context.calls(open_view(Path(folder)), part, session, page)


@st.cache_data(show_spinner=False, max_entries=1_000)
def _count(folder: str, stamp: tuple[str | int, ...], part: int, session: int, page: int) -> int:
    return replay_context.count_calls(open_view(Path(folder)), part, session, page)


def show_person(view: RunView, step: replay_data.Step) -> None:
    """Draw the person's thoughts about a page, and the memories it added."""
    st.markdown("#### The person")
    if not step.thoughts and not step.memories:
        model = theme.plain(view.manifest.user_model)
        st.caption(
            f"Nothing is written down at this page: '{model}' people wrote no thought and added no memory. "
            "With --thoughts page they are asked for one."
            if view.manifest.llm
            else f"'{model}' people answer with probabilities alone: they think no thoughts and keep no memory."
        )
    if step.thoughts:
        st.caption("Thought")
        st.html("".join(replay_html.said(thought) for thought in step.thoughts))
    if step.memories:
        st.caption("Added to memory")
        st.html(replay_html.memories(step.memories))


def show_policy(view: RunView, step: replay_data.Step, known: Sequence[replay_context.Impression]) -> None:
    """Draw the policy's thought before a page, and the impressions known to it."""
    st.markdown("#### The policy")
    if step.policy_thought:
        st.caption("Thought")
        st.html(replay_html.said(step.policy_thought))
    if all(card.score is None for card in step.cards):
        st.caption(f"'{theme.plain(view.manifest.policy)}' kept no scores of this page.")
    if not known:
        st.caption("It knew nothing of the person yet.")
        return
    st.caption(f"What it had seen of the person before this page: the latest {len(known)}, newest first")
    st.html(replay_html.impressions(known) + replay_html.legend(list(dict.fromkeys(one.source for one in known))))


def show_calls(view: RunView, session: int, step: replay_data.Step) -> None:
    """Draw the raw prompts and answers of a page, read on request."""
    if not view.manifest.llm and not view.manifest.policy_llm:
        return
    where = (str(view.folder), view.stamp, step.part, session, step.page)
    count = _count(*where)
    if not count:
        st.caption("No prompt is on record for this page (runs of older versions do not say which belong to whom).")
        return
    label = f"Raw prompts and answers: {count} LLM {'call' if count == 1 else 'calls'}"
    raw = st.expander(label, icon=":material/forum:", key="replay calls", on_change="rerun")
    if raw.open:
        with raw:
            _show_call(_calls(*where))


def _show_call(calls: Sequence[replay_context.RecordedCall]) -> None:
    if not calls:
        st.info("The calls are not recorded yet, or their files were removed.")
        return
    key = "replay call"
    chosen: int | None = 0
    if len(calls) > 1:
        st.session_state[key] = min(st.session_state.get(key) or 0, len(calls) - 1)
        chosen = st.segmented_control(
            "Call", range(len(calls)), key=key, required=True, format_func=lambda index: f"call {index + 1}"
        )
    call = calls[chosen or 0]
    left, right = st.columns([3, 2], gap="large")
    with left:
        for name, text in (("System", call.system), ("Context", call.context), ("Question", call.question)):
            if text:
                st.caption(name)
                st.code(text, language=None, wrap_lines=True)
    with right:
        _show_answer(call)


def _choose_call(count: int) -> int:
    key = "replay call"
    st.session_state[key] = min(st.session_state.get(key) or 0, count - 1)
    st.segmented_control("Call", range(count), key=key, required=True, format_func=lambda index: f"call {index + 1}")
    return int(st.session_state[key])


def _show_answer(call: replay_context.RecordedCall) -> None:
    if call.refused:
        st.caption("The model could not answer")
        st.code(call.refused, language=None, wrap_lines=True)
    else:
        st.caption("Likeliest answer" if call.chances else "Answer")
        st.code(call.text, language=None, wrap_lines=True)
    if call.chances:
        st.caption("Probability of each choice among all tokens, by label of the answer")
        names = range(1, len(call.chances) + 1)
        frame = 100 * pd.DataFrame(list(call.chances), index=pd.Index(names, name="label"))
        columns = {name: st.column_config.NumberColumn(format="%.1f%%") for name in frame.columns}
        st.dataframe(frame, column_config=columns, width="content")
    if call.schema:
        st.caption("Schema of the answer")
        st.code(call.schema, language="json", wrap_lines=True)
    st.caption(f"{call.prompt_tokens:,} tokens read, {call.output_tokens:,} written")
