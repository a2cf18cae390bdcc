"""An invented world whose truth is known, a backbone fitted to part of its log, and second opinions good and bad.

`python -m tests.agents.opinions` prints the table of docs/hybrid.md: how often opinions that know nothing are believed,
and what believing costs or brings. It takes seven minutes on one core.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from recsim_llm.agents.collected_answers import collect_answers
from recsim_llm.agents.hybrid.calibration import Answers
from recsim_llm.agents.hybrid.cell_gates import grouped_mean
from recsim_llm.agents.hybrid.hybrid_users import HybridUsers, fit_hybrid
from recsim_llm.agents.personas.persona import traits
from recsim_llm.agents.statistical.fitting import fit_statistical
from recsim_llm.agents.statistical.ordinal import row_log_loss
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, StatisticalUsers
from recsim_llm.agents.user_model import Description
from recsim_llm.data import Split, split_ratings
from recsim_llm.data.splits import CALIBRATION_SHARE, calibration_users
from recsim_llm.data.worlds.synthetic import SyntheticWorld, make_world
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Reaction

LEVELS = np.arange(1.0, 6.0)


class Known(NamedTuple):
    world: SyntheticWorld
    split: Split
    backbone: StatisticalParameters
    item_counts: np.ndarray
    user_counts: np.ndarray

    @property
    def counts(self):
        return self.item_counts, self.user_counts


@lru_cache(maxsize=8)
def known(seed=0, num_users=500, num_items=250, ratings_per_user=30):
    world = make_world(seed, num_users, num_items, ratings_per_user)
    split = split_ratings(world.dataset.ratings, "random")
    activity = traits(split.train, world.dataset.catalogue).activity
    backbone = fit_statistical(split.train, activity, world.dataset.rating_levels)
    item_counts = np.bincount(split.train.items, minlength=num_items)
    return Known(world, split, backbone, item_counts, np.bincount(split.train.users, minlength=num_users))


def cold_world(seed=0):
    """Most items have few ratings."""
    return known(seed, 500, 1200, 30)


def pairs(place: Known, calibrating: bool, draw=0):
    """(users, items, rated, level): held-out ratings and as many unrated pairs, of calibration people or of others."""
    test, everything = place.split.test, place.world.dataset.ratings
    asked = uniforms(draw, Stream.CALIBRATION, np.arange(test.num_users), 7) < CALIBRATION_SHARE
    rows = (asked if draw else calibration_users(test.num_users))[test.users] == calibrating
    users, items = test.users[rows], test.items[rows]
    drawn = (uniforms(99, Stream.POLICY, users, items) * test.num_items).astype(np.int64)
    pair, rated = users * test.num_items + drawn, everything.users * test.num_items + everything.items
    other = np.setdiff1d(pair, rated)
    level = np.searchsorted(LEVELS, test.values[rows])
    return (
        np.concatenate([users, other // test.num_items]),
        np.concatenate([items, other % test.num_items]),
        np.arange(len(users) + len(other)) < len(users),
        np.concatenate([level, np.full(len(other), -1)]),
    )


class Opinion:
    """A user model that answers by a function of users and items, and counts what it is asked."""

    def __init__(self, place: Known, say):
        self.num_users, self.num_items = len(place.user_counts), len(place.item_counts)
        self.rating_levels, self._say = LEVELS, say
        self._users = np.zeros(0, dtype=np.int64)
        self.asked, self.calls, self.begun, self.seen = [], 0, 0, 0

    def reset(self, sessions, users, keys):
        self._users = np.pad(self._users, (0, max(int(sessions.max(initial=-1)) + 1 - len(self._users), 0)))
        self._users[sessions] = users
        self.begun += len(sessions)

    def react(self, sessions, pages):
        users = np.broadcast_to(self._users[sessions][:, None], pages.shape)
        self.calls += 1
        real = pages != EMPTY
        self.asked += zip(users[real].tolist(), pages[real].tolist(), strict=True)
        watch, rating = self._say(users, np.maximum(pages, 0))
        return Reaction(np.where(real, watch, 0.0), rating, ("I think so.",) * len(sessions))

    def observe(self, sessions, pages, responses):
        self.seen += len(sessions)
        return np.full(len(sessions), 0.9)

    def describe(self):
        return Description()


def answers_of(place: Known, model, calibrating=True, draw=0):
    users, items, rated, level = pairs(place, calibrating, draw)
    said = collect_answers(model, users, items)
    return Answers(users, items, said.watch, said.rating, rated, level)


def hashed(*words):
    return uniforms(12345, Stream.POLICY, *words)


def normal(users, items, salt):
    radius = np.sqrt(-2 * np.log1p(-hashed(users, items, np.full_like(items, salt))))
    return radius * np.cos(2 * np.pi * hashed(users, items, np.full_like(items, salt + 1)))


def true_scores(place: Known, users, items):
    truth = place.world.truth
    product = (truth.user_factors[users] * truth.item_factors[items]).sum(axis=-1)
    return truth.mean + truth.user_bias[users] + truth.item_bias[items] + product


def pmf_at(scores, scale=0.4):
    edges = (np.array([1.5, 2.5, 3.5, 4.5]) - scores[..., None]) / scale
    ends = np.zeros((*scores.shape, 1))
    padded = np.concatenate([ends, expit(edges), ends + 1], axis=-1)
    return np.diff(padded, axis=-1)


def helpful(place: Known, noise=0.5):
    """The truth, blurred."""

    def say(users, items):
        score = true_scores(place, users, items)
        watch = score - 3 + place.world.truth.watch_user_bias[users] + noise * normal(users, items, 3)
        return expit(watch), pmf_at(score + noise * normal(users, items, 5))

    return Opinion(place, say)


def opposite(place: Known):
    """What people like least comes first."""
    return Opinion(place, lambda u, i: (expit(3 - true_scores(place, u, i)), pmf_at(6 - true_scores(place, u, i))))


def useless(place: Known, salt=0):
    """Draws that have nothing to do with anything."""

    def say(users, items):
        weights = np.stack([hashed(users, items, np.full_like(items, salt + k)) for k in range(10, 15)], axis=-1) + 0.05
        return hashed(users, items, np.full_like(items, salt)), weights / weights.sum(axis=-1, keepdims=True)

    return Opinion(place, say)


def overconfident(place: Known, salt=0):
    """Sure of one star or of five, and of watching or not, at random."""

    def say(users, items):
        best = hashed(users, items, np.full_like(items, salt)) < 0.5
        sure = np.where(best[..., None], np.eye(5)[4], np.eye(5)[0])
        return np.where(hashed(users, items, np.full_like(items, salt + 1)) < 0.5, 1.0, 0.0), sure

    return Opinion(place, say)


def popular(place: Known):
    """Knows what is rated often, and nothing else."""

    def say(users, items):
        count = np.log1p(place.item_counts[items]) + 0.0 * users
        return expit(count - 3), pmf_at(count)

    return Opinion(place, say)


def of_person(place: Known, salt=0):
    """Noise that depends on the person alone."""

    def say(users, items):
        noise = normal(users, 0 * items, salt)
        return expit(noise), pmf_at(3 + noise)

    return Opinion(place, say)


def of_item(place: Known, salt=0):
    """Noise that depends on the item alone."""

    def say(users, items):
        noise = normal(0 * users, items, salt)
        return expit(noise), pmf_at(3 + noise)

    return Opinion(place, say)


OPINIONS = {
    "noise": useless,
    "sure of one star or five, at random": overconfident,
    "noise that depends on the person alone": of_person,
    "noise that depends on the item alone": of_item,
    "the opposite of the truth": lambda place, salt: opposite(place),
    **{
        f"the truth and noise, standard deviation {noise} stars": lambda place, salt, noise=noise: helpful(place, noise)
        for noise in (4.0, 2.0, 1.0, 0.5)
    },
}


def table():
    """Rows of docs/hybrid.md: worlds and draws of people, gains of people that nothing was learned from."""
    print("opinion | tests believed | runs with any | gain at 250 / 1,200 items | runs that lose more than 1.96 errors")
    for name, make in OPINIONS.items():
        used, tried, believed, lost, gains = 0, 0, 0, 0, {250: [], 1200: []}
        for items, seed, draw in itertools.product(gains, range(6), range(1, 7)):
            place = known(seed, 500, items, 30)
            model = make(place, 100 * draw)
            weights = fit_hybrid(place.backbone, answers_of(place, model, draw=draw), *place.counts)
            used += int(weights.rating.used.sum() + weights.watch.used.sum())
            tried += sum(gain.error > 0 for gain in weights.gains)
            believed += bool(weights.used.any())
            users, what, rated, level = pairs(place, False, draw)
            users, what, level = users[rated], what[rated], level[rated]
            base, mixed = (
                collect_answers(each, users, what).rating
                for each in (
                    StatisticalUsers(place.backbone),
                    HybridUsers(StatisticalUsers(place.backbone), model, weights, *place.counts),
                )
            )
            gained, error = grouped_mean(users, row_log_loss(base, level) - row_log_loss(mixed, level))
            gains[items].append(gained)
            lost += gained < -1.96 * error
        runs = sum(len(each) for each in gains.values())
        small, large = (float(np.mean(each)) for each in gains.values())
        print(f"{name} | {used / tried:.1%} | {believed} of {runs} | {small:.5f} / {large:.5f} | {lost}", flush=True)


if __name__ == "__main__":
    table()
