"""Traits and tastes, against slow references and by hand."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.agents.personas.persona import (
    ACTIVITY_CUTS,
    CONFORMITY_CUTS,
    DIVERSITY_CUTS,
    build_personas,
    diversity_values,
    item_means,
    levels,
    levels_between,
    traits,
)
from recsim_llm.data import load_dataset, split_ratings
from recsim_llm.errors import DataError


@pytest.fixture(scope="module")
def world():
    data = load_dataset("synthetic")
    return data, split_ratings(data.ratings, "temporal").train


def test_levels_follow_the_percentiles():
    assert levels(np.arange(1.0, 101.0), (60, 90)).tolist() == [1] * 60 + [2] * 30 + [3] * 10
    assert levels(np.ones(5), (60, 90)).tolist() == [3] * 5


def test_a_value_on_a_cut_belongs_to_the_upper_level():
    """Six of ten people stand on a cut of diversity; 5.9 and 6.9 do not, and stay below."""
    genres = np.array([4.0, 5.0, 6.0, 6.0, 6.0, 7.0, 7.0, 7.0, 8.0, 9.0])
    low, high = np.percentile(genres, DIVERSITY_CUTS)
    assert (low, high) == (6.0, pytest.approx(7.0))
    assert levels(genres, DIVERSITY_CUTS).tolist() == [1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    assert levels_between(np.array([5.9, 6.0, 6.9, 7.0]), 6.0, 7.0).tolist() == [1, 2, 2, 3]


@pytest.mark.parametrize(
    ("cuts", "values", "expected"),
    [
        (ACTIVITY_CUTS, [20, 20, 50, 50, 50, 50, 50, 90, 90, 90], [1, 1, 2, 2, 2, 2, 2, 3, 3, 3]),
        (CONFORMITY_CUTS, [0.5, 0.5, 1, 1, 1, 1, 1, 2, 2, 2], [1, 1, 2, 2, 2, 2, 2, 3, 3, 3]),
        (DIVERSITY_CUTS, [5, 5, 6, 6, 7, 7, 7, 7, 7, 7], [1, 1, 2, 2, 3, 3, 3, 3, 3, 3]),
    ],
)
def test_all_three_traits_put_ties_into_the_upper_level(cuts, values, expected):
    """Both percentiles are values that people have: a rule with "above" for "from" gives levels 1 and 2 only."""
    low, high = np.percentile(values, cuts)
    assert low in values
    assert high in values
    assert levels(np.array(values, dtype=float), cuts).tolist() == expected


PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "agent4rec"


@pytest.mark.skipif(not (PUBLISHED / "user_statistic_num.csv").exists(), reason="Agent4Rec's release is not here")
def test_published_levels_follow_from_the_published_numbers():
    """All 1,000 users, all three traits, from the released raw numbers.

    Diversity is cut at the 33rd and 66th percentile of the released numbers themselves, 6 and 7. The other cuts are
    percentiles of the 6,040 users of ML-1M, of which 1,000 are released: any value between the neighbours will do.
    """
    columns = (("activity", "activity_num"), ("diversity", "diversity_num"), ("conformity", "deviation"))
    numbers, given = (_by_user(PUBLISHED / name) for name in ("user_statistic_num.csv", "user_statistic.csv"))
    for level, number in columns:
        values = np.array([float(numbers[user][number]) for user in sorted(numbers)])
        published = np.array([int(given[user][level]) for user in sorted(numbers)])
        cuts = {"activity": (126.0, 403.0), "conformity": (0.666, 1.239)}.get(level)
        low, high = cuts or np.percentile(values, DIVERSITY_CUTS)
        assert len(values) == 1000
        assert np.array_equal(levels_between(values, low, high), published), level


def _by_user(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row["user_id"]: row for row in csv.DictReader(file)}


ML_100K = PUBLISHED.parent / "movielens"


@pytest.mark.skipif(not (ML_100K / "ml-100k.inter").exists(), reason="MovieLens 100K is not here")
def test_diversity_of_movielens_100k(tmp_path):
    for name in ("inter", "item", "user"):
        (tmp_path / f"ml-100k.{name}").symlink_to(ML_100K / f"ml-100k.{name}")
    data = load_dataset(tmp_path)
    got = traits(split_ratings(data.ratings, "temporal").train, data.catalogue)
    assert np.bincount(got.diversity).tolist() == [0, 204, 324, 415]


def test_traits_equal_a_slow_reference(world):
    data, train = world
    got = traits(train, data.catalogue)
    means = item_means(train)
    activity, conformity, diversity = [], [], []
    for user in range(train.num_users):
        rows = np.flatnonzero(train.users == user)
        activity.append(len(rows))
        conformity.append(np.mean([(train.values[r] - means[train.items[r]]) ** 2 for r in rows]))
        shares = Counter(g for r in rows for g in data.catalogue[int(train.items[r])].genres)
        total, taken, count = sum(shares.values()), 0.0, 0
        for _, n in shares.most_common():
            taken += n / total
            if taken > 0.8:
                break
            count += 1
        diversity.append(count)
    for name, values, cuts in (
        ("activity", activity, (60, 90)),
        ("conformity", conformity, (25, 80)),
        ("diversity", diversity, (33, 66)),
    ):
        low, high = np.percentile(values, cuts)
        expected = [1 + (v >= low) + (v >= high) for v in np.asarray(values, dtype=float)]
        assert getattr(got, name).tolist() == expected, name


def test_diversity_counts_up_to_a_share_of_08():
    assert diversity_values(np.array([[5.0, 3.0, 2.0], [10.0, 0.0, 0.0], [1.0, 1.0, 1.0]])).tolist() == [2, 0, 2]


def test_personas_name_what_the_person_rated(world):
    data, train = world
    for persona in build_personas(data, train)[:50]:
        rows = np.flatnonzero(train.users == persona.user)
        stars = dict(zip(train.items[rows].tolist(), train.values[rows].tolist(), strict=True))
        assert persona.mean_rating == pytest.approx(np.mean(list(stars.values())))
        assert set(persona.liked_items) | set(persona.disliked_items) <= set(stars)
        assert not set(persona.liked_items) & set(persona.disliked_items)
        assert min(stars[i] for i in persona.liked_items) >= max(stars[i] for i in persona.disliked_items)
        assert not set(persona.likes) & set(persona.dislikes)


def test_personas_do_not_see_the_test_part(world):
    data, _ = world
    split = split_ratings(data.ratings, "temporal")
    hidden = {(u, i) for u, i in zip(split.test.users.tolist(), split.test.items.tolist(), strict=True)}
    for persona in build_personas(data, split.train):
        assert not {(persona.user, i) for i in persona.liked_items + persona.disliked_items} & hidden


def test_a_person_without_ratings_is_named(world):
    data, train = world
    with pytest.raises(DataError, match="has no training rating"):
        build_personas(data, train.take(train.users != 3))
