"""What an action may be, which rewards count, and what a log holds of a person: each with the value written out."""

from __future__ import annotations

import math
import re
from string import Template

import gymnasium as gym
import numpy as np
import pytest

from recsim_llm.agents.llm.pages.page_labels import listing_order, read_page
from recsim_llm.data.dataset import Ratings
from recsim_llm.environments.rewards import OwnReward, rating_reward, reward_function, watch_reward
from recsim_llm.environments.sessions import (
    LoggedHistories,
    _repeated,
    long_history,
    page_rows,
    session_keys,
    whole_items,
)
from recsim_llm.errors import ConfigError, InvalidActionError
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.seeding import Stream, mix
from recsim_llm.types import EMPTY, Completion, Prompt, Responses

PAGE = Responses(np.array([[True, False, True], [False, False, False]]), np.array([[5.0, 0.0, 3.0], [0.0, 0.0, 0.0]]))


def test_rewards_by_name_pay_stars_or_watched_items():
    assert reward_function("rating")(PAGE).tolist() == [8.0, 0.0]
    assert reward_function("watch")(PAGE).tolist() == [2.0, 0.0]
    assert reward_function("watch")(PAGE).dtype == np.float64
    assert reward_function(rating_reward) is rating_reward
    assert reward_function(watch_reward) is watch_reward


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("stars", "reward must be one of rating, watch, module:function, or a function of Responses, not 'stars'."),
        ("ratng", "not 'ratng'. Did you mean 'rating'?"),
        (3, "not 3."),
        (None, "not None."),
    ],
)
def test_a_reward_that_there_is_not_is_named(reward, said):
    with pytest.raises(ConfigError, match=f"{re.escape(said)}$"):
        reward_function(reward)


def test_an_own_reward_pays_what_it_returns():
    own = reward_function(lambda responses: responses.ratings_BK.max(axis=1).astype(np.float32))
    assert isinstance(own, OwnReward)
    paid = own(PAGE)
    assert paid.tolist() == [5.0, 0.0]
    assert paid.dtype == np.float64
    assert reward_function(lambda _: [1, -2])(PAGE).tolist() == [1.0, -2.0]  # whole numbers are numbers
    assert reward_function(lambda _: np.array([1, 2], dtype=np.uint8))(PAGE).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        (np.array([1.0, np.nan]), "float64 of shape (2,): array([ 1., nan])"),
        (np.array([np.inf, 1.0]), "float64 of shape (2,): array([inf,  1.])"),
        (7.0, "float64 of shape (): 7.0"),
        (np.ones((2, 1)), "float64 of shape (2, 1)"),
        (np.ones(3), "float64 of shape (3,)"),
        (np.array([True, False]), "bool of shape (2,)"),
        (np.array(["1", "2"]), "<U1 of shape (2,)"),
        ([[1.0], [1.0, 2.0]], "object of shape (): [[1.0], [1.0, 2.0]]"),
        (None, "object of shape (): None"),
    ],
)
def test_an_own_reward_that_is_no_finite_number_a_session_is_refused(returned, what):
    def pay(_):
        return returned

    said = "A reward function must return one finite number a session, an array of shape (2,); 'pay' returned "
    with pytest.raises(ConfigError, match=f"^{re.escape(said + what)}"):
        reward_function(pay)(PAGE)


def test_an_own_reward_without_a_name_is_shown():
    class Pay:
        def __call__(self, _):
            return None

        def __repr__(self):
            return "<pay>"

    with pytest.raises(ConfigError, match="'<pay>' returned object of shape"):
        reward_function(Pay())(PAGE)


def test_items_of_an_action_are_whole_numbers_of_any_width():
    ready = np.array([[3, 1], [4, 1]])
    assert whole_items(ready) is ready
    for action in (
        [3, 1],
        (3, 1),
        np.array([3, 1], dtype=np.int8),
        np.array([3, 1], dtype=np.uint64),
        [np.int32(3), 1],
    ):
        assert whole_items(action).tolist() == [3, 1]
        assert whole_items(action).dtype == np.int64
    assert whole_items(np.int64(7)).tolist() == 7
    assert whole_items(np.array([2**63 - 1], dtype=np.uint64)).tolist() == [2**63 - 1]
    assert whole_items(np.zeros((0, 2), dtype=np.uint64)).shape == (0, 2)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ([1.5, 2.0], "An action holds item ids, which are whole numbers; got float64: [1.5, 2.0]. Round or convert"),
        ([True, False], "got bool: [True, False]. Round or convert it yourself, to the item that is meant."),
        ([1, True], "got bool: [1, True]"),
        ([1, np.True_], "got bool:"),
        (np.array([True]), "got bool: array([ True])"),
        (["1"], "got <U1: ['1']"),
        ([1j], "got complex128:"),
        ([float("nan")], "got float64: [nan]"),
        (None, "got object: None"),
        ([[1], [2, 3]], "An action holds item ids, every page as many; got rows of different lengths: [[1], [2, 3]]."),
        (np.array([2**63], dtype=np.uint64), f"Item {2**63} is not in the catalogue, whose ids are far smaller."),
    ],
)
def test_what_is_no_whole_number_is_refused_by_name(action, said):
    with pytest.raises(InvalidActionError, match=re.escape(said)):
        whole_items(action)


