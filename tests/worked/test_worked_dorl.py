"""DORL's imagined people: predicted stars, the bonus, and how sessions end, worked out on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.data.likeness import Likeness, taste_and_genres
from recsim_llm.policies.rl.item_vectors import ItemStart
from recsim_llm.policies.rl.offline.imagined import Entropies, ImaginedWorld, LearnedExits, LearnedPeople, learn_people
from recsim_llm.policies.rl.settings import DORLSettings
from recsim_llm.types import EMPTY, Item


def film_log(sequences: Sequence[Sequence[int]]) -> Ratings:
    users = np.repeat(np.arange(len(sequences)), [len(one) for one in sequences])
    items = np.array([item for one in sequences for item in one], dtype=np.int64)
    return Ratings(users, items, np.full(len(items), 4, np.float32), np.arange(len(items)), len(sequences), 3)


FILMS = Catalogue(
    (Item(0, "a", None, ("Drama", "War")), Item(1, "b", None, ("Comedy",)), Item(2, "c", None, ("Drama",))),
    ("0", "1", "2"),
)


def test_the_entropy_bonus_of_dorl() -> None:
    """Gao et al. 2023. First genres: D C D. After D: C twice and D once; after C: D twice.

    Logs 0 1 2 and 2 1 0 2: D>C C>D, D>C C>D D>D. H(1/3, 2/3) / ln 2 = .9183 after D, 0 after C. After the pair D C
    (in any order): D D, so 0 in both logs; after C D: D, the same set: 0. A pair that never was, D D or C C, counts 1.
    """
    entropies = Entropies(film_log([[0, 1, 2], [2, 1, 0, 2]]), FILMS)
    assert entropies.count == 2
    before, latest = np.array([EMPTY, EMPTY, EMPTY, 0, 1, 2, 1]), np.array([EMPTY, 0, 1, 1, 2, 0, 1])
    once = 0.918296
    expected = [2.0, once + 1, 0.0 + 1, 0.0, once, once + 1, 0.0 + 1]
    assert entropies(before, latest).tolist() == pytest.approx(expected, abs=1e-6)


def test_without_genres_items_are_their_own_category() -> None:
    plain = Catalogue(tuple(Item(i, t) for i, t in enumerate("abc")), ("0", "1", "2"))
    entropies = Entropies(film_log([[0, 1], [0, 2]]), plain)
    assert entropies.count == 3
    # After a: b or c, ln 2 of at most ln 3; after b nothing is known: 1.
    assert entropies(np.array([EMPTY, EMPTY]), np.array([0, 1])).tolist() == pytest.approx([1.630930, 2.0], abs=1e-6)


PLAIN: dict[str, Any] = {"entropy_bonus": 0.0, "variance_penalty": 0.0, "offset": False}
NOTHING_ALIKE = Likeness(np.eye(3, dtype=np.float32), 0.0)


def learned_people(stars: list[list[float]], variance: list[list[float]] | None = None) -> LearnedPeople:
    """People with a history of two places, of which one is item 2."""
    start = np.array([[0, EMPTY, 2, 0, 4]] * len(stars), dtype=np.float32)
    given = np.array(stars, dtype=np.float32)
    spread = np.zeros_like(given) if variance is None else np.array(variance, dtype=np.float32)
    return LearnedPeople(np.arange(len(stars)), start, given, spread)


def a_world(
    stars: list[list[float]], vectors: Any = None, threshold: float = 0.9, variance: Any = None, **options: Any
) -> ImaginedWorld:
    """Three items that are nothing alike, unless told otherwise; rewards are stars, unless told otherwise."""
    likeness = Likeness(np.array(np.eye(3) if vectors is None else vectors, dtype=np.float32), threshold)
    settings = DORLSettings(num_envs=1, **{**PLAIN, "quit_window": 2, **options})
    exits = LearnedExits(likeness, settings.quit_window, settings.low_reward)
    people = learned_people(stars, variance)
    world = ImaginedWorld(people, exits, Entropies(film_log([[0, 1, 2], [2, 1, 0, 2]]), FILMS), settings, 0)
    assert world.begin(0).tolist() == people.rows[:1].tolist()
    return world


def test_a_step_among_imagined_people() -> None:
    """Showing C first: 0 after C, and 1 for a pair that the session does not have yet: 4.4 + 2 x 1.

    Then, after C, showing D: .9183 after D, 0 after the pair C D. Stars are remembered as people give them, whole.
    """
    world = a_world([[3.6, 4.4, 5.0]], entropy_bonus=2.0)
    first = world.step(np.array([1]))
    assert first.rewards.tolist() == pytest.approx([4.4 + 2 * 1.0])
    assert (first.terminated.tolist(), first.truncated.tolist()) == ([False], [False])
    assert first.following.tolist() == [[1, 2, 1, 4, 4]]
    second = world.step(np.array([0]))
    assert second.rewards.tolist() == pytest.approx([3.6 + 2 * 0.918296], abs=1e-5)
    assert second.following.tolist() == second.rows.tolist() == [[2, 1, 0, 4, 4]]
    assert world.num_envs == 1


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        # Stars 3.6 and 4.4; variances .4 and .8; entropies 0 + 1, then .9183 + 0.
        ({"variance_penalty": 0.5}, 4.4 - 0.5 * 0.8, 3.6 - 0.5 * 0.4),
        ({"entropy_bonus": 5.0, "variance_penalty": 0.5}, 4.4 - 0.4 + 5.0, 3.6 - 0.2 + 5 * 0.918296),
        # Least stars 3, largest variance 2, least entropies 0: 3 - 1 is subtracted.
        ({"variance_penalty": 0.5, "offset": True}, 4.0 - 2.0, 3.4 - 2.0),
        ({"entropy_bonus": 5.0, "variance_penalty": 0.5, "offset": True}, 9.0 - 2.0, 3.4 + 4.59148 - 2.0),
        ({"offset": True}, 4.4 - 3.0, 3.6 - 3.0),
    ],
)
def test_the_reward_of_dorl(options: dict[str, Any], first: float, second: float) -> None:
    """Gao et al. 2023: predicted stars less the variance, plus the entropies, less the least that this can be."""
    world = a_world([[3.6, 4.4, 3.0]], variance=[[0.4, 0.8, 2.0]], **options)
    rewards = [float(world.step(np.array([item])).rewards[0]) for item in (1, 0)]
    assert rewards == pytest.approx([first, second], abs=1e-5)


def test_the_least_reward_of_dorl_is_zero() -> None:
    """The worst rating with the largest variance, where the entropies are least: 1 - .5 x 2, that is what is taken off.

    Item 1 shown again after itself and 2: after C nothing varies, and the pair C D neither.
    """
    world = a_world([[4.0, 1.0, 4.0]], None, 0.0, [[0.1, 2.0, 0.1]], variance_penalty=0.5, low_reward=0.0, offset=True,
                    entropy_bonus=3.0)  # fmt: skip
    world.step(np.array([2]))
    assert world.step(np.array([1])).rewards.tolist() == pytest.approx([0.0], abs=1e-6)


def test_defaults_are_those_of_dorls_code() -> None:
    """run_Policy_Main.py: lambda_variance .05, lambda_entropy 5, five models; people leave by what the log says."""
    settings = DORLSettings()
    assert (settings.variance_penalty, settings.entropy_bonus, settings.ensemble, settings.offset) == (0.05, 5, 5, True)
    assert settings.exit == "learned"


def test_an_imagined_person_leaves_after_a_bad_item() -> None:
    """Whole stars below 2: 1.4 is one star, 1.6 are two. After the item that ended it, a new session begins."""
    for stars, left in ((1.4, True), (1.6, False)):
        moved = a_world([[stars, 4.0, 4.0]]).step(np.array([0]))
        assert (moved.terminated.tolist(), moved.truncated.tolist()) == ([left], [False])
        assert moved.following[0, 0] == 1
        assert moved.rows[0].tolist() == ([0, EMPTY, 2, 0, 4] if left else moved.following[0].tolist())


def test_an_imagined_person_leaves_after_too_much_of_the_same() -> None:
    """Directions of taste beside those of genres. Items 0 and 1 have one genre and tastes of cosine .6: their distance
    is the root of 2 (1 - .6) + 0, .894, below .9. Items 0 and 2 have nothing in common: the root of 2 + 2, 2; items 1
    and 2 have tastes of cosine .8 and no genre in common: the root of .4 + 2, 1.549.

    What the history held before the session does not count; a window of one forgets the item before the last.
    """
    vectors = [[1, 0, 1, 0], [0.6, 0.8, 1, 0], [0, 1, 0, 1]]
    for shown, window, ends in (
        ([0, 1], 2, [False, True]),
        ([0, 0], 2, [False, True]),
        ([2], 2, [False]),  # in the history, not in the session
        ([0, 2, 1], 2, [False, False, True]),
        ([0, 2, 1], 1, [False, False, False]),
    ):
        world = a_world([[4.0, 4.0, 4.0]], vectors, quit_window=window)
        assert [bool(world.step(np.array([item])).terminated[0]) for item in shown] == ends
    # Only 0 and 1 are below .9, 1 and 2 are below 1.55, and 0 and 2 at exactly 2, which is not below 2.
    for pair, limit, alike in (
        ((1, 0), 0.89, False), ((1, 0), 0.9, True), ((1, 2), 1.54, False), ((1, 2), 1.55, True), ((0, 2), 2.0, False),
        ((0, 2), 2.001, True), ((0, 0), 0.0, False),
    ):  # fmt: skip
        world = a_world([[4.0] * 3], vectors, limit)
        assert [bool(world.step(np.array([item])).terminated[0]) for item in pair] == [False, alike]


def test_an_imagined_session_is_cut_off_after_its_turns() -> None:
    """Of two turns the second is the last: cut off. Who leaves at the last turn has left."""
    world = a_world([[4.0, 4.0, 1.0]], max_steps=2)
    ends = [world.step(np.array([item])) for item in (0, 1)]
    assert [(bool(m.terminated[0]), bool(m.truncated[0])) for m in ends] == [(False, False), (False, True)]
    assert ends[1].rows[0, 0] == 0
    leaving = a_world([[4.0, 4.0, 1.0]], max_steps=1).step(np.array([2]))
    assert (bool(leaving.terminated[0]), bool(leaving.truncated[0])) == (True, False)


def test_everybody_comes() -> None:
    """Of two people each comes in about half of the sessions; the same seed brings the same ones."""
    rows_of_two = np.array([[0, EMPTY, 0, 0, 4], [0, EMPTY, 1, 0, 5]], dtype=np.float32)
    four = np.full((2, 3), 4, np.float32)
    people = LearnedPeople(np.arange(2), rows_of_two, four, np.zeros_like(four))
    entropies, settings = Entropies(film_log([[0, 1]]), FILMS), DORLSettings(num_envs=400, quit_window=2)

    def coming(seed: int, settings: DORLSettings = settings) -> ImaginedWorld:
        return ImaginedWorld(people, LearnedExits(NOTHING_ALIKE, 2, 2.0), entropies, settings, seed)

    world = coming(5)
    came = world.begin(0)[:, 2]
    assert 0.4 < came.mean() < 0.6
    assert (world.begin(0)[:, 2] == came).all()
    assert (world.begin(1)[:, 2] != came).any()
    assert (coming(6).begin(0)[:, 2] != came).any()
    # After each session somebody new is drawn, again half of them the other one.
    brief = coming(5, DORLSettings(num_envs=400, quit_window=2, max_steps=1))
    visits = [brief.begin(0)[:, 2], *(brief.step(np.full(400, 2)).rows[:, 2] for _ in range(3))]
    assert (visits[0] == came).all()
    for before, after in zip(visits, visits[1:], strict=False):
        assert 0.4 < (before != after).mean() < 0.6
        assert 0.4 < after.mean() < 0.6


VECTORS = np.array([[1.0, 0], [0, 1], [0, 0]], np.float32)
START = ItemStart(3.0, np.array([0, 0, 1], np.float32), VECTORS, np.eye(3, dtype=np.float32))
TWO = Ratings(np.array([0, 0, 1]), np.array([0, 2, 1]), np.array([4, 4, 1], np.float32), np.arange(3), 2, 3)
STARS = np.array([[3 + 2 / 7, 3 + 1 / 7, 4.0], [3 - 1 / 3, 3 - 1 / 3 - 1 / 3, 4 - 1 / 3]])


def test_predicted_stars_of_learned_people() -> None:
    """Mean 3, item biases 0 0 1. Anna gave 4 stars to items 0 and 2: 1 and 0 above what was expected; with five ratings
    at the mean, taste 1 x (1, 0) / 7, level 1 / 7. Item 0: 3 + 1/7 + 1/7; item 1: 3 + 0 + 1/7; item 2: 4 + 1/7.

    Bens one star of item 1: taste (0, -2) / 6, level -2 / 6. No prediction leaves the log's 1 to 4 stars.
    """
    people = learn_people(TWO, [START], 2)
    assert people.ratings == pytest.approx(STARS, abs=1e-6)
    assert people.rows.tolist() == [[0, 0, 2, 4, 4], [0, EMPTY, 1, 0, 1]]
    assert people.users.tolist() == [0, 1]


def test_the_variance_of_a_prediction() -> None:
    """Errors 4 - 23/7 = 5/7, 4 - 4 = 0 and 1 - 7/3 = -4/3, so the noise is (25/49 + 0 + 16/9) / 3.

    Anna rated (1, 0) and (0, 0), on top of a precision of 5: 6 along the first axis, 5 along the second. So the noise
    is stretched by 1 + 1/6, 1 + 1/5 and 1 + 0 for her, and for Ben, who rated (0, 1), by 1 + 1/5, 1 + 1/6 and 1.
    """
    noise = (25 / 49 + 16 / 9) / 3
    expected = noise * np.array([[7 / 6, 6 / 5, 1.0], [6 / 5, 7 / 6, 1.0]])
    assert learn_people(TWO, [START], 2).variance == pytest.approx(expected, abs=1e-6)


def test_an_ensemble_has_the_mean_rating_and_the_largest_variance() -> None:
    """A second model that knows no tastes: Anna's ratings are 3 + 1/7, 3 + 1/7, 4, Ben's 3 - 1/3, 3 - 1/3, 4 - 1/3.

    Its errors 6/7, 0 and -5/3 are larger, and its variance is its noise: above the first model's 1.2 x .7627 for both.
    """
    blank = ItemStart(3.0, START.bias, np.zeros((3, 2), np.float32), START.likeness)
    other = np.array([[3 + 1 / 7, 3 + 1 / 7, 4.0], [3 - 1 / 3, 3 - 1 / 3, 4 - 1 / 3]])
    both = learn_people(TWO, [START, blank], 2)
    assert both.ratings == pytest.approx((STARS + other) / 2, abs=1e-6)
    assert both.variance == pytest.approx(np.full((2, 3), (36 / 49 + 25 / 9) / 3), abs=1e-6)


def test_what_is_too_much_alike_for_learned_people() -> None:
    """Factors less their mean (1, 1): (4, 0), (-4, -3), (0, 3); cosines of tastes -.8 (0 and 1), 0 (0 and 2), -.6.

    Genres Drama and War, Comedy, Drama: cosines 0, 1 / root of 2, 0. Squared distances 3.6 + 2, 2 + .585786, 3.2 + 2.
    """
    factors = np.array([[5.0, 1], [-3, -2], [1, 4]])
    vectors = taste_and_genres(factors, FILMS.genre_matrix, np.array([1, 1, 1]))
    assert vectors[:, :2] == pytest.approx(np.array([[1, 0], [-0.8, -0.6], [0, 1]]))
    # Each of the three pairs is a third of those drawn: a quarter, a half and nine tenths lie within one of them.
    for nearest, squared in ((0.25, 2.585786), (0.5, 5.2), (0.9, 5.6)):
        assert Likeness.nearest(vectors, nearest).threshold == pytest.approx(squared**0.5, abs=1e-5)
    window, page = np.array([[0]]), np.array([[0, 1, 2]])
    assert Likeness.nearest(vectors, 0.5).near(window, page).tolist() == [[True, False, True]]


class Impatient:
    """A task in which nobody sees two items; it notes who came, what they were shown and what they gave."""

    def __init__(self) -> None:
        self.came: list[list[int]] = []
        self.seen: list[tuple[int, float]] = []

    def begin(self, where: Any, users: Any) -> None:
        self.came.append(users[where].tolist())

    def leave(self, items: Any, stars: Any) -> Any:
        self.seen.append((int(items[0]), float(stars[0])))
        return np.ones(len(items), dtype=bool)


def test_with_the_rule_of_the_task_the_learned_one_is_not_asked() -> None:
    task, settings = Impatient(), DORLSettings(num_envs=1, exit="task", **PLAIN)
    world = ImaginedWorld(learned_people([[3.6, 4.4, 5.0]]), task, Entropies(film_log([[0, 1]]), FILMS), settings, 0)
    world.begin(0)
    moved = world.step(np.array([1]))
    assert (moved.terminated.tolist(), moved.rows[0, 0]) == ([True], 0)
    assert (task.came, task.seen) == ([[0], [0]], [(1, 4.0)])


def learned_scores(log: Ratings, **options: Any) -> Any:
    """(N,) what DORL's actor makes of somebody of whom nothing is known, as training begins or after it."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("tianshou")
    from recsim_llm.policies.rl.networks.weights import load_networks
    from recsim_llm.policies.rl.offline.dorl_training import fit_dorl

    settings = DORLSettings(
        embedding_size=4, hidden_size=8, num_envs=20, round_length=5, nearest=0.0, **PLAIN,
        pretrained=False, learning_rate=0.02,
        **options,
    )  # fmt: skip
    weights = fit_dorl(log, FILMS, settings, 3)
    stranger = np.concatenate([[0], np.full(50, EMPTY), np.zeros(50)]).astype(np.float32)[None]
    with torch.no_grad():
        return load_networks(weights, settings, 3)["main"].scores(torch.from_numpy(stranger))[0].numpy()


@pytest.mark.usefixtures("uncompiled")
def test_dorl_learns_whom_people_stay_for() -> None:
    """Item 1 was given five stars, the others one, for which people leave: its share of what is shown grows.

    Everybody has rated one item, so that the two others may be shown.
    """
    users, items = np.arange(60), np.arange(60) % 3
    good = Ratings(users, items, np.where(items == 1, 5, 1).astype(np.float32), np.arange(60), 60, 3)
    begun, learned = (learned_scores(good, steps=steps) for steps in (1, 800))
    assert learned.argmax() == 1
    share_before, share_after = (np.exp(s[1]) / np.exp(s).sum() for s in (begun, learned))
    assert share_after > max(0.5, share_before + 0.1)
    assert learned.tolist() == learned_scores(good, steps=800).tolist()
    # Of no log nothing is learned: the actor is as it begins.
    nothing = good.take(np.zeros(0, dtype=np.int64))
    assert learned_scores(nothing, steps=800).tolist() == learned_scores(nothing, steps=1).tolist()
