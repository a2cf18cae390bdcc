"""The benchmark of sequential recommenders splits without a leak and measures what it says."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.sequential import CORE, gains, make_task, observation
from recsim_llm.data import load_dataset


def test_the_target_is_the_newest_rating_and_nowhere_else():
    data = load_dataset("synthetic")
    last, before = make_task(data, 0), make_task(data, 1)
    for task in (last, before):
        assert not (task.log.items == task.target[task.log.users]).any()
        assert not (observation(task)["history_items"] == task.target[:, None]).any()
        assert len(task.catalogue) == task.log.num_items
    assert len(last.log) == len(before.log) + len(last.target)
    newest = observation(last)["history_items"][:, -1]
    np.testing.assert_array_equal(newest, before.target)


def test_everybody_and_everything_left_has_enough_ratings():
    task = make_task(load_dataset("synthetic"), 0)
    items = np.bincount(np.concatenate([task.log.items, task.target]), minlength=len(task.catalogue))
    users = np.bincount(task.log.users, minlength=len(task.target)) + 1
    assert min(items.min(), users.min()) >= CORE


def test_gains_equal_a_slow_reference():
    pages = np.array([[4, 2, 7], [0, 1, 2], [5, 6, 3]])
    ndcg, hit = gains(pages, np.array([4, 3, 3]))
    np.testing.assert_allclose(ndcg, [1.0, 0.0, 1 / math.log2(4)])
    assert hit.tolist() == [1.0, 0.0, 1.0]
