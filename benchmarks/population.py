"""Large populations: construction time, and the cost of a page for a few active people among many idle ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from time import perf_counter

import numpy as np

from benchmarks.table import Row, seconds
from benchmarks.world import PreparedLLM
from recsim_llm.agents import fitted_sources
from recsim_llm.agents.population import make_population, make_society
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, StatisticalUsers
from recsim_llm.data import split_ratings
from recsim_llm.environments.sessions import PageRules, Sessions
from recsim_llm.environments.society import Society, SocietyRules
from recsim_llm.environments.society_env import new_society
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.errors import UncertifiedWarning
from recsim_llm.seeding import mix
from recsim_llm.types import Ints

ACTIVE, PAGE, ITEMS = 1000, 4, 500
KINDS = ("llm", "agent4rec:genres", "recagent", "agentcf")


def run(quick: bool) -> Iterator[Row]:
    """1,000, 10,000 and 100,000 people; 1,000 of them active, then all of a million statistical ones."""
    sizes = (1_000, 2_000) if quick else (1_000, 10_000, 100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncertifiedWarning)
        for people in sizes:
            yield from _built(people)
        for kind in KINDS[:2]:
            for people in sizes:
                cost = visit_microseconds(people, kind)
                yield Row(
                    f"a page of {kind} agents, {ACTIVE:,} active of {people:,}", cost, "us/page", _flat(people, sizes)
                )
        for kind in ("statistical", "agent4rec:genres"):
            for people in sizes:
                cost = society_microseconds(people, kind)
                yield Row(f"a society's page, {kind}, of {people:,} people", cost, "us/page", _flat(people, sizes))
    yield from million(10_000 if quick else 1_000_000)


def _flat(people: int, sizes: tuple[int, ...]) -> str:
    return "as with few" if people > sizes[0] else ""


def _built(people: int) -> Iterator[Row]:
    """From a data set to a population: split, personas, agents. Inventing the data set is not counted."""
    name = f"synthetic:0:{people}"
    data = fitted_sources.load_source(name)[0]
    spent = seconds(lambda: split_ratings(data.ratings))
    spent += seconds(lambda: fitted_sources.personas(name))
    for kind in KINDS if people == 100_000 else KINDS[:1]:
        made = seconds(lambda kind=kind: _environment(name, kind))  # type: ignore[misc]
        aim = "5 or less" if people == 100_000 else ""
        yield Row(f"a population of {people:,} {kind} agents with its environment, made", spent + made, "s", aim)


def _environment(name: str, kind: str) -> PageVectorEnv:
    return PageVectorEnv(ACTIVE, name, make_population(name, kind, PreparedLLM()).users, page_size=PAGE)


def visit_microseconds(people: int, kind: str, pages: int = 3) -> float:
    """Cost of a page in a vector environment of `ACTIVE` sessions over a population, without the model's time."""
    name, llm = f"synthetic:0:{people}", PreparedLLM()
    users = make_population(name, kind, llm).users
    env = PageVectorEnv(ACTIVE, name, users, page_size=PAGE, autoreset_mode="disabled", max_pages=pages)
    visitors = np.linspace(0, people - 1, ACTIVE).astype(np.int64)
    rng = np.random.default_rng(0)
    best = np.inf
    for _ in range(4):
        env.reset(seed=[0] * ACTIVE, options={"user": visitors})
        inside, start, shown = llm.usage.seconds, perf_counter(), 0
        while not env.sessions.ended.all():
            shown += int((~env.sessions.ended).sum())
            env.step(rng.integers(0, ITEMS, (ACTIVE, PAGE)))
        best = min(best, (perf_counter() - start - (llm.usage.seconds - inside)) / shown)
    return 1e6 * float(best)


def society_microseconds(people: int, kind: str, rounds: int = 4) -> float:
    """Cost of a page in a society in which about `ACTIVE` people wake per round, including the whole round."""
    llm = PreparedLLM()
    population = make_society(f"synthetic:0:{people}", kind, None if kind == "statistical" else llm, "none")
    share = min(ACTIVE / people, 0.5)
    rules = SocietyRules(rounds, -float(np.log1p(-share)), (1.0, 1.0, 1.0), PageRules(PAGE, 4))
    society = new_society(population, population.members, rules)
    society.begin(mix(0))
    _round(society)  # renders the cached texts
    best = np.inf
    while not society.ended:
        inside, start = llm.usage.seconds, perf_counter()
        shown = _round(society)
        best = min(best, (perf_counter() - start - (llm.usage.seconds - inside)) / max(shown, 1))
    return 1e6 * float(best)


def _round(society: Society) -> int:
    shown = 0
    rng = np.random.default_rng(0)
    society.open_round()
    while len(waiting := society.waiting()):
        society.serve(waiting, rng.integers(0, ITEMS, (len(waiting), PAGE)))
        shown += len(waiting)
    society.close_round()
    return shown


def million(people: int, pages: int = 3) -> Iterator[Row]:
    """Statistical users by the million, each in a session, all looking at pages: time and bytes."""
    parts: list[Sessions] = []
    spent = seconds(lambda: parts.append(_sessions(people)))
    (sessions,) = parts
    everybody = np.arange(people)
    yield Row(f"{people:,} statistical users in sessions, made", spent, "s")
    rng = np.random.default_rng(0)
    shown = [_page(sessions, everybody, rng) for _ in range(pages)]
    yield Row(f"a page for each of {people:,} statistical users", sum(shown) / pages, "s")
    users = sessions.user_model
    assert isinstance(users, StatisticalUsers)
    yield Row(f"the same, after {pages} pages, bytes a session", (sessions.nbytes + users.nbytes) / people, "bytes")


def _page(sessions: Sessions, everybody: Ints, rng: np.random.Generator) -> float:
    running = everybody[~sessions.ended]
    actions = rng.integers(0, ITEMS, (len(running), PAGE))
    show: Callable[[], object] = lambda: sessions.step(running, actions)  # noqa: E731
    return seconds(show) * len(everybody) / len(running)


def _sessions(people: int) -> Sessions:
    rng = np.random.default_rng(0)
    parameters = StatisticalParameters(
        mean=3.5, user_bias=rng.normal(0, 0.3, people), item_bias=rng.normal(0, 0.3, ITEMS),
        user_factors=rng.normal(0, 0.3, (people, 16)), item_factors=rng.normal(0, 0.3, (ITEMS, 16)),
        thresholds=np.array([1.5, 2.5, 3.5, 4.5]), scale=0.5, watch_user=rng.normal(-1, 0.3, people),
        watch_item=rng.normal(0, 0.3, ITEMS), watch_user_factors=np.zeros((people, 0)),
        watch_item_factors=np.zeros((ITEMS, 0)), watch_slope=0.1, activity=rng.integers(1, 4, people),
        rating_levels=np.arange(1.0, 6.0),
    )  # fmt: skip
    sessions = Sessions(people, StatisticalUsers(parameters), PageRules(PAGE, 10))
    everybody = np.arange(people)
    sessions.begin(everybody, everybody, mix(0, everybody))
    return sessions
