"""A synthetic world of items, people and ratings with known ground truth, for tests, demos and oracle studies.

Tastes are a factor model. A user u's score for an item i, in stars, is

    s = mean + user_bias[u] + item_bias[i] + user_factors[u] . item_factors[i]

Ratings are an ordered logit over s, P(r <= level k) = sigmoid((thresholds[k] - s) / scale), and watching an item that
is shown is P(watch) = sigmoid(watch_bias + watch_user_bias[u] + watch_slope (s - mean) + watch_popularity[i]).
Item factors come mostly from genres, which the descriptions reveal, and partly from the item alone. The log is
missing not at random, as real logs are: which items a user has rated follows popularity and taste.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from recsim_llm.checked import shown
from recsim_llm.data.checksum import content_checksum
from recsim_llm.data.dataset import Catalogue, Dataset, Person, Ratings
from recsim_llm.data.worlds.synthetic_texts import GENRES, invent_description, invent_places, invent_titles
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.spec import split_name
from recsim_llm.types import Bools, Floats, Ints, Item

LICENCE = "Invented by recsim-llm: free for any use."
LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)

# Standard deviations in stars, chosen so that logs look like MovieLens: mean about 3.5, sd about 1.1.
_MEAN = 2.95
_USER_BIAS, _ITEM_BIAS, _TASTE, _NOISE_SCALE = 0.35, 0.35, 0.8, 0.4
_GENRE_SHARE = 0.75  # of the variance of taste that an item's genres explain
_NUM_FACTORS = 8
_START, _YEAR_SECONDS = 1_577_836_800, 31_536_000  # 2020-01-01
_BLOCK = 1024  # users whose scores are in memory at once

MOST_USERS = 20_000_000


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of the ratings. U users, N items, D factors, R rating levels; arrays are read-only.

    Attributes:
        mean: Global mean, stars.
        user_bias, item_bias: (U,), (N,) stars.
        user_factors, item_factors: (U, D), (N, D); products are in stars.
        thresholds: (R-1,) ascending, stars.
        scale: Spread of the ordered logit, stars.
        watch_bias: Log-odds of watching for an average user and item.
        watch_user_bias, watch_popularity: (U,), (N,) log-odds.
        watch_slope: Log-odds of watching per star.
    """

    mean: float
    user_bias: Floats
    item_bias: Floats
    user_factors: Floats
    item_factors: Floats
    thresholds: Floats
    scale: float
    watch_bias: float
    watch_user_bias: Floats
    watch_popularity: Floats
    watch_slope: float

    def scores(self, users: Ints | slice = slice(None)) -> Floats:
        """(B, N) scores of the given users (default all) for every item, stars."""
        taste = self.user_factors[users] @ self.item_factors.T
        result: Floats = self.mean + self.user_bias[users][:, None] + self.item_bias + taste
        return result

    def expected_ratings(self, scores: Floats) -> Floats:
        """Expected stars at these scores, same shape: 1 + sum over levels of P(r > level)."""
        edges = (scores[..., None] - self.thresholds) / self.scale
        result: Floats = LEVELS[0] + _sigmoid(edges).sum(axis=-1)
        return result

    def watch_probabilities(self, users: Ints | slice = slice(None)) -> Floats:
        """(B, N) probability of watching each item if shown."""
        logit = self.watch_slope * (self.scores(users) - self.mean) + self.watch_popularity + self.watch_bias
        return _sigmoid(logit + self.watch_user_bias[users][:, None])


@dataclass(frozen=True, slots=True)
class SyntheticWorld:
    """A data set and its ground truth."""

    dataset: Dataset
    truth: Truth


