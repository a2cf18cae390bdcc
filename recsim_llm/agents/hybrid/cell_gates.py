"""Where a second opinion is listened to: four cells of pairs, and whether it has been found to help in one of them.

A cell is (item cold or warm) x (history of the person short or long), by training ratings. What is learned in a cell is
kept only if users it was not learned from are predicted better with it. Four cells are tried for ratings and four for
watching, and a model that knows nothing must not be believed because eight were tried: Benjamini and Hochberg (1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr
from scipy.stats import false_discovery_control

from recsim_llm.agents.statistical.ordinal import fit_weights, row_log_loss
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
        false_discoveries: Expected share, at most, of the believed cells in which the gain is chance; and the chance
            that a model that knows nothing is believed anywhere. Shared by all cells that are tried, one-sided.
        ridge: Penalty on squared weights, in pairs.
        fewest_users, fewest_pairs: A cell with fewer keeps weight 0.
        seed: Of the folds.
    """

    cold: int = 10
    short: int = 20
    folds: int = 5
    false_discoveries: float = 0.05
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


def learn_cells(tried: Sequence[tuple[str, str, CellRows]], options: GateOptions) -> list[CellGain]:
    """What was found in all cells, tried together; weights are exactly 0 where the gain may be chance.

    Args:
        tried: Part, cell and pairs. Those with too few pairs or people are not tried.
        options: What is too few, and what may be chance.
    """
    found = [_gain(part, cell, rows, options) for part, cell, rows in tried]
    tested = [place for place, gain in enumerate(found) if gain.error > 0.0]
    means, errors = (np.array([getattr(found[place], name) for place in tested]) for name in ("gain", "error"))
    for place, believed in zip(tested, believed_gains(means, errors, options), strict=True):
        if believed:
            rows = tried[place][2]
            _, weights = _fit(rows, np.ones(len(rows.users), dtype=np.bool_), options)
            found[place] = replace(found[place], weights=tuple(weights.tolist()))
    return found


def believed_gains(gains: Floats, errors: Floats, options: GateOptions) -> Bools:
    """(C,) which of these mean gains, each with its standard error, are more than chance when all are looked at.

    Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995), on one-sided normal tests: in the order of their p, the last
    with p <= rate * rank / C and all before it.

    Example:
        >>> believed_gains(np.array([3.0, 2.0, 1.7]), np.ones(3), GateOptions()).tolist()  # p .001, .023, .045
        [True, True, True]
        >>> believed_gains(np.array([1.7, 0.0, 0.0]), np.ones(3), GateOptions()).tolist()  # .045 > .05 / 3
        [False, False, False]
    """
    if not len(gains):
        return np.zeros(0, dtype=np.bool_)
    believed: Bools = false_discovery_control(ndtr(-gains / errors)) <= options.false_discoveries
    return believed


def _gain(part: str, cell: str, rows: CellRows, options: GateOptions) -> CellGain:
    """The held-out gain of one cell, without weights; gain and error 0 where there are too few to try."""
    pairs, users, size = len(rows.users), len(np.unique(rows.users)), rows.features.shape[1]
    enough = pairs >= options.fewest_pairs and users >= options.fewest_users
    mean, error = grouped_mean(rows.users, _held_out_gain(rows, options)) if enough else (0.0, 0.0)
    return CellGain(part, cell, pairs, users, mean, error, (0.0,) * size)


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
