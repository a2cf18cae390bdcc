"""Which items are too much alike, on every data set there is: what the setting says it pays is what it pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from recsim_llm.agents.fitted_sources import statistical_parameters
from recsim_llm.agents.long_term.long_term_population import item_vectors, make_long_term
from recsim_llm.data import load_dataset
from recsim_llm.data.likeness import Likeness, taste_and_genres
from recsim_llm.types import EMPTY, Responses

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
FILMS = str(SHARED / "movielens")
LARGE = [FILMS, f"{SHARED}/billp/env/steam:300", f"{SHARED}/billp/env/amazon:300"]
DATASETS = ["synthetic", "synthetic:3:400", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
TURNS = 30


def present(name):
    if "/" in name and not Path(name.partition(":")[0]).is_dir():
        pytest.skip(f"{name} is not on this machine")
    return name


@pytest.fixture(scope="module", params=DATASETS, ids=lambda name: Path(name).name)
def dataset(request):
    return present(request.param)


def auc(scores, which):
    """Probability that a score of those marked is above one of the others."""
    ranks, marked = rankdata(scores), int(which.sum())
    return (ranks[which].sum() - marked * (marked + 1) / 2) / (marked * (len(which) - marked))


def pairs(num_items, count=100_000):
    rng = np.random.default_rng(0)
    first = rng.integers(0, num_items, count)
    return first, (first + 1 + rng.integers(0, num_items - 1, count)) % num_items


def turns_stayed(population, items):
    """Turns of each of ten people who like everything, shown these items one by one."""
    users, people = population.users, np.arange(10)
    users.reset(people, people, people.astype(np.uint64))
    here, stayed = np.ones(10, dtype=bool), np.zeros(10)
    for item in items:
        pages = np.full((10, 1), item)
        loved = np.full((10, 1), float(users.rating_levels[-1]))
        here &= users.observe(people, pages, Responses(loved > 0, loved)) == 0.0
        stayed += here
    return stayed


def same_genres(genres):
    """The largest group of items with the very same genres."""
    _, group, counts = np.unique(genres, axis=0, return_inverse=True, return_counts=True)
    counts[~np.array([genres[group == g][0].any() for g in range(len(counts))])] = 0
    return np.flatnonzero(group.ravel() == counts.argmax())[:TURNS]


def diverse(likeness, window):
    """A list in which nothing is like the last `window`, found greedily from the lowest id."""
    order = [0]
    while len(order) < TURNS:
        alike = likeness.gaps_to_all(np.array(order[-window:])) < likeness.threshold
        alike[order] = True
        order.append(int(np.flatnonzero(~alike)[0]))
    return order


def test_equal_genres_leave_and_a_diverse_list_stays(dataset):
    population = make_long_term(dataset, rule="window?tolerance=common")
    genres = population.dataset.catalogue.genre_matrix
    monotony = turns_stayed(population, same_genres(genres))
    assert monotony.mean() < 4, f"{monotony.mean()} turns of one genre"
    varied = diverse(population.users.likeness, population.users.rule.window)
    assert (turns_stayed(population, varied) == TURNS).all()


def test_the_length_of_factors_explains_nothing(dataset):
    factors = statistical_parameters(dataset).item_factors
    likeness = Likeness.nearest(item_vectors(dataset, "taste"), 0.1)
    first, second = pairs(len(factors))
    near = np.linalg.norm(likeness.vectors[first] - likeness.vectors[second], axis=1) < likeness.threshold
    lengths = np.linalg.norm(factors, axis=1)
    assert 0.45 < auc(np.maximum(lengths[first], lengths[second]), near) < 0.55
    genres = load_dataset(dataset).catalogue.genre_matrix.astype(float)
    shared = (genres[first] * genres[second]).sum(axis=1)
    assert auc(shared, near) > 0.8, "genres explain most"


@pytest.mark.slow
def test_raw_factors_are_the_known_bad_case():
    """The exploit: thirty dramas please a rule that looks at the length of factors, and not the one that we use."""
    films = present(FILMS)
    lengths = np.linalg.norm(statistical_parameters(films).item_factors, axis=1)
    population = make_long_term(films, rule="window?likeness=raw&tolerance=common")
    genres, names = population.dataset.catalogue.genre_matrix, population.dataset.catalogue.genres
    dramas = np.flatnonzero(genres[:, names.index("Drama")] & (genres.sum(axis=1) == 1))
    longest = dramas[np.argsort(-lengths[dramas])][:TURNS]
    assert turns_stayed(population, longest).mean() > 25
    assert turns_stayed(make_long_term(films, rule="window?tolerance=common"), longest).mean() < 4


def test_distances_by_hand():
    """Tastes at right angles and no common genre: 2 + 2, the farthest but for opposite tastes (4 + 2)."""
    factors = np.array([[2.0, 0.0], [-0.1, 0.0], [0.0, 3.0], [5.0, 0.0]])
    genres = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=bool)
    vectors = taste_and_genres(factors - np.average(factors, axis=0), genres, np.zeros(4, dtype=np.int64))
    centred = factors - factors.mean(axis=0)
    cosine = centred[0] @ centred[2] / np.linalg.norm(centred[0]) / np.linalg.norm(centred[2])
    assert np.sum((vectors[0] - vectors[2]) ** 2) == pytest.approx(2 * (1 - cosine) + 2)
    assert np.sum((vectors[0] - vectors[3]) ** 2) < 2, "same genre, similar taste; 2 and 5 are lengths only"


def test_near_and_gaps_to_all_say_the_same():
    likeness = Likeness(np.array([[0.0], [1.0], [1.5], [9.0]]), 1.0)
    assert likeness.gaps_to_all(np.array([EMPTY, 1])).tolist() == [1.0, 0.0, 0.5, 8.0]
    window = np.array([[EMPTY, 1]])
    assert likeness.near(window, np.array([[0, 1, 2, 3, EMPTY]])).tolist() == [[False, True, True, False, False]]


@pytest.mark.parametrize("likeness", ["ratings", "raw"])
def test_other_likenesses_by_name(likeness):
    vectors = item_vectors("synthetic", likeness)
    assert len(vectors) == 500
    assert make_long_term("synthetic", rule=f"window?likeness={likeness}").users.likeness.vectors.shape == vectors.shape
    if likeness == "ratings":
        assert vectors.shape[1] == 200, "a column a person"
        assert 1 <= vectors.min() <= vectors.max() <= 5