def make_world(seed: int = 0, num_users: int = 200, num_items: int = 500, ratings_per_user: int = 40) -> SyntheticWorld:
    """Invent a world; equal arguments give the same world, which is cached and shared: do not modify it.

    Args:
        seed: Seed for all random draws, >= 0.
        num_users: U, >= 1.
        num_items: N, >= 20.
        ratings_per_user: Mean number of ratings per user, 5 to N / 2; users differ (log-normal, between 5 and N / 2).

    Raises:
        ConfigError: A size is out of its range.
    """
    if seed < 0 or num_users < 1 or num_items < 20 or not 5 <= ratings_per_user <= num_items // 2:
        raise ConfigError(
            f"No world with seed={seed}, num_users={num_users}, num_items={num_items}, ratings_per_user="
            f"{ratings_per_user}: seed >= 0, num_users >= 1, num_items >= 20, and 5 <= ratings_per_user <= num_items/2."
        )
    return _make_world(seed, num_users, num_items, ratings_per_user)


def named_world(name: str) -> SyntheticWorld | None:
    """The world behind "synthetic", "synthetic:SEED" or "synthetic:SEED:USERS", or people invented over a catalogue.

    None for any other name.

    Raises:
        DataError: Seed or number of users is not a whole number, or the catalogue's folder is broken.
    """
    kind, rest = split_name(name)
    numbers = rest.split(":") if ":" in name else []
    if kind != "synthetic":
        from recsim_llm.data.formats.billp_release import invented_world

        return invented_world(name)
    if len(numbers) > 2 or not all(n.isdecimal() and n.isascii() for n in numbers):
        raise DataError(
            f"'{name}': seed and number of users are whole numbers. Write synthetic:7 or synthetic:7:1000, for example."
        )
    seed, users = (*(int(n) for n in numbers), *(0, 200)[len(numbers) :])
    if not 1 <= users <= MOST_USERS:
        raise DataError(
            f"'{name}': the number of users must be between 1 and {MOST_USERS:,}, not {shown(str(users))}. Write "
            "synthetic:7:1000, for example."
        )
    return make_world(seed, users)


@lru_cache(maxsize=4)
def _make_world(seed: int, num_users: int, num_items: int, ratings_per_user: int) -> SyntheticWorld:
    rng = np.random.default_rng(seed)
    genres = _invent_genres(rng, num_items)
    catalogue = _invent_catalogue(rng, genres)
    people = _invent_people(rng, num_users)
    truth = _invent_truth(rng, num_users, genres)
    log = _sample_log(rng, truth, ratings_per_user)
    checksum = content_checksum(catalogue, log, people, LEVELS)
    return SyntheticWorld(Dataset("synthetic", catalogue, log, people, LEVELS, checksum, LICENCE), truth)


def _invent_genres(rng: np.random.Generator, num_items: int) -> Bools:
    """(N, G) one to three genres per item, some genres rarer than others."""
    weights = 1.0 / np.arange(1, len(GENRES) + 1) ** 0.5
    race = rng.standard_exponential((num_items, len(GENRES))) / weights
    count = rng.choice([1, 2, 3], size=num_items, p=[0.3, 0.5, 0.2])
    return race.argsort(axis=1).argsort(axis=1) < count[:, None]


def _invent_catalogue(rng: np.random.Generator, genres_NG: Bools) -> Catalogue:
    count = len(genres_NG)
    places = invent_places(rng, count)
    titles = invent_titles(rng, count, places)
    years = rng.integers(1950, 2025, size=count)
    words = rng.integers(1000, size=(count, 4))
    names = list(GENRES)
    genres = [tuple(names[g] for g in np.flatnonzero(row)) for row in genres_NG]
    items = tuple(
        Item(i, titles[i], int(years[i]), genres[i], invent_description(places[i], genres[i], words[i]))
        for i in range(count)
    )
    return Catalogue(items, tuple(str(i) for i in range(count))).vouch()


def _invent_people(rng: np.random.Generator, count: int) -> tuple[Person, ...]:
    ages = rng.integers(16, 76, size=count).tolist()
    genders = rng.choice(["F", "M"], size=count).tolist()
    jobs = rng.choice(["artist", "clerk", "doctor", "engineer", "farmer", "student", "teacher"], size=count).tolist()
    return tuple(Person(u, str(u), ages[u], genders[u], jobs[u]) for u in range(count))


