"""One person, one page, one title they want: the watched item is that one, whoever reads the page, wherever it stands.

A model that answers by hash cannot tell a right slot from a wrong one; people who want one title can.
"""

from __future__ import annotations

import numpy as np
import pytest
from small_world import GIVEN, MEANS, TITLES, WANTED, everybodys_wish, write_world

from recsim_llm.agents.population import make_population
from recsim_llm.environments.sessions import PageRules, Sessions, session_keys
from recsim_llm.testing.scripted import Wish, wishing_llm
from recsim_llm.types import EMPTY

KINDS = (
    "llm", "llm:tuned", "llm:tuned-public", "agent4rec", "agent4rec:items", "agent4rec:text", "agent4rec:genres",
    "recagent", "recagent:items", "recagent:text", "agentcf:MEMORIES", "agentcf:MEMORIES,items",
    "dialogue", "dialogue:items",
)  # fmt: skip
FOUR = np.arange(4)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("small"))


def people(world, kind, llm=None):
    return make_population(
        str(world), kind.replace("MEMORIES", str(world / "memories")), llm or everybodys_wish()
    ).users


def begun(users, seed, page_size=6, **rules):
    sessions = Sessions(4, users, PageRules(page_size=page_size, max_pages=9, **rules))
    sessions.begin(FOUR, FOUR, session_keys(np.uint64(seed), FOUR, np.zeros(4, dtype=np.int64)))
    return sessions


def shuffled(seed, page_size=6):
    """A page of different items for each of the four, every other one with a hole."""
    rng = np.random.default_rng(seed)
    pages = np.stack([rng.permutation(8)[:page_size] for _ in range(4)])
    pages[::2, rng.integers(page_size)] = EMPTY
    return pages


@pytest.mark.parametrize("kind", KINDS)
def test_four_people_who_want_four_films_watch_those_and_no_others(world, kind):
    users, met = people(world, kind), 0
    for seed in range(8):
        sessions = begun(users, seed)
        for number in range(2):  # on the second page there is something to remember
            pages = shuffled(10 * seed + number)
            outcome = sessions.show(FOUR, pages)
            here = pages == WANTED[:, None]
            assert np.allclose(outcome.reaction.watch_BK, here, rtol=0, atol=1e-12)
            assert (outcome.responses.watched_BK == here).all()
            assert (outcome.responses.ratings_BK == np.where(here, GIVEN[:, None], 0.0)).all()
            assert (outcome.rewards == np.where(here.any(axis=1), GIVEN, 0.0)).all()
            met += here.sum()
    assert met > 30, "most pages hold what a person wants, in many slots"
    assert users.counts.fallbacks == users.counts.malformed == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_slot_has_its_turn_and_the_neighbours_keep_out_of_it(world, kind):
    # Person 0 wants Blue Moon; "Blue Moon Rising" stands beside it and is not Blue Moon.
    users = people(world, kind)
    for slot in range(6):
        pages = np.tile(np.roll([0, 2, 1, 3, 4, 6], slot), (4, 1))
        outcome = begun(users, seed=slot).show(FOUR, pages)
        assert outcome.responses.ratings_BK[0].tolist() == [5.0 if i == slot else 0.0 for i in range(6)]
        assert outcome.responses.ratings_BK[1].tolist() == [3.0 if i == (slot + 1) % 6 else 0.0 for i in range(6)]
        assert not outcome.responses.watched_BK[2:].any(), "what 2 and 3 want is not shown"


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_gets_the_answer_of_another_when_handles_are_no_users(world, kind):
    # Handles 3, 1, 0 hold the users 0, 1, 2: answers follow the person, not the row.
    users, handles = people(world, kind), np.array([3, 1, 0])
    users.reset(handles, np.array([0, 1, 2]), np.array([7, 8, 9], dtype=np.uint64))
    page = np.array([[5, 2, 0, 7]])
    said = users.react(handles, np.repeat(page, 3, axis=0))
    assert said.watch_BK.round(12).tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    assert users.react(handles[::-1], np.repeat(page, 3, axis=0)).watch_BK.tolist() == said.watch_BK[::-1].tolist()
    stars = (said.rating_BKR @ users.rating_levels).round(12)
    assert [stars[0, 2], stars[1, 1], stars[2, 0]] == [5.0, 3.0, 5.0]


def test_who_is_told_apart_by_nobody_wants_nothing(world):
    # The control: with wishes of strangers nothing is watched, so the watching above comes from reading the prompts.
    stranger = wishing_llm({"9.9 of 5 stars": Wish(TITLES[0])})
    for kind in KINDS:
        pages = np.tile([0, 1, 2, 3, 4, 5], (4, 1))
        assert not begun(people(world, kind, stranger), seed=0).show(FOUR, pages).responses.watched_BK.any()


def test_the_four_means_are_what_the_ratings_give():
    assert list(MEANS.values()) == ["2.0 of 5 stars", "3.0 of 5 stars", "3.5 of 5 stars", "4.0 of 5 stars"]
