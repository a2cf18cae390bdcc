import numpy as np
import pytest

from recsim_llm.data import split_ratings
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.experiments.fidelity.held_out_rows import CASE_ITEMS, NEGATIVES, RATIOS, Cases, draw_cases, rating_rows
from recsim_llm.experiments.fidelity.measures.choice_measures import (
    best_threshold,
    choice_measures,
    deciles,
    share_measure,
    share_per_user,
    slot_curve,
    slot_measure,
)
from recsim_llm.experiments.fidelity.measures.incremental import increment


def drawn() -> tuple[Cases, np.ndarray, np.ndarray]:
    """Cases of the people of an invented world, the popularity of items, and (U, N) who rated what."""
    data = make_world(0).dataset
    split = split_ratings(data.ratings, "random")
    rows = rating_rows(split.test, np.arange(0, 200, 2), data.rating_levels)
    popularity = np.bincount(split.train.items, minlength=split.train.num_items)
    return draw_cases(rows, data.ratings, split.train), popularity, data.ratings.matrix().toarray() > 0


def test_negatives_were_never_rated_and_nothing_is_asked_twice() -> None:
    cases, _, rated = drawn()
    assert not rated[cases.users[cases.label == 0], cases.items[cases.label == 0]].any()
    assert rated[cases.users[cases.label == 1], cases.items[cases.label == 1]].all()
    for kind in range(len(NEGATIVES)):
        rows = np.isin(cases.kind, [-1, kind])
        pairs = cases.users[rows] * rated.shape[1] + cases.items[rows]
        assert len(np.unique(pairs)) == len(pairs)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("kind", NEGATIVES)
def test_a_test_has_its_ratio_for_everybody(kind: str, ratio: int) -> None:
    cases, *_ = drawn()
    rows = cases.of(kind, ratio)
    positives = np.bincount(cases.users[rows], weights=cases.label[rows], minlength=200)
    total = np.bincount(cases.users[rows], minlength=200)
    np.testing.assert_array_equal(total, positives * (1 + ratio))
    assert total.max() <= CASE_ITEMS


def test_popularity_matched_negatives_are_as_popular_as_what_is_rated() -> None:
    cases, popularity, rated = drawn()
    first = (cases.kind == 1) & (cases.rank == 0)
    weights = popularity * ~rated[cases.users[first]]
    expected = (weights @ popularity / weights.sum(axis=1)).mean()
    assert popularity[cases.items[first]].mean() == pytest.approx(expected, rel=0.15)
    assert popularity[cases.items[cases.kind == 1]].mean() > 1.3 * popularity[cases.items[cases.kind == 0]].mean()


def test_cases_of_a_person_do_not_depend_on_others() -> None:
    data = make_world(0).dataset
    split = split_ratings(data.ratings, "random")

    def asked(members: list[int]) -> set[tuple[int, int]]:
        cases = draw_cases(rating_rows(split.test, np.array(members), data.rating_levels), data.ratings, split.train)
        mine = cases.users == 7
        return set(zip(cases.items[mine].tolist(), cases.kind[mine].tolist(), strict=True))

    assert asked([7]) == asked([3, 7, 90])


def test_best_threshold_has_the_best_accuracy() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500).astype(float)
    scores = labels + rng.normal(0, 0.8, 500)
    best = ((scores > best_threshold(scores, labels)) == labels).mean()
    assert best >= max(((scores > t) == labels).mean() for t in np.linspace(-1, 2, 50)) - 0.01


def test_choice_measures_of_a_hand_counted_case() -> None:
    found = choice_measures(np.zeros(5, dtype=int), np.array([5.0, 4, 3, 2, 1]), np.array([1.0, 0, 1, 0, 1]), 1, 2.5)
    values = {name: measure.value for name, measure in found.items()}
    assert values == pytest.approx({"accuracy": 0.6, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "auc": 0.5})


def test_shares_are_compared_at_equal_activity() -> None:
    """Who is sure of everything chooses no more than people did: only the proportions count."""
    users, labels = np.array([0, 0, 1, 1]), np.array([1.0, 0, 1, 0])
    groups = np.eye(2)[[0, 1, 0, 1]]
    timid, bold = (share_measure(users, scale * np.array([0.2, 0.1, 0.1, 0.1]), labels, groups, 2) for scale in (1, 5))
    assert timid.value == pytest.approx(bold.value)
    assert share_measure(users, labels, labels, groups, 2).value == pytest.approx(0.0)
    assert share_per_user(users, 1 - labels, labels, groups, 2).value == pytest.approx(1.0)


def test_deciles_are_tenths_of_the_catalogue() -> None:
    groups = deciles(np.arange(95.0))
    assert groups.sum(axis=1).tolist() == [1.0] * 95
    assert set(groups.sum(axis=0)) <= {9.0, 10.0}
    assert groups[0, 0] == groups[-1, -1] == 1.0


def test_the_slot_curve_of_the_released_agent4rec_run() -> None:
    """Watching 91 / 54 / 38 / 19 % where relevance is 46 / 42 / 40 / 38 %: far from the curve of people."""
    watched, relevant = np.array([0.91, 0.54, 0.38, 0.19]), np.array([0.46, 0.42, 0.40, 0.38])
    slots, users = np.arange(4), np.zeros(4, dtype=int)
    expected = np.abs(watched / watched.mean() - relevant / relevant.mean()).mean()
    assert slot_measure(users, watched, relevant, slots, 1).value == pytest.approx(expected)
    assert slot_measure(users, relevant * 2, relevant, slots, 1).value == pytest.approx(0.0)
    assert slot_curve(watched, relevant, slots)["watched"] == watched.tolist()


def test_a_simulator_that_knows_more_is_found_and_one_that_knows_nothing_is_not() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(150), 20)
    known, secret = rng.normal(size=(3000, 2)), rng.normal(size=3000)
    chance = 1 / (1 + np.exp(-(known @ [1.0, -0.5] + 0.8 * secret)))
    label = (rng.random(3000) < chance).astype(float)
    informed = increment(users, known, secret[:, None], label, 150, permutations=99)
    empty = increment(users, known, rng.normal(size=(3000, 1)), label, 150, permutations=99)
    copied = increment(users, known, known[:, :1] * 3 + 1, label, 150, permutations=99)
    assert informed.gain.value > 0.03
    assert informed.p == pytest.approx(0.01)
    assert abs(empty.gain.value) < 0.002
    assert empty.p > 0.05
    assert abs(copied.gain.value) < 0.002


def test_knowing_only_who_is_generous_is_not_information_about_items() -> None:
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(150), 20)
    level = rng.normal(0, 1.5, 150)[users]
    label = (rng.random(3000) < 1 / (1 + np.exp(-level))).astype(float)
    found = increment(users, rng.normal(size=(3000, 1)), level[:, None], label, 150, permutations=99)
    assert found.gain.value > 0.05
    assert found.p > 0.5
