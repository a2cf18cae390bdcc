"""Invented people for a real catalogue that comes without any, with known ground truth.

The model is that of `synthetic`, on items that exist: a score in stars is a mean, biases and a product of factors,
ratings are an ordered logit over it, and the log is missing not at random. Titles and genres are real; people, tastes,
ratings and the fame of an item are not, and say nothing about what real people like.

Deviation from `synthetic`: a real catalogue has more genres than factors, so genre directions are random unit
vectors and only nearly orthogonal; an item without genres has a direction of its own.
"""

from __future__ import annotations

import numpy as np

from recsim_llm.data.checksum import content_checksum
from recsim_llm.data.dataset import Catalogue, Dataset, Person, Ratings
from recsim_llm.data.worlds.synthetic import LEVELS, SyntheticWorld, Truth
from recsim_llm.errors import DataError
from recsim_llm.types import Bools, Floats, Ints

NUM_USERS = 1000
"""Default number of invented people."""

LEAST_ITEMS, MOST_USERS = 20, 1_000_000

# Standard deviations in stars, those of `synthetic`.
_MEAN = 2.95
_USER_BIAS, _ITEM_BIAS, _TASTE, _NOISE_SCALE = 0.35, 0.35, 0.8, 0.4
_GENRE_SHARE, _NUM_FACTORS = 0.75, 16
_SPREAD = 0.5  # standard deviation of the logarithm of the number of ratings per person
_START, _YEAR_SECONDS, _DAY_SECONDS = 1_577_836_800, 31_536_000, 86_400  # 2020-01-01
_BLOCK = 128  # users whose scores are in memory at once


def invent_people(
    name: str, catalogue: Catalogue, licence: str, num_users: int = NUM_USERS, seed: int = 0, ratings_per_user: int = 40
) -> SyntheticWorld:
    """Invent people for a catalogue; the same arguments give the same people.

    Args:
        name: Name of the data set.
        catalogue: The real items, N of them.
        licence: Terms of the catalogue; a note that the people are invented is added.
        num_users: U, 1 to 1,000,000.
        seed: Seed for all random draws, >= 0.
        ratings_per_user: Mean number of ratings per person, 5 to N / 2; log-normal over people, between 5 and N / 2.

    Raises:
        DataError: The catalogue is too small, or a number is out of its range.
    """
    num_items = len(catalogue)
    if num_items < LEAST_ITEMS:
        raise DataError(f"'{name}' has {num_items} items; people can be invented for {LEAST_ITEMS} or more.")
    if not 1 <= num_users <= MOST_USERS or seed < 0:
        raise DataError(f"'{name}': {num_users} people, seed {seed}. There can be 1..{MOST_USERS}, and seed >= 0.")
    rng = np.random.default_rng([seed, num_users])
    truth = _invent_truth(rng, num_users, catalogue.genre_matrix)
    log = _sample_log(rng, truth, min(max(ratings_per_user, 5), num_items // 2))
    # The raw id shows wherever a person appears, also in a manifest, that the person is invented.
    people = tuple(Person(u, f"invented-{u}") for u in range(num_users))
    terms = (
        f"PEOPLE ARE INVENTED by recsim-llm ({num_users} people, seed {seed}): their tastes and ratings are nobody's. "
        f"Titles and genres are real: {licence}"
    )
    checksum = content_checksum(catalogue, log, people, LEVELS)
    return SyntheticWorld(Dataset(name, catalogue, log, people, LEVELS, checksum, terms), truth)


def _invent_truth(rng: np.random.Generator, num_users: int, genres_NG: Bools) -> Truth:
    num_items = len(genres_NG)
    quality = rng.standard_normal(num_items)
    fame = 0.5 * quality + np.sqrt(0.75) * rng.standard_normal(num_items)
    truth = Truth(
        mean=_MEAN,
        user_bias=_USER_BIAS * rng.standard_normal(num_users),
        item_bias=_ITEM_BIAS * quality,
        user_factors=_TASTE * rng.standard_normal((num_users, _NUM_FACTORS)),
        item_factors=_item_factors(rng, genres_NG),
        thresholds=np.array([1.5, 2.5, 3.5, 4.5]),
        scale=_NOISE_SCALE,
        watch_bias=-1.2,
        watch_user_bias=0.4 * rng.standard_normal(num_users),
        watch_popularity=0.5 * fame,
        watch_slope=1.0,
    )
    for value in (getattr(truth, name) for name in Truth.__slots__):
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    return truth


def _item_factors(rng: np.random.Generator, genres_NG: Bools) -> Floats:
    """(N, D) unit vectors: the mean direction of an item's genres plus an item-specific part."""
    directions = _unit(rng.standard_normal((genres_NG.shape[1], _NUM_FACTORS)))
    shared = _unit(genres_NG.astype(np.float64) @ directions)
    alone = _unit(rng.standard_normal((len(genres_NG), _NUM_FACTORS)))
    return _unit(np.sqrt(_GENRE_SHARE) * shared + np.sqrt(1 - _GENRE_SHARE) * alone)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def _sample_log(rng: np.random.Generator, truth: Truth, ratings_per_user: int) -> Ratings:
    num_users, num_items = len(truth.user_bias), len(truth.item_bias)
    wanted = ratings_per_user * np.exp(_SPREAD * rng.standard_normal(num_users) - _SPREAD**2 / 2)
    counts = np.clip(np.rint(wanted), 5, num_items // 2).astype(np.int64)
    blocks = [slice(start, min(start + _BLOCK, num_users)) for start in range(0, num_users, _BLOCK)]
    rows = [_block(rng, truth, block, counts[block]) for block in blocks]
    items, values = np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])
    users = np.repeat(np.arange(num_users), counts)
    return Ratings(users, items, values.astype(np.float32), _times(rng, counts), num_users, num_items)


def _block(rng: np.random.Generator, truth: Truth, block: slice, counts: Ints) -> tuple[Ints, Floats]:
    """Items of some people, drawn without replacement by fame and taste (exponential races), and their stars."""
    scores = truth.scores(block)
    pull = truth.watch_slope * (scores - truth.mean) + 2.0 * truth.watch_popularity
    # (B, N) arrival times with rates exp(pull): the earliest are a weighted draw without replacement.
    race = rng.standard_exponential(scores.shape) * np.exp(-pull)
    most = int(counts.max())
    first = np.argpartition(race, most - 1, axis=1)[:, :most]
    order = np.take_along_axis(race, first, axis=1).argsort(axis=1)
    arrived = np.take_along_axis(first, order, axis=1)  # (B, most) items, earliest first
    kept = np.arange(most) < counts[:, None]  # (B, most) each person's first counts[b] arrivals
    taste = np.take_along_axis(scores, arrived, axis=1)[kept]
    noisy = taste + truth.scale * rng.logistic(size=len(taste))
    return arrived[kept].astype(np.int64), np.array(LEVELS)[np.searchsorted(truth.thresholds, noisy)]


def _times(rng: np.random.Generator, counts: Ints) -> Ints:
    """Times that increase by at least a second within each person; people join over a year."""
    joined = _START + rng.integers(_YEAR_SECONDS, size=len(counts))
    gaps = 1 + (_DAY_SECONDS * rng.standard_exponential(int(counts.sum()))).astype(np.int64)
    total = np.cumsum(gaps)
    before = np.concatenate([[0], total[np.cumsum(counts)[:-1] - 1]])
    return np.repeat(joined - before, counts) + total
