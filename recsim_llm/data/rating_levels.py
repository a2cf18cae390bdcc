"""Distributions over rating levels, rounded to a level or shifted by some stars."""

from __future__ import annotations

import numpy as np

from recsim_llm.types import Floats


def nearest_level(ratings: Floats, levels: Floats) -> Floats:
    """(..., R) all weight on the level nearest to the expected rating; ties go to the lower one."""
    expected = ratings @ levels
    chosen = np.abs(levels - expected[..., None]).argmin(axis=-1)
    sure: Floats = np.eye(len(levels))[chosen]
    return sure


def moved(ratings: Floats, stars: Floats, levels: Floats) -> Floats:
    """(..., R) the distribution with its mean shifted by some stars (up or down), by at most one level.

    A rating moves to the next level up (down) with the probability that gives this mean; the highest (lowest) stays.

    Args:
        ratings: (..., R) probabilities of the levels.
        stars: (...) shift of the mean, in stars.
        levels: (R,) stars, ascending.

    >>> moved(np.array([[0.0, 0.5, 0.5]]), np.array([0.25]), np.array([1.0, 2.0, 3.0])).tolist()
    [[0.0, 0.25, 0.75]]
    """
    steps = levels[1:] - levels[:-1]
    rising = (stars > 0)[..., None]
    leaving = np.where(rising, ratings[..., :-1], ratings[..., 1:])  # (..., R-1) mass that may cross each step
    most = leaving @ steps
    share = np.minimum(np.abs(stars) / np.maximum(most, 1e-12), 1.0)[..., None] * leaving
    across = np.where(rising, share, -share)
    out: Floats = ratings.copy()
    out[..., :-1] -= across
    out[..., 1:] += across
    return out
