"""BiLLP's and EasyRL4Rec's way of leaving, turn by turn, over six items on a line (Shi et al.; Yu et al., SIGIR 2024).

A person leaves when a new item is nearer than the threshold to any of the last N shown, when a genre of it occurs in
them more often than allowed, or when it was rated too low.
"""

from __future__ import annotations

import numpy as np
import pytest
from small_world import Puppets

from recsim_llm.agents.long_term.long_term_users import LongTermUsers
from recsim_llm.agents.long_term.quit_rule import QuitRule, repeated_genres
from recsim_llm.data.likeness import Likeness
from recsim_llm.data.rating_levels import nearest_level
from recsim_llm.environments.sessions import PageRules, Sessions
from recsim_llm.types import EMPTY

ONE = np.zeros(1, dtype=np.int64)
PLACES = [0, 1, 3, 6, 10, 15]
VECTORS = np.array(PLACES, dtype=np.float64)[:, None]
# The fifteen distances are 1 2 3 3 4 5 5 6 7 9 9 10 12 14 15. Of pairs, 4/15 = 0.267 are nearer than 4, and 5/15 are
# at most 4: the quantile 0.3 is 4.
NEAREST = 0.3
# Items 0, 2 and 4 are comedies, 1 and 3 dramas; 5 is both.
GENRES = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [1, 1]], dtype=bool)


def turns(places, stars=5.0, leave=(0.0,), page_size=1, **rule):
    """How many turns a person has who is shown the items at these places, a page after the other; 0: all of them."""
    given = np.full((1, 6), stars) if np.isscalar(stars) else np.asarray(stars, dtype=float)[None]
    published = QuitRule(**rule, tolerance="common", repetition="none")
    users = LongTermUsers(Puppets(np.zeros((1, 6)), given, leave), published, VECTORS, GENRES)
    items = np.array([EMPTY if place is None else PLACES.index(place) for place in places]).reshape(-1, page_size)
    sessions = Sessions(1, users, PageRules(page_size=page_size, max_pages=50))
    sessions.begin(ONE, ONE, np.zeros(1, dtype=np.uint64))
    for number, page in enumerate(items, start=1):
        outcome = sessions.show(ONE, page[None])
        assert outcome.leave[0] in (0.0, 1.0, leave[0])
        if outcome.left[0]:
            return number
    return 0


def test_the_threshold_is_the_quantile_of_the_distances():
    assert Likeness.nearest(VECTORS, NEAREST).threshold == 4.0
    assert Likeness.nearest(VECTORS, 0.25).threshold == 3.0  # 2/15 = 0.133 are nearer than 3, 4/15 at most 3
    assert Likeness.nearest(VECTORS, 0.0).threshold == 0.0


@pytest.mark.parametrize(
    ("places", "window", "last"),
    [
        ([0, 15, 6, 1], 3, 4),  # 1 is one from 0, and 0 is the third last
        ([0, 15, 6, 1], 2, 0),  # 0 is no longer in the window; 6 is 5 away, 15 is 14 away
        ([0, 15, 6, 10], 3, 0),  # 6 and 10 are 4 apart: not below 4
        ([0, 15, 6, 3], 3, 4),  # 6 and 3 are 3 apart
        ([0, 15, 6, 3], 1, 4),
        ([0, 15, 6, 15], 1, 0),  # shown before, but not lately
        ([0, 15, 6, 15], 2, 4),
        ([0, 0], 1, 2),  # the same item again
        ([0], 4, 0),  # nothing to compare the first with
        ([0, 6, 15, 10, 0, 6], 3, 0),  # 0 comes again after 6, 15 and 10, and is then out of a window of three
        ([0, 6, 15, 10, 0, 6], 4, 5),
    ],
)
def test_the_turn_at_which_a_person_has_seen_too_much_of_the_same(places, window, last):
    assert turns(places, window=window, nearest=NEAREST, low_reward=0.0) == last


def test_without_the_rule_of_distances_the_same_item_bores_nobody():
    assert turns([0, 0, 0], nearest=0.0, low_reward=0.0) == 0


