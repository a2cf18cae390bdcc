"""Measures and comparisons of studies against slow references, and by the identities that they must keep."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.experiments.studies.comparing import Mean, against_best, holm, mean_over, sign_flip
from recsim_llm.experiments.studies.study_measures import (
    MEASURES,
    StudyShelf,
    coverage,
    reward_by_turn,
    session_values,
    survival,
)
from recsim_llm.runs import StepBatch

N, CAP = 8, 6
RNG = np.random.default_rng(3)
SHELF = StudyShelf(np.array([9, 8, 7, 3, 2, 1, 0, 0]), 10, RNG.random((N, 3)) < 0.5, RNG.normal(size=(N, 2)))


def steps_of(sessions: list[tuple[list[int], list[float], bool]], order=None) -> StepBatch:
    """Sessions of one item a turn: items, rewards, and whether the person left (else cut off)."""
    rows = [
        (s, s, t, item, reward, left and t == len(items) - 1, not left and t == len(items) - 1)
        for s, (items, rewards, left) in enumerate(sessions)
        for t, (item, reward) in enumerate(zip(items, rewards, strict=True))
    ]
    rows = rows if order is None else [rows[i] for i in order]
    session, user, page, item, reward, left, cut = (np.array(column) for column in zip(*rows, strict=True))
    M = len(rows)
    return StepBatch(
        session=session, user=user, page=page, items=item[:, None], watch=np.ones((M, 1)),
        rating_probs=np.full((M, 1, 5), 0.2), watched=np.ones((M, 1), dtype=bool), ratings=reward[:, None],
        leave=np.zeros(M), left=left, truncated=cut, reward=reward.astype(float), thoughts=(),
    )  # fmt: skip


def slow(items, rewards, left, shelf=SHELF):
    """One session's measures, as one would explain them."""
    stayed = rewards[:-1] if left else rewards
    pairs = list(itertools.combinations(items, 2))

    def jaccard(a, b):
        one, two = set(np.flatnonzero(shelf.genres[a])), set(np.flatnonzero(shelf.genres[b]))
        return 1 - len(one & two) / len(one | two) if one | two else 0.0

    def cosine(a, b):
        x, y = shelf.vectors[a], shelf.vectors[b]
        return 1 - x @ y / (np.linalg.norm(x) * np.linalg.norm(y))

    return {
        "length_stayed": len(stayed),
        "reward_stayed": sum(stayed),
        "length_counted": len(items),
        "reward_counted": sum(rewards),
        "at_cap": float(not left),
        "genre_diversity": np.mean([jaccard(*p) for p in pairs]) if pairs else math.nan,
        "vector_diversity": np.mean([cosine(*p) for p in pairs]) if pairs else math.nan,
        "novelty": np.mean([-math.log2((shelf.counts[i] + 1) / 11) for i in items]),
        "popular_share": np.mean([i == 0 for i in items]),
        "repeat_share": sum(item in items[:t] for t, item in enumerate(items)) / len(items),
    }


session = st.integers(1, CAP).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, N - 1), min_size=n, max_size=n),
        st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0]), min_size=n, max_size=n),
        st.booleans(),
    )
)


@settings(max_examples=60, deadline=None)
@given(st.lists(session, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_measures_are_those_of_a_slow_reference_in_any_order_of_rows(sessions, shuffle):
    order = list(range(sum(len(items) for items, _, _ in sessions)))
    shuffle.shuffle(order)
    users, values = session_values(steps_of(sessions, order), SHELF)
    assert users.tolist() == list(range(len(sessions)))
    assert set(values) == set(MEASURES)
    for s, one in enumerate(sessions):
        for name, expected in slow(*one).items():
            np.testing.assert_allclose(values[name][s], expected, atol=1e-12, err_msg=name)
    left = np.array([left for _, _, left in sessions], dtype=float)
    np.testing.assert_array_equal(values["length_counted"], values["length_stayed"] + left)
    np.testing.assert_allclose(
        values["reward_counted"] - values["reward_stayed"],
        [rewards[-1] if gone else 0.0 for _, rewards, gone in sessions],
    )


def test_curves_and_coverage():
    steps = steps_of([([0, 1, 2], [5.0, 4.0, 1.0], True), ([1], [1.0], True), ([3, 3, 4], [2.0, 2.0, 2.0], False)])
    assert survival(steps, 3).tolist() == pytest.approx([1.0, 2 / 3, 2 / 3, 1 / 3])
    assert reward_by_turn(steps, 4)[:3].tolist() == pytest.approx([8 / 3, 3.0, 1.5])
    assert np.isnan(reward_by_turn(steps, 4)[3])
    assert coverage(steps, N) == 5 / 8


def test_a_standard_error_without_seeds_is_that_of_people():
    x = RNG.normal(size=50)
    mean = mean_over({(0, i): v for i, v in enumerate(x)})
    assert mean.value == pytest.approx(x.mean())
    assert mean.error == pytest.approx(x.std(ddof=1) / np.sqrt(50))


def test_a_standard_error_covers_seeds_that_differ():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(300):
        shifts = rng.normal(size=4)
        values = {(s, i): shifts[s] + rng.normal() for s in range(4) for i in range(25)}
        mean = mean_over(values)
        inside += abs(mean.value) < 3.18 * mean.error  # t with 3 degrees of freedom, 95 %
    assert 0.92 < inside / 300 <= 1.0


def test_missing_values_are_left_out():
    assert mean_over({(0, 0): 1.0, (0, 1): math.nan, (0, 2): 3.0}).n == 2
    assert str(mean_over({})) == "-"
    assert str(Mean(1.0, math.nan, 1)) == "1.00"


def test_the_sign_flip_test_is_exact_for_few_pairs():
    gaps = np.array([1.0, 2.0, -0.5, 3.0])
    signs = np.array(list(itertools.product([-1, 1], repeat=4)))
    exact = (np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-12).mean()
    assert sign_flip(gaps) == pytest.approx(exact, abs=0.015)
    assert sign_flip(np.zeros(5)) == 1.0
    assert sign_flip(np.zeros(0)) == 1.0


def test_p_values_of_nothing_are_uniform():
    rng = np.random.default_rng(1)
    p = [sign_flip(rng.normal(size=20), seed=i) for i in range(200)]
    assert 0.35 < np.mean(np.array(p) < 0.5) < 0.65
    assert np.mean(np.array(p) < 0.05) < 0.11


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_pairs_are_of_the_same_seed_and_person():
    good = {(s, u): 5.0 + u for s in range(2) for u in range(20)}
    bad = {(s, u): 4.0 + u for s in range(2) for u in range(10)}  # evaluated on fewer people
    pair = against_best({"good": good, "bad": bad}, "good")["bad"]
    assert pair.difference.value == pytest.approx(1.0)
    assert pair.difference.n == 20
    assert pair.p < 0.001
