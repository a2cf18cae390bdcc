"""Decides in which of four (item, user) cells the LLM correction is applied, by held-out gain.

A cell is (item cold or warm) x (history of the person short or long), by training ratings. A correction learned in a
cell is accepted only if it improves predictions for users it was not learned from. Four cells are tested for ratings
and four for watching; the false discovery rate over all eight is controlled (Benjamini and Hochberg 1995), so that an
uninformative model is not accepted by chance.
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

_FREE = 1e-3  # a tiny ridge, so that the optimum is unique
_FOLDS = 1


@dataclass(frozen=True, slots=True)
class GateOptions:
    """When the correction of a cell is accepted.

    Attributes:
        cold: Items with fewer training ratings are cold.
        short: People with fewer training ratings have a short history.
        folds: Cross-validation folds over people.
        false_discoveries: Upper bound on the expected share of accepted cells whose gain is chance, and on the
            probability that an uninformative model is accepted anywhere. Shared by all cells tested, one-sided.
        ridge: Penalty on squared weights, in pairs.
        fewest_users, fewest_pairs: A cell with fewer keeps weight 0.
        seed: Seed of the folds.
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
    """Test result of one cell.

    Attributes:
        part: "rating" or "watch".
        cell: One of `CELLS`.
        pairs, users: Numbers of calibration pairs in the cell, and of people in them.
        gain: Held-out log-loss of the backbone minus that with the correction, nats per pair.
        error: Standard error of the gain, over people.
        weights: Log-odds per standard deviation of each feature; all 0 where the correction is rejected.
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
        """Whether the correction is applied in this cell."""
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
        features: (M, D) features of the model's answers, mean 0.
        nuisance: (M, E) columns fitted along with the features but never applied; E may be 0.
        edges: (M, R-1) the backbone's log-odds of P(level <= k).
        level: (M,) observed level.
    """

    users: Ints
    features: Floats
    nuisance: Floats
    edges: Floats
    level: Ints


def learn_cells(tried: Sequence[tuple[str, str, CellRows]], options: GateOptions) -> list[CellGain]:
    """Learn all cells and test them together; weights are exactly 0 where the gain may be chance.

    Args:
        tried: Part, cell and pairs of each cell. Cells with too few pairs or people are not tested.
        options: Minimum sizes and the false discovery rate.
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
    """(C,) which of these mean gains, given their standard errors, are significant when all C are tested together.

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
    """The held-out gain of one cell, without weights; gain and error are 0 where there are too few rows to test."""
    pairs, users, size = len(rows.users), len(np.unique(rows.users)), rows.features.shape[1]
    enough = pairs >= options.fewest_pairs and users >= options.fewest_users
    mean, error = grouped_mean(rows.users, _held_out_gain(rows, options)) if enough else (0.0, 0.0)
    return CellGain(part, cell, pairs, users, mean, error, (0.0,) * size)


def grouped_mean(users: Ints, values: Floats) -> tuple[float, float]:
    """Mean over rows, and its standard error clustered by user (linearised ratio estimator)."""
    _, place = np.unique(users, return_inverse=True)
    mean, count = float(values.mean()), int(place.max()) + 1
    # Deviations summed per user: only users are independent, not a user's rows.
    surplus = np.bincount(place, weights=values - mean)
    return mean, float(np.sqrt((surplus**2).sum() * count / max(count - 1, 1)) / len(values))


def _held_out_gain(rows: CellRows, options: GateOptions) -> Floats:
    """(M,) log-loss of each pair without the features minus that with them, fitted on other people."""
    # The extra key matters: the hash of (seed, stream, user) alone already selects calibration users (`data.splits`).
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
    """Weights of nuisance columns and of features. The latter are non-negative: see docs/hybrid.md."""
    extra, size = rows.nuisance.shape[1], rows.features.shape[1]
    columns = np.hstack([rows.nuisance[chosen], rows.features[chosen]])
    ridge = np.concatenate([np.full(extra, _FREE), np.full(size, options.ridge)])
    found = fit_weights(columns, rows.edges[chosen], rows.level[chosen], ridge, np.arange(extra + size) >= extra)
    return found[:extra], found[extra:]


def _loss(edges: Floats, level: Ints) -> Floats:
    cumulative = 1.0 / (1.0 + np.exp(-edges))
    # (M, R-1) cumulative, padded with 0 and 1; differences give (M, R).
    pmf = np.diff(np.pad(cumulative, ((0, 0), (1, 1)), constant_values=((0, 0), (0.0, 1.0))), axis=1)
    return row_log_loss(pmf, level)
