"""Asks a recorded agent a question; it answers from its persona and its memory as they were then."""

from __future__ import annotations

import numpy as np

from recsim_llm.agents.page_texts import PageTexts
from recsim_llm.agents.prompts_text import template
from recsim_llm.data import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.people import load_people
from recsim_llm.llm.protocol import LLM
from recsim_llm.trajectories import Run, read_catalogue
from recsim_llm.types import Prompt

_MAX_TOKENS, _TEMPERATURE = 120, 0.7


def interview(run: Run, raw_id: str, question: str, llm: LLM, after_page: int | None = None) -> str:
    """The agent's answer, as free text.

    Args:
        run: A recorded run.
        raw_id: The person, by the id of the data set.
        question: What to ask.
        llm: Answers; need not be the model that played the agent.
        after_page: Ask after this page of the session, from 1; None is after the last.

    Raises:
        ConfigError: Nobody of that id is in the run, or the session has no such page.
    """
    prompt = interview_prompt(run, raw_id, question, after_page)
    return llm.generate([prompt])[0].text.strip()


def interview_prompt(run: Run, raw_id: str, question: str, after_page: int | None = None) -> Prompt:
    """The prompt that `interview` sends."""
    personas, raw_ids = load_people(run.folder)
    if raw_id not in raw_ids:
        shown = ", ".join(raw_ids[:10]) + (", …" if len(raw_ids) > 10 else "")
        raise ConfigError(f"User {raw_id} is not in {run.folder}. Users of this run: {shown}")
    session = raw_ids.index(raw_id)
    items, raw_items = read_catalogue(run.folder)
    texts = PageTexts(
        Catalogue(tuple(items), tuple(raw_items)), {p.user: p for p in personas}, run.manifest.rating_levels
    )
    items_shown, stars = _memory(run, session, after_page)
    context = texts.context(personas[session].user, items_shown, stars, run.manifest.page_size)
    question = template("page", "interview").substitute(question=question)
    # Drawn, not greedy: small models repeat themselves without end when greedy. The seed is part of the prompt.
    return Prompt(texts.system_interview, context, question, max_tokens=_MAX_TOKENS, temperature=_TEMPERATURE)


def _memory(run: Run, session: int, after_page: int | None) -> tuple[list[int], list[float]]:
    steps = run.session(session)
    pages = len(steps.page)
    if after_page is not None and not 0 <= after_page <= pages:
        raise ConfigError(f"This session has {pages} pages; --page must be within 0..{pages}.")
    order = np.argsort(steps.page)[: pages if after_page is None else after_page]
    return steps.items[order].ravel().tolist(), steps.ratings[order].ravel().tolist()
