"""Societies: Gymnasium's checks, vector = scalar, the same whoever is served first, messages delivered once."""

from __future__ import annotations

import warnings
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from recsim_llm.agents.population import make_society
from recsim_llm.agents.society.graph import Edge, SocialGraph
from recsim_llm.agents.society.inhabitants import Action, Message
from recsim_llm.environments.page import draw_base_key
from recsim_llm.environments.sessions import PageRules
from recsim_llm.environments.society import Society, SocietyRules
from recsim_llm.environments.society_env import SocietyEnv, new_society
from recsim_llm.errors import ConfigError, SessionEndedError
from recsim_llm.experiments.simulation.interventions.shelf import Shelf
from recsim_llm.experiments.simulation.society_loop import Diary, live
from recsim_llm.policies import make_policy

AGENTS, ROUNDS, PAGE = 40, 4, 3
RULES = SocietyRules(rounds=ROUNDS, page=PageRules(page_size=PAGE, max_pages=3))


def society(count: int = AGENTS, graph="homophily:8", rules: SocietyRules = RULES) -> Society:
    population = make_society("synthetic", graph=graph, agents=count)
    return new_society(population, population.members, rules)


def policy(population=None):
    population = population or make_society("synthetic")
    return make_policy("popularity", population.log, population.dataset.catalogue, PAGE)


def lived(world: Society, key: int = 5):
    steps, events = [], []
    for happening in live(world, np.asarray(np.uint64(key)), Shelf(policy(), PAGE)):
        (events if isinstance(happening, Diary) else steps).append(happening)
    return steps, [event for diary in events for event in diary.events]


def rows(steps):
    return {
        (int(u), int(s), int(p)): (i.tolist(), w.tolist(), r.tolist(), float(leave))
        for b in steps
        for u, s, p, i, w, r, leave in zip(
            b.user, b.session, b.page, b.items, b.watched, b.ratings, b.leave, strict=True
        )
    }


def test_a_life_in_which_nobody_visits_is_passed_over():
    """Four people and one round: some lives are empty, and every reset finds one that is not."""
    env = gym.make("recsim_llm/Society-v0", agents=4, rounds=1, page_size=2).unwrapped
    fates = []
    for seed in range(20):
        observation, info = env.reset(seed=seed)
        assert info["waiting"]
        first = np.random.Generator(np.random.PCG64(seed))
        env._rounds.begin(np.array(draw_base_key(first), dtype=np.uint64))
        fates.append(len(env.society.waiting()))
    assert 0 in fates
    assert max(fates) > 0


def test_people_who_never_visit_are_asked_for_ten_lives_and_no_more(monkeypatch):
    """The constant model "nothing": each life costs calls, and the error says what to change."""
    env = SocietyEnv(agents=5, rounds=3)
    lives, begin = [], env._rounds.begin
    never = np.eye(len(Action))[[Action.NOTHING]]
    monkeypatch.setattr(env.population.users, "intend", lambda agents, hours: np.repeat(never, len(agents), axis=0))
    monkeypatch.setattr(env._rounds, "begin", lambda key: lives.append(int(key)) or begin(key))
    with pytest.raises(ConfigError, match=r"Nobody visits in any of 10 lives\. Take more rounds or more agents\."):
        env.reset(seed=0)
    assert len(lives) == len(set(lives)) == 10


def test_the_environment_passes_gymnasiums_checks():
    env = gym.make("recsim_llm/Society-v0", agents=20, rounds=3, page_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env.unwrapped, skip_render_check=True)


def test_a_vector_of_people_is_the_scalar_environment_served_at_once():
    page = np.arange(PAGE)
    single = gym.make("recsim_llm/Society-v0", agents=25, rounds=3, page_size=PAGE).unwrapped
    many = gym.make_vec("recsim_llm/Society-v0", 25, vectorization_mode="vector_entry_point", rounds=3, page_size=PAGE)
    one, several = Counter(), Counter()
    _, info = single.reset(seed=3)
    over = False
    while not over:
        _, reward, _, over, info = single.step(page)
        one[info["user"], tuple(info["ratings"])] += reward
    many.reset(seed=3)
    over = False
    while not over:
        _, rewards, terminated, truncated, info = many.step(np.tile(page, (25, 1)))
        assert not terminated.any()
        outcome = many.last
        for user, stars, reward in zip(outcome.users, outcome.responses.ratings_BK, outcome.rewards, strict=True):
            several[user, tuple(stars)] += reward
        assert rewards.sum() == outcome.rewards.sum()
        over = truncated.all()
    assert one == several
    assert one


def test_after_the_last_round_a_new_life_begins_or_an_error_says_so():
    env = gym.make("recsim_llm/Society-v0", agents=15, rounds=1, page_size=2).unwrapped
    with pytest.raises(SessionEndedError):
        env.step(np.array([0, 1]))
    env.reset(seed=0)
    over = False
    while not over:
        over = env.step(np.array([0, 1]))[3]
    with pytest.raises(SessionEndedError):
        env.step(np.array([0, 1]))
    vector = gym.make_vec("recsim_llm/Society-v0", 15, vectorization_mode="vector_entry_point", rounds=1, page_size=2)
    vector.reset(seed=0)
    pages = np.tile(np.array([0, 1]), (15, 1))
    while not vector.step(pages)[3].all():
        pass
    _, rewards, _, truncated, info = vector.step(pages)
    assert not rewards.any()
    assert not truncated.any()
    assert info["waiting"].any()


