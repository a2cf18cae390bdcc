"""The content baseline: predicts a person's stars from genres and years alone, also for items that nobody has rated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsim_llm.agents.statistical.fitting import FitOptions, fit_biases
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats, Ints

_FOLDS = 5
_COMMON, _OWN = (1.0, 10.0, 100.0), (10.0, 30.0, 100.0, 300.0)
"""Candidate ridge penalties: of the common weights, and of each person's deviation."""


@dataclass(frozen=True)
class ContentModel:
    """Stars as a person's mean, plus common weights of an item's features, plus the person's own deviation from them.

    Attributes:
        level: (U,) stars of each person without any feature.
        common: (F,) weights of the features for all people.
        own: (U, F) each person's deviation from the common weights.
        features: (N, F) features of the items.
    """

    level: Floats
    common: Floats
    own: Floats
    features: Floats

    def stars(self, users: Ints, items: Ints) -> Floats:
        """(M,) expected stars."""
        weights = self.common + self.own[users]
        result: Floats = self.level[users] + np.einsum("mf,mf->m", weights, self.features[items])
        return result


def fit_content(train: Ratings, catalogue: Catalogue) -> ContentModel:
    """Fit ridge regressions on genres and years; the penalties are chosen by cross-validation over items."""
    features = item_features(catalogue)
    folds = (uniforms(12, Stream.DATA, np.arange(train.num_items)) * _FOLDS).astype(np.int64)[train.items]

    def error(common: float, own: float) -> float:
        total = 0.0
        for fold in range(_FOLDS):
            out = train.take(folds == fold)
            model = _fit(train.take(folds != fold), features, common, own)
            total += float(((out.values - model.stars(out.users, out.items)) ** 2).sum())
        return total

    common = min(_COMMON, key=lambda ridge: error(ridge, _OWN[1]))
    own = min(_OWN, key=lambda ridge: error(common, ridge))
    return _fit(train, features, common, own)


def item_features(catalogue: Catalogue) -> Floats:
    """(N, F) genres, number of genres, decade, and whether the year is unknown; each column has mean 0."""
    years = np.array([item.year if item.year is not None else -1 for item in catalogue])
    decades = years // 10
    columns = [
        catalogue.genre_matrix.astype(np.float64),
        catalogue.genre_matrix.sum(axis=1, keepdims=True).astype(np.float64),
        (decades[:, None] == np.unique(decades)).astype(np.float64),
        np.where(years < 0, 0.0, (years - years.max()) / 10.0)[:, None],
    ]
    features = np.hstack(columns)
    centred: Floats = features - features.mean(axis=0)
    return centred


def _fit(train: Ratings, features: Floats, common_ridge: float, own_ridge: float) -> ContentModel:
    mean, user_bias, _ = fit_biases(train, FitOptions())
    level = mean + user_bias
    # (M, F) features of the rated items; the normal equations are (F, F).
    of_rows, size = features[train.items], features.shape[1]
    residual = train.values - level[train.users]
    common = np.linalg.solve(of_rows.T @ of_rows + common_ridge * np.eye(size), of_rows.T @ residual).astype(np.float64)
    residual = residual - of_rows @ common
    own = np.zeros((train.num_users, size))
    order = np.argsort(train.users, kind="stable")
    bounds = np.searchsorted(train.users[order], np.arange(train.num_users + 1))
    for user in np.unique(train.users).tolist():
        rows = order[bounds[user] : bounds[user + 1]]
        mine = of_rows[rows]
        own[user] = np.linalg.solve(mine.T @ mine + own_ridge * np.eye(size), mine.T @ residual[rows])
    return ContentModel(level, common, own, features)
