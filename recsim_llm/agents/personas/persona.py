"""Personas from real ratings: Agent4Rec's three traits, tastes from genres, example titles; without a language model.

Trait formulas and cuts are Agent4Rec's (Zhang et al., SIGIR 2024; released code), computed on the training ratings:

- activity: number of ratings; levels cut at the 60th and 90th percentile of the population.
- conformity: mean over rated items of (rating - item mean)^2; cuts at the 25th and 80th percentile. Level 1 follows
  the crowd, level 3 is a maverick.
- diversity: how many genres, taken in descending share of the person's ratings, fit into a cumulative share of 0.8;
  cuts at the 33rd and 66th percentile.

A value below the lower cut is level 1, below the upper cut level 2, and anything else level 3: a value equal to a cut
belongs to the level above, as published. Diversity is a small whole number, so a third of all people lie on a cut.

Deviation: cuts are percentiles of the data set at hand, not ML-1M's fixed numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsim_llm.agents.llm.rendered_texts import Rendered
from recsim_llm.agents.personas.log_order import user_ends, user_order
from recsim_llm.data.dataset import Catalogue, Dataset, Ratings
from recsim_llm.errors import DataError
from recsim_llm.types import Floats, Ints, Persona

ACTIVITY_CUTS = (60.0, 90.0)
CONFORMITY_CUTS = (25.0, 80.0)
DIVERSITY_CUTS = (33.0, 66.0)
DIVERSITY_SHARE = 0.8
_GENRE_PRIOR = 5.0  # ratings a genre needs before its mean counts half: keeps one lucky film from being a taste


@dataclass(frozen=True, slots=True)
class Traits:
    """Trait levels 1..3 of U users.

    Attributes:
        activity, conformity, diversity: (U,) levels.
    """

    activity: Ints
    conformity: Ints
    diversity: Ints


def levels(values: Floats, cuts: tuple[float, float]) -> Ints:
    """Levels 1..3 of (U,) values, cut at two percentiles of the same values.

    Args:
        values: (U,) of one trait.
        cuts: Percentiles, 0 to 100, the lower first.

    >>> levels(np.array([5.0, 6.0, 6.0, 6.0, 7.0, 7.0, 7.0, 9.0]), DIVERSITY_CUTS).tolist()
    [1, 2, 2, 2, 3, 3, 3, 3]
    """
    low, high = np.percentile(values, cuts)
    return levels_between(values, low, high)


def levels_between(values: Floats, low: float, high: float) -> Ints:
    """Levels 1..3 of (U,) values: 1 below `low`, 2 from `low` to below `high`, 3 from `high` on."""
    result: Ints = (1 + (values >= low) + (values >= high)).astype(np.int64)
    return result


def item_means(ratings: Ratings) -> Floats:
    """(N,) mean stars of each item; the global mean for items without ratings."""
    counts = np.bincount(ratings.items, minlength=ratings.num_items)
    sums = np.bincount(ratings.items, weights=ratings.values, minlength=ratings.num_items)
    overall = float(ratings.values.mean())
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall)


def _genre_counts(ratings: Ratings, genre_matrix: NDArray[np.bool_]) -> Floats:
    """(U, G) how many rated items of each user have each genre."""
    rated = ratings.matrix().astype(bool).astype(np.float64)
    return np.asarray(rated @ genre_matrix.astype(np.float64))


def diversity_values(counts_UG: Floats) -> Floats:
    """(U,) genres whose cumulative share, in descending order, stays at or below `DIVERSITY_SHARE`."""
    shares = counts_UG / np.maximum(counts_UG.sum(axis=1, keepdims=True), 1.0)
    cumulative = np.cumsum(-np.sort(-shares, axis=1), axis=1)
    # In floats, as published: a sum that is 0.8 on paper may miss it by rounding.
    count: Floats = (cumulative <= DIVERSITY_SHARE).sum(axis=1).astype(np.float64)
    return count


def traits(ratings: Ratings, catalogue: Catalogue) -> Traits:
    """Trait levels of all users from their training ratings."""
    counts = np.bincount(ratings.users, minlength=ratings.num_users).astype(np.float64)
    gaps = (ratings.values - item_means(ratings)[ratings.items]) ** 2
    conformity = np.bincount(ratings.users, weights=gaps, minlength=ratings.num_users) / np.maximum(counts, 1)
    diversity = diversity_values(_genre_counts(ratings, catalogue.genre_matrix))
    return Traits(levels(counts, ACTIVITY_CUTS), levels(conformity, CONFORMITY_CUTS), levels(diversity, DIVERSITY_CUTS))


def _tastes(ratings: Ratings, catalogue: Catalogue, user_means: Floats) -> Floats:
    """(U, G) shrunken mean of (rating - own mean) over each genre; 0 where a genre was never rated."""
    centred = ratings.matrix().astype(np.float64)
    centred.data -= np.repeat(user_means, np.diff(centred.indptr))
    sums = np.asarray(centred @ catalogue.genre_matrix.astype(np.float64))
    return sums / (_genre_counts(ratings, catalogue.genre_matrix) + _GENRE_PRIOR)


def _examples(ratings: Ratings, count: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Best and worst rated item ids of each user in turn; ties go to the latest."""
    order = user_order(ratings)
    rows = (np.arange(len(ratings)) if order is None else order)[::-1]
    rows = rows[np.lexsort((-ratings.values[rows], ratings.users[rows]))]
    # Share int objects, because a hundred thousand people have a million examples.
    number = list(range(ratings.num_items)).__getitem__
    items = ratings.items[rows].tolist()
    ends = user_ends(ratings)
    for end, size in zip(ends.tolist(), np.diff(ends, prepend=0).tolist(), strict=True):
        half = min(count, size // 2 if size > 1 else 1)
        best = tuple(map(number, items[end - size : end - size + half]))
        yield best, tuple(map(number, items[end - half : end][::-1])) if size > 1 else ()


def _genre_tastes(
    tastes: Floats, names: Sequence[str], count: int
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Genres with the highest (above 0) and the lowest (below 0) of the (U, G) tastes, for each user in turn."""
    order = np.argsort(-tastes, axis=1, kind="stable")
    likes = np.minimum((tastes > 0).sum(axis=1), count).tolist()
    dislikes = np.minimum((tastes < 0).sum(axis=1), count).tolist()
    # Few combinations occur, so each tuple is stored once.
    named = Rendered[tuple[int, ...], tuple[str, ...]](lambda genres: tuple(names[genre] for genre in genres))
    for row, liked, disliked in zip(order.tolist(), likes, dislikes, strict=True):
        yield named[tuple(row[:liked])], named[tuple(row[::-1][:disliked])]


def build_personas(dataset: Dataset, train: Ratings, num_genres: int = 4, num_examples: int = 4) -> tuple[Persona, ...]:
    """One persona per user, from training ratings only.

    Args:
        dataset: Gives the catalogue and demographics; its ratings are not read.
        train: Training ratings.
        num_genres: Most genres named as liked, and as disliked.
        num_examples: Most items named as liked, and as disliked.

    Raises:
        DataError: A user has no training rating, so nothing is known of the person.
    """
    counts = np.bincount(train.users, minlength=train.num_users)
    if not counts.all():
        raw = dataset.people[int(np.argmin(counts))].raw_id
        raise DataError(
            f"{dataset.name}: user {raw} has no training rating, so no persona can be made. "
            "Drop people without ratings, or split with a smaller test share."
        )
    means = np.bincount(train.users, weights=train.values, minlength=train.num_users) / counts
    trait = traits(train, dataset.catalogue)
    tastes = _genre_tastes(_tastes(train, dataset.catalogue, means), dataset.catalogue.genres, num_genres)
    columns = (trait.activity.tolist(), trait.conformity.tolist(), trait.diversity.tolist(), means.tolist())
    rows = zip(dataset.people, *columns, tastes, _examples(train, num_examples), strict=True)
    return tuple(
        Persona(
            user=person.user,
            age=person.age,
            gender=person.gender,
            occupation=person.occupation,
            activity=activity,
            conformity=conformity,
            diversity=diversity,
            likes=likes,
            dislikes=dislikes,
            liked_items=liked,
            disliked_items=disliked,
            mean_rating=mean,
        )
        for person, activity, conformity, diversity, mean, (likes, dislikes), (liked, disliked) in rows
    )
