"""A society by the clock: who wakes in which round, who hears what and when, and what a search finds first."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from small_world import Puppets, always

from recsim_llm.agents.fitted_sources import true_parameters
from recsim_llm.agents.society.graph import SocialGraph
from recsim_llm.agents.society.inhabitants import Action, Message
from recsim_llm.agents.society.search import CatalogueSearch, words
from recsim_llm.agents.society.statistical_inhabitants import SocialHabits, StatisticalInhabitants
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.environments import society as society_module
from recsim_llm.environments.sessions import PageRules
from recsim_llm.environments.society import Society, SocietyRules
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Item

NOTHING, BROWSE, CHAT, POST = Action.NOTHING, Action.BROWSE, Action.CHAT, Action.POST


def friends(*edges, people=4):
    graph = nx.empty_graph(people)
    graph.add_edges_from(edges, relation="friend", inverse="friend", closeness=1.0)
    return SocialGraph(graph)


def living(actions, graph, activity=None, rounds=10, gap_hours=(40.0, 15.0, 5.0)):
    """People who each do one thing whenever they wake; a visit is one page with one item, which is watched."""
    count = len(actions)
    people = Puppets(np.ones((count, 2)), np.full((count, 2), 4.0), plans=always(*actions))
    rules = SocietyRules(rounds=rounds, gap_hours=gap_hours, page=PageRules(page_size=1, max_pages=1))
    activity = np.full(count, 2) if activity is None else np.array(activity)
    society = Society(people, np.arange(count), activity, graph, None, rules)
    society.begin(np.uint64(1))
    return society, people


def wakings(society):
    """{round: [(user, hour)]} of a whole life."""
    found = {}
    while not society.ended:
        society.open_round()
        while len(waiting := society.waiting()):
            society.serve(waiting, np.zeros((len(waiting), 1), dtype=np.int64))
        society.close_round()
        for event in society.diary():
            if event.action != "hear":
                found.setdefault(event.round, []).append((event.user, round(event.hour, 6)))
    return found


@pytest.fixture
def even_gaps(monkeypatch):
    """Every gap is 1.01 times its mean: 40.4, 15.15 and 5.05 hours by activity."""

    def draws(*words_):
        found = uniforms(*words_)
        return np.full_like(found, 1 - math.exp(-1.01)) if words_[1] == Stream.WAKE else found

    monkeypatch.setattr(society_module, "uniforms", draws)


def test_people_wake_when_their_gap_is_over(even_gaps):
    # Rounds of 5 hours. Nothing takes no time: activity 3 wakes every 5.05 hours, 2 every 15.15, 1 every 40.4.
    society, _ = living([NOTHING] * 3, friends(people=3), activity=[1, 2, 3])
    assert wakings(society) == {
        1: [(2, 5.05)],
        2: [(2, 10.1)],
        3: [(1, 15.15), (2, 15.15)],
        4: [(2, 20.2)],
        5: [(2, 25.25)],
        6: [(1, 30.3), (2, 30.3)],
        7: [(2, 35.35)],
        8: [(0, 40.4), (2, 40.4)],
        9: [(1, 45.45), (2, 45.45)],
    }


def test_a_gap_begins_when_what_a_person_did_is_over(even_gaps):
    # Browsing: 3 minutes a page and 2 hours an item watched, so 7.1 hours from waking to waking.
    society, _ = living([BROWSE, BROWSE], friends(people=2), activity=[3, 3], rounds=5)
    assert wakings(society) == {
        1: [(0, 5.05), (1, 5.05)],
        2: [(0, 12.15), (1, 12.15)],
        3: [(0, 19.25), (1, 19.25)],
    }  # and at 26.35, after the last round
    # A post takes a quarter of an hour: 5.05, 10.35, 15.65, 20.95.
    society, _ = living([POST, NOTHING], friends((0, 1), people=2), activity=[3, 1], rounds=5)
    assert wakings(society) == {1: [(0, 5.05)], 2: [(0, 10.35)], 3: [(0, 15.65)], 4: [(0, 20.95)]}


def test_gaps_are_exponential_with_the_declared_means():
    society, _ = living([NOTHING] * 6000, friends(people=6000), activity=[1, 2, 3] * 2000)
    first = society.hours(np.arange(6000)).reshape(-1, 3)
    # Means of 2000: standard deviations of 0.9, 0.34 and 0.11 hours. A median is log 2 of the mean.
    assert (np.abs(first.mean(axis=0) - [40, 15, 5]) < [3.5, 1.3, 0.45]).all()
    assert (np.abs(np.median(first, axis=0) / [40, 15, 5] - math.log(2)) < 0.1).all()


def test_who_hears_what_and_not_before_the_round_is_over():
    # 0 posts, 1 browses, 2 chats with its only friend 0; 3 knows nobody. Gaps of seconds: everybody wakes at once.
    society, people = living([POST, BROWSE, CHAT, POST], friends((0, 1), (0, 2)), gap_hours=(0.001,) * 3)
    society.open_round()
    assert society.waiting().tolist() == [1]
    society.serve(np.array([1]), np.array([[0]]))
    assert people.heard == [], "nobody has heard anything while pages are shown"
    society.close_round()
    assert people.heard == [
        (2, "2 to 0", 5.0), (0, "2 to 0", 5.0),
        (0, "0 to all", 5.0), (1, "0 to all", 5.0), (2, "0 to all", 5.0),
    ]  # fmt: skip
    assert [event.action for event in society.diary()].count("nothing") == 1, "who knows nobody has nothing to post"


def test_a_post_is_not_made_of_what_is_said_in_the_same_round():
    # 2 chats with 0, who posts in the same round; and again in the next one.
    society, people = living([POST, NOTHING, CHAT, NOTHING], friends((0, 2)), gap_hours=(0.001,) * 3)
    known = []
    people.post = lambda agents, hours: (
        known.append([text for who, text, _ in people.heard if who == 0]) or [Message(0, "news")]
    )
    for _ in range(2):
        society.open_round()
        society.close_round()
    assert known == [[], ["2 to 0", "news"]]


def test_word_of_mouth_is_half_a_log_odds_a_message_and_three_at_most():
    world = make_world(0, 6, 20, 5)
    people = StatisticalInhabitants(true_parameters(world), world.dataset.catalogue, (), SocialHabits())
    one, page = np.array([2]), np.array([[3, 4, EMPTY]])
    people.reset(one, one, np.zeros(1, dtype=np.uint64))
    before = people.react(one, page).watch_BK[0]

    def hear(item, stars, author=1, times=1):
        people.hear(np.repeat(one, times), [Message(author, "", item, stars)] * times, np.zeros(times))
        after = people.react(one, page).watch_BK[0]
        assert after[2] == 0.0
        return [math.log(b / (1 - b)) - math.log(a / (1 - a)) for a, b in zip(before[:2], after[:2], strict=True)]

    assert hear(3, 4.0) == pytest.approx([0.5, 0.0])  # above the middle, which is 3
    assert hear(3, 3.0) == pytest.approx([0.5, 0.0])  # the middle moves nobody
    assert hear(3, 2.0) == pytest.approx([0.0, 0.0])
    assert hear(4, 1.0) == pytest.approx([0.0, -0.5])
    assert hear(3, 5.0, author=2) == pytest.approx([0.0, -0.5])  # one's own words
    assert hear(3, 5.0, times=5) == pytest.approx([1.5, -0.5])
    assert hear(EMPTY, 0.0) == pytest.approx([1.5, -0.5])  # about nothing


FILMS = (
    ("Salt", "Western"), ("Salt Salt Sea", "Western"), ("The Long Way Home to the Salt Lake", "Western"),
    ("Sea", "Drama"), ("Lake of the West", "Western"), ("Pepper", "Drama"),
)  # fmt: skip


def bm25(query, k1=1.5, b=0.75):
    """BM25 as Lucene has it, of every film, word by word."""
    texts = [words(" ".join(film)) for film in FILMS]
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        score = 0.0
        for word in dict.fromkeys(words(query)):
            holders = sum(word in other for other in texts)
            rarity = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
            times = text.count(word)
            score += rarity * times / (times + k1 * (1 - b + b * len(text) / mean))
        scores.append(score)
    return scores


def test_a_search_ranks_by_bm25():
    catalogue = Catalogue(
        tuple(Item(i, title, genres=(genre,)) for i, (title, genre) in enumerate(FILMS)), tuple("abcdef")
    )
    search = CatalogueSearch(catalogue)

    def found(query):
        return search.search([query], 6)[0].tolist()

    # Films have four words in the mean. "Salt" once in 2: 1 / (1 + 1.5 * (0.25 + 0.75 * 2 / 4)) = 0.516; twice in 4:
    # 2 / (2 + 1.5) = 0.571; once in 9: 1 / (1 + 1.5 * (0.25 + 0.75 * 9 / 4)) = 0.256; all times its rarity, log 2.
    assert found("salt") == [1, 0, 2, EMPTY, EMPTY, EMPTY]
    assert found("the sea") == [3, 2, 1, 4, EMPTY, EMPTY], 'of films 2 and 4, the one has "the" twice'
    assert found("pepper western") == [5, 0, 1, 4, 2, EMPTY], "a rare word is worth more than a common one"
    for query in ("salt", "sea", "the sea", "salt lake", "pepper western", "western drama", "way home west"):
        scores = np.array(bm25(query))
        ranked = [i for i in np.argsort(-scores.round(6), kind="stable").tolist() if scores[i] > 0]
        assert found(query) == ranked + [EMPTY] * (6 - len(ranked)), query