def _invent_truth(rng: np.random.Generator, num_users: int, genres_NG: Bools) -> Truth:
    num_items = len(genres_NG)
    # Genre directions are orthonormal, so that a user can like one genre and dislike another.
    directions, _ = np.linalg.qr(rng.standard_normal((_NUM_FACTORS, _NUM_FACTORS)))
    # (N, G) rows of length 1, so that an item of several genres has no more taste than one of a single genre.
    shares = genres_NG / np.sqrt(genres_NG.sum(axis=1, keepdims=True))
    alone = rng.standard_normal((num_items, _NUM_FACTORS)) / np.sqrt(_NUM_FACTORS)
    item_factors = np.sqrt(_GENRE_SHARE) * (shares @ directions[: len(GENRES)]) + np.sqrt(1 - _GENRE_SHARE) * alone
    quality = rng.standard_normal(num_items)
    fame = 0.5 * quality + np.sqrt(0.75) * rng.standard_normal(num_items)  # better items are better known, on average
    truth = Truth(
        mean=_MEAN,
        user_bias=_USER_BIAS * rng.standard_normal(num_users),
        item_bias=_ITEM_BIAS * quality,
        user_factors=_TASTE * rng.standard_normal((num_users, _NUM_FACTORS)),
        item_factors=item_factors,
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


def _sample_log(rng: np.random.Generator, truth: Truth, ratings_per_user: int) -> Ratings:
    num_users, num_items = len(truth.user_bias), len(truth.item_bias)
    spread = 0.5
    wanted = ratings_per_user * np.exp(spread * rng.standard_normal(num_users) - spread**2 / 2)
    counts = np.clip(np.rint(wanted), 5, num_items // 2).astype(np.int64)
    users = np.repeat(np.arange(num_users), counts)
    items = np.concatenate([_choose(rng, truth, counts, start) for start in range(0, num_users, _BLOCK)])
    times = _times(rng, counts)
    values = _sample_ratings(rng, truth, users, items)
    return Ratings(users, items, values.astype(np.float32), times, num_users, num_items)


def _choose(rng: np.random.Generator, truth: Truth, counts: Ints, start: int) -> Ints:
    """Items of a block of users, drawn without replacement by popularity and taste (exponential races)."""
    block = slice(start, start + _BLOCK)
    # Twice the popularity effect of a page: to be watched, an item must first have come to the user's attention.
    logit = truth.watch_slope * (truth.scores(block) - truth.mean) + 2.0 * truth.watch_popularity
    # (B, N) arrival times with rates exp(logit): the earliest are a weighted draw without replacement.
    race = rng.standard_exponential(logit.shape) * np.exp(-logit)
    most = int(counts[block].max())
    first = np.argpartition(race, most - 1, axis=1)[:, :most]
    order = np.take_along_axis(race, first, axis=1).argsort(axis=1)
    arrived = np.take_along_axis(first, order, axis=1)  # (B, most) items, earliest first
    return arrived[np.arange(most) < counts[block][:, None]].astype(np.int64)


def _times(rng: np.random.Generator, counts: Ints) -> Ints:
    """Times that increase by at least a second within each user; users join over a year."""
    joined = _START + rng.integers(_YEAR_SECONDS, size=len(counts))
    gaps = 1 + (86_400 * rng.standard_exponential(int(counts.sum()))).astype(np.int64)
    total = np.cumsum(gaps)
    before = np.concatenate([[0], total[np.cumsum(counts)[:-1] - 1]])
    return np.repeat(joined - before, counts) + total


def _sample_ratings(rng: np.random.Generator, truth: Truth, users: Ints, items: Ints) -> Floats:
    """Sample an ordered logit: a score with logistic noise, cut at the thresholds."""
    product = np.einsum("md,md->m", truth.user_factors[users], truth.item_factors[items])
    score = truth.mean + truth.user_bias[users] + truth.item_bias[items] + product
    noisy = score + truth.scale * rng.logistic(size=len(users))
    result: Floats = np.array(LEVELS)[np.searchsorted(truth.thresholds, noisy)]
    return result


def _sigmoid(logit: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(-logit))
    return result
