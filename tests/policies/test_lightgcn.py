"""LightGCN: what is served is what the library propagates, growing histories and strangers by the same formula."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies import POLICIES, make_policy
from recsim_llm.policies.classic.lightgcn import LightGCN, _graph, _kept, _model_class
from recsim_llm.policies.sparse_rows import interactions
from recsim_llm.testing.policy_contract import ITEMS, USERS, PolicyContract, catalogue, observe, two_tastes_log

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    pytest.importorskip("torch_geometric")

SMALL = {"embedding_size": 8, "layers": 2, "epochs": 30, "batch_size": 64, "learning_rate": 0.02}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "lightgcn", LightGCN)


class TestLightGCN(PolicyContract):
    name = "lightgcn"
    options = SMALL | {"epochs": 2}


def make(**options):
    return make_policy("lightgcn", two_tastes_log(), catalogue(), 5, **{**SMALL, **options})


def untrained(layers):
    known = interactions(two_tastes_log())
    net = _model_class()(USERS + ITEMS, 8, layers, normalize=False)
    return known, net


@pytest.mark.parametrize("layers", [1, 3])
def test_people_of_the_log_are_served_what_the_library_propagates(layers):
    known, net = untrained(layers)
    log = two_tastes_log()
    ends = torch.from_numpy(np.stack([log.users, log.items + USERS]))
    library = _model_class()(USERS + ITEMS, 8, layers)  # normalises by itself
    library.load_state_dict(net.state_dict())
    with torch.no_grad():
        vectors = library.get_embedding(torch.cat([ends, ends.flip(0)], dim=1)).numpy()
        policy = LightGCN(5, 0, known, _kept(net, _graph(known), known))
    scores = policy.scores(observe(np.arange(USERS)), policy.liked)
    np.testing.assert_allclose(scores, vectors[:USERS] @ vectors[USERS:].T, atol=1e-6)


def test_a_stranger_is_served_as_a_person_of_the_log_without_a_vector_of_their_own():
    known, net = untrained(2)
    with torch.no_grad():
        net.embedding.weight[3] = 0.0
        policy = LightGCN(5, 0, known, _kept(net, _graph(known), known))
    known_row = policy.scores(observe(np.array([3])), known[[3]])
    np.testing.assert_array_equal(policy.scores(observe(np.array([USERS + 5])), known[[3]]), known_row)


def test_people_are_shown_their_group_and_watches_are_folded_in():
    policy, users = make(), np.arange(USERS)
    assert (policy.act(observe(users)) // 30 == (users % 2)[:, None]).mean() > 0.9
    shown = np.array([[1, 2, 3, 4], [31, 32, 33, 34]])
    groups = policy.act(observe(np.array([USERS, USERS]), shown, np.full_like(shown, 5))) // 30
    assert (groups == np.array([[0], [1]])).mean() > 0.7


def test_fitting_without_the_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_geometric.nn", None)
    with pytest.raises(MissingExtraError, match="graph"):
        make()


@pytest.mark.parametrize(
    "option",
    [{"embedding_size": 0}, {"layers": 0}, {"batch_size": 0}, {"epochs": 0}, {"reg": -1.0}, {"learning_rate": 0.0}],
)
def test_values_that_cannot_work_are_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        make(**option)
