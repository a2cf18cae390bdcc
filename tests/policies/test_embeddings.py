"""The policy of given vectors: dot products in float32, what the log holds excluded, the ranking of the start paged."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.errors import ConfigError
from recsim_llm.policies import load_policy, make_policy
from recsim_llm.policies.classic.embeddings import EmbeddingPolicy
from recsim_llm.testing.policy_contract import ITEMS, USERS, catalogue, observe, two_tastes_log


@pytest.fixture
def vectors():
    rng = np.random.default_rng(3)
    return rng.normal(size=(USERS, 8)).astype(np.float32), rng.normal(size=(ITEMS, 8)).astype(np.float32)


def test_pages_are_the_ranking_of_the_start_piece_by_piece(vectors):
    log, users = two_tastes_log(), np.arange(USERS)
    policy = EmbeddingPolicy.from_vectors(*vectors, log, page_size=4)
    scores = np.stack([vectors[1] @ user for user in vectors[0]])
    scores[log.users, log.items] = -np.inf
    ranking = np.argsort(-scores, axis=1, kind="stable")
    shown = np.zeros((USERS, 0), dtype=np.int64)
    for page in range(3):
        pages = policy.act(observe(users, shown, np.full_like(shown, 5)))
        np.testing.assert_array_equal(pages, ranking[:, 4 * page : 4 * page + 4])
        shown = np.concatenate([shown, pages], axis=1)


def test_ties_go_to_the_lower_id(vectors):
    policy = EmbeddingPolicy.from_vectors(vectors[0], np.ones((ITEMS, 8)), two_tastes_log(), 5)
    log = two_tastes_log()
    for user, page in enumerate(policy.act(observe(np.arange(3))).tolist()):
        assert page == [i for i in range(ITEMS) if i not in set(log.items[log.users == user].tolist())][:5]


def test_strangers_are_shown_popular_items(vectors):
    log = two_tastes_log()
    page = EmbeddingPolicy.from_vectors(*vectors, log, 5).act(observe(np.array([USERS])))[0]
    assert page.tolist() == np.argsort(-np.bincount(log.items, minlength=ITEMS), kind="stable")[:5].tolist()


def test_a_file_of_vectors_gives_the_same_policy(vectors, tmp_path):
    np.savez(tmp_path / "vectors.npz", user=vectors[0], item=vectors[1])
    log, observation = two_tastes_log(), observe(np.arange(USERS))
    made = make_policy("embeddings", log, catalogue(), 5, vectors=str(tmp_path / "vectors.npz"))
    direct = EmbeddingPolicy.from_vectors(*vectors, log, 5)
    np.testing.assert_array_equal(made.act(observation), direct.act(observation))
    direct.save(tmp_path / "policy.npz")
    np.testing.assert_array_equal(load_policy(tmp_path / "policy.npz").act(observation), direct.act(observation))


def test_vectors_that_do_not_fit_are_refused(vectors):
    user, item = vectors
    log = two_tastes_log()
    for users, items, words in [
        (user[:-1], item, "the log is about"),
        (user, item[:, :-1], "need"),
        (user[0], item, "need"),
        (user, np.where(np.arange(8) == 2, np.nan, item), "NaN"),
        ([["a"]], item, "not arrays of numbers"),
    ]:
        with pytest.raises(ConfigError, match=words):
            EmbeddingPolicy.from_vectors(users, items, log, 5)


def test_files_that_do_not_do_are_refused(vectors, tmp_path):
    np.savez(tmp_path / "half.npz", user=vectors[0])
    np.save(tmp_path / "one.npy", vectors[0])
    (tmp_path / "broken.npz").write_bytes(b"nonsense")
    for name, words in [
        ("half.npz", "lacks"),
        ("one.npy", "plain arrays"),
        ("broken.npz", "read"),
        ("none.npz", "read"),
    ]:
        with pytest.raises(ConfigError, match=words):
            make_policy("embeddings", two_tastes_log(), catalogue(), 5, vectors=tmp_path / name)
    with pytest.raises(ConfigError, match="needs vectors=PATH"):
        make_policy("embeddings", two_tastes_log(), catalogue(), 5)
