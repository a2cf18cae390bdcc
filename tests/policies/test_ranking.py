"""Best items, and what all rankers do with log and history."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from worlds import make_catalogue, make_log, make_observation

from recsim_llm.errors import ConfigError
from recsim_llm.policies import load_policy, make_policy, ranking
from recsim_llm.policies.ranking import best_items
from recsim_llm.policies.sparse_rows import or_popular, sparse_times

CATALOGUE = make_catalogue(8)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_must_be_finite(wrong):
    with pytest.raises(ConfigError, match="finite"):
        best_items(np.array([[1.0, wrong]]), np.zeros((1, 2), dtype=np.bool_), 1)


@pytest.mark.parametrize("name", ["random", "ease"])
def test_blocks_change_nothing(name, monkeypatch):
    log = make_log([(u, (u * k) % 8, 3.0) for u in range(6) for k in (1, 3)], 6, 8)
    policy = make_policy(name, log, CATALOGUE, 3)
    observation = make_observation(list(range(7)), [[(u, 4.0)] for u in range(7)])
    whole = policy.act(observation)
    monkeypatch.setattr(ranking, "_BLOCK_CELLS", 2 * 8)
    assert np.array_equal(policy.act(observation), whole)


def test_the_bits_of_a_row_do_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    rows, weights = rng.random((33, 20)).astype(np.float32), rng.random((20, 50)).astype(np.float32)
    together = sparse_times(sp.csr_array(rows), weights)
    for row in range(33):
        assert np.array_equal(sparse_times(sp.csr_array(rows[row : row + 1]), weights)[0], together[row])


def test_only_users_without_taste_get_popularity():
    scores, taste = np.ones((2, 2)), sp.csr_array(np.array([[0, 0], [1, 0]], dtype=np.float32))
    assert or_popular(scores, taste, np.array([5.0, 6.0])).tolist() == [[5.0, 6.0], [1.0, 1.0]]


@pytest.mark.parametrize("name", ["ease", "item-knn", "als"])
def test_min_rating_takes_bad_ratings_out_of_taste_and_keeps_them_out_of_pages(name):
    # Items 0-3 go together, and so do 4-7. User 8 loved item 0 and hated item 4.
    pairs = [(u, i, 5.0) for u in range(4) for i in range(4)] + [(u, i, 5.0) for u in range(4, 8) for i in range(4, 8)]
    log = make_log([*pairs, (8, 0, 5.0), (8, 4, 1.0)], 9, 8)
    policy = make_policy(name, log, CATALOGUE, 3, min_rating=4.0, **({"reg": 1.0} if name != "item-knn" else {}))
    assert set(policy.act(make_observation([8], [[]]))[0].tolist()) == {1, 2, 3}
    # The same taste, from a history.
    assert set(policy.act(make_observation([99], [[(0, 5.0), (4, 1.0)]]))[0].tolist()) == {1, 2, 3}
    assert 4 not in policy.act(make_observation([99], [[(0, 5.0), (4, 1.0)]]))[0]


def test_min_rating_survives_saving(tmp_path):
    log = make_log([(0, 0, 5.0), (0, 1, 5.0), (1, 6, 5.0), (1, 7, 5.0), (2, 0, 5.0), (2, 6, 1.0)], 3, 8)
    observation = make_observation([2, 9], [[], [(0, 5.0), (6, 1.0)]])
    policy = make_policy("ease", log, CATALOGUE, 2, min_rating=4.0, reg=1.0)
    policy.save(tmp_path / "p.npz")
    assert np.array_equal(load_policy(tmp_path / "p.npz").act(observation), policy.act(observation))
    assert not np.array_equal(make_policy("ease", log, CATALOGUE, 2, reg=1.0).act(observation), policy.act(observation))


def test_a_history_of_another_catalogue_is_refused():
    policy = make_policy("popularity", make_log([(0, 1, 3.0)], 1, 8), CATALOGUE, 2)
    with pytest.raises(ConfigError, match=r"0\.\.7"):
        policy.act(make_observation([0], [[(8, 3.0)]]))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("ease", "reg", 0),
        ("ease", "reg", "many"),
        ("ease", "min_rating", -1),
        ("item-knn", "neighbours", 0),
        ("item-knn", "shrinkage", -0.5),
        ("als", "embedding_size", 0),
        ("als", "reg", 0.0),
        ("als", "alpha", float("nan")),
        ("als", "epochs", 0),
    ],
)
def test_values_that_cannot_work_are_refused(name, option, value):
    with pytest.raises(ConfigError, match=option):
        make_policy(name, make_log([(0, 1, 3.0)], 1, 8), CATALOGUE, 2, **{option: value})
