"""Traits and tastes, against slow references and by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from recsim_llm.agents.persona import build_personas, diversity_values, item_means, levels, traits
from recsim_llm.data import load_dataset, split_ratings
from recsim_llm.errors import DataError


@pytest.fixture(scope="module")
def world():
    data = load_dataset("synthetic")
    return data, split_ratings(data.ratings, "temporal").train


def test_levels_follow_the_percentiles():
    assert levels(np.arange(1.0, 101.0), (60, 90)).tolist() == [1] * 60 + [2] * 30 + [3] * 10
    assert levels(np.ones(5), (60, 90)).tolist() == [1] * 5


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
            if taken > 0.8 + 1e-9:
                break
            count += 1
        diversity.append(count)
    for name, values, cuts in (
        ("activity", activity, (60, 90)),
        ("conformity", conformity, (25, 80)),
        ("diversity", diversity, (33, 66)),
    ):
        low, high = np.percentile(values, cuts)
        expected = [1 + (v > low) + (v > high) for v in np.asarray(values, dtype=float)]
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