def test_a_vector_takes_one_seed():
    vector = gym.make_vec("recsim_llm/Society-v0", 15, vectorization_mode="vector_entry_point")
    with pytest.raises(ConfigError, match="one seed"):
        vector.reset(seed=[1] * 15)


def test_same_key_same_lives_and_another_key_others():
    first, again, other = lived(society()), lived(society()), lived(society(), key=6)
    assert rows(first[0]) == rows(again[0])
    assert first[1] == again[1]
    assert first[1] != other[1]


def test_who_is_served_first_does_not_matter():
    together = rows(lived(society())[0])
    world, shown = society(), {}
    world.begin(np.asarray(np.uint64(5)))
    ranked = policy()
    while not world.ended:
        world.open_round()
        while len(waiting := world.waiting()):
            last = waiting[-1:]
            number = int(world.visit_numbers(last)[0])
            o = world.serve(last, ranked.act(world.observation(last)))
            key = (int(o.users[0]), number, int(o.page_numbers[0]))
            watched, stars = o.responses.watched_BK[0], o.responses.ratings_BK[0]
            shown[key] = (o.pages[0].tolist(), watched.tolist(), stars.tolist(), float(o.leave[0]))
        world.close_round()
    # Search pages are shown by the society itself.
    assert shown.items() <= together.items()
    assert len(shown) > 20


def test_every_message_is_delivered_once_to_each_receiver_and_to_nobody_else():
    graph = SocialGraph.from_edges(200, [Edge(a, b, "friend", 1.0) for a in range(0, 200, 2) for b in (a + 1,)])
    _, events = lived(society(200, graph))
    heard = Counter((e.round, e.user, e.other, e.text) for e in events if e.action == "hear")
    posts = [e for e in events if e.action == "post"]
    assert posts
    for e in events:
        if e.action == "hear":
            assert e.other // 2 == e.user // 2, "only the two who know each other, and oneself"
    chats = Counter((e.round, e.user) for e in events if e.action == "chat")
    for post in posts:
        friend = post.user ^ 1
        rounds = [
            n for (r, user, author, _), n in heard.items() if (r, user, author) == (post.round, friend, post.user)
        ]
        talked = chats[post.round, post.user] + chats[post.round, friend]
        assert sum(rounds) == 1 + talked


def test_strangers_say_nothing_and_pay_nothing():
    _, events = lived(society(graph="none"))
    assert {e.action for e in events} <= {"nothing", "browse", "search"}


def test_active_people_come_more_often():
    population = make_society("synthetic")
    _, events = lived(society(200, rules=SocietyRules(rounds=12, page=RULES.page)))
    visits = Counter(e.user for e in events if e.action in {"browse", "search"})
    counts = np.array([visits[user] for user in range(200)])
    means = [counts[population.activity == level].mean() for level in (1, 2, 3)]
    assert means[0] < means[1] < means[2]


def test_histories_last_over_visits():
    world = society()
    world.begin(np.asarray(np.uint64(5)))
    seen: dict[int, int] = {}
    returned = 0
    ranked = policy()
    while not world.ended:
        world.open_round()
        while len(waiting := world.waiting()):
            observation = world.observation(waiting)
            for user, items in zip(waiting.tolist(), observation["history_items"], strict=True):
                if user in seen:
                    returned += seen[user] in items
            outcome = world.serve(waiting, ranked.act(observation))
            seen |= dict(zip(outcome.users.tolist(), outcome.pages[:, 0].tolist(), strict=True))
        world.close_round()
    assert returned > 10


def test_an_injected_message_reaches_its_receivers_now():
    world = society()
    world.begin(np.asarray(np.uint64(1)))
    members = world.members[:3]
    world.deliver(members, [Message(-1, "News!", 4, 5.0)] * 3, np.zeros(3))
    assert [(e.user, e.action, e.other, e.text) for e in world.diary()] == [(m, "hear", -1, "News!") for m in members]


def test_bad_societies_are_refused():
    with pytest.raises(ConfigError, match=r"rounds must be a whole number between 1 and .*, not 0\."):
        SocietyRules(rounds=0)
    with pytest.raises(ConfigError, match=r"1\.\.200 agents"):
        gym.make("recsim_llm/Society-v0", agents=201)


def test_actions_are_drawn_as_intended():
    _, events = lived(society(200, rules=SocietyRules(rounds=20, page=RULES.page)))
    actions = Counter(e.action for e in events if e.action != "hear")
    total = sum(actions.values())
    for action, share in (("browse", 0.5), ("search", 0.1), ("chat", 0.2), ("post", 0.1), ("nothing", 0.1)):
        assert abs(actions[action] / total - share) < 4 * np.sqrt(share * (1 - share) / total), action
    assert Action.NOTHING == 0
