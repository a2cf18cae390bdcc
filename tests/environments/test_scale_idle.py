"""Who sleeps costs nothing, and pages do not make sessions grow: counted in calls and bytes, not in seconds."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from recsim_llm.agents.population import make_population, make_society
from recsim_llm.agents.society.graph import SocialGraph
from recsim_llm.environments.page import step_info
from recsim_llm.environments.sessions import LoggedHistories, PageRules, Sessions
from recsim_llm.environments.society import Society, SocietyRules
from recsim_llm.environments.society_env import SocietyEnv
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.seeding import mix
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.types import EMPTY

FEW, MANY, CROWD, AWAKE, PAGE = 500, 5000, 20_000, 40, 3
# The first 40 people wake every hour, the others in a million years.
RULES = SocietyRules(rounds=6, round_hours=1.0, gap_hours=(1e9, 1e9, 0.5), page=PageRules(PAGE, 3))


class Counting:
    """Inhabitants who count how many people they are asked about, by the name of the question."""

    def __init__(self, inner) -> None:
        self._inner, self.asked = inner, {}
        self.num_users, self.num_items, self.rating_levels = inner.num_users, inner.num_items, inner.rating_levels

    def __getattr__(self, name):
        method = getattr(self._inner, name)

        def counted(agents, *rest):
            self.asked[name] = self.asked.get(name, 0) + len(agents)
            return method(agents, *rest)

        return counted


def society(people: int, user_model: str) -> Society:
    llm = None if user_model == "statistical" else hash_choice_llm(0)
    population = make_society(f"synthetic:0:{people}", user_model, llm, "none")
    activity = np.where(np.arange(people) < AWAKE, 3, 1)
    nobody = SocialGraph.from_edges(people, [])
    inhabitants = Counting(population.users)
    return Society(inhabitants, np.arange(people), activity, nobody, None, RULES, population.log)  # type: ignore[arg-type]


def live(world: Society) -> int:
    """One round; how many pages were shown."""
    shown = 0
    world.open_round()
    while len(waiting := world.waiting()):
        world.serve(waiting, np.tile(np.arange(PAGE), (len(waiting), 1)))
        shown += len(waiting)
    world.close_round()
    world.diary()
    return shown


def most_bytes(work) -> int:
    """Most bytes that are held at one moment of the work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("user_model", ["statistical", "agent4rec:genres"])
def test_a_round_asks_only_about_those_who_are_awake(user_model):
    asked = []
    for people in (FEW, MANY):
        world = society(people, user_model)
        world.begin(mix(0))
        world.inhabitants.asked.clear()  # type: ignore[attr-defined]
        pages = sum(live(world) for _ in range(RULES.rounds))
        counts = world.inhabitants.asked  # type: ignore[attr-defined]
        assert counts["react"] == counts["observe"] == pages > AWAKE
        assert set(counts) <= {"intend", "visit", "react", "observe", "chat", "post", "hear"}
        assert counts["intend"] <= AWAKE * RULES.rounds
        asked.append(counts["intend"])
    assert asked[0] > AWAKE


def test_a_round_needs_no_memory_for_those_who_sleep():
    def peak(people):
        world = society(people, "statistical")
        world.begin(mix(0))
        live(world)  # renders what is kept
        live(world)
        return most_bytes(lambda: live(world)), most_bytes(world.waiting)

    few, many = peak(FEW), peak(CROWD)
    # A single byte for each of those who sleep would be 19,500 more.
    assert many[0] < few[0] + 10_000
    assert many[1] < few[1] + 1_000


def test_a_step_of_the_scalar_society_needs_no_memory_for_those_who_sleep():
    def peak(people):
        env = SocietyEnv(f"synthetic:0:{people}", "statistical", graph="none", page_size=PAGE, rounds=50)
        env.reset(seed=0)
        page = np.arange(PAGE)
        waiting = env.society.waiting()
        assert len(waiting) > 3
        env.step(page)
        # Looking for who waits takes a few bytes for each of this round's visitors.
        return most_bytes(lambda: env.step(page)) - 40 * len(waiting)

    assert peak(MANY) < peak(FEW) + 4000


def test_a_step_of_some_sessions_needs_no_memory_for_the_rest_of_the_population():
    def peak(people):
        env = PageVectorEnv(8, f"synthetic:0:{people}", "llm", hash_choice_llm(0), page_size=PAGE)
        env.reset(seed=0, options={"user": np.arange(8)})
        env.step(np.tile(np.arange(PAGE), (8, 1)))
        return most_bytes(lambda: env.step(np.tile(np.arange(PAGE) + 3, (8, 1))))

    assert peak(MANY) < 1.3 * peak(FEW)


def test_info_of_some_sessions_is_a_part_of_the_info_of_all():
    env = PageVectorEnv(6, page_size=PAGE, autoreset_mode="disabled")
    env.reset(seed=0)
    outcome = env.sessions.step(np.array([1, 4]), np.array([[1, 2, 3], [4, 5, 6]]))
    everybody, some = step_info(env.sessions, outcome), step_info(env.sessions, outcome, np.array([1, 3, 4]))
    for key, value in some.items():
        np.testing.assert_array_equal(value, everybody[key][[1, 3, 4]])


def test_a_thousand_pages_do_not_make_a_session_grow():
    users = make_population("synthetic", "llm", hash_choice_llm(0)).users
    sessions = Sessions(2, users, PageRules(2, 1000, duplicates="allow"))
    everybody = np.arange(2)
    sessions.begin(everybody, everybody, mix(0, everybody))
    rng, sizes = np.random.default_rng(0), []
    for _ in range(1000):
        sessions.ended[:] = False  # they have no choice
        sessions.step(everybody, rng.integers(0, 500, (2, 2)))
        sizes.append(sessions.nbytes)
        assert sessions.observation()["history_items"].shape == (2, 50)
    assert sizes[0] == sizes[-1] <= 2 * (8 * 50 + 4 * 2 * 1000 + 25)


def test_logged_histories_are_those_of_each_user():
    log = make_population("synthetic", "statistical").log
    mixed = log.take(np.random.default_rng(0).permutation(len(log)))
    rows = log.by_user()
    for given in (log, mixed):
        items, stars = LoggedHistories(given, 30).latest(np.array([0, 7, 199, 7]))
        for place, user in enumerate((0, 7, 199, 7)):
            latest = rows[user][-30:]
            padding = 30 - len(latest)
            assert items[place].tolist() == [EMPTY] * padding + log.items[latest].tolist()
            assert stars[place].tolist() == [0.0] * padding + log.values[latest].tolist()


def test_who_has_no_log_has_no_history():
    log = make_population("synthetic", "statistical").log
    items, stars = LoggedHistories(log.take(np.zeros(0, dtype=np.int64)), 4).latest(np.array([0, 5]))
    assert (items == EMPTY).all()
    assert not stars.any()


def test_batched_spaces_are_made_when_somebody_asks():
    env = PageVectorEnv(4, page_size=PAGE)
    assert "observation_space" not in vars(env)
    assert env.observation_space["history_items"].shape == (4, 50)
    assert env.action_space.shape == (4, PAGE)
    assert env.observation_space is env.observation_space
