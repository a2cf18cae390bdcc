"""Recommenders that ran elsewhere: pages worked out by hand from a file of scores and a file of lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsim_llm.data import load_dataset
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.policies import make_policy, open_policy
from recsim_llm.policies.classic.given_scores import GivenScores
from recsim_llm.testing.policy_contract import ITEMS, USERS, PolicyContract, observe
from recsim_llm.types import Item


class TestScoresContract(PolicyContract):
    name = "scores"

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        np.savez(tmp_path / "scores.npz", scores=np.random.default_rng(7).normal(size=(USERS, ITEMS)))
        self.options = {"file": tmp_path / "scores.npz"}


class TestListsContract(PolicyContract):
    name = "topn"

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        rng = np.random.default_rng(7)
        rows = [(user, item, rank) for user in range(USERS) for rank, item in enumerate(rng.permutation(ITEMS)[:20])]
        pd.DataFrame(rows, columns=["user_id", "item_id", "rank"]).to_csv(tmp_path / "recs.csv", index=False)
        self.options = {"file": tmp_path / "recs.csv", "ids": "positions"}


CATALOGUE = Catalogue(tuple(Item(i, f"Title {i}") for i in range(6)), tuple("abcdef"))
# Two people, six items: person 0 has rated item 1, both have rated item 5.
LOG = Ratings(np.array([0, 0, 1]), np.array([1, 5, 5]), np.full(3, 4.0), np.arange(3), 2, 6, ("7", "3"))


def pages(policy, page_size=3):
    return policy.act(observe(np.array([0, 1, 2]))).tolist()


def test_a_page_is_the_best_scores_of_what_is_not_known(tmp_path):
    """Person 0: 9 and 8 are rated already, then 7, 3, 2. Person 2 is a stranger: popularity 0 1 0 0 0 2."""
    scores = [[7, 9, 1, 2, 3, 8], [0, 1, 2, 3, 4, 5]]
    np.savez(tmp_path / "s.npz", scores=np.array(scores))
    policy = open_policy(f"scores?file={tmp_path / 's.npz'}", LOG, CATALOGUE, 3)
    assert pages(policy) == [[0, 4, 3], [4, 3, 2], [5, 1, 0]]
    assert pages(GivenScores.from_scores(scores, LOG, 3)) == pages(policy)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("by", "values"), [("rank", [2, 1, 3, 1]), ("score", [0.5, 0.9, -1.0, 7.0])])
def test_a_page_is_the_list_then_popular_items(tmp_path, kind, by, values):
    """Person 0's list is 4, 1, 2, and 1 is rated already: 4, 2, then the lowest id of no popularity, 0.

    Person 1's list is 3 alone; then 1, rated by one person, then 0. Person 2 has no list: 5, 1, 0.
    """
    frame = pd.DataFrame({"user_id": [7, 7, 7, 3], "item_id": list("becd"), by: values})
    path = tmp_path / f"recs.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    policy = open_policy(f"topn?file={path}", LOG, CATALOGUE, 3)
    assert pages(policy) == [[4, 2, 0], [3, 1, 0], [5, 1, 0]]
    places = tmp_path / f"places.{kind}"
    frame = frame.assign(user_id=[0, 0, 0, 1], item_id=[1.0, 4.0, 2.0, 3.0])  # as a join with gaps leaves them
    frame.to_csv(places, index=False) if kind == "csv" else frame.to_parquet(places)
    assert pages(open_policy(f"topn?file={places}&ids=positions", LOG, CATALOGUE, 3)) == pages(policy)
    policy.save(tmp_path / "p.npz")
    assert pages(open_policy(str(tmp_path / "p.npz"), LOG, CATALOGUE, 3)) == pages(policy)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user_id,item_id\n0,1\n", "no column score"),
        ("user,item_id,rank\n0,1,1\n", "no column user_id"),
        ("user_id,item_id,rank\n2,1,1\n", r"line 2, field 'user_id': '2' is no position. Positions are 0..1"),
        ("user_id,item_id,rank\n0,6,1\n", "line 2, field 'item_id': '6'"),
        ("user_id,item_id,rank\n0,-1,1\n", "field 'item_id': '-1'"),
        ("user_id,item_id,rank\n0,1.5,1\n", "field 'item_id': '1.5'"),
        ("user_id,item_id,rank\n0,abc,1\n", "field 'item_id': 'abc' is not a number"),
        ("user_id,item_id,rank\n0,1,1\n0,1,2\n", "stands twice"),
        ("user_id,item_id,score\n0,1,inf\n", "line 2, field 'score': 'inf'"),
        ("user_id,item_id,score\n0,1,\n", "field 'score': '' is missing"),
        ("", "is empty"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, text, words):
    (tmp_path / "recs.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        make_policy("topn", LOG, CATALOGUE, 3, file=str(tmp_path / "recs.csv"), ids="positions")


def test_own_ids_that_the_data_set_lacks_are_refused(tmp_path):
    """Positions handed over as ids would be other people's lists."""
    for text, words in [
        (
            "user_id,item_id,rank\n7,a,1\n0,a,2\n",
            r"line 3, field 'user_id': '0' is not in the data set. Its ids are 7, 3; for positions",
        ),
        (
            "user_id,item_id,rank\n7,A,1\n",
            r"line 2, field 'item_id': 'A' .* Its ids are a, b, c, \.\.\.; for positions 0\.\.5",
        ),
        ("user_id,item_id,rank\n,a,1\n", "field 'user_id': '' is not in"),
        ("user_id,item_id,rank\n7,a,\n", "field 'rank': '' is missing"),
    ]:
        (tmp_path / "recs.csv").write_text(text)
        with pytest.raises(ConfigError, match=words):
            make_policy("topn", LOG, CATALOGUE, 3, file=str(tmp_path / "recs.csv"))
    with pytest.raises(ConfigError, match="ids=positions"):
        make_policy("topn", replace(LOG, raw_users=()), CATALOGUE, 3, file=str(tmp_path / "recs.csv"))


