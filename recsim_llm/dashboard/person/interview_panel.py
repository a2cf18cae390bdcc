"""Interview panel: asks a person of a run a question, after showing what is sent to which model and asking consent.

It is the only part of the dashboard that calls a language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.view import RunView, sentence
from recsim_llm.errors import ConfigError, RecsimError
from recsim_llm.runs import Manifest
from recsim_llm.spec import split_name

_CHARACTERS_A_TOKEN = 4
_LONGEST_QUESTION = 500
_EXAMPLE = "What did you think of the titles you were shown, and why did you leave?"
_KINDS = ("transformers", "vllm", "openai", "uniform")
_PLAN, _ANSWERS = "interview plan", "interview answers"
HOSTS = "interview hosts"
"""Session-state key of the servers that the viewer named on the command line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A call that waits for the viewer's consent.

    Attributes:
        folder: The run.
        person: The data set's own id of the person.
        question: The question.
        model: Spec of the language model.
        after: Pages of the session, or rounds of the society, that the person remembers; None for all.
        prompt: The complete prompt, for display.
        tokens: Size of the prompt, estimated as characters / 4.
        answer_tokens: Longest answer, in tokens.
    """

    folder: str
    person: str
    question: str
    model: str
    after: int | None
    prompt: str
    tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """A person's answer.

    Attributes:
        plan: The call.
        text: The answer; "" if the model gave none.
    """

    plan: Plan
    text: str


def refusal(manifest: Manifest) -> str:
    """Why people of this run cannot be interviewed, as a sentence; "" if they can."""
    if manifest.llm:
        return ""
    return (
        f"The people of this run are '{manifest.user_model}' users: formulas, without memories and without words, so "
        "nobody can interview them. Record a run of agents (recsim-llm simulate --user-model agent4rec --llm …) to ask "
        "its people questions."
    )


def check_model(model: str, own: str, hosts: Sequence[str] = ()) -> str:
    """Check that a web page may start the language model of a spec, and return the spec.

    Args:
        model: The spec as typed.
        own: The spec of the run's agents, which the author of the run wrote.
        hosts: Servers that the viewer named, beside that of OPENAI_BASE_URL: only they receive the viewer's key.

    Raises:
        ConfigError: The dashboard does not start this model.
    """
    from recsim_llm.experiments.backend import check_foreign_spec

    model = model.strip()
    kind, name = split_name(model)
    # `python:` would run any function named here, and options can redirect a server's key.
    if kind not in _KINDS or (kind == "uniform") == bool(name) or ("?" in model and model != own):
        raise ConfigError(
            f"'{model}' is no model that is started from here. Write transformers:NAME, vllm:NAME or openai:NAME, "
            "without options (the run's own model may have them), or use the command line: recsim-llm interview."
        )
    check_foreign_spec(model, hosts)
    return model


def plan_interview(
    view: RunView, person: str, question: str, model: str, after: int | None = None, hosts: Sequence[str] = ()
) -> Plan:
    """Build the prompt of an interview; calls no model. Arguments are those of `interview_prompt` and `check_model`.

    Raises:
        ConfigError: No question, a model that the dashboard does not start, or an unknown person.
        RecordingError: The recording is damaged, or the data set has changed.
        MissingExtraError: A package that the person's memory needs is not installed.
    """
    from recsim_llm.experiments.simulation.interview import check_foreign_users, interview_prompt
    from recsim_llm.experiments.tuning.writer import writer_of

    question = question.strip()
    if not question:
        raise ConfigError("Write a question first.")
    check_foreign_users(view.manifest.user_model)
    model = writer_of(check_model(model, _own_model(view.manifest), hosts))
    prompt = interview_prompt(view.run, person, question, after)
    text = "\n\n".join((prompt.system, prompt.context, prompt.question))
    tokens = -(-len(text) // _CHARACTERS_A_TOKEN)
    return Plan(str(view.folder), person, question, model, after, text, tokens, prompt.max_tokens)


def carry_out(view: RunView, plan: Plan) -> ShownAnswer:
    """Send the prompt; the only call to a language model in the dashboard.

    Raises:
        LLMError: The model cannot be started, or does not answer.
        MissingExtraError: The model's packages are not installed.
    """
    from recsim_llm.experiments.backend import open_backend
    from recsim_llm.experiments.simulation.interview import interview

    with open_backend(plan.model) as llm:
        return ShownAnswer(plan, interview(view.run, plan.person, plan.question, llm, plan.after))


def show_interview(view: RunView, person: str, moments: int) -> None:
    """Draw the panel.

    Args:
        view: The run.
        person: The data set's own id of the person.
        moments: Pages of the person's session, or rounds of the society.
    """
    if reason := refusal(view.manifest):
        st.info(theme.plain(reason))
        return
    st.caption("Nothing is sent before you have seen what it is and said yes. Answers are not added to the run.")
    _ask_for_question(view, person, moments)
    plan = st.session_state.get(_PLAN)
    if isinstance(plan, Plan) and (plan.folder, plan.person) == (str(view.folder), person):
        _ask_for_yes(view, plan)
    for answer in reversed(_answers(view, person)):
        _show_answer(answer)


def _ask_for_question(view: RunView, person: str, moments: int) -> None:
    rounds = bool(view.manifest.config.get("rounds"))
    with st.form("interview", border=True):
        question = st.text_area("Your question", placeholder=_EXAMPLE, max_chars=_LONGEST_QUESTION, height=90)
        left, right = st.columns([3, 2])
        model = left.text_input("Language model that answers", value=_own_model(view.manifest))
        after = right.selectbox(
            "Moment",
            [None, *range(moments - 1, 0, -1)],
            format_func=lambda number: "at the end" if number is None else f"after {_moment(rounds)} {number}",
        )
        if not st.form_submit_button("Show what would be sent", icon=":material/visibility:"):
            return
    st.session_state.pop(_PLAN, None)
    try:
        with st.spinner("Bringing back the person's memory…"):
            st.session_state[_PLAN] = plan_interview(
                view, person, question, model, after, st.session_state.get(HOSTS, ())
            )
    except RecsimError as error:
        st.error(theme.plain(sentence(error)))


def _moment(rounds: bool) -> str:
    return "round" if rounds else "page"


def _ask_for_yes(view: RunView, plan: Plan) -> None:
    with st.container(border=True):
        st.html(
            f"<div class='rs-text'><b>This will ask {theme.escaped(plan.model)} once.</b><br>"
            f"Prompt: about {plan.tokens:,} tokens (characters / 4). Answer: at most {plan.answer_tokens} tokens.<br>"
            f"<span class='rs-faint'>{theme.escaped(where(plan.model))}</span></div>"
        )
        with st.expander("The whole prompt"):
            st.code(plan.prompt, language=None, wrap_lines=True)
        yes, no, _ = st.columns([2, 1, 3])
        confirmed = yes.button("Yes, ask now", type="primary", icon=":material/forum:", width="stretch")
        if no.button("Cancel", width="stretch"):
            st.session_state.pop(_PLAN, None)
            st.rerun()
    if confirmed:
        _ask(view, plan)


def _ask(view: RunView, plan: Plan) -> None:
    try:
        with st.spinner(f"Waiting for {theme.plain(plan.model)}…"):
            answer = carry_out(view, plan)
    except RecsimError as error:
        st.error(theme.plain(sentence(error)))
        return
    st.session_state[_ANSWERS] = [*st.session_state.get(_ANSWERS, []), answer]
    st.session_state.pop(_PLAN, None)
    st.rerun()


def where(model: str) -> str:
    """Location where a language model of this spec runs, as a sentence."""
    kind = split_name(model)[0]
    if kind == "openai":
        from recsim_llm.experiments.backend import server_of

        return (
            f"It is sent to {server_of(model)} and may cost money; one small question goes ahead, to see whether it "
            "answers."
        )
    if kind == "uniform":
        return "A stand-in that gives everybody the same answer; it costs nothing."
    return "The model is loaded and runs where the dashboard runs: it costs time, not money."


def _own_model(manifest: Manifest) -> str:
    return str(manifest.config.get("llm") or "")


def _answers(view: RunView, person: str) -> list[ShownAnswer]:
    kept: list[ShownAnswer] = st.session_state.get(_ANSWERS, [])
    return [a for a in kept if (a.plan.folder, a.plan.person) == (str(view.folder), person)]


def _show_answer(answer: ShownAnswer) -> None:
    from recsim_llm.experiments.simulation.interview import doubt

    text = theme.escaped(answer.text) or "<i>The model gave no answer.</i>"
    st.html(
        "<div class='rs-soft rs-text' style='padding: 1rem 1.25rem'>"
        f"<div class='rs-faint' dir='auto'>{theme.escaped(answer.plan.question)}</div>"
        f"<div dir='auto' style='font-size: 1.1rem; margin: 0.5rem 0; white-space: pre-wrap'>{text}</div>"
        f"<div class='rs-faint' style='font-size: 0.8rem'>{theme.escaped(answer.plan.model)}</div></div>"
    )
    if answer.text and (said := doubt(answer.plan.prompt, answer.text)):
        st.caption(said)
