"""The synthetic world: seeded, human-looking, and with a gap between knowing a user and knowing what is popular."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.data import load_dataset
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.errors import ConfigError

SEEDS = range(4)


def test_same_seed_same_world() -> None:
    first = make_world(seed=5).dataset.checksum
    make_world.__globals__["_make_world"].cache_clear()
    assert make_world(seed=5).dataset.checksum == first
    assert make_world(seed=6).dataset.checksum != first


def test_names() -> None:
    assert load_dataset("synthetic").checksum == make_world().dataset.checksum
    assert load_dataset("synthetic:0").checksum == make_world().dataset.checksum
    seventh = load_dataset("synthetic:7")
    assert seventh.name == "synthetic:7"
    assert seventh.checksum == make_world(seed=7).dataset.checksum


@pytest.mark.parametrize("seed", SEEDS)
def test_texts(seed: int) -> None:
    items = make_world(seed).dataset.catalogue.items
    assert len({item.title for item in items}) == len(items)
    assert all(1 <= len(item.genres) <= 3 for item in items)
    assert all(item.description.endswith(".") and item.description.count(".") == 1 for item in items)
    horror = {item.description.partition(": ")[2] for item in items if item.genres == ("Horror",)}
    comedy = {item.description.partition(": ")[2] for item in items if item.genres == ("Comedy",)}
    assert horror
    assert comedy
    assert not horror & comedy


def test_many_items_still_have_their_own_titles() -> None:
    items = make_world(num_users=1, num_items=9000, ratings_per_user=5).dataset.catalogue.items
    assert len({item.title for item in items}) == 9000


@pytest.mark.parametrize("seed", SEEDS)
def test_the_log_looks_human(seed: int) -> None:
    log = make_world(seed).dataset.ratings
    assert 1.0 <= log.values.std() <= 1.2
    assert 3.3 <= log.values.mean() <= 3.8
    assert set(log.values.tolist()) == {1, 2, 3, 4, 5}
    assert len(set(zip(log.users.tolist(), log.items.tolist(), strict=True))) == len(log)
    counts = np.bincount(log.users, minlength=log.num_users)
    assert counts.min() >= 5
    assert 30 <= counts.mean() <= 50
    assert counts.std() > 10
    same_user = np.diff(log.users) == 0
    assert (np.diff(log.times)[same_user] > 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_oracle_beats_popularity_beats_random(seed: int) -> None:
    world = make_world(seed)
    expected = world.truth.expected_ratings(world.truth.scores())
    popular = np.argsort(np.bincount(world.dataset.ratings.items, minlength=500))[-10:]
    oracle = np.sort(expected, axis=1)[:, -10:].mean()
    assert oracle > expected[:, popular].mean() + 0.5
    assert expected[:, popular].mean() > expected.mean() + 0.2
    watch = world.truth.watch_probabilities()
    assert 0.15 < watch.mean() < 0.45
    assert np.sort(watch, axis=1)[:, -10:].mean() > watch[:, popular].mean() > watch.mean() + 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_genres_tell_tastes(seed: int) -> None:
    """A regression of the item factors on genres explains most, but not all, of them."""
    world = make_world(seed)
    genres = world.dataset.catalogue.genre_matrix
    shares = genres / np.sqrt(genres.sum(axis=1, keepdims=True))
    fitted = shares @ np.linalg.lstsq(shares, world.truth.item_factors)[0]
    explained = 1 - (world.truth.item_factors - fitted).var() / world.truth.item_factors.var()
    assert 0.5 < explained < 0.9


def test_ratings_follow_the_truth() -> None:
    """Over many ratings the residuals from the true expectation average to nothing, and the truth beats a constant."""
    world = make_world(num_users=1000, num_items=300, ratings_per_user=60)
    log = world.dataset.ratings
    scores = world.truth.scores()[log.users, log.items]
    residual = log.values - world.truth.expected_ratings(scores)
    assert abs(residual.mean()) < 4 * residual.std() / np.sqrt(len(log))
    assert residual.std() < 0.8 * log.values.std()


def test_the_log_is_missing_not_at_random() -> None:
    world = make_world()
    rated = world.truth.scores()[world.dataset.ratings.users, world.dataset.ratings.items].mean()
    assert rated > world.truth.scores().mean() + 0.3


def test_truth_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        make_world().truth.item_bias[0] = 1.0


@pytest.mark.parametrize(
    "sizes", [{"seed": -1}, {"num_users": 0}, {"num_items": 10}, {"ratings_per_user": 4}, {"ratings_per_user": 251}]
)
def test_sizes_that_cannot_work(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(sizes))):
        make_world(**sizes)


@pytest.mark.slow
def test_a_million_ratings() -> None:
    data = make_world(num_users=10_000, num_items=5_000, ratings_per_user=100).dataset
    assert 900_000 < len(data.ratings) < 1_100_000
