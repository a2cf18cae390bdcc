"""Word of mouth with a known answer: it spreads along links, further where it is stronger, not at all where it is 0."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from recsim_llm.agents.population import make_society
from recsim_llm.agents.society.graph import Edge, SocialGraph
from recsim_llm.agents.society.inhabitants import Message
from recsim_llm.agents.society.statistical_inhabitants import SocialHabits
from recsim_llm.environments.sessions import PageRules
from recsim_llm.environments.society import SocietyRules
from recsim_llm.environments.society_env import new_society

PEOPLE, ROUNDS = 200, 12
LEFT, RIGHT = np.arange(0, 100), np.arange(100, 200)  # two halves of a town, each of ten groups of ten friends
SPREADERS = np.arange(0, 100, 10)  # one in each group of the left half
FRIENDS = np.setdiff1d(LEFT, SPREADERS)
SILENT = {"word_of_mouth": 0.0, "seek": 0.0}


def groups(person=None):
    """Ten friends at each table, all of whom know each other; person[seat] sits at table seat // 10."""
    person = np.arange(PEOPLE) if person is None else person
    pairs = [(a, b) for a in range(PEOPLE) for b in range(a + 1, PEOPLE) if a // 10 == b // 10]
    return SocialGraph.from_edges(PEOPLE, [Edge(int(person[a]), int(person[b]), "friend", 1.0) for a, b in pairs])


@cache
def item():
    """An item that few take up by themselves: 3 in 100 showings."""
    town = make_society("synthetic", graph="none")
    town.users.reset(town.members, town.members, town.members.astype(np.uint64))
    pages = np.tile(np.arange(500), (PEOPLE, 1))
    return int(np.argmin(np.abs(town.users.react(town.members, pages).watch_BK.mean(axis=0) - 0.03)))


def live(graph, *, spreaders=SPREADERS, shown=True, **habits):
    """(U,) who watched the item, and every page by user; `shown`: the item stands on every page of the policy."""
    town = make_society("synthetic", graph=graph, habits=SocialHabits(**habits))
    rules = SocietyRules(ROUNDS, gap_hours=(5.0, 5.0, 5.0), page=PageRules(page_size=3, max_pages=1))
    society = new_society(town, town.members, rules)
    society.begin(np.uint64(3))
    for user in spreaders.tolist():
        friends = graph.neighbours(user)
        society.deliver(friends, [Message(user, "", item(), 5.0)] * len(friends), np.zeros(len(friends)))
    page = (np.arange(3) + item() + (0 if shown else 1)) % 500
    took, pages = np.zeros(PEOPLE, dtype=bool), {user: [] for user in range(PEOPLE)}

    def note(outcome):
        took[outcome.users[((outcome.pages == item()) & outcome.responses.watched_BK).any(axis=1)]] = True
        rows = outcome.pages, outcome.reaction.watch_BK, outcome.responses.ratings_BK, outcome.leave
        for i, user in enumerate(outcome.users.tolist()):
            pages[user].append([row[i].tobytes() for row in rows])

    while not society.ended:
        if (searched := society.open_round()) is not None:
            note(searched)
        while len(waiting := society.waiting()):
            note(society.serve(waiting, np.tile(page, (len(waiting), 1))))
        society.close_round()
    return took, pages


def test_without_a_dose_nothing_that_is_said_changes_a_byte():
    other = groups(np.random.default_rng(0).permutation(PEOPLE))
    assert live(groups(), **SILENT)[1] == live(other, **SILENT)[1]
    assert live(groups(), **SILENT)[1] == live(groups(), spreaders=RIGHT, **SILENT)[1]
    assert live(groups())[1] != live(other)[1], "with the default it can be another life"


def test_a_promoted_item_spreads_along_links_and_further_with_the_dose():
    nothing = live(groups(), **SILENT)[0]
    lives = [live(groups(), word_of_mouth=dose, seek=0.0)[0] for dose in (0.5, 1.0, 2.0, 4.0)]
    shares = [took[FRIENDS].mean() for took in (nothing, *lives)]
    assert shares == sorted(set(shares))
    assert shares[-1] - shares[0] > 0.4
    # The right half knows no spreader: what is said there comes from its own few.
    assert lives[-1][RIGHT].mean() - nothing[RIGHT].mean() < (shares[-1] - shares[0]) / 4


def test_with_permuted_links_the_spread_follows_the_new_ones():
    person = np.arange(PEOPLE)
    person[FRIENDS], person[FRIENDS + 100] = FRIENDS + 100, FRIENDS  # spreaders sit with people of the right half
    mixed = groups(person)
    nothing, took = live(mixed, **SILENT)[0], live(mixed, word_of_mouth=4.0, seek=0.0)[0]
    assert took[FRIENDS + 100].mean() - nothing[FRIENDS + 100].mean() > 0.4
    assert took[FRIENDS].mean() - nothing[FRIENDS].mean() < 0.15, "friends of before hear of it from nobody"


@pytest.mark.parametrize("seek", [1.0, 0.0])
def test_an_item_that_no_policy_shows_reaches_those_who_seek_what_friends_praise(seek):
    took = live(groups(), shown=False, word_of_mouth=4.0, seek=seek, search=0.6, browse=0.1, chat=0.1)[0]
    assert (took[FRIENDS].mean() > 0.3) == (seek > 0)
    assert took[RIGHT].mean() < 0.1


def test_people_who_know_no_spreader_live_to_the_byte_as_if_there_were_none():
    nobody = np.zeros(0, dtype=np.int64)
    spread, none = live(groups(), word_of_mouth=4.0)[1], live(groups(), spreaders=nobody, word_of_mouth=4.0)[1]
    assert all(spread[user] == none[user] for user in RIGHT.tolist())
    assert any(spread[user] != none[user] for user in FRIENDS.tolist())