@pytest.mark.parametrize(
    ("places", "window", "repeats", "last"),
    [
        # Comedies at 0, 3 and 10, dramas at 1 and 6, both at 15.
        ([0, 3, 10], 4, 0, 2),  # no comedy may have been there
        ([0, 3, 10], 4, 1, 3),  # one may: at 3 there is one, at 10 there are two
        ([0, 3, 10], 4, 2, 0),
        ([0, 1, 3, 6, 10], 2, 1, 0),  # of the last two, one each
        ([0, 3, 1, 15], 3, 1, 4),  # 15 is a comedy too, and there are two
        ([0, 1, 15, 6], 3, 1, 4),  # 15 counts for both: with 1 it makes two dramas
        ([0, 1, 15, 6], 2, 1, 4),
        ([0, 1, 15, 6], 1, 1, 0),
    ],
)
def test_the_turn_at_which_a_genre_has_come_too_often(places, window, repeats, last):
    assert turns(places, window=window, repeats=repeats, nearest=0.0, low_reward=0.0) == last


@pytest.mark.parametrize(
    ("stars", "low", "first_item", "last"),
    [
        ([3, 3, 3, 3, 3, 3], 3.0, True, 0),  # 3 is not below 3
        ([3, 3, 2, 3, 3, 3], 3.0, True, 3),  # the third, at place 3, is
        ([2, 3, 3, 3, 3, 3], 3.0, True, 1),
        ([2, 3, 3, 3, 3, 3], 3.0, False, 0),  # in BiLLP's release the first item makes nobody leave
        ([2, 2, 3, 3, 3, 3], 3.0, False, 2),
        ([1, 1, 1, 1, 1, 1], 0.0, True, 0),  # no such rule
    ],
)
def test_the_turn_at_which_an_item_was_rated_too_low(stars, low, first_item, last):
    assert turns(PLACES, stars, nearest=0.0, low_reward=low, first_item=first_item) == last


def test_a_page_of_two_bores_by_the_share_of_it_that_is_alike():
    # After 0 and 15 come 1 (near 0) and 6 (near nothing): half of the page.
    assert turns([0, 15, 1, 6], page_size=2, nearest=NEAREST, low_reward=0.0, share=0.5) == 2
    assert turns([0, 15, 1, 6], page_size=2, nearest=NEAREST, low_reward=0.0, share=0.6) == 0
    # Of a page with a hole, the one item that is there is all of it; a hole pushes nothing out of the window of two.
    assert turns([0, 15, 1, None], page_size=2, nearest=NEAREST, low_reward=0.0, share=0.6) == 2
    assert turns([0, 15, 6, None, 1, None], page_size=2, window=3, nearest=NEAREST, low_reward=0.0, share=1.0) == 3
    assert turns([0, 15, 6, None, 1, None], page_size=2, window=2, nearest=NEAREST, low_reward=0.0, share=1.0) == 0
    # A page pleases by its best rating: items 0 and 1 get 1 and 4 stars.
    assert turns([0, 1], [1, 4, 0, 0, 0, 0], page_size=2, nearest=0.0, low_reward=4.0) == 0
    assert turns([0, 1], [1, 4, 0, 0, 0, 0], page_size=2, nearest=0.0, low_reward=4.5) == 1


def test_items_of_one_page_are_compared_with_the_pages_before_it_only():
    assert turns([0, 1], page_size=2, nearest=NEAREST, low_reward=0.0) == 0


def test_the_persons_own_hazard_counts_only_where_it_is_declared():
    assert turns([0, 15], leave=(1.0,), nearest=NEAREST, low_reward=0.0) == 0
    assert turns([0, 15], leave=(1.0,), nearest=NEAREST, low_reward=0.0, hazard=True) == 1


def test_an_expected_rating_goes_to_the_nearest_level_and_halves_go_down():
    # Means 3.4, 3.5 and 3.6 of two levels.
    rows = np.array([[[0, 0, 0.6, 0.4, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0.4, 0.6, 0]]])
    assert (nearest_level(rows, np.arange(1.0, 6.0)) @ np.arange(1.0, 6.0)).tolist() == [[3.0, 3.0, 4.0]]


def test_the_two_parts_of_the_rule_item_by_item():
    window, page = np.array([[EMPTY, 0, 3]]), np.array([[1, 2, 4, EMPTY]])  # places 0 and 6 against 1, 3, 10
    assert Likeness(VECTORS, 4.0).near(window, page).tolist() == [[True, True, False, False]]
    assert repeated_genres(GENRES, 0, window, page).tolist() == [[True, True, True, False]]
    assert repeated_genres(GENRES, 1, window, page).tolist() == [[False] * 4]
