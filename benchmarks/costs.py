"""LLM calls and tokens per page for each agent kind, beside those of the published systems.

Published: Agent4Rec's released run, 2.7 calls and 2,135 tokens per page, reflection and interview included; RecAgent's
code, 12 calls for a page on which something is watched (no token count is published); AgentCF has no pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.table import Row
from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.population import make_population
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.policies import make_policy
from recsim_llm.testing.scripted import FunctionLLM
from recsim_llm.types import Completion, Prompt

PAGE, PAGES = 4, 3
KINDS = ("agent4rec", "agent4rec:text", "recagent", "agentcf")
_CHARS_A_TOKEN = 4.0
LONG = ("recagent", "recagent:threshold=published", "recagent:text")
"""Kinds with a staged memory, for which later pages cost more than the first three."""
CALLS = {"agent4rec": (2.7, "Agent4Rec's run"), "recagent": (12.0, "RecAgent's code")}
TOKENS = {"agent4rec": (2_135.0, "Agent4Rec's run")}


def run(quick: bool) -> Iterator[Row]:
    """Everybody stays for three pages of four items, as long as the mean session of Agent4Rec's run."""
    agents = 20 if quick else 200
    for kind in KINDS:
        calls, tokens, once = spent(kind, agents)
        base = kind.partition(":")[0]
        peer, peer_is = CALLS.get(base, (None, ""))
        aim = "a third of the peer's" if peer else ""
        yield Row(f"{kind}: LLM calls, pages of {PAGE}", calls, "calls/page", aim, peer, peer_is)
        peer, peer_is = TOKENS.get(base, (None, ""))
        aim = "a third of the peer's" if peer else ""
        yield Row(f"{kind}: prompt and answer (characters / 4)", tokens, "tokens/page", aim, peer, peer_is)
        if once:
            yield Row(f"{kind}: to describe tastes, once a person and cached", once, "tokens/agent")
    for kind in LONG:
        calls, tokens = spent_long(kind, agents // 5, pages=10 if quick else 30)
        yield Row(f"{kind}: LLM calls, 30 pages of 5, all important", calls, "calls/page")
        yield Row(f"{kind}: prompt and answer, the same", tokens, "tokens/page")


def spent(kind: str, agents: int, dataset: str = "synthetic") -> tuple[float, float, float]:
    """Calls and tokens per page, and tokens per person before the first page, with an obedient model.

    The published figures also exclude texts written once per person: they were generated beforehand.
    """
    asked: list[tuple[Prompt, Completion]] = []

    def answer(prompt: Prompt) -> Completion:
        completion = obedient(prompt)
        asked.append((prompt, completion))
        return completion

    population = make_population(dataset, kind, FunctionLLM(answer))
    assert isinstance(population.users, AgentUsers)
    policy = make_policy("popularity", population.log, population.dataset.catalogue, PAGE)
    env = PageVectorEnv(agents, dataset, population.users, page_size=PAGE, max_pages=PAGES, autoreset_mode="disabled")
    env.reset(seed=0)
    begun, shown = len(asked), 0
    while not env.sessions.ended.all():
        shown += int((~env.sessions.ended).sum())
        env.step(policy.act(env.sessions.observation()))
    pages = asked[begun:]
    return len(pages) / shown, _tokens(pages) / shown, _tokens(asked[:begun]) / agents


def spent_long(kind: str, agents: int, pages: int) -> tuple[float, float]:
    """Calls and tokens per page if nobody leaves, one item of five is watched, and every page is rated important.

    This is the most expensive case: only important events enter the stages. With "text" the scripted sentences are
    all alike, so each enhances the others, which costs more than any real model.
    """
    asked: list[tuple[Prompt, Completion]] = []

    def answer(prompt: Prompt) -> Completion:
        asked.append((prompt, _watching(prompt)))
        return asked[-1][1]

    users = make_population("synthetic", kind, FunctionLLM(answer)).users
    assert isinstance(users, AgentUsers)
    users.kind.leaving = replace(users.kind.leaving, base=-50.0)
    env = PageVectorEnv(agents, "synthetic", users, page_size=5, max_pages=pages, autoreset_mode="disabled")
    policy = make_policy("popularity", env.population.log, env.population.dataset.catalogue, 5)
    env.reset(seed=0)
    begun = len(asked)
    for _ in range(pages):
        env.step(policy.act(env.sessions.observation()))
    assert env.sessions.ended.all()
    return (len(asked) - begun) / (agents * pages), _tokens(asked[begun:]) / (agents * pages)


def _watching(prompt: Prompt) -> Completion:
    if prompt.slots == 1 or not prompt.choices:
        return Completion(prompt.choices[-1], _sure(prompt, [-1])) if prompt.choices else obedient(prompt)
    rating = 1 + sum(prompt.question.encode()) % (len(prompt.choices) - 1)
    picks = [rating] + [0] * (prompt.slots - 1)
    return Completion(" ".join(prompt.choices[pick] for pick in picks), _sure(prompt, picks))


def _sure(prompt: Prompt, picks: list[int]) -> tuple[float, ...]:
    """(slots * choices,) log-probabilities with nearly all mass on the picks."""
    size = len(prompt.choices)
    return tuple(-0.001 if place == pick % size else -9.0 for pick in picks for place in range(size))


def _tokens(asked: list[tuple[Prompt, Completion]]) -> float:
    read = sum(len(p.system) + len(p.context) + len(p.question) + len(p.schema) for p, _ in asked)
    return (read + sum(len(c.text) for _, c in asked)) / _CHARS_A_TOKEN


def obedient(prompt: Prompt) -> Completion:
    """An answer that never needs a re-ask, about as long as a real one."""
    if prompt.choices:
        size = len(prompt.choices) * prompt.slots
        return Completion(" ".join([prompt.choices[0]] * prompt.slots), (-2.5,) * size)
    if prompt.schema:
        return Completion(_page(prompt))
    return Completion("Enjoys quiet comedies with a warm ending and people who talk a lot.")


def _page(prompt: Prompt) -> str:
    feeling = "It was a pleasant film and I would watch something like it again."
    entry = {"align": True, "watch": True, "rating": 4, "feeling": feeling}
    return json.dumps({"items": [{"item": i + 1, **entry} for i in range(PAGE)]})
