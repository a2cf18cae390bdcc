"""Where a second opinion is listened to: four cells of pairs, and whether it has been found to help in one of them.

A cell is (item cold or warm) x (history of the person short or long), by training ratings. What is learned in a cell is
kept only if users it was not learned from are predicted better with it: mean gain less z standard errors above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsim_llm.agents.ordinal import fit_weights, row_log_loss
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Floats, Ints

CELLS = (
    "cold item, short history",
    "cold item, long history",
    "warm item, short history",
    "warm item, long history",
)

_FREE = 1e-3  # a trace of a penalty, so that there is one best answer
_FOLDS = 1


@dataclass(frozen=True, slots=True)
class GateOptions:
    """When a cell is believed.

    Attributes:
        cold: Items with fewer training ratings are cold.
        short: People with fewer training ratings have a short history.
        folds: Parts of the people, each predicted without itself.
        z: Standard errors that the mean gain must exceed; 1.645 is 5 % of chance a cell, one-sided.
        ridge: Penalty on squared weights, in pairs.
        fewest_users, fewest_pairs: A cell with fewer keeps weight 0.
        seed: Of the folds.
    """

    cold: int = 10
    short: int = 20
    folds: int = 5
    z: float = 1.645
    ridge: float = 20.0
    fewest_users: int = 20
    fewest_pairs: int = 40
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CellGain:
    """What was found in one cell.

    Attributes:
        part: "rating" or "watch".
        cell: One of `CELLS`.
        pairs, users: Calibration pairs of the cell, and people they are of.
        gain: Held-out log-loss of the backbone less that with the second opinion, nats a pair.
        error: Standard error of the gain, over people.
        weights: Log-odds per standard deviation of each feature; all 0 where it is not believed.
    """

    part: str
    cell: str
    pairs: int
    users: int
    gain: float
    error: float
    weights: tuple[float, ...]

    @property
    def used(self) -> bool:
        """Whether the second opinion counts in this cell."""
        return any(self.weights)


def cells_of(item_counts: Ints, user_counts: Ints, options: GateOptions) -> Ints:
    """Cells, as indices into `CELLS`, of pairs with these numbers of training ratings (arrays broadcast)."""
    cells: Ints = 2 * (item_counts >= options.cold).astype(np.int64) + (user_counts >= options.short)
    return cells


@dataclass(frozen=True)
class CellRows:
    """The pairs of one cell, for learning.

    Attributes:
        users: (M,) ids.
        features: (M, D) of the second opinion, mean 0.
        nuisance: (M, E) columns that may move the level while learning and are never applied; E may be 0.
        edges: (M, R-1) the backbone's log-odds of P(level <= k).
        level: (M,) what happened.
    """

    users: Ints
    features: Floats
    nuisance: Floats
    edges: Floats
    level: Ints


def learn_cell(part: str, cell: str, rows: CellRows, options: GateOptions) -> CellGain:
    """Weights of one cell, exactly 0 unless they are found to help people they were not learned from."""
    pairs, users, size = len(rows.users), len(np.unique(rows.users)), rows.features.shape[1]
    nothing = (0.0,) * size
    if pairs < options.fewest_pairs or users < options.fewest_users:
        return CellGain(part, cell, pairs, users, 0.0, 0.0, nothing)
    mean, error = grouped_mean(rows.users, _held_out_gain(rows, options))
    if not mean - options.z * error > 0.0:
        return CellGain(part, cell, pairs, users, mean, error, nothing)
    _, weights = _fit(rows, np.ones(pairs, dtype=np.bool_), options)
    return CellGain(part, cell, pairs, users, mean, error, tuple(weights.tolist()))


def grouped_mean(users: Ints, values: Floats) -> tuple[float, float]:
    """Mean over rows, and its standard error where users are the independent draws (a ratio's linearisation)."""
    _, place = np.unique(users, return_inverse=True)
    mean, count = float(values.mean()), int(place.max()) + 1
    surplus = np.bincount(place, weights=values - mean)
    return mean, float(np.sqrt((surplus**2).sum() * count / max(count - 1, 1)) / len(values))


def _held_out_gain(rows: CellRows, options: GateOptions) -> Floats:
    """(M,) log-loss of each pair without less with the features, fitted on other people."""
    # A hash of its own: that of (seed, stream, user) says who is a calibration user at all (`data.splits`).
    folds = (uniforms(options.seed, Stream.CALIBRATION, rows.users, _FOLDS) * options.folds).astype(np.int64)
    gain = np.zeros(len(folds))
    for fold in range(options.folds):
        out = folds == fold
        if out.any() and not out.all():
            without, nuisance, weights = _fit_nuisance(rows, ~out), *_fit(rows, ~out, options)
            base = rows.edges[out] - (rows.nuisance[out] @ without)[:, None]
            moved = rows.edges[out] - (rows.nuisance[out] @ nuisance + rows.features[out] @ weights)[:, None]
            gain[out] = _loss(base, rows.level[out]) - _loss(moved, rows.level[out])
    return gain


def _fit_nuisance(rows: CellRows, chosen: Bools) -> Floats:
    """Weights of the nuisance columns alone."""
    return fit_weights(rows.nuisance[chosen], rows.edges[chosen], rows.level[chosen], _FREE, nonnegative=False)


def _fit(rows: CellRows, chosen: Bools, options: GateOptions) -> tuple[Floats, Floats]:
    """Weights of nuisance columns and of features. The latter are not negative: see docs/hybrid.md."""
    extra, size = rows.nuisance.shape[1], rows.features.shape[1]
    columns = np.hstack([rows.nuisance[chosen], rows.features[chosen]])
    ridge = np.concatenate([np.full(extra, _FREE), np.full(size, options.ridge)])
    found = fit_weights(columns, rows.edges[chosen], rows.level[chosen], ridge, np.arange(extra + size) >= extra)
    return found[:extra], found[extra:]


def _loss(edges: Floats, level: Ints) -> Floats:
    cumulative = 1.0 / (1.0 + np.exp(-edges))
    pmf = np.diff(np.pad(cumulative, ((0, 0), (1, 1)), constant_values=((0, 0), (0.0, 1.0))), axis=1)
    return row_log_loss(pmf, level)
