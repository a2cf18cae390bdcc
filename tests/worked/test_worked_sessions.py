"""A session page by page: when it ends and how, what a policy sees of it, and whose luck is whose."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import LEVELS, Puppets

from recsim_llm.data.dataset import Ratings
from recsim_llm.environments.sessions import PageRules, Sessions, draw_users, sample_responses, session_keys
from recsim_llm.types import EMPTY, Reaction

ONE = np.zeros(1, dtype=np.int64)
KEY = np.zeros(1, dtype=np.uint64)
MANY = 20_000


def begun(users, log=None, key=KEY, **rules):
    sessions = Sessions(1, users, PageRules(**{"page_size": 2, "max_pages": 3, **rules}), log)
    sessions.begin(ONE, ONE, key)
    return sessions


@pytest.mark.parametrize(
    ("leave", "ends"),
    [
        ((0.0,), [(False, False), (False, False), (False, True)]),  # three pages, then cut off
        ((0.0, 1.0), [(False, False), (True, False)]),  # leaves after the second
        ((0.0, 0.0, 1.0), [(False, False), (False, False), (True, False)]),  # leaves at the last: terminated, not cut
        ((1.0,), [(True, False)]),
    ],
)
def test_a_session_ends_when_the_person_leaves_or_after_three_pages_never_both(leave, ends):
    sessions = begun(Puppets([[0] * 6], [[3] * 6], leave))
    seen = []
    while not sessions.ended[0]:
        outcome = sessions.step(ONE, np.array([[0, 1]]))
        assert outcome.leave.tolist() == [leave[min(len(seen), len(leave) - 1)]]
        seen.append((bool(outcome.left[0]), bool(outcome.truncated[0])))
    assert seen == ends


def test_a_quarter_leaves_after_each_page_so_sessions_have_four_pages():
    users = Puppets(np.zeros((1, 6)), np.ones((1, 6)), leave=(0.25,))
    rows = np.arange(4000)
    sessions = Sessions(len(rows), users, PageRules(page_size=2, max_pages=200))
    sessions.begin(rows, np.zeros_like(rows), session_keys(np.uint64(3), np.zeros_like(rows), rows))
    first = sessions.step(rows, np.tile([0, 1], (4000, 1)))
    assert abs(first.left.mean() - 0.25) < 0.03  # its standard deviation is 0.007
    while (running := np.flatnonzero(~sessions.ended)).size:
        sessions.step(running, np.tile([0, 1], (len(running), 1)))
    # A geometric number of pages: mean 1 / 0.25, standard deviation sqrt(0.75) / 0.25 = 3.5, of 4000 means 0.055.
    assert abs(sessions.pages_seen.mean() - 4.0) < 0.25


def test_history_and_mask_after_two_pages_written_out():
    log = Ratings(
        np.zeros(3, np.int64), np.array([5, 4, 3]), np.array([1, 2, 4], np.float32), np.array([30, 10, 20]), 1, 6
    )
    # Watches items 0 (five stars) and 2 (three).
    sessions = begun(Puppets([[1, 0, 1, 0, 0, 0]], [[5, 4, 3, 3, 3, 3]]), log, history_length=5)

    def seen():
        now = sessions.observation()
        return [now[f"history_{name}"][0].tolist() for name in ("items", "ratings", "mask")]

    # The log by time, newest at the end, padded at the front.
    assert seen() == [[-1, -1, 4, 3, 5], [0, 0, 2, 4, 1], [0, 0, 1, 1, 1]]
    sessions.step(ONE, np.array([[0, 1]]))
    assert seen() == [[4, 3, 5, 0, 1], [2, 4, 1, 5, 0], [1, 1, 1, 1, 1]]
    sessions.step(ONE, np.array([[2, 2]]))  # the repetition is dropped; its slot keeps its place
    assert seen() == [[5, 0, 1, 2, EMPTY], [1, 5, 0, 3, 0], [1, 1, 1, 1, 0]]
    assert sessions.observation()["page"].tolist() == [[2]]
    # Watched are 0 and 2: what was shown and passed over, or rated before the session, may be shown.
    assert sessions.action_mask().tolist() == [[False, True, False, True, True, True]]
    sessions.begin(ONE, ONE, KEY)
    assert sessions.action_mask().all()
    assert seen() == [[-1, -1, 4, 3, 5], [0, 0, 2, 4, 1], [0, 0, 1, 1, 1]]


def test_the_same_person_and_item_have_the_same_luck_under_two_policies():
    users = Puppets(np.full((1, 40), 0.5), np.full((1, 40), 4.0))
    first, second = {}, {}
    for answers, pages in (
        (first, np.arange(40).reshape(10, 4)),
        (second, np.random.default_rng(0).permutation(40).reshape(10, 4)),
    ):
        sessions = begun(users, key=KEY + np.uint64(9), page_size=4, max_pages=10)
        for page in pages:
            answers |= dict(
                zip(page.tolist(), sessions.step(ONE, page[None]).responses.watched_BK[0].tolist(), strict=True)
            )
    assert first == second
    assert 10 < sum(first.values()) < 30, "and it is luck: half of the forty"
    again = begun(users, key=KEY + np.uint64(9), page_size=4)
    twice = [again.step(ONE, np.array([[3, 7, 11, 15]])).responses.watched_BK.tolist() for _ in range(2)]
    assert twice[0] == twice[1], "who declines an item does not toss again on the next page"


def drawn(watch, rating, items=7):
    """Responses of 20,000 sessions to one item."""
    pages = np.full((MANY, 1), items)
    reaction = Reaction(np.full((MANY, 1), watch), np.tile(rating, (MANY, 1, 1)))
    return sample_responses(reaction, pages, session_keys(np.uint64(1), ONE, np.arange(MANY)), LEVELS)


def test_shares_of_watching_and_of_each_rating_are_the_probabilities():
    shares = [0.1, 0.2, 0.3, 0.4, 0.0]
    done = drawn(0.5, shares)
    # Standard deviations: 0.0035 of watching; of a rating among the 10,000 who watch at most 0.005.
    assert abs(done.watched_BK.mean() - 0.5) < 0.02
    given = done.ratings_BK[done.watched_BK]
    assert np.abs([(given == stars).mean() for stars in LEVELS] - np.array(shares)).max() < 0.025
    assert not (given == 5).any(), "what has no chance does not happen"
    assert not done.ratings_BK[~done.watched_BK].any()


def test_who_watches_at_a_small_chance_watches_at_a_larger_one():
    small, large = (drawn(p, [1.0, 0, 0, 0, 0]).watched_BK[:, 0] for p in (0.3, 0.6))
    assert abs(small.mean() - 0.3) < 0.02
    assert abs(large.mean() - 0.6) < 0.02
    assert not (small & ~large).any()
    assert not drawn(1.0, [1.0, 0, 0, 0, 0], items=EMPTY).watched_BK.any()


def test_each_of_four_people_comes_as_often_as_the_others():
    who = draw_users(np.uint64(9), np.arange(4000), 4)
    assert np.bincount(who, minlength=4) / 4000 == pytest.approx([0.25] * 4, abs=0.03)
    assert who.dtype == np.int64
    assert (draw_users(np.uint64(8), np.arange(4000), 4) != who).mean() == pytest.approx(0.75, abs=0.03)
