"""The recommenders that ranking validity compares: score tables over all people and items, from a training log.

They differ on purpose: personal and not, from who rated what and from how it was rated, good and deliberately bad.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsim_llm.agents.statistical.fitting import FitOptions, fit_biases, fit_tastes
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.experiments.fidelity.measures.baselines import fit_baselines
from recsim_llm.policies import make_policy
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.types import EMPTY, Floats, Observation

FACTORS = "factors"
"""The family of factor models, to which statistical users themselves belong."""
CONTROL = "control"
"""The family of recommenders that are random or deliberately bad."""

LIKED = 0.8
"""Share of the highest rating level from which a rating counts as liking: 4 of 5 stars."""

_SHRINKAGE = 5.0


@dataclass(frozen=True)
class Recommender:
    """A recommender, as a table of scores.

    Attributes:
        name: For tables.
        family: FACTORS, CONTROL or "".
        scores: (U, N) higher is shown first; ties in random order.
    """

    name: str
    family: str
    scores: Floats


@dataclass(frozen=True)
class _Log:
    train: Ratings
    catalogue: Catalogue
    top: float
    seed: int


def fit_recommenders(
    train: Ratings, catalogue: Catalogue, rating_levels: Sequence[float], seed: int = 0
) -> tuple[Recommender, ...]:
    """Fit all recommenders to the training log; the genre recommender only if the catalogue has genres.

    Args:
        train: Training ratings.
        catalogue: The items.
        rating_levels: Stars that can be given.
        seed: Seed of random recommendations and initial factors.

    Raises:
        MissingExtraError: The package of "als" is not installed.
    """
    log = _Log(train, catalogue, rating_levels[-1], seed)
    made = (
        Recommender(name, family, scores(log))
        for name, (family, scores) in _RECOMMENDERS.items()
        if catalogue.genres or name != "genre profile"
    )
    return tuple(made)


def _policy(name: str, liked: bool = False) -> Callable[[_Log], Floats]:
    """Scores of a registered policy before anything was shown, fitted on all ratings or on the good ones only."""

    def scores(log: _Log) -> Floats:
        options: dict[str, Any] = {"min_rating": LIKED * log.top} if liked else {}
        policy = make_policy(name, log.train, log.catalogue, 1, log.seed, **options)
        assert isinstance(policy, RankingPolicy)
        return np.array(policy.scores(_nobody_shown(log.train.num_users), policy.liked), dtype=np.float64)

    return scores


def _nobody_shown(num_users: int) -> Observation:
    return Observation(
        user=np.arange(num_users)[:, None],
        page=np.zeros((num_users, 1), dtype=np.int64),
        history_items=np.full((num_users, 1), EMPTY, dtype=np.int64),
        history_ratings=np.zeros((num_users, 1), dtype=np.float32),
        history_mask=np.zeros((num_users, 1), dtype=np.int8),
    )


def _baseline(name: str) -> Callable[[_Log], Floats]:
    """Stars predicted by one of the certificate's baselines."""

    def scores(log: _Log) -> Floats:
        scorer = fit_baselines(log.train, log.catalogue).stars[name]
        items = np.arange(log.train.num_items)
        rows = [scorer(np.full(len(items), user), items) for user in range(log.train.num_users)]
        return np.array(rows)

    return scores


def _popularity(log: _Log) -> Floats:
    return _everybody(log, np.bincount(log.train.items, minlength=log.train.num_items).astype(np.float64))


def _item_mean(log: _Log) -> Floats:
    return _everybody(log, fit_biases(log.train, FitOptions())[2])


def _everybody(log: _Log, scores_N: Floats) -> Floats:
    return np.repeat(scores_N[None, :], log.train.num_users, axis=0)


def _user_means(train: Ratings) -> Floats:
    mean = float(train.values.mean(dtype=np.float64))
    sums = np.bincount(train.users, weights=train.values - mean, minlength=train.num_users)
    result: Floats = mean + sums / (np.bincount(train.users, minlength=train.num_users) + _SHRINKAGE)
    return result


def _bias_model(log: _Log) -> Floats:
    """Item biases after subtracting user means: an item is not called bad because severe people rated it."""
    train = log.train
    rest = train.values - _user_means(train)[train.users]
    sums = np.bincount(train.items, weights=rest, minlength=train.num_items)
    return _everybody(log, sums / (np.bincount(train.items, minlength=train.num_items) + _SHRINKAGE))


def _centred(log: _Log) -> sp.csr_array:
    """(U, N) sparse stars minus the user's mean, stored where rated."""
    train = log.train
    rest = train.values - _user_means(train)[train.users]
    return sp.csr_array((rest, (train.users, train.items)), shape=(train.num_users, train.num_items))


def _user_knn(log: _Log) -> Floats:
    """Mean of other people's centred stars, weighted by how alike they rate (Resnick et al. 1994, shrunken cosine)."""
    stars = _centred(log)
    alike = np.maximum(_cosine(stars), 0.0)
    # (U, U) @ (U, N): weighted sum of stars, and the weight of the neighbours who rated the item.
    weighted, weight = alike @ stars, alike @ stars.astype(bool).astype(np.float64)
    return np.asarray(weighted / (weight + 1.0))


def _rated_item_knn(log: _Log) -> Floats:
    """Mean of a person's own centred stars, weighted by how alike items are rated (adjusted cosine, Sarwar 2001)."""
    stars = _centred(log)
    alike = np.maximum(_cosine(sp.csr_array(stars.T)), 0.0)
    # (U, N) @ (N, N): weighted sum of the person's stars, and the weight of the rated neighbours.
    weighted, weight = stars @ alike, stars.astype(bool).astype(np.float64) @ alike
    return np.asarray(weighted / (weight + 1.0))


def _cosine(rows: sp.csr_array) -> Floats:
    """Shrunken cosines between rows, 0 on the diagonal."""
    products = (rows @ rows.T).toarray()
    lengths = np.sqrt(np.diag(products))
    cosine: Floats = products / (np.outer(lengths, lengths) + _SHRINKAGE)
    np.fill_diagonal(cosine, 0.0)
    return cosine


def _matrix_factorisation(log: _Log) -> Floats:
    """The same model as the statistical users' tastes, smaller and from another start: their closest relative."""
    tastes = fit_tastes(log.train, FitOptions(embedding_size=8, seed=log.seed + 1))
    product: Floats = tastes.user_factors @ tastes.item_factors.T
    return tastes.item_bias + product


def _least(scores: Callable[[_Log], Floats]) -> Callable[[_Log], Floats]:
    return lambda log: -scores(log)


_RECOMMENDERS: dict[str, tuple[str, Callable[[_Log], Floats]]] = {
    "random": (CONTROL, _policy("random")),
    "popularity": ("", _popularity),
    "popularity, liked": ("", _policy("popularity", liked=True)),
    "item mean": ("", _item_mean),
    "bias model": ("", _bias_model),
    "ease": ("", _policy("ease")),
    "ease, liked": ("", _policy("ease", liked=True)),
    "item-knn": ("", _policy("item-knn")),
    "item-knn of stars": ("", _rated_item_knn),
    "user-knn of stars": ("", _user_knn),
    "genre profile": ("", _baseline("genre profile")),
    "als": (FACTORS, _policy("als")),
    "svd of stars": (FACTORS, _baseline("svd")),
    "mf of stars": (FACTORS, _matrix_factorisation),
    "least popular": (CONTROL, _least(_popularity)),
    "worst rated": (CONTROL, _least(_item_mean)),
}