def test_pages_come_flat_or_in_rows():
    assert page_rows([1, 2, 3, 4, 5, 6], 2, 3).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert page_rows([[1, 2], [3, 4]], 2, 2).tolist() == [[1, 2], [3, 4]]
    assert page_rows(5, 1, 1).tolist() == [[5]]
    with pytest.raises(
        InvalidActionError, match=r"^An action must be 2 pages of 3 items; got an action of shape \(5,\)\.$"
    ):
        page_rows([1, 2, 3, 4, 5], 2, 3)
    with pytest.raises(
        InvalidActionError, match=r"^An action must be a page of 3 items; got an action of shape \(2,\)\.$"
    ):
        page_rows([1, 2], 1, 3)


def test_an_item_further_right_is_repeated():
    pages = np.array([[4, 7, 4, 4], [1, 2, 3, 4], [9, 9, 2, 2], [0, 5, 0, 5]])
    assert _repeated(pages).tolist() == [
        [False, False, True, True],
        [False, False, False, False],
        [False, True, False, True],
        [False, False, True, True],
    ]


def test_a_history_that_holds_all_that_a_session_can_show():
    assert long_history(70, 1) == 70
    assert long_history(5, 10) == 50
    assert long_history(10, 10) == 100


def test_the_latest_logged_ratings_of_people():
    """Person 0 rated items 5, 6, 7 with 1, 2, 3 stars, person 1 nothing, person 2 item 8 with 4: newest at the end."""
    log = Ratings(
        users=np.array([2, 0, 0, 0]),
        items=np.array([8, 7, 5, 6]),
        values=np.array([4.0, 3.0, 1.0, 2.0]),
        times=np.array([9.0, 30.0, 10.0, 20.0]),
        num_users=3,
        num_items=10,
    )
    items, stars = LoggedHistories(log, 2).latest(np.array([0, 1, 2]))
    assert items.tolist() == [[6, 7], [EMPTY, EMPTY], [EMPTY, 8]]
    assert stars.tolist() == [[2.0, 3.0], [0.0, 0.0], [0.0, 4.0]]
    items, _ = LoggedHistories(log, 5).latest(np.array([2, 0]))
    assert items.tolist() == [[EMPTY, EMPTY, EMPTY, EMPTY, 8], [EMPTY, EMPTY, 5, 6, 7]]


def test_the_order_in_which_a_page_is_listed():
    """Another order for another person or page number, without empty slots, each slot once; three are pinned."""
    page = [11, EMPTY, 12, 13, 14]
    orders = {key: listing_order(key, 0, page) for key in range(1, 200)}
    assert all(sorted(order) == [0, 2, 3, 4] for order in orders.values())
    firsts = np.bincount([order[0] for order in orders.values()], minlength=5)
    assert firsts[1] == 0
    assert (firsts[[0, 2, 3, 4]] > 30).all(), "every slot comes first for about a quarter of the people"
    assert [listing_order(*who, page) for who in ((7, 0), (7, 1), (8, 0))] == PINNED
    assert len({tuple(listing_order(7, number, page)) for number in range(50)}) > 10
    assert [page[slot] for slot in listing_order(7, 0, page)] == [
        page[::-1][slot] for slot in listing_order(7, 0, page[::-1])
    ], "an item's place depends on the item and not on its slot"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (np.array([[1, 2]]), "A page holds 3 items; got an action of shape (2,)."),
        (np.array([1, 2, 3]), "A page holds 3 items; got an action of shape ()."),
        (np.array([[1, 2, 500]]), "Item 500 is not in the catalogue, whose ids are 0..499."),
        (np.array([[1, -1, 2]]), "Item -1 is not in the catalogue, whose ids are 0..499."),
        (np.array([[7, 2, 7]]), "Item 7 stands twice on one page; with duplicates='drop' it is shown once."),
    ],
)
def test_a_page_that_cannot_be_shown_is_named(action, said):
    with pytest.raises(InvalidActionError, match=f"^{re.escape(said)}$"):
        opened("raise").step(np.array([0]), action)


def test_what_happens_to_an_item_that_stands_twice():
    page, one = np.array([[7, 499, 7]]), np.array([0])
    assert opened("drop").step(one, page).pages.tolist() == [[7, 499, EMPTY]]
    assert opened("allow").step(one, page).pages.tolist() == [[7, 499, 7]]
    assert opened("raise").step(one, np.array([[7, 499, 0]])).pages.tolist() == [[7, 499, 0]]


def opened(duplicates):
    """One session of the invented world's 500 items, with pages of three."""
    env = gym.make("recsim_llm/Page-v0", page_size=3, duplicates=duplicates).unwrapped
    env.reset(seed=0)
    return env.sessions


