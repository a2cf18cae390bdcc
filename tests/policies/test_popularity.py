"""Popularity counts, live popularity grows, random is uniform."""

from __future__ import annotations

import numpy as np
from worlds import make_catalogue, make_log, make_observation

from recsim_llm.policies import load_policy, make_policy
from recsim_llm.policies.feedback import Feedback, Learner
from recsim_llm.types import EMPTY

# Item 3 has three ratings, 1 two, 0 and 4 one, 2 and 5 none.
LOG = make_log([(0, 3, 1.0), (1, 3, 1.0), (2, 3, 1.0), (0, 1, 5.0), (1, 1, 5.0), (2, 0, 5.0), (1, 4, 5.0)], 4, 6)
NOBODY = make_observation([9], [[]])


def make(name: str, **options):
    return make_policy(name, LOG, make_catalogue(6), 4, **options)


def feedback(pages, watched, ratings=None) -> Feedback:
    watched = np.array(watched, dtype=np.bool_)
    stars = np.where(watched, 4.0, 0.0) if ratings is None else np.array(ratings)
    return Feedback(np.arange(len(pages)), np.array(pages), watched, stars, stars.sum(axis=1), watched.any(axis=1))


def test_most_ratings_first_and_ties_by_id():
    assert make("popularity").act(NOBODY).tolist() == [[3, 1, 0, 4]]
    assert make("live-popularity").act(NOBODY).tolist() == [[3, 1, 0, 4]]


def test_min_rating_counts_good_ratings_only():
    assert make("popularity", min_rating=4.0).act(NOBODY).tolist() == [[1, 0, 4, 2]]


def test_live_popularity_grows_by_what_is_watched_and_nothing_else():
    live = make("live-popularity")
    figures = live.learn(feedback([[2, 5, 0], [2, 5, EMPTY], [2, 5, 3]], [[1, 0, 0], [1, 1, 1], [1, 0, 0]]))
    assert figures == {"watched": 4.0}
    # Watched: item 2 three times, which ties with item 3, and item 5 once.
    assert live.act(NOBODY).tolist() == [[2, 3, 1, 0]]


def test_live_popularity_does_not_change_what_others_hold():
    first = make("live-popularity")
    counts = first.fitted["counts"]
    before = counts.copy()
    first.learn(feedback([[2, 5]], [[1, 1]]))
    assert np.array_equal(counts, before)


def test_live_popularity_ignores_watches_below_min_rating():
    live = make("live-popularity", min_rating=4.0)
    assert live.learn(feedback([[2, 5]], [[1, 1]], [[3.0, 4.0]])) == {"watched": 1.0}


def test_the_order_of_users_in_a_round_means_nothing():
    rng = np.random.default_rng(2)
    pages, watched = np.array([rng.permutation(6)[:4] for _ in range(20)]), rng.random((20, 4)) < 0.5
    one, other = make("live-popularity"), make("live-popularity")
    one.learn(feedback(pages, watched))
    order = rng.permutation(20)
    other.learn(feedback(pages[order], watched[order]))
    assert np.array_equal(one.fitted["counts"], other.fitted["counts"])
    assert one.fitted["counts"].sum() == len(LOG) + watched.sum()


def test_what_live_popularity_learned_is_saved(tmp_path):
    live = make("live-popularity")
    live.learn(feedback([[5, 2]] * 9, [[1, 0]] * 9))
    live.save(tmp_path / "p.npz")
    loaded = load_policy(tmp_path / "p.npz")
    assert loaded.act(NOBODY)[0, 0] == 5
    assert isinstance(loaded, Learner)


def test_only_live_popularity_learns():
    assert [n for n in ("random", "popularity", "live-popularity") if isinstance(make(n), Learner)] == [
        "live-popularity"
    ]


def test_random_depends_on_seed_user_and_page():
    log, users = make_log([], 0, 40), [*range(50)]
    act = {
        (seed, page): make_policy("random", log, make_catalogue(40), 5, seed).act(
            make_observation(users, [[]] * 50, page)
        )
        for seed in (0, 1)
        for page in (0, 1)
    }
    assert not np.array_equal(act[0, 0], act[1, 0])
    assert not np.array_equal(act[0, 0], act[0, 1])
    assert len({tuple(page) for page in act[0, 0].tolist()}) == 50