def test_rows_and_columns_of_scores_are_found_by_their_ids(tmp_path):
    """The same matrix as above, with the people and the items in another order."""
    scores = np.array([[0, 1, 2, 3, 4, 5], [7, 9, 1, 2, 3, 8]])[:, ::-1]
    np.savez(tmp_path / "s.npz", scores=scores, user_ids=np.array([3, 7]), item_ids=np.array(list("fedcba")))
    assert pages(open_policy(f"scores?file={tmp_path / 's.npz'}", LOG, CATALOGUE, 3)) == [
        [0, 4, 3],
        [4, 3, 2],
        [5, 1, 0],
    ]
    for wrong in ([3, 3], [3, 7, 7], [3], [[3, 7]], 3, [3, 8], ["3", "seven"]):
        np.savez(tmp_path / "t.npz", scores=scores, user_ids=np.array(wrong))
        with pytest.raises(ConfigError, match="user_ids must hold each of the data set's 2 ids once, such as 7, 3"):
            make_policy("scores", LOG, CATALOGUE, 3, file=str(tmp_path / "t.npz"))


def test_a_data_set_gives_its_own_ids(tmp_path):
    """The list is written from what a run exports: the ids of ratings files."""
    data = load_dataset("synthetic:0:20")
    assert data.ratings.raw_users == tuple(person.raw_id for person in data.people)
    person, item = data.people[5], data.catalogue.raw_ids[30]
    (tmp_path / "recs.csv").write_text(f"user_id,item_id,score\n{person.raw_id},{item},1.0\n")
    config = SimulationConfig(
        dataset="synthetic:0:20", policies=(f"topn?file={tmp_path / 'recs.csv'}",), users=20, pages=1
    )
    (run,) = simulate(config, tmp_path / "run", progress=False)
    steps = run.step_batch()
    assert (steps.items[:, 0] == 30).tolist() == (steps.user == 5).tolist()


def test_scores_that_do_not_fit_are_refused(tmp_path):
    for name, arrays, words in [
        ("a", {"other": np.zeros((2, 6))}, "no array 'scores'"),
        ("b", {"scores": np.zeros((6, 2))}, r"the shape is \(6, 2\)"),
        ("c", {"scores": np.full((2, 6), np.nan)}, "NaN"),
        ("d", {"scores": np.full((2, 6), "a")}, "not an array of numbers"),
    ]:
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(ConfigError, match=words):
            make_policy("scores", LOG, CATALOGUE, 3, file=str(tmp_path / f"{name}.npz"))
    for policy in ("scores", "topn"):
        with pytest.raises(ConfigError, match="needs file=PATH"):
            make_policy(policy, LOG, CATALOGUE, 3)
        with pytest.raises(ConfigError, match="cannot be read"):
            make_policy(policy, LOG, CATALOGUE, 3, file=str(tmp_path / "none"))