PINNED = [[3, 4, 0, 2], [3, 0, 4, 2], [4, 2, 0, 3]]
STEM = Prompt("You are Ann.", "Ann likes ships.", "")
QUESTION = Template("$count items, 0 to $top:\n$items")


def asked(answers, page=(11, EMPTY, 12), order=(2, 0), **options):
    """What `read_page` asks of a model that gives these probabilities of 0, 1, 2, and what it makes of them."""
    counts, prompts = AnswerCounts(), []

    def answer(batch):
        prompts.extend(batch)
        return [Completion("", tuple(math.log(p) if p else -math.inf for row in rows for p in row)) for rows in answers]

    turn = read_page(STEM, QUESTION, "item {}".format, page, order, 2, "Only labels.", counts, **options)
    try:
        batch = next(turn)
        while True:
            batch = turn.send(answer(batch))
    except StopIteration as done:
        return prompts, done.value


def test_a_page_is_asked_in_one_prompt_and_read_slot_by_slot():
    prompts, found = asked([[(0.2, 0.2, 0.6), (0.5, 0.5, 0.0)]])
    (prompt,) = prompts
    assert (prompt.system, prompt.context) == ("You are Ann.", "Ann likes ships.")
    assert prompt.question == "2 items, 0 to 2:\n1. item 12\n2. item 11"
    assert (prompt.choices, prompt.slots) == (("0", "1", "2"), 2)
    # The first line is of slot 2: P(watch) = 1 - 0.2, stars 0.2 : 0.6; nothing is asked of the empty slot.
    assert found.watch == pytest.approx([0.5, 0.0, 0.8])
    assert found.rating[0] == pytest.approx([1.0, 0.0])
    assert found.rating[1] == [0.5, 0.5]
    assert found.rating[2] == pytest.approx([0.25, 0.75])


def test_who_is_sure_not_to_watch_has_even_stars():
    _, found = asked([[(1.0, 0.0, 0.0)]], page=(11,), order=(0,))
    assert found.watch == pytest.approx([0.0], abs=1e-12)
    assert found.rating[0] == pytest.approx([0.5, 0.5])


def test_an_empty_page_is_not_asked_about():
    prompts, found = asked([], page=(EMPTY, EMPTY), order=())
    assert prompts == []
    assert (found.watch, found.rating) == ([0.0, 0.0], [[0.5, 0.5], [0.5, 0.5]])


def test_one_by_one_is_a_prompt_an_item_behind_the_same_context():
    prompts, found = asked([[(0.2, 0.2, 0.6)], [(0.5, 0.5, 0.0)]], one_by_one=True)
    assert [(p.system, p.context, p.slots) for p in prompts] == [("You are Ann.", "Ann likes ships.", 1)] * 2
    assert ["item 12" in p.question for p in prompts] == [True, False]
    assert ["item 11" in p.question for p in prompts] == [False, True]
    assert all(re.search(r"\b2\b", p.question) for p in prompts), "the best label is named"
    assert found.watch == pytest.approx([0.5, 0.0, 0.8])


def test_a_page_that_was_not_answered_is_asked_again_with_the_reminder():
    prompts, found = asked([[(0.0, 0.0, 0.0), (0.0, 0.0, 0.0)]])
    assert len(prompts) > 1
    assert all("Only labels." in p.question for p in prompts[1:])
    assert found.watch == pytest.approx([2 / 3, 0.0, 2 / 3]), "the declared fallback: all labels alike"


def test_a_key_is_of_the_seed_the_person_and_the_visit():
    bases, users, visits = (a.ravel() for a in np.meshgrid([1, 2], [0, 1], [0, 1]))
    keys = session_keys(bases.astype(np.uint64), users, visits)
    assert len(set(keys.tolist())) == 8
    assert keys.tolist() == mix(bases.astype(np.uint64), Stream.SESSION, users, visits).tolist()


def test_an_observation_of_a_new_session_is_empty_and_what_was_watched_is_masked():
    env = gym.make("recsim_llm/Page-v0", dataset="synthetic", page_size=3, max_pages=4, history_length=6).unwrapped
    observation, _ = env.reset(seed=3)
    assert {"user", "history_items", "history_ratings", "history_mask"} <= set(observation)
    sessions = env.sessions
    before = sessions.action_mask()[0]
    watched = set()
    for page in ([10, 11, 12], [20, 21, 22], [30, 31, 32]):
        outcome = sessions.step(np.array([0]), np.array([page]))
        watched |= {item for item, took in zip(page, outcome.responses.watched_BK[0].tolist(), strict=True) if took}
        assert outcome.page_numbers.tolist() == [page[0] // 10 - 1]
        if sessions.ended[0]:
            break
    assert watched, "this person watches something"
    after = sessions.action_mask()[0]
    assert set(np.flatnonzero(before != after)) == watched
    assert not after[sorted(watched)].any()
    sessions.begin(np.array([0]), np.array([5]), np.array([9], dtype=np.uint64))
    assert not sessions.ended[0]
    assert sessions.action_mask()[0].sum() == before.sum()
