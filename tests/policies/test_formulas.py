"""EASE, item-kNN and ALS against slow references, and on people of two tastes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.sparse as sp
from worlds import make_catalogue, make_log, make_observation

from recsim_llm.errors import MissingExtraError
from recsim_llm.policies import make_policy

TASTE = ["ease", "item-knn", "als"]
SMALL = {"ease": {"reg": 50.0}, "item-knn": {}, "als": {"reg": 5.0, "embedding_size": 8}}


def some_matrix(users: int = 30, items: int = 9) -> np.ndarray:
    matrix = (np.random.default_rng(7).random((users, items)) < 0.4).astype(np.float32)
    matrix[:, 4] = 0  # nobody rated item 4
    return matrix


def test_als_solves_least_squares_for_log_and_history():
    X, reg, alpha = some_matrix(), 2.0, 3.0
    pairs = [(int(u), int(i), 3.0) for u, i in np.argwhere(X)]
    log, catalogue = make_log(pairs, 30, 9), make_catalogue(9)
    policy = make_policy("als", log, catalogue, 9, reg=reg, alpha=alpha, embedding_size=4)
    items = policy.fitted["item_factors"].astype(np.float64)
    taste = X[5].astype(np.float64)
    watched = int(np.flatnonzero(taste == 0)[0])
    taste[watched] = 1.0
    weight = np.diag(1 + alpha * taste)
    user = np.linalg.solve(items.T @ weight @ items + reg * np.eye(4), items.T @ weight @ taste)
    observation = make_observation([5], [[(watched, 5.0)]])
    found = policy.scores(observation, sp.csr_array(taste[None].astype(np.float32)))
    np.testing.assert_allclose(found[0], items @ user, atol=1e-5)
    unknown = [i for i in np.argsort(-(items @ user), kind="stable") if not taste[i]]
    assert policy.act(observation)[0, : len(unknown)].tolist() == unknown


@pytest.mark.parametrize("missing", ["implicit.cpu.als", "threadpoolctl"])
def test_als_names_the_extra_that_it_lacks(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[cf\]"):
        make_policy("als", make_log([(0, 1, 3.0)], 1, 9), make_catalogue(9), 2)


def test_als_leaves_the_threads_of_blas_as_they_were():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    pytest.importorskip("implicit.cpu.als")

    def threads() -> dict[str, int]:
        return {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads()
        policy = make_policy("als", make_log([(0, 1, 3.0), (1, 2, 3.0)], 2, 9), make_catalogue(9), 2)
        policy.act(make_observation([0], [[]]))
        assert threads() == before


@pytest.fixture(scope="module")
def two_tastes():
    """60 users like items 0-19, 20 users items 20-39; each rated 10 of their own, every tenth one of the others too."""
    rng = np.random.default_rng(5)
    pairs = []
    for user in range(80):
        own, other = (0, 20) if user < 60 else (20, 0)
        pairs += [(user, own + int(i), 4.0) for i in rng.permutation(20)[:10]]
        if user % 10 == 0:
            pairs.append((user, other + int(rng.integers(20)), 4.0))
    return make_log(pairs, 80, 40)


def share_of_minority_items(policy, observation) -> float:
    return float((policy.act(observation) >= 20).mean())


@pytest.mark.parametrize("name", TASTE)
def test_a_stranger_without_history_is_shown_what_is_popular(two_tastes, name):
    nobody = make_observation([500, -1], [[], []])
    policy = make_policy(name, two_tastes, make_catalogue(40), 5, **SMALL[name])
    popular = make_policy("popularity", two_tastes, make_catalogue(40), 5)
    assert np.array_equal(policy.act(nobody), popular.act(nobody))
