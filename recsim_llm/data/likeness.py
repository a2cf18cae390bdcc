"""Similarity of items: the measure of "too much alike" that users, learned users and bounds share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Bools, Floats, Floats32, Ints

_PAIRS = 1 << 18


@dataclass(frozen=True, slots=True)
class Likeness:
    """Items are too much alike if the Euclidean distance of their vectors is below a threshold.

    Attributes:
        vectors: (N, D) item vectors.
        threshold: Distance, in the vectors' units; with 0 no two items are alike.
    """

    vectors: Floats | Floats32
    threshold: float

    @classmethod
    def nearest(cls, vectors: Floats | Floats32, quantile: float) -> Likeness:
        """Set the threshold to a quantile of the distances between two different items, over 2^18 pairs drawn by hash.

        A published threshold is in the units of a published model's vectors and means nothing for other vectors.

        Args:
            vectors: (N, D), N at least 2.
            quantile: [0, 1); 0 gives the threshold 0, so that no items are alike.

        >>> Likeness.nearest(np.array([[0.0], [1.0], [10.0]]), 0.5).threshold
        9.0
        """
        return cls(vectors, float(distance_quantiles(vectors, [quantile])[0]) if quantile else 0.0)

    def near(self, windows: Ints, pages: Ints, thresholds: Floats | None = None) -> Bools:
        """(B, K) whether an item is too similar to any item of its window.

        Args:
            windows: (B, W) items shown before this page, padded with EMPTY.
            pages: (B, K) items, EMPTY in empty slots.
            thresholds: (B,) threshold per person; None for the common one.
        """
        limit = self.threshold if thresholds is None else thresholds[:, None]
        return np.asarray(self.gaps(windows, pages) < limit)

    def gaps(self, windows: Ints, pages: Ints) -> Floats:
        """(B, K) distance to the nearest item of the window; infinite for an empty window and in empty slots."""
        # (B, K, 1, D) - (B, 1, W, D); EMPTY (-1) indexes the last item and is masked below.
        apart = self.vectors[pages][:, :, None, :] - self.vectors[windows][:, None, :, :]
        gaps = np.sqrt(np.einsum("bkwd,bkwd->bkw", apart, apart))
        # (B, K, W) pairs of real items only.
        there = (windows != EMPTY)[:, None, :] & (pages != EMPTY)[:, :, None]
        return np.asarray(np.where(there, gaps, np.inf).min(axis=2), dtype=np.float64)

    def gaps_to_all(self, window: Ints) -> Floats:
        """(N,) distance of every item to the nearest item of the window; infinite for an empty window.

        Args:
            window: (W,) items; EMPTY entries are ignored.
        """
        gaps = np.full(len(self.vectors), np.inf)
        for item in window[window != EMPTY].tolist():
            gaps = np.minimum(gaps, np.sqrt(((self.vectors - self.vectors[item]) ** 2).sum(axis=1)))
        return gaps


def distance_quantiles(vectors: Floats | Floats32, quantiles: float | Sequence[float] | Floats) -> Floats:
    """(Q,) quantiles of the distances between two different items, over 2^18 pairs drawn by hash.

    Args:
        vectors: (N, D), N at least 2.
        quantiles: (Q,) values in [0, 1], or a single one.
    """
    draws = uniforms(0, Stream.DATA, np.arange(2 * _PAIRS)).reshape(2, -1)
    first = (draws[0] * len(vectors)).astype(np.int64)
    # An offset of 1..N-1 from the first item, so that the two always differ.
    second = (first + 1 + (draws[1] * (len(vectors) - 1)).astype(np.int64)) % len(vectors)
    # In 64 blocks, to bound the memory of the gathered vectors.
    pairs = zip(np.split(first, 64), np.split(second, 64), strict=True)
    gaps = np.concatenate([np.linalg.norm(vectors[a] - vectors[b], axis=1) for a, b in pairs])
    return np.asarray(np.quantile(gaps, quantiles))


def taste_and_genres(factors: Floats, genres: NDArray[np.bool_], counts: Ints) -> Floats:
    """(N, D + G) concatenated unit vectors of taste and of genres, so that both have equal weight.

    The squared distance of two items is 2 (1 - cosine of tastes) + 2 (1 - cosine of genres). Factors are first centred
    on their mean over ratings, as what all items have in common is no similarity. Their length is dropped, as it
    reflects how much people disagree on an item, or how often it was rated, not what it is like.

    Args:
        factors: (N, D) item factors of a model of ratings.
        genres: (N, G) True if the item has the genre.
        counts: (N,) number of ratings per item; if all are 0, items have equal weight.
    """
    centre = np.average(factors, axis=0, weights=counts if counts.any() else None)
    return np.concatenate([unit(factors - centre), unit(genres.astype(np.float64))], axis=1)


def unit(rows: Floats) -> Floats:
    """(N, D) rows of length 1; rows of length 0 stay as they are."""
    directions: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return directions


def nearness(gaps: Floats, typical: float) -> Floats:
    """Nearness of an item to earlier ones: 1 for a repeat, 0 from the typical distance on, same shape.

    Args:
        gaps: Distances to the nearest earlier item; infinite without one.
        typical: The median distance of two items of the catalogue.
    """
    near: Floats = np.clip(1.0 - gaps / max(typical, 1e-12), 0.0, 1.0)
    return near


def repetition_stars(gaps: Floats, typical: float, slopes: Floats, usual: Floats) -> Floats:
    """Stars that items gain by similarity to earlier ones; 0 without earlier items, same shape as gaps.

    Args:
        gaps: As in `nearness`.
        typical: As in `nearness`.
        slopes: Stars per unit of nearness for each person, broadcast to gaps.
        usual: Nearness at which a rating is as expected, broadcast likewise.
    """
    stars: Floats = np.where(np.isfinite(gaps), slopes * (nearness(gaps, typical) - usual), 0.0)
    return stars
