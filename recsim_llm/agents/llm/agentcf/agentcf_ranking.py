"""Ranking by AgentCF: orders ten candidates by user and item memories, in the three published variants."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsim_llm.agents.llm.agentcf.agentcf_memories import KIND, AgentCFMemories
from recsim_llm.agents.llm.agentcf.agentcf_texts import judge_prompt, parse_ranking, rank_context, rank_prompt
from recsim_llm.agents.llm.prompts_text import prompt_text
from recsim_llm.errors import ConfigError
from recsim_llm.language.converse import converse
from recsim_llm.language.label_reads import AnswerCounts, ask
from recsim_llm.language.protocol import LLM
from recsim_llm.language.text_reads import ask_text
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Completion, Prompt

if TYPE_CHECKING:
    from recsim_llm.language.encoders import TextEncoder

VARIANTS = ("basic", "retrieval", "history")
CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class RankRequest:
    """One ranking task.

    Attributes:
        user: User id.
        candidates: Item ids, in the order in which they are listed (`shuffled`).
        history: Items that the user has had, oldest first; for the variant "history".
    """

    user: int
    candidates: tuple[int, ...]
    history: tuple[int, ...] = ()


def shuffled(candidates: Sequence[int], seed: int, user: int) -> tuple[int, ...]:
    """Candidates in an order drawn by (seed, user, item), independent of the order given."""
    draws = uniforms(seed, Stream.LISTING, user, np.sort(np.asarray(candidates, dtype=np.int64)))
    return tuple(np.sort(np.asarray(candidates, dtype=np.int64))[np.argsort(draws, kind="stable")].tolist())


def rank_agentcf(
    llm: LLM,
    memories: AgentCFMemories,
    requests: Sequence[RankRequest],
    variant: str = "basic",
    answers: str = "labels",
    encoder: TextEncoder | None = None,
    counts: AnswerCounts | None = None,
) -> list[list[int]]:
    """Rank candidates for a batch of users.

    Args:
        llm: Language model that judges.
        memories: Memories of users and items.
        requests: One per user.
        variant: "basic": user and item memories; "retrieval": also the earlier version of the user's memory that is
            nearest to the candidates; "history": also the titles of what the user has had.
        answers: "labels": each candidate is judged alone by the probability of "Yes", ties in listed order, so that
            list position has no effect; "text": one generated list of numbers, as published.
        encoder: Text encoder for "retrieval".
        counts: Counters to add to.

    Returns:
        The candidates of each request, best first; in listed order where a text cannot be used (counted in
        `counts.fallbacks`).

    Raises:
        ConfigError: No such variant or way to answer, or "retrieval" without an encoder.
    """
    if variant not in VARIANTS or answers not in {"labels", "text"}:
        raise ConfigError(f"There is no variant '{variant}' with answers '{answers}'. Variants: {', '.join(VARIANTS)}.")
    tally = AnswerCounts() if counts is None else counts
    pasts = _pasts(memories, requests, encoder) if variant == "retrieval" else [""] * len(requests)
    turns = []
    for request, past in zip(requests, pasts, strict=True):
        had = [memories.catalogue.shown.label[item] for item in request.history] if variant == "history" else []
        context = rank_context(memories.user(request.user), past, had)
        turn = _by_labels if answers == "labels" else _by_text
        turns.append(turn(context, memories, request, tally))
    return converse(llm, turns)


def nearest_version(versions: Sequence[str], texts: Sequence[str], encoder: TextEncoder) -> str:
    """The version of a memory nearest to some texts together: highest cosine to the mean of their vectors.

    Ties go to the later version; "" where there are no versions.
    """
    if not versions or not texts:
        return versions[-1] if versions else ""
    vectors = np.asarray(encoder.encode([*versions, *texts]), dtype=np.float64)
    sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, sizes, out=np.zeros_like(vectors), where=sizes > 0)
    scores = vectors[: len(versions)] @ vectors[len(versions) :].mean(axis=0)
    return versions[len(versions) - 1 - int(np.argmax(scores[::-1]))]


def _pasts(memories: AgentCFMemories, requests: Sequence[RankRequest], encoder: TextEncoder | None) -> list[str]:
    if encoder is None:
        raise ConfigError('The variant "retrieval" needs an encoder, for example agents.memory.encoder.HashEncoder().')
    return [
        nearest_version(memories.user_versions(r.user)[:-1], [memories.item(i) for i in r.candidates], encoder)
        for r in requests
    ]


def _by_labels(
    context: str, memories: AgentCFMemories, request: RankRequest, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], list[int]]:
    prompts = [judge_prompt(context, memories, item) for item in request.candidates]
    answers = yield from ask(prompts, prompt_text(KIND, "remind"), counts)
    order = np.argsort([-yes for yes, _ in answers], kind="stable")
    return [request.candidates[place] for place in order.tolist()]


def _by_text(
    context: str, memories: AgentCFMemories, request: RankRequest, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], list[int]]:
    size = len(request.candidates)
    prompt = rank_prompt(context, memories, request.candidates)
    remind = prompt_text(KIND, "remind_text")
    (order,) = yield from ask_text([prompt], lambda text: parse_ranking(text, size), remind, counts)
    return [request.candidates[place] for place in (order if order is not None else range(size))]
